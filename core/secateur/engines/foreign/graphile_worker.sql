-- engine: graphile-worker
-- home: graphile_worker
-- tried: 0.18.0 (migration 20), 0.17.3 (migration 19)
-- ids: bigint
-- word: payload
-- fields: queue = queue_name, unique_key = key
-- priority: lower
-- claims: one
--
-- Graphile Worker, from npm. The app is the named queue, `-` for jobs without one; the function is the task.
-- A job that is done is deleted, so there are no completed runs. One that failed for good has had all of its attempts; a
-- cancelled one is the same with a message of ours, for the engine has no state for it.
-- The tables have row level security on and no policy: whoever neither owns them nor bypasses it sees no row, and no error.

-- name: detect
-- The private tables have had these names since migration 16.
select space.nspname as schema, '' as prefix, 'migration ' || coalesce(at.version::text, 'unknown') as version,
       coalesce(at.version between 16 and 20, false) as supported
  from pg_class as job
  join pg_namespace as space on space.oid = job.relnamespace
  join pg_class as migrations on migrations.relnamespace = space.oid and migrations.relname = 'migrations' and migrations.relkind = 'r'
 cross join lateral (
       select case when has_schema_privilege(space.oid, 'usage') and has_table_privilege(migrations.oid, 'select')
                   then (select found.word::int
                           from ts_stat(format('select array_to_tsvector(array_remove(array[max(id)::text], null)) from %I.migrations',
                                               space.nspname)) as found) end as version
       ) as at
 where job.relname = '_private_jobs' and job.relkind in ('r', 'p')
   and (select count(*) from pg_class as part
         where part.relnamespace = space.oid and part.relname in ('_private_tasks', '_private_job_queues')) = 2
   and (select count(*) from pg_attribute as its
         where its.attrelid = job.oid and not its.attisdropped
           and its.attname in ('id', 'job_queue_id', 'task_id', 'payload', 'priority', 'run_at', 'attempts', 'max_attempts',
                               'last_error', 'created_at', 'updated_at', 'locked_at', 'locked_by', 'is_available')) = 14

-- name: source
-- `payload` is json, which admits what jsonb does not: \u0000, half of a surrogate pair, numbers beyond numeric. Such a
-- payload must not end the query, so its data is null. The first test is quick, and finds all that may be such. The second is
-- exact, except that it takes every number of a thousand digits for too large.
-- Graphile Worker does not keep when a job failed for good: its worker leaves `updated_at` alone.
-- With `having true` the payload is parsed once a row, and Postgres drops the join if nobody asks for it.
select job.id as key,
       job.id::text as id,
       coalesce(queue.queue_name, '-') as app_id,
       task.identifier as function_id,
       task.identifier as name,
       parsed.data as data,
       jsonb_build_object('name', task.identifier, 'data', parsed.data) as event,
       case when job.locked_at is not null then 'running'
            when not job.is_available and job.last_error = 'Cancelled by secateur' then 'cancelled'
            when not job.is_available then 'failed'
            when job.run_at > now() then 'scheduled'
            else 'queued' end as status,
       case when job.locked_at is not null then 'locked' when job.is_available then 'available' else 'failed' end as state,
       job.is_available as is_available,
       job.priority::int as priority,
       job.attempts::int as attempt,
       job.created_at as started_at,
       job.run_at as scheduled_for,
       job.locked_at as claimed_at,
       case when not job.is_available and job.locked_at is null and job.last_error = 'Cancelled by secateur'
            then job.updated_at end as finished_at,
       job.locked_by as worker,
       case when job.locked_at is null then job.last_error end as error,
       queue.queue_name as queue,
       job.key as unique_key,
       job.ctid as place
  from {s}._private_jobs as job {sampled}
  join {s}._private_tasks as task on task.id = job.task_id
  left join {s}._private_job_queues as queue on queue.id = job.job_queue_id
  left join lateral (
       select case
         when job.payload::text not like '%\\u%'
              and job.payload::text !~ '(^|[:,[\s])-?[0-9][0-9.]*[eE][+-]?[0-9]{3,}'
              and (length(job.payload::text) <= 16000 or job.payload::text !~ '[0-9]{255,}') then job.payload::jsonb
         when regexp_replace(replace(job.payload::text, '\\', ' '),
                             '\\u[dD][89abAB][0-9a-fA-F]{2,2}\\u[dD][c-fC-F][0-9a-fA-F]{2,2}', ' ', 'g') ~ '\\u(0000|[dD][89a-fA-F])'
           then null
         when regexp_replace(job.payload::text, '"([^"\\]|\\.)*"', '', 'g') ~ '[eE][+-]?[0-9]{4,}|[0-9]{255,}' then null
         else job.payload::jsonb end as data
       having true
       ) as parsed on true

