-- engine: dbos
-- home: dbos
-- tried: 3.4.0
-- ids: text
-- word: kwargs
-- stops: next step
-- priority: lower
--
-- DBOS Transact, Python or TypeScript; often in a database of its own. The application is the queue (`-` for a workflow that was started
-- without one, and for one that DBOS itself cancelled, since that takes it off its queue), the function is the workflow.
-- event.data is the named arguments, with positional ones in `args`. Python pickles arguments unless it is told to write `portable_json`:
-- pickles are never opened, so that event.data is null. Times are milliseconds; those that no timestamp holds are null, or the bound.

-- name: detect
-- Found by the tables of migrations and of inputs beside that of the workflows, and by the newest column that is read here. ts_stat reads
-- the version: it runs a query that is given as text.
select space.nspname as schema, '' as prefix, 'migration ' || coalesce(made.version::text, 'unknown') as version,
       coalesce(made.version between 100 and 125, false) as supported,
       row_security_active(jobs.oid) as hidden
  from pg_class as jobs
  join pg_namespace as space on space.oid = jobs.relnamespace
  join pg_class as migrations on migrations.relnamespace = space.oid and migrations.relname = 'dbos_migrations'
  join pg_class as inputs on inputs.relnamespace = space.oid and inputs.relname = 'workflow_input'
 cross join lateral (
    select case when has_schema_privilege(space.oid, 'usage') and has_table_privilege(migrations.oid, 'select') then (
      select read.word::integer
        from ts_stat(format('select array_to_tsvector(array_remove(array[max(version)::text], null)) from %I.dbos_migrations',
                            space.nspname)) as read) end as version
  ) as made
 where jobs.relname = 'workflow_status' and jobs.relkind in ('r', 'p')
   and exists (select from pg_attribute as part
                where part.attrelid = jobs.oid and part.attname = 'completed_at' and not part.attisdropped)

-- name: source
-- `having true` makes one row of each part, which Postgres takes for granted: so it leaves the joins out where nobody asks for the
-- arguments, and where somebody does, they are parsed once a row, however often a condition names them.
-- `portable_json` has namedArgs and positionalArgs; a serializer of the application's own may write args and kwargs; TypeScript writes
-- a list, or an object with the list as `json`. A worker is named only once there is one: until then, it is who enqueued.
select job.workflow_uuid as key, job.workflow_uuid as id, coalesce(job.queue_name, '-') as app_id, coalesce(job.name, '-') as function_id,
       coalesce(job.name, '-') as name, given.data, jsonb_build_object('name', job.name, 'data', given.data) as event,
       case job.status
         when 'ENQUEUED' then 'queued'
         when 'DELAYED' then 'scheduled'
         when 'PENDING' then 'running'
         when 'ERROR' then 'failed'
         when 'MAX_RECOVERY_ATTEMPTS_EXCEEDED' then 'failed'
         when 'CANCELLED' then 'cancelled'
         else 'completed' end as status,
       job.status as state, job.priority, coalesce(job.recovery_attempts, 0)::integer as attempt,
       to_timestamp(least(greatest(job.created_at, 0), 253402300799999) / 1000.0) as started_at,
       case when job.delay_until_epoch_ms between 0 and 253402300799999 then to_timestamp(job.delay_until_epoch_ms / 1000.0) end as scheduled_for,
       case when job.started_at_epoch_ms between 0 and 253402300799999 then to_timestamp(job.started_at_epoch_ms / 1000.0) end as claimed_at,
       case when job.status not in ('ENQUEUED', 'PENDING', 'DELAYED') and coalesce(job.completed_at, job.updated_at) between 0 and 253402300799999
            then to_timestamp(coalesce(job.completed_at, job.updated_at) / 1000.0) end as finished_at,
       case when job.recovery_attempts > 0 then job.executor_id end as worker, broken.error
  from {s}.workflow_status as job {sampled}
  left join {s}.workflow_input as input on input.workflow_uuid = job.workflow_uuid
  left join {s}.workflow_output as output on output.workflow_uuid = job.workflow_uuid
  left join lateral (
    select case when job.serialization is distinct from 'py_pickle' then {json coalesce(input.inputs, job.inputs)} end as inputs
    having true
  ) as parsed on true
  left join lateral (
    select coalesce(parsed.inputs -> 'namedArgs', parsed.inputs -> 'kwargs') as named,
           coalesce(parsed.inputs -> 'positionalArgs', parsed.inputs -> 'args', parsed.inputs -> 'json') as positional
  ) as given_as on true
  left join lateral (
    select case
             when jsonb_typeof(parsed.inputs) = 'array' then jsonb_build_object('args', parsed.inputs)
             when jsonb_typeof(given_as.named) = 'object'
               then given_as.named || case when given_as.positional <> '[]' then jsonb_build_object('args', given_as.positional) else '{}' end
             when jsonb_typeof(given_as.positional) = 'array' then jsonb_build_object('args', given_as.positional)
             else parsed.inputs end as data
    having true
  ) as given on true
  left join lateral (
    select case when job.serialization is distinct from 'py_pickle' then coalesce(output.error, job.error) end as text
  ) as told on true
  left join lateral (select {json told.text} as error having true) as told_as on true
  left join lateral (
    select coalesce(nullif(concat_ws(': ', told_as.error ->> 'name', told_as.error ->> 'message'), ''), told.text) as error
  ) as broken on true

