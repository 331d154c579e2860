-- engine: oban
-- home: public
-- tried: Python 0.7.0; the tables of Elixir's 2.23 (migration 14)
-- ids: bigint
-- word: args
-- fields: queue, tags
-- stops: next check of job.cancelled() (in Elixir at once)
-- priority: lower
--
-- The application is the queue, the function is the worker, event.data is the arguments. Times are without zone, and UTC.
-- Elixir's Oban and Python's have the same table, but for small things: Elixir's errors are an array of jsonb, Python's one jsonb.
-- Labels that not every version has are compared as text. The states are in the order of a job's life in every version, so that the
-- unfinished ones are those up to `retryable`, whether or not there is `suspended` among them.

-- name: detect
-- Elixir's migrations write their number into the table's comment. Python writes none; its leaders have a table of another name than
-- Elixir's. Columns and labels that are not known here are of a newer version, or of Oban Pro. Before migration 9 nothing could be
-- cancelled. `stopping` is the state of an executing job that is asked to stop: Python's worker gives the job its last state itself;
-- in Elixir it is cancelled first, and its process is ended then.
select space.nspname as schema, '' as prefix,
       case when made.migration ~ '^[0-9]{1,4}$' then 'migration ' || made.migration
            when made.is_python then 'Python'
            else 'unknown' end as version,
       not made.unknown and case when made.migration ~ '^[0-9]{1,4}$' then made.migration::integer <= 14
                                 else made.is_python end as supported,
       row_security_active(jobs.oid) as hidden,
       case when made.migration is null then 'executing' else 'cancelled' end as stopping
  from pg_class as jobs
  join pg_namespace as space on space.oid = jobs.relnamespace
 cross join lateral (
    select obj_description(jobs.oid, 'pg_class') as migration,
           exists (select from pg_class as leaders
                    where leaders.relnamespace = space.oid and leaders.relname = 'oban_leaders') as is_python,
           exists (select from pg_attribute as part
                    where part.attrelid = jobs.oid and part.attnum > 0 and not part.attisdropped
                      and part.attname <> all ('{id, state, queue, worker, attempt, max_attempts, priority, args, meta, tags, errors,
                        attempted_by, inserted_at, scheduled_at, attempted_at, cancelled_at, completed_at, discarded_at}'::text[]))
           or exists (select from pg_type as type join pg_enum as label on label.enumtypid = type.oid
                       where type.typnamespace = space.oid and type.typname = 'oban_job_state'
                         and label.enumlabel <> all ('{available, suspended, scheduled, executing, retryable, completed, discarded,
                           cancelled}'::text[])) as unknown
  ) as made
 where jobs.relname = 'oban_jobs' and jobs.relkind in ('r', 'p') and space.nspname not like 'pg\_temp\_%'
   and (select count(*) from pg_attribute as part
         where part.attrelid = jobs.oid and part.attname in ('worker', 'cancelled_at', 'priority') and not part.attisdropped) = 3

-- name: source
-- Every job has a scheduled time; one that is no later than its insertion schedules nothing. `due` is the bare column, for the order.
select job.id as key, job.id::text as id, job.queue::text as app_id, job.worker::text as function_id, job.worker::text as name,
       job.args as data, jsonb_build_object('name', job.worker, 'data', job.args) as event,
       case job.state::text
         when 'available' then 'queued'
         when 'executing' then 'running'
         when 'completed' then 'completed'
         when 'discarded' then 'failed'
         when 'cancelled' then 'cancelled'
         else 'scheduled' end as status,
       job.state as state, job.priority::integer as priority, job.attempt::integer as attempt,
       job.inserted_at at time zone 'UTC' as started_at,
       case when job.scheduled_at > job.inserted_at then job.scheduled_at at time zone 'UTC' end as scheduled_for,
       job.attempted_at at time zone 'UTC' as claimed_at,
       case job.state::text
         when 'completed' then job.completed_at
         when 'discarded' then job.discarded_at
         when 'cancelled' then job.cancelled_at end at time zone 'UTC' as finished_at,
       job.attempted_by[1] as worker,
       case when job.state::text not in ('executing', 'completed') then to_jsonb(job.errors) -> -1 ->> 'error' end as error,
       job.scheduled_at as due, job.queue::text as queue, to_jsonb(job.tags) as tags, job.ctid as place
  from {s}.oban_jobs as job {sampled}

-- name: unfinished
-- It is a range of the index on (state, queue, …).
run.state <= 'retryable'

-- name: failed
run.state = 'discarded'

-- name: cancelled
run.state = 'cancelled'

-- name: ended
run.state in ('completed', 'discarded', 'cancelled')

-- name: depth
-- Discarded jobs are few where the pruner runs. A job can be claimed since it was staged, which is when it was due.
select live.app_id, live.function_id, live.queued, live.scheduled, live.running, live.failed,
       live.oldest[2] at time zone 'UTC' as oldest_started_at, live.oldest[1] at time zone 'UTC' as oldest_claimable_at
  from (
    select job.queue::text as app_id, job.worker::text as function_id,
           count(*) filter (where job.state = 'available') as queued,
           count(*) filter (where job.state not in ('available', 'executing', 'discarded')) as scheduled,
           count(*) filter (where job.state = 'executing') as running,
           count(*) filter (where job.state = 'discarded') as failed,
           min(array[greatest(job.scheduled_at, job.inserted_at), job.inserted_at]) filter (where job.state = 'available') as oldest
      from {s}.oban_jobs as job
     where job.state <= 'retryable' or job.state = 'discarded'
     group by job.queue, job.worker
  ) as live

-- name: rates
-- Arrivals come from the newest ids. It looks for the id of ten seconds ago from the newest one downwards, in steps that double.
-- Completed jobs come from the index on completed_at, which Python makes. Elixir has none: it is read if the table is small, and else null:
-- not known. Both have an index on discarded_at.
with newest as materialized (
  select max(job.id) as id from {s}.oban_jobs as job
), earlier as materialized (
  select past.id
    from newest
   cross join generate_series(8, 20) as step
   cross join lateral (
      select job.id, job.inserted_at from {s}.oban_jobs as job
       where job.id <= newest.id - (1 << step)
       order by job.id desc limit 1
    ) as past
   where past.inserted_at <= timezone('UTC', now()) - interval '10 s'
   order by step limit 1
), readable as materialized (
  select jobs.reltuples < 200000 or exists (
           select from pg_index as part
             join pg_attribute as first on first.attrelid = part.indrelid and first.attnum = part.indkey[0]
            where part.indrelid = jobs.oid and part.indisvalid and first.attname = 'completed_at') as completed
    from pg_class as jobs where jobs.oid = $name${s}.oban_jobs$name$::regclass
), moved as (
  select last.queue, last.worker, 1 as arrived, 0 as drained
    from (select job.queue, job.worker, job.inserted_at from {s}.oban_jobs as job
           where job.id > coalesce((select earlier.id from earlier), 0)
           order by job.id desc limit 200000) as last
   where last.inserted_at > timezone('UTC', now()) - interval '10 s'
  union all
  select job.queue, job.worker, 0, 1 from {s}.oban_jobs as job
   where (select readable.completed from readable)
     and job.state = 'completed' and job.completed_at > timezone('UTC', now()) - interval '10 s'
  union all
  select job.queue, job.worker, 0, 1 from {s}.oban_jobs as job
   where job.state = 'discarded' and job.discarded_at > timezone('UTC', now()) - interval '10 s'
)
select moved.queue::text as app_id, moved.worker::text as function_id, sum(moved.arrived)::bigint as arrived,
       case when (select readable.completed from readable) then sum(moved.drained)::bigint end as drained
  from moved
 group by moved.queue, moved.worker

-- name: table
select $name${s}.oban_jobs$name$::regclass

-- name: claim_order
run.priority, run.due, run.key

-- name: lock
select job.id::text as id
  from {s}.oban_jobs as job
 where job.id = any ($1::text[]::bigint[])
 order by job.id
   for update

-- name: cancel
-- As its own cancel_job. A cancel frees nothing: uniqueness is a question that a client asks before it inserts. The mark in meta is
-- Python's; Elixir does not mind it. Messages made in SQL may be plain JSON.
with locked as materialized (
  select job.*
    from {s}.oban_jobs as job
   where job.id = any ($1::text[]::bigint[])
     and (job.state < 'executing' or job.state = 'retryable' or ($2::boolean and job.state = 'executing'))
   order by job.id
     for update
), changed as (
  update {s}.oban_jobs as job
     set state = 'cancelled', cancelled_at = timezone('UTC', now()),
         meta = job.meta || jsonb_build_object('cancel_attempted_at', timezone('UTC', now()))
    from locked
   where job.id = locked.id and (locked.state <> 'executing' or '{stopping}' = 'cancelled')
  returning job.id
), told as (
  select pg_notify({schema} || '.oban_signal', json_build_object('action', 'pkill', 'job_id', locked.id)::text)
    from locked
   where locked.state = 'executing'
)
select locked.id::text as id, locked.worker::text as function_id, to_jsonb(locked) as pre, locked.state = 'executing' as running
  from locked
 where (select count(*) from changed) + (select count(*) from told) >= 0

-- name: restore
-- One that was stopped while it ran is available again, for one more attempt if it had used them all. Its pruner deletes cancelled jobs,
-- by default after a minute in Elixir and a day in Python; such a one is inserted again.
with given as materialized (
  select one.pre, was.*, case was.state when 'executing' then 'available' else was.state end as now_state
    from unnest($1::jsonb[]) as one (pre)
   cross join lateral jsonb_populate_record(null::{s}.oban_jobs, one.pre) as was
), locked as materialized (
  select job.id, job.state, job.attempt
    from {s}.oban_jobs as job
   where job.id = any (array(select given.id from given))
   order by job.id
     for update
), judged as materialized (
  select given.*, locked.id is null as gone,
         case when locked.state <> 'cancelled' then 'it is no longer cancelled: it is ' || locked.state::text
              when locked.attempt <> given.attempt then 'it has run since' end as outcome
    from given
    left join locked on locked.id = given.id
), changed as (
  update {s}.oban_jobs as job
     set state = judged.now_state, cancelled_at = judged.cancelled_at,
         max_attempts = case judged.state when 'executing' then greatest(job.max_attempts, least(job.attempt, 2147483646) + 1) else job.max_attempts end,
         meta = case when judged.meta ? 'cancel_attempted_at'
           then jsonb_set(job.meta, array['cancel_attempted_at'], judged.meta -> 'cancel_attempted_at')
           else job.meta - 'cancel_attempted_at' end
    from judged
   where job.id = judged.id and judged.outcome is null and not judged.gone
  returning job.id
), inserted as (
  insert into {s}.oban_jobs overriding system value
  select (jsonb_populate_record(null::{s}.oban_jobs, judged.pre || jsonb_build_object('state', judged.now_state, 'max_attempts',
           case judged.state when 'executing' then greatest(judged.max_attempts, least(judged.attempt, 2147483646) + 1) else judged.max_attempts end))).*
    from judged
   where judged.outcome is null and judged.gone
  returning id
)
select judged.id::text as id, judged.outcome
  from judged
 where (select count(*) from changed) + (select count(*) from inserted) >= 0

-- name: wake
select pg_notify({schema} || '.oban_insert', json_build_object('queue', queue.name)::text) from unnest($1::text[]) as queue (name)

-- name: gate_table
{s}.oban_jobs

-- name: gate_on
-- A claim takes several jobs in one UPDATE, and only those that are `available`: others are made that first. Workers take what
-- it returns, however few.
update of state

-- name: gate_when
old.state <> 'executing' and new.state = 'executing'

-- name: gate_columns
-- The row has all that a condition reads.
old.queue, old.worker, old.id::text, old.worker, old.args, old.inserted_at at time zone 'UTC', old.priority