-- name: unfinished
(run.is_available or run.claimed_at is not null)

-- name: failed
(not run.is_available and run.claimed_at is null and run.error is distinct from 'Cancelled by secateur')

-- name: cancelled
(not run.is_available and run.claimed_at is null and run.error = 'Cancelled by secateur')

-- name: ended
(not run.is_available and run.claimed_at is null)

-- name: depth
-- It counts by the numbers of task and queue, and names them at the end. Every known task has a row, at least under `-`.
-- The engine gives up a lock after four hours: its worker is lost.
with part as (
  select job.job_queue_id, job.task_id,
         count(*) filter (where job.is_available and job.run_at <= now()) as queued,
         count(*) filter (where job.is_available and job.run_at > now()) as scheduled,
         count(*) filter (where job.locked_at is not null) as running,
         count(*) filter (where job.locked_at < now() - interval '4 hours') as lost,
         count(*) filter (where not job.is_available and job.locked_at is null
                            and job.last_error is distinct from 'Cancelled by secateur') as failed,
         min(array[job.run_at, job.created_at]) filter (where job.is_available and job.run_at <= now()) as oldest
    from {s}._private_jobs as job
   group by job.job_queue_id, job.task_id
)
select coalesce(queue.queue_name, '-') as app_id,
       task.identifier as function_id,
       coalesce(part.queued, 0) as queued,
       coalesce(part.scheduled, 0) as scheduled,
       coalesce(part.running, 0) as running,
       coalesce(part.lost, 0) as lost,
       coalesce(part.failed, 0) as failed,
       part.oldest[2] as oldest_started_at,
       part.oldest[1] as oldest_claimable_at
  from {s}._private_tasks as task
  left join part on part.task_id = task.id
  left join {s}._private_job_queues as queue on queue.id = part.job_queue_id

-- name: table
select format('%I._private_jobs', {schema})::regclass

-- name: claim_order
run.priority, run.scheduled_for

-- name: lock
select job.id::text as id
  from {s}._private_jobs as job
 where job.id = any ($1::text[]::bigint[])
 order by job.id
   for update

-- name: cancel
-- As its own permanently_fail_jobs: there is no state for it. A job that runs cannot be stopped: $2 changes nothing. What a cancel frees
-- is the `job_key`: who adds a job with that key then takes it from the cancelled one.
-- The payload is kept as text, for it may be JSON that jsonb does not admit.
with locked as materialized (
  select job.*
    from {s}._private_jobs as job
   where job.id = any ($1::text[]::bigint[]) and job.is_available and $2::boolean is not null
   order by job.id
     for update
), changed as (
  update {s}._private_jobs as job
     set attempts = job.max_attempts, last_error = 'Cancelled by secateur', updated_at = now()
    from locked
   where job.id = locked.id
  returning job.id
)
select locked.id::text as id, task.identifier as function_id, to_jsonb(kept) as pre, false as running
  from locked
  join changed using (id)
  left join {s}._private_tasks as task on task.id = locked.task_id
 cross join lateral (
       select locked.id, locked.job_queue_id, locked.task_id, locked.payload::text as payload, locked.priority, locked.run_at,
              locked.attempts, locked.max_attempts, locked.last_error, locked.created_at, locked.updated_at, locked.key,
              locked.locked_at, locked.locked_by, locked.revision, locked.flags
       ) as kept

