-- engine: dbos
-- home: dbos
-- tried: 3.4.0
-- ids: text
-- word: kwargs
-- fields: queue = queue_name, unique_key = deduplication_id
-- stops: next step
-- priority: lower
--
-- DBOS Transact for Python or TypeScript, often in a database of its own. The function is the workflow, the application is the queue. It is `-`
-- for a workflow that was started without a queue, and for one that DBOS itself cancelled, since that takes it off its queue.
-- event.data is the named arguments, with positional ones in `args`. Python pickles arguments unless it is told to write `portable_json`:
-- pickles are never opened, so that event.data is null. Times are milliseconds; those that no timestamp holds are null, or the bound.

-- name: detect
-- Found by the tables of workflows, inputs and migrations, and by the newest column that is read here. ts_stat reads the version: it runs
-- a query that is given as text.
select space.nspname as schema, '' as prefix, 'migration ' || coalesce(made.version::text, 'unknown') as version,
       coalesce(made.version = 125, false) as supported,
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
-- `having true` tells Postgres that the lateral part has exactly one row. So it drops the join if nobody asks for the arguments. If
-- somebody does, it parses them once a row, however often a condition names them.
-- `portable_json` has namedArgs and positionalArgs; a serializer of the application's own may write args and kwargs; TypeScript writes
-- a list, or an object with the list as `json`. `executor_id` is the worker only once the workflow was started: before, it is who enqueued it.
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
       job.status as state, job.priority, coalesce(job.recovery_attempts, 0) as attempt,
       to_timestamp(least(greatest(job.created_at, 0), 253402300799999) / 1000.0) as started_at,
       case when job.delay_until_epoch_ms between 0 and 253402300799999 then to_timestamp(job.delay_until_epoch_ms / 1000.0) end as scheduled_for,
       case when job.started_at_epoch_ms between 0 and 253402300799999 then to_timestamp(job.started_at_epoch_ms / 1000.0) end as claimed_at,
       case when job.status not in ('ENQUEUED', 'PENDING', 'DELAYED') and coalesce(job.completed_at, job.updated_at) between 0 and 253402300799999
            then to_timestamp(coalesce(job.completed_at, job.updated_at) / 1000.0) end as finished_at,
       case when job.recovery_attempts > 0 then job.executor_id end as worker, broken.error,
       job.queue_name as queue, job.deduplication_id as unique_key
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
    having true
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
    having true
  ) as told on true
  left join lateral (select {json told.text} as error having true) as told_as on true
  left join lateral (
    select coalesce(nullif(concat_ws(': ', told_as.error ->> 'name', told_as.error ->> 'message'), ''), told.text) as error
    having true
  ) as broken on true

-- name: unfinished
-- Each half is written as its own partial index has it.
(run.state in ('ENQUEUED', 'PENDING') or run.state = 'DELAYED')

