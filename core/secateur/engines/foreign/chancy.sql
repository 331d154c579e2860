-- engine: chancy
-- home: public
-- prefix: chancy_
-- tried: 0.26.0
-- ids: uuid
-- word: kwargs
-- fields: queue, unique_key
-- stops: next await (if async, in the executor for that)
-- priority: higher
--
-- The application is the queue, the function is the importable name of the Python function, event.data is the keyword arguments.
-- chancy marks a cancelled job as failed. Its tables have a prefix, `chancy_` by default, and lie on the search path.

-- name: detect
-- Found by the shape of the table of jobs, whatever its prefix, and by the table of versions beside it. ts_stat reads the version: it runs
-- a query that is given as text.
select space.nspname as schema, left(jobs.relname, -4) as prefix, 'schema ' || coalesce(made.version::text, 'unknown') as version,
       coalesce(made.version = 8, false) as supported,
       row_security_active(jobs.oid) as hidden
  from pg_class as jobs
  join pg_namespace as space on space.oid = jobs.relnamespace
  join pg_class as versions on versions.relnamespace = space.oid and versions.relname = left(jobs.relname, -4) || 'schema_version'
 cross join lateral (
    select case when has_schema_privilege(space.oid, 'usage') and has_table_privilege(versions.oid, 'select') then (
      select read.word::integer
        from ts_stat(format('select array_to_tsvector(array_remove(array[max(version)::text], null)) from %I.%I',
                            space.nspname, versions.relname)) as read) end as version
  ) as made
 where jobs.relname like '%jobs' and jobs.relkind in ('r', 'p')
   and (select count(*) from pg_attribute as part
         where part.attrelid = jobs.oid and not part.attisdropped
           and part.attname in ('func', 'kwargs', 'taken_by', 'unique_key', 'scheduled_at', 'limits')) = 6
   and exists (select from pg_attribute as part
                where part.attrelid = jobs.oid and part.attname = 'kwargs' and part.atttypid = 'jsonb'::regtype)

-- name: source
-- A failed job keeps the id of its claim; a cancelled one has lost it. The column came with schema 8.
-- `attempts` counts attempts that ended. Every job has a scheduled time: when it was pushed, unless it has to wait.
select job.id as key, job.id::text as id, job.queue as app_id, job.func as function_id, job.func as name,
       job.kwargs as data, jsonb_build_object('name', job.func, 'data', job.kwargs) as event,
       case job.state
         when 'running' then 'running'
         when 'failed' then case when to_jsonb(job) -> 'claim_id' = 'null' then 'cancelled' else 'failed' end
         when 'succeeded' then 'completed'
         when 'pending' then case when job.scheduled_at > now() then 'scheduled' else 'queued' end
         when 'retrying' then case when job.scheduled_at > now() then 'scheduled' else 'queued' end
         else 'completed' end as status,
       job.state, coalesce(job.priority, 0) as priority, coalesce(job.attempts, 0) + case job.state when 'running' then 1 else 0 end as attempt, job.created_at as started_at,
       job.scheduled_at as scheduled_for, job.started_at as claimed_at, job.completed_at as finished_at, job.taken_by as worker,
       job.errors -> -1 ->> 'traceback' as error, to_jsonb(job) -> 'claim_id' = 'null' as unclaimed,
       job.queue as queue, job.unique_key::text as unique_key, job.ctid as place
  from {s}."{prefix}jobs" as job {sampled}

-- name: unfinished
run.state in ('pending', 'retrying', 'running')

-- name: failed
(run.state = 'failed' and run.unclaimed is not true)

-- name: cancelled
(run.state = 'failed' and run.unclaimed)

-- name: ended
run.state not in ('pending', 'retrying', 'running')

-- name: depth
-- No index has the function, so it reads the rows of these states.
select job.queue as app_id, job.func as function_id,
       count(*) filter (where job.state in ('pending', 'retrying') and job.scheduled_at <= now()) as queued,
       count(*) filter (where job.state in ('pending', 'retrying') and job.scheduled_at > now()) as scheduled,
       count(*) filter (where job.state = 'running') as running,
       count(*) filter (where job.state = 'failed' and to_jsonb(job) -> 'claim_id' is distinct from 'null') as failed,
       (min(array[greatest(job.scheduled_at, job.created_at), job.created_at])
        filter (where job.state in ('pending', 'retrying') and job.scheduled_at <= now()))[2] as oldest_started_at,
       min(greatest(job.scheduled_at, job.created_at))
         filter (where job.state in ('pending', 'retrying') and job.scheduled_at <= now()) as oldest_claimable_at
  from {s}."{prefix}jobs" as job
 where job.state in ('pending', 'retrying', 'running', 'failed')
 group by job.queue, job.func

-- name: table
select '{s}."{prefix}jobs"'::regclass

