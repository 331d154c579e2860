-- engine: absurd
-- home: absurd
-- tried: 0.5.1
-- ids: uuid
-- word: params
-- fields: queue = queue_name
-- stops: next step
--
-- The application is the queue, the function is the task, event.data is its parameters. Each queue has tables of its own, made together with
-- it: tasks (`t_…`) and runs (`r_…`), one run for each attempt. absurd's task is a run here; its state is that of its last run in absurd.

-- name: detect
-- Found by the table of queues, and by the functions that claim and that make queues. ts_stat reads the version: it runs a query that is
-- given as text.
select space.nspname as schema, '' as prefix, coalesce(made.version, 'unknown') as version,
       coalesce(made.version ~ '^0\.[45]\.', false) as supported,
       row_security_active(queues.oid) as hidden
  from pg_class as queues
  join pg_namespace as space on space.oid = queues.relnamespace
 cross join lateral (
    select to_regprocedure(format('%I.get_schema_version()', space.nspname)) as oid
  ) as versions
 cross join lateral (
    select case when has_schema_privilege(space.oid, 'usage') and has_function_privilege(versions.oid, 'execute') then (
      select read.word
        from ts_stat(format('select array_to_tsvector(array_remove(array[%I.get_schema_version()], null))', space.nspname)) as read)
    end as version
  ) as made
 where queues.relname = 'queues' and queues.relkind in ('r', 'p')
   and exists (select from pg_proc as routine
                where routine.pronamespace = space.oid and routine.proname = 'claim_task')
   and exists (select from pg_proc as routine
                where routine.pronamespace = space.oid and routine.proname = 'ensure_queue_tables')

-- name: parts
-- A queue whose tables are missing has no runs. A name with braces is left out: it could not be told from a placeholder.
select format('%I.%I', space.nspname, tasks.relname) as tasks, format('%I.%I', space.nspname, runs.relname) as runs,
       quote_literal(queue.queue_name) as queue, quote_literal(format('%I.%I', space.nspname, tasks.relname)) as named,
       queue.queue_name as part,
       has_table_privilege(tasks.oid, 'select') and has_table_privilege(runs.oid, 'select') and queue.queue_name !~ '[{}]' as readable
  from {s}.queues as queue
  join pg_namespace as space on space.oid = (select own.relnamespace from pg_class as own where own.oid = '{s}.queues'::regclass)
  join pg_class as tasks on tasks.relnamespace = space.oid and tasks.relname = 't_' || queue.queue_name
  join pg_class as runs on runs.relnamespace = space.oid and runs.relname = 'r_' || queue.queue_name
 order by queue.queue_name

