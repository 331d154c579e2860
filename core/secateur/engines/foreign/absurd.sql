-- engine: absurd
-- home: absurd
-- tried: 0.5.1
-- ids: uuid
-- word: params
-- stops: next step
--
-- Each queue has tables of its own, made when the queue is: tasks (`t_…`) and runs (`r_…`), a run for each attempt. The application is the
-- queue, the function is the task, event.data is its parameters. What absurd calls a task is a run here; its state is that of its last run.

-- name: detect
-- By the table of the queues and the functions that claim and make queues. ts_stat asks for the version: it runs a query that is given as
-- text.
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
-- A queue whose tables are not there (yet, or any more) has no runs. Braces in a name could not be told from places to be filled in.
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
-- A task of which the last run is gone is as its own state says. `attempt` counts claims: the run that waits has had none.
-- A sleeping run may be claimed once its time has come; one that waits for an event alone has no time.
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
       attempt.claim_expires_at as lease_expires_at, attempt.state = 'running' and attempt.claim_expires_at < now() as lost
  from {tasks} as job {sampled}
  left join {runs} as attempt on attempt.task_id = job.task_id and attempt.run_id = job.last_attempt_run

-- name: unfinished
-- By the state of the run, since only that has an index.
run.state in ('pending', 'sleeping', 'running')

-- name: failed
run.task_state = 'failed'

-- name: cancelled
run.task_state = 'cancelled'

-- name: ended
run.task_state in ('completed', 'failed', 'cancelled')

-- name: depth
-- From the runs that are not over, by their index, and the failed ones that were the last of their tasks.
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