-- name: unfinished
-- Each half in the words of its own partial index.
(run.state in ('ENQUEUED', 'PENDING') or run.state = 'DELAYED')

-- name: failed
-- In the words of its partial index, as far as it goes.
run.state in ('ERROR', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')

-- name: cancelled
run.state = 'CANCELLED'

-- name: ended
run.state not in ('ENQUEUED', 'PENDING', 'DELAYED')

-- name: depth
-- Each of three partial indexes gives its part; the workflows that succeeded, which are the most, are not read.
-- A delayed workflow becomes ENQUEUED when its time has come, by the hand of a process of DBOS.
select coalesce(job.queue_name, '-') as app_id, coalesce(job.name, '-') as function_id,
       count(*) filter (where job.status = 'ENQUEUED') as queued,
       count(*) filter (where job.status = 'DELAYED') as scheduled,
       count(*) filter (where job.status = 'PENDING') as running,
       count(*) filter (where job.status in ('ERROR', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')) as failed,
       to_timestamp((min(array[job.claimable_at, job.entered_at]) filter (where job.status = 'ENQUEUED'))[2] / 1000.0) as oldest_started_at,
       to_timestamp(min(job.claimable_at) filter (where job.status = 'ENQUEUED') / 1000.0) as oldest_claimable_at
  from (
    select own.queue_name, own.name, own.status, least(greatest(own.created_at, 0), 253402300799999) as entered_at,
           least(greatest(own.created_at, own.delay_until_epoch_ms, 0), 253402300799999) as claimable_at
      from {s}.workflow_status as own
     where own.status in ('ENQUEUED', 'PENDING') or own.status = 'DELAYED' or own.status in ('ERROR', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')
  ) as job
 group by 1, 2

-- name: rates
-- Both times have an index.
select coalesce(job.queue_name, '-') as app_id, coalesce(job.name, '-') as function_id,
       count(*) filter (where job.what = 'arrived') as arrived,
       count(*) filter (where job.what = 'drained') as drained
  from (
    select fresh.queue_name, fresh.name, 'arrived' as what
      from {s}.workflow_status as fresh
     where fresh.created_at > (extract(epoch from now() - interval '10 s') * 1000)::bigint
    union all
    select done.queue_name, done.name, 'drained'
      from {s}.workflow_status as done
     where done.completed_at > (extract(epoch from now() - interval '10 s') * 1000)::bigint and done.status <> 'CANCELLED'
  ) as job
 group by 1, 2

-- name: table
select '{s}.workflow_status'::regclass

-- name: claim_order
run.priority, run.started_at