-- name: restore
-- A job with a key that is gone was removed by that key, which is the application's wish; one without a key was cleaned up, and is
-- inserted again.
with given as materialized (
  select (one.pre ->> 'id')::bigint as id, one.pre, one.pre ->> 'key' as key
    from unnest($1::jsonb[]) as one (pre)
), locked as materialized (
  select job.id, job.key, job.revision, job.is_available, job.locked_at, job.last_error
    from {s}._private_jobs as job
   where job.id = any (array(select given.id from given))
   order by job.id
     for update
), judged as materialized (
  select given.*, locked.id is null as gone,
         case when locked.id is null and given.key is not null then 'it was removed by its key'
              when locked.id is null
                   and not exists (select from {s}._private_tasks as task where task.id = (given.pre ->> 'task_id')::int)
                then 'it was deleted, and so was its task'
              when locked.id is null and given.pre ->> 'job_queue_id' is not null
                   and not exists (select from {s}._private_job_queues as queue where queue.id = (given.pre ->> 'job_queue_id')::int)
                then 'it was deleted, and so was its queue'
              when locked.id is null then null
              when locked.key is distinct from given.key then 'its key is held by a job that was added since'
              when locked.is_available or locked.locked_at is not null or locked.last_error is distinct from 'Cancelled by secateur'
                   or locked.revision <> (given.pre ->> 'revision')::int
                then 'it is no longer cancelled' end as outcome
    from given left join locked using (id)
), changed as (
  update {s}._private_jobs as job
     set attempts = (judged.pre ->> 'attempts')::smallint, last_error = judged.pre ->> 'last_error',
         updated_at = (judged.pre ->> 'updated_at')::timestamptz
    from judged
   where job.id = judged.id and judged.outcome is null and not judged.gone
  returning job.id
), inserted as (
  insert into {s}._private_jobs
    (id, job_queue_id, task_id, payload, priority, run_at, attempts, max_attempts, last_error, created_at, updated_at, key, revision, flags)
  overriding system value
  select judged.id, kept.job_queue_id, kept.task_id, (judged.pre ->> 'payload')::json, kept.priority, kept.run_at, kept.attempts,
         kept.max_attempts, kept.last_error, kept.created_at, kept.updated_at, kept.key, kept.revision, kept.flags
    from judged
   cross join lateral jsonb_populate_record(null::{s}._private_jobs, judged.pre - 'payload') as kept
   where judged.outcome is null and judged.gone
  returning id
)
select judged.id::text as id, judged.outcome
  from judged
 where (select count(*) from changed) + (select count(*) from inserted) >= 0

-- name: wake
-- One channel, whatever the schema and the queue.
select pg_notify('jobs:insert', json_build_object('r', random(), 'count', 1)::text) where cardinality($1::text[]) > 0

-- name: gate_table
{s}._private_jobs

-- name: gate_on
-- A claim locks jobs. What locks it has lost, the engine first takes away, so that there is no claim of a locked job.
update of locked_at

-- name: gate_when
old.locked_at is null and new.locked_at is not null

-- name: gate_also_table
{s}._private_job_queues

-- name: gate_also_on
-- The claim's statement also locks the named queues of the jobs that it has chosen, for as long as those run: one whose job the gate took
-- would stay locked for four hours.
update of locked_at

-- name: gate_also_when
old.locked_at is null and new.locked_at is not null

-- name: gate_also_keeps
-- Postgres executes that part of the statement after the jobs' own, so that the queue's job is locked by now, if it is.
not exists (
  select from {s}._private_jobs as job
   where job.job_queue_id = new.id and job.locked_by = new.locked_by and job.locked_at is not null)