-- name: claim_order
run.priority desc, run.key

-- name: lock
select job.id::text as id
  from {s}."{prefix}jobs" as job
 where job.id = any ($1::text[]::uuid[])
 order by job.id
   for update

-- name: cancel
-- It does what chancy's own cancel does: the job fails, and its worker loses the claim and is told to stop. The unique key is free.
with locked as materialized (
  select job.*
    from {s}."{prefix}jobs" as job
   where job.id = any ($1::text[]::uuid[])
     and (job.state in ('pending', 'retrying') or ($2::boolean and job.state = 'running'))
   order by job.id
     for update
), changed as (
  update {s}."{prefix}jobs" as job
     set state = 'failed', claim_id = null, completed_at = now()
    from locked
   where job.id = locked.id
  returning job.id
), told as (
  select pg_notify('{prefix}events', json_build_object('t', 'job.cancelled', 'j', locked.id)::text)
    from locked
   where locked.state = 'running'
)
select locked.id::text as id, locked.func as function_id, to_jsonb(locked) as pre, locked.state = 'running' as running
  from locked join changed using (id)
 where (select count(*) from told) >= 0

-- name: restore
-- A job that ran waits again. Of several with the same unique key, the first comes back. A job that chancy has pruned is inserted again.
-- The pre-image has a null of SQL for a null of JSON; a column that is not null gets the latter.
with given as materialized (
  select one.place, one.pre, was.*,
         case was.state when 'running' then 'pending' else was.state end as now_state
    from unnest($1::jsonb[]) with ordinality as one (pre, place)
   cross join lateral jsonb_populate_record(null::{s}."{prefix}jobs", one.pre) as was
), locked as materialized (
  select job.id, job.state, job.attempts, job.claim_id
    from {s}."{prefix}jobs" as job
   where job.id = any (array(select given.id from given))
   order by job.id
     for update
), judged as materialized (
  select given.*, locked.id is null as gone,
         case when locked.state <> 'failed' then 'it is no longer cancelled: it is ' || locked.state
              when locked.claim_id is not null or locked.attempts <> given.attempts then 'it has run since'
              when holder.id is not null then 'its unique key is held by job ' || holder.id end as reason
    from given
    left join locked on locked.id = given.id
    left join lateral (
         select other.id
           from {s}."{prefix}jobs" as other
          where other.unique_key = given.unique_key and other.unique_key is not null and other.state not in ('succeeded', 'failed')
            and other.id <> given.id
          limit 1
         ) as holder on true
), ordered as materialized (
  select judged.*,
         coalesce(judged.reason, case when judged.unique_key is not null
           and row_number() over (partition by judged.reason is null, judged.unique_key order by judged.place) > 1
           then 'its unique key is held by a job that came back before it' end) as outcome
    from judged
), changed as (
  update {s}."{prefix}jobs" as job
     set state = ordered.now_state, completed_at = ordered.completed_at,
         claim_id = case when ordered.now_state = ordered.state then ordered.claim_id end,
         started_at = case when ordered.now_state = ordered.state then ordered.started_at end,
         taken_by = case when ordered.now_state = ordered.state then ordered.taken_by end
    from ordered
   where job.id = ordered.id and ordered.outcome is null and not ordered.gone
  returning job.id
), inserted as (
  insert into {s}."{prefix}jobs" (
         id, queue, func, kwargs, limits, meta, state, priority, attempts, max_attempts, taken_by, created_at, started_at, completed_at,
         scheduled_at, unique_key, errors, claim_id)
  select own.id, own.queue, own.func, coalesce(own.kwargs, 'null'), coalesce(own.limits, 'null'), coalesce(own.meta, 'null'), own.now_state,
         own.priority, own.attempts, own.max_attempts, case when own.now_state = own.state then own.taken_by end, own.created_at,
         case when own.now_state = own.state then own.started_at end, own.completed_at, own.scheduled_at, own.unique_key,
         coalesce(own.errors, 'null'), case when own.now_state = own.state then own.claim_id end
    from ordered as own
   where own.outcome is null and own.gone
   order by own.id
  returning id
)
select ordered.id::text as id, ordered.outcome
  from ordered
 where (select count(*) from changed) + (select count(*) from inserted) >= 0

-- name: wake
select pg_notify('{prefix}events', json_build_object('t', 'queue.pushed', 'q', queue.name)::text) from unnest($1::text[]) as queue (name)

-- name: gate_table
{s}."{prefix}jobs"

-- name: gate_on
-- A claim takes several jobs in one UPDATE.
update of state

-- name: gate_when
old.state <> 'running' and new.state = 'running'

-- name: gate_columns
-- The row has all that a condition reads.
old.queue, old.func, old.id::text, old.func, old.kwargs, old.created_at, coalesce(old.priority, 0)