-- name: source
-- A task whose last run is gone has the state that the task itself says. `attempt` counts claims: a run that waits has had none.
-- A sleeping run may be claimed once its time has come. One that only waits for an event has no time.
select job.task_id as key, job.task_id::text as id, {queue}::text as app_id, job.task_name as function_id, job.task_name as name,
       job.params as data, jsonb_build_object('name', job.task_name, 'data', job.params) as event,
       case
         when job.state = 'completed' then 'completed'
         when job.state = 'failed' then 'failed'
         when job.state = 'cancelled' then 'cancelled'
         when attempt.state = 'running' then 'running'
         when attempt.available_at <= now() then 'queued'
         else 'scheduled' end as status,
       attempt.state, job.state as task_state, null::integer as priority,
       coalesce(attempt.attempt, job.attempts) - case when attempt.run_id is not null and attempt.started_at is null then 1 else 0 end as attempt,
       job.enqueue_at as started_at, nullif(attempt.available_at, 'infinity') as scheduled_for,
       coalesce(attempt.started_at, case when attempt.attempt > 1 then job.first_started_at end) as claimed_at,
       case job.state
         when 'completed' then attempt.completed_at
         when 'failed' then attempt.failed_at
         when 'cancelled' then job.cancelled_at end as finished_at,
       attempt.claimed_by as worker,
       coalesce(attempt.failure_reason ->> 'message', attempt.failure_reason #>> '{}') as error,
       attempt.claim_expires_at as lease_expires_at, attempt.state = 'running' and attempt.claim_expires_at < now() as lost,
       {queue}::text as queue
  from {tasks} as job {sampled}
  left join {runs} as attempt on attempt.task_id = job.task_id and attempt.run_id = job.last_attempt_run

-- name: unfinished
-- It asks for the state of the run, since only that has an index.
run.state in ('pending', 'sleeping', 'running')

-- name: failed
run.task_state = 'failed'

-- name: cancelled
run.task_state = 'cancelled'

-- name: ended
run.task_state in ('completed', 'failed', 'cancelled')

-- name: depth
-- It reads the runs that are not over, by their index, and the failed ones that were the last of their tasks.
select {queue}::text as app_id, job.task_name as function_id,
       count(*) filter (where attempt.state in ('pending', 'sleeping') and attempt.available_at <= now()) as queued,
       count(*) filter (where attempt.state in ('pending', 'sleeping') and attempt.available_at > now()) as scheduled,
       count(*) filter (where attempt.state = 'running') as running,
       count(*) filter (where attempt.state = 'running' and attempt.claim_expires_at < now()) as lost,
       count(*) filter (where job.state = 'failed') as failed,
       (min(array[greatest(attempt.available_at, job.enqueue_at), job.enqueue_at])
        filter (where attempt.state in ('pending', 'sleeping') and attempt.available_at <= now()))[2] as oldest_started_at,
       min(greatest(attempt.available_at, job.enqueue_at))
         filter (where attempt.state in ('pending', 'sleeping') and attempt.available_at <= now()) as oldest_claimable_at
  from {runs} as attempt
  join {tasks} as job on job.task_id = attempt.task_id and job.last_attempt_run = attempt.run_id
 where attempt.state in ('pending', 'sleeping', 'running') or attempt.state = 'failed' and job.state = 'failed'
 group by job.task_name

-- name: table
select {named}::regclass

-- name: claim_order
run.scheduled_for, run.key

-- name: lock
-- Runs before tasks, as absurd itself locks them. Where another transaction holds a run that is passed over, so is its task.
with runs as materialized (
  select attempt.task_id, attempt.run_id
    from {runs} as attempt
   where attempt.task_id = any ($1::text[]::uuid[]) and attempt.state in ('pending', 'sleeping', 'running')
   order by attempt.run_id
     for update
)
select job.task_id::text as id
  from {tasks} as job
 where job.task_id = any ($1::text[]::uuid[]) and (select count(*) from runs) >= 0
   and not exists (select from {runs} as attempt
                    where attempt.task_id = job.task_id and attempt.state in ('pending', 'sleeping', 'running')
                      and attempt.run_id <> all (array(select runs.run_id from runs)))
 order by job.task_id
   for update

-- name: cancel
-- It does what absurd's own cancel does, with one exception: what a sleeping run waits for is kept for an undo, and wakes nobody
-- meanwhile. A running task takes no further step. The idempotency key stays with the task.
with runs as materialized (
  select attempt.*
    from {runs} as attempt
   where attempt.task_id = any ($1::text[]::uuid[])
     and (attempt.state in ('pending', 'sleeping') or ($2::boolean and attempt.state = 'running'))
   order by attempt.run_id
     for update
), locked as materialized (
  select job.*
    from {tasks} as job
   where job.task_id = any (array(select runs.task_id from runs)) and job.state in ('pending', 'sleeping', 'running')
   order by job.task_id
     for update
), changed_runs as (
  update {runs} as attempt
     set state = 'cancelled', claimed_by = null, claim_expires_at = null
    from runs
   where attempt.run_id = runs.run_id and runs.task_id in (select locked.task_id from locked)
  returning attempt.run_id
), changed as (
  update {tasks} as job
     set state = 'cancelled', cancelled_at = now()
    from locked
   where job.task_id = locked.task_id
  returning job.task_id
)
select locked.task_id::text as id, locked.task_name as function_id, runs.state = 'running' as running,
       jsonb_build_object('queue', {queue}::text, 'task', to_jsonb(locked), 'run', to_jsonb(runs)) as pre
  from locked
  join changed using (task_id)
  join runs on runs.task_id = locked.task_id
 where (select count(*) from changed_runs) >= 0

-- name: restore
-- A task that ran waits again. A task that absurd has cleaned up is inserted again, without the steps that it had taken. The pre-image has
-- a null of SQL for parameters that are a null of JSON.
with given as materialized (
  select one.place, one.pre, was.task_id, was.state, was.cancelled_at, was.idempotency_key,
         case was.state when 'running' then 'pending' else was.state end as now_state,
         attempt.run_id, attempt.state as run_state,
         case attempt.state when 'running' then 'pending' else attempt.state end as now_run_state
    from unnest($1::jsonb[]) with ordinality as one (pre, place)
   cross join lateral jsonb_populate_record(null::{tasks}, one.pre -> 'task') as was
   cross join lateral jsonb_populate_record(null::{runs}, one.pre -> 'run') as attempt
   where one.pre ->> 'queue' = {queue}::text
), runs as materialized (
  select attempt.run_id
    from {runs} as attempt
   where attempt.task_id = any (array(select given.task_id from given))
   order by attempt.run_id
     for update
), locked as materialized (
  select job.task_id, job.state, job.last_attempt_run
    from {tasks} as job
   where job.task_id = any (array(select given.task_id from given)) and (select count(*) from runs) >= 0
   order by job.task_id
     for update
), judged as materialized (
  select given.*, locked.task_id is null as gone, runs.run_id is null as run_gone,
         case when locked.state <> 'cancelled' then 'it is no longer cancelled: it is ' || locked.state
              when locked.last_attempt_run <> given.run_id then 'it has run since'
              when holder.task_id is not null then 'its idempotency key is held by task ' || holder.task_id end as reason
    from given
    left join locked on locked.task_id = given.task_id
    left join runs on runs.run_id = given.run_id
    left join lateral (
         select other.task_id
           from {tasks} as other
          where locked.task_id is null and other.idempotency_key = given.idempotency_key and other.task_id <> given.task_id
          limit 1
         ) as holder on true
), changed_runs as (
  update {runs} as attempt
     set state = judged.now_run_state,
         claimed_by = case when judged.now_run_state = judged.run_state then judged.pre #>> '{run,claimed_by}' end
    from judged
   where attempt.run_id = judged.run_id and judged.reason is null
  returning attempt.run_id
), changed as (
  update {tasks} as job
     set state = judged.now_state, cancelled_at = judged.cancelled_at
    from judged
   where job.task_id = judged.task_id and judged.reason is null
  returning job.task_id
), inserted_runs as (
  insert into {runs}
  select (jsonb_populate_record(null::{runs}, judged.pre -> 'run' || case when judged.now_run_state = judged.run_state then '{}'
           else jsonb_build_object('state', judged.now_run_state, 'claimed_by', null, 'claim_expires_at', null) end)).*
    from judged
   where judged.run_gone and judged.reason is null
   order by judged.run_id
  returning run_id
), inserted as (
  insert into {tasks} (
         task_id, task_name, params, headers, retry_strategy, max_attempts, cancellation, enqueue_at, first_started_at, state, attempts,
         last_attempt_run, completed_payload, cancelled_at, idempotency_key)
  select was.task_id, was.task_name, coalesce(was.params, 'null'), was.headers, was.retry_strategy, was.max_attempts, was.cancellation,
         was.enqueue_at, was.first_started_at, judged.now_state, was.attempts, was.last_attempt_run, was.completed_payload,
         was.cancelled_at, was.idempotency_key
    from judged
   cross join lateral jsonb_populate_record(null::{tasks}, judged.pre -> 'task') as was
   where judged.gone and judged.reason is null
   order by was.task_id
  returning task_id
)
select judged.task_id::text as id, judged.reason as outcome
  from judged
 where (select count(*) from changed_runs) + (select count(*) from changed) + (select count(*) from inserted_runs)
     + (select count(*) from inserted) >= 0
