-- engine: chancy
-- home: public
-- prefix: chancy_
-- tried: 0.26.0
-- ids: uuid
-- word: kwargs
-- stops: next await, if its queue has the executor for async functions
-- priority: higher
--
-- The application is the queue, the function is the importable name of the Python function, event.data is the keyword arguments.
-- To chancy, a job that was cancelled is one that failed. Its tables have a prefix, `chancy_` unless it is told otherwise, and lie on the search path.

-- name: detect
-- By the shape of the table of jobs, whatever its prefix, and the table of versions beside it, which ts_stat reads: it runs a query
-- that is given as text.
select space.nspname as schema, left(jobs.relname, -4) as prefix, 'schema ' || coalesce(made.version::text, 'unknown') as version,
       coalesce(made.version between 5 and 8, false) as supported,
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
-- A job that failed holds the id of its claim; one that was cancelled has lost it (the column came with schema 8).
-- `attempts` counts those that ended. Every job has a scheduled time: that of its push, unless it is to wait.
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
       job.errors -> -1 ->> 'traceback' as error, to_jsonb(job) -> 'claim_id' = 'null' as unclaimed, job.ctid as place
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
-- No index has the function, so the rows of these states are read.
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