-- name: failed
-- Written as far as possible as its partial index has it.
run.state in ('ERROR', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')

-- name: cancelled
run.state = 'CANCELLED'

-- name: ended
run.state not in ('ENQUEUED', 'PENDING', 'DELAYED')

-- name: depth
-- Three partial indexes give a part each. It does not read workflows that succeeded, which are most of them.
-- A process of DBOS makes a delayed workflow ENQUEUED when its time has come.
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

-- name: lock
select job.workflow_uuid as id
  from {s}.workflow_status as job
 where job.workflow_uuid = any ($1::text[])
 order by job.workflow_uuid
   for update

-- name: cancel
-- It does what DBOS's own cancel does: the workflow leaves its queue, and its deduplication id is free. A running one takes no further step.
-- The pre-image has the arguments as well, since DBOS deletes them with the workflow. It has the attributes as text, which tells a
-- null of JSON from one of SQL.
with locked as materialized (
  select job.*
    from {s}.workflow_status as job
   where job.workflow_uuid = any ($1::text[])
     and (job.status in ('ENQUEUED', 'DELAYED') or ($2::boolean and job.status = 'PENDING'))
   order by job.workflow_uuid
     for update
), changed as (
  update {s}.workflow_status as job
     set status = 'CANCELLED', owner_xid = null, queue_name = null, deduplication_id = null, started_at_epoch_ms = null,
         updated_at = moment.ms, completed_at = moment.ms
    from locked, (select (extract(epoch from now()) * 1000)::bigint as ms) as moment
   where job.workflow_uuid = locked.workflow_uuid
  returning job.workflow_uuid
)
select locked.workflow_uuid as id, coalesce(locked.name, '-') as function_id,
       jsonb_build_object('workflow', to_jsonb(locked), 'attributes', locked.attributes::text, 'input', to_jsonb(input)) as pre, locked.status = 'PENDING' as running
  from locked
  join changed using (workflow_uuid)
  left join {s}.workflow_input as input using (workflow_uuid)

-- name: restore
-- A workflow that ran is enqueued again. If it had no queue, it goes into the one in which DBOS resumes workflows. Of several with the same
-- deduplication id, the first comes back. A workflow that DBOS has deleted meanwhile is inserted again.
with given as materialized (
  select one.place, one.pre, was.*,
         case was.status when 'PENDING' then 'ENQUEUED' else was.status end as now_status,
         case was.status when 'PENDING' then coalesce(was.queue_name, '_dbos_internal_queue') else was.queue_name end as now_queue
    from unnest($1::jsonb[]) with ordinality as one (pre, place)
   cross join lateral jsonb_populate_record(null::{s}.workflow_status, one.pre -> 'workflow') as was
), locked as materialized (
  select job.workflow_uuid, job.status
    from {s}.workflow_status as job
   where job.workflow_uuid = any (array(select given.workflow_uuid from given))
   order by job.workflow_uuid
     for update
), judged as materialized (
  select given.*, locked.workflow_uuid is null as gone,
         case when locked.status <> 'CANCELLED' then 'it is no longer cancelled: it is ' || locked.status
              when holder.workflow_uuid is not null then 'its deduplication id is the key of workflow ' || holder.workflow_uuid end as reason
    from given
    left join locked on locked.workflow_uuid = given.workflow_uuid
    left join lateral (
         select other.workflow_uuid
           from {s}.workflow_status as other
          where other.queue_name = given.now_queue and other.deduplication_id = given.deduplication_id
            and other.workflow_uuid <> given.workflow_uuid
          limit 1
         ) as holder on true
), ordered as materialized (
  select judged.*,
         coalesce(judged.reason, case when judged.deduplication_id is not null
           and row_number() over (partition by judged.reason is null, judged.now_queue, judged.deduplication_id order by judged.place) > 1
           then 'its deduplication id is the key of a workflow that came back before it' end) as outcome
    from judged
), changed as (
  update {s}.workflow_status as job
     set status = ordered.now_status, queue_name = ordered.now_queue, deduplication_id = ordered.deduplication_id,
         started_at_epoch_ms = case when ordered.now_status = ordered.status then ordered.started_at_epoch_ms end,
         owner_xid = case when ordered.now_status = ordered.status then ordered.owner_xid end,
         updated_at = ordered.updated_at, completed_at = ordered.completed_at
    from ordered
   where job.workflow_uuid = ordered.workflow_uuid and ordered.outcome is null and not ordered.gone
  returning job.workflow_uuid
), inserted as (
  insert into {s}.workflow_status (
         workflow_uuid, status, name, authenticated_user, assumed_role, authenticated_roles, request, output, error, executor_id,
         created_at, updated_at, application_version, application_id, class_name, config_name, recovery_attempts, queue_name,
         workflow_timeout_ms, workflow_deadline_epoch_ms, inputs, started_at_epoch_ms, deduplication_id, priority, queue_partition_key,
         forked_from, owner_xid, parent_workflow_id, serialization, delay_until_epoch_ms, was_forked_from, rate_limited, completed_at,
         attributes, schedule_name, debounce_deadline_epoch_ms, is_debounced, application_name, creator_xid)
  select own.workflow_uuid, own.now_status, own.name, own.authenticated_user, own.assumed_role, own.authenticated_roles, own.request,
         own.output, own.error, own.executor_id, own.created_at, own.updated_at, own.application_version, own.application_id,
         own.class_name, own.config_name, own.recovery_attempts, own.now_queue, own.workflow_timeout_ms, own.workflow_deadline_epoch_ms,
         own.inputs, case when own.now_status = own.status then own.started_at_epoch_ms end, own.deduplication_id, own.priority,
         own.queue_partition_key, own.forked_from, case when own.now_status = own.status then own.owner_xid end, own.parent_workflow_id,
         own.serialization, own.delay_until_epoch_ms, own.was_forked_from, own.rate_limited, own.completed_at,
         (own.pre ->> 'attributes')::jsonb, own.schedule_name, own.debounce_deadline_epoch_ms, own.is_debounced, own.application_name,
         own.creator_xid
    from ordered as own
   where own.outcome is null and own.gone
   order by own.workflow_uuid
  returning workflow_uuid
), inputs as (
  insert into {s}.workflow_input
  select (jsonb_populate_record(null::{s}.workflow_input, ordered.pre -> 'input')).*
    from ordered
   where ordered.outcome is null and jsonb_typeof(ordered.pre -> 'input') = 'object'
   order by ordered.workflow_uuid
  on conflict do nothing
  returning workflow_uuid
)
select ordered.workflow_uuid as id, ordered.outcome
  from ordered
 where (select count(*) from changed) + (select count(*) from inserted) + (select count(*) from inputs) >= 0

-- name: gate_table
{s}.workflow_status

-- name: gate_on
-- A claim is one UPDATE, and what it returns is started. With a limit on the queue it runs in REPEATABLE READ or SERIALIZABLE: one whose
-- snapshot is older than a commit leaves the workflow where it is, and the next one decides. Workflows that are started
-- without a queue are born PENDING, and meet no gate.
update of status

-- name: gate_when
old.status in ('ENQUEUED', 'DELAYED') and new.status = 'PENDING'
