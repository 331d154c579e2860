-- engine: django-tasks-db
-- home: public
-- tried: 0.13.0
-- ids: uuid
-- word: kwargs
-- fields: queue = queue_name
-- priority: higher
--
-- django-tasks-db, the backend in the database for django-tasks and for Django 6's own django.tasks. The application is the queue, the
-- function is the path of the task, event.data is the keyword arguments, with positional ones in `args`. It has no state for a task that
-- was cancelled. A task that need not wait has the time 9999-01-01, in the application's time zone where its times have no zones.

-- name: detect
-- The version is in Django's own list of migrations, which lies in the same schema. ts_stat reads it: it runs a query that is given as text.
select space.nspname as schema, '' as prefix, 'migration ' || coalesce(left(made.version, 4), 'unknown') as version,
       coalesce(left(made.version, 4) between '0018' and '0021', false) as supported,
       row_security_active(jobs.oid) as hidden
  from pg_class as jobs
  join pg_namespace as space on space.oid = jobs.relnamespace
  left join pg_class as migrations on migrations.relnamespace = space.oid and migrations.relname = 'django_migrations'
 cross join lateral (
    select case when has_schema_privilege(space.oid, 'usage') and has_table_privilege(migrations.oid, 'select') then (
      select read.word
        from ts_stat(format('select array_to_tsvector(array_remove(array[max(name)::text], null)) from %I.django_migrations where app = %L',
                            space.nspname, 'django_tasks_database')) as read) end as version
  ) as made
 where jobs.relname = 'django_tasks_database_dbtaskresult' and jobs.relkind in ('r', 'p')
   and (select count(*) from pg_attribute as part
         where part.attrelid = jobs.oid and not part.attisdropped
           and part.attname in ('task_path', 'args_kwargs', 'worker_ids', 'exception_class_path')) = 4

-- name: source
-- Each worker that took a task counts as one attempt. A task whose worker died is not taken again.
select job.id as key, job.id::text as id, job.queue_name::text as app_id, job.task_path as function_id, job.task_path as name,
       given.data, jsonb_build_object('name', job.task_path, 'data', given.data) as event,
       case job.status
         when 'READY' then case when job.run_after > now() and job.run_after < '9998-12-30' then 'scheduled' else 'queued' end
         when 'RUNNING' then 'running'
         when 'FAILED' then case when job.traceback = 'Cancelled by secateur' then 'cancelled' else 'failed' end
         else 'completed' end as status,
       job.status as state, job.priority,
       case when jsonb_typeof(job.worker_ids) = 'array' then jsonb_array_length(job.worker_ids) else 0 end as attempt,
       job.enqueued_at as started_at, case when job.run_after < '9998-12-30' then job.run_after end as scheduled_for,
       job.started_at as claimed_at, job.finished_at, job.worker_ids ->> -1 as worker,
       coalesce(nullif(job.traceback, ''), nullif(job.exception_class_path, '')) as error,
       job.queue_name::text as queue, job.ctid as place
  from {s}.django_tasks_database_dbtaskresult as job {sampled}
  left join lateral (
    select case
             when jsonb_typeof(job.args_kwargs -> 'kwargs') is distinct from 'object' then job.args_kwargs
             when job.args_kwargs -> 'args' <> '[]' then job.args_kwargs -> 'kwargs' || jsonb_build_object('args', job.args_kwargs -> 'args')
             else job.args_kwargs -> 'kwargs' end as data
  ) as given on true

-- name: unfinished
-- Ready tasks are asked for as their partial index has it.
(run.state = 'READY' or run.state = 'RUNNING')

-- name: failed
(run.state = 'FAILED' and run.error is distinct from 'Cancelled by secateur')

-- name: cancelled
-- There is no such state. What secateur cancelled has its exception.
(run.state = 'FAILED' and run.error = 'Cancelled by secateur')

-- name: ended
run.state not in ('READY', 'RUNNING')

-- name: depth
-- Only ready tasks have an index, without the function. So it reads the table.
select job.queue_name::text as app_id, job.task_path as function_id,
       count(*) filter (where job.status = 'READY' and job.due) as queued,
       count(*) filter (where job.status = 'READY' and not job.due) as scheduled,
       count(*) filter (where job.status = 'RUNNING') as running,
       count(*) filter (where job.status = 'FAILED' and job.traceback is distinct from 'Cancelled by secateur') as failed,
       (min(array[job.claimable_at, job.enqueued_at]) filter (where job.status = 'READY' and job.due))[2] as oldest_started_at,
       min(job.claimable_at) filter (where job.status = 'READY' and job.due) as oldest_claimable_at
  from (
    select own.queue_name, own.task_path, own.status, own.traceback, own.enqueued_at,
           own.run_after <= now() or own.run_after >= '9998-12-30' as due,
           case when own.run_after < '9998-12-30' then greatest(own.run_after, own.enqueued_at) else own.enqueued_at end as claimable_at
      from {s}.django_tasks_database_dbtaskresult as own
     where own.status in ('READY', 'RUNNING', 'FAILED')
  ) as job
 group by job.queue_name, job.task_path

-- name: table
select '{s}.django_tasks_database_dbtaskresult'::regclass

-- name: claim_order
-- Tasks whose time has come go before those that never had one.
run.priority desc, run.scheduled_for nulls last, run.started_at

-- name: lock
select job.id::text as id
  from {s}.django_tasks_database_dbtaskresult as job
 where job.id = any ($1::text[]::uuid[])
 order by job.id
   for update

-- name: cancel
-- There is no state for it. The task fails, with an exception that Django can import and a traceback that says who did it. A running task goes on.
with locked as materialized (
  select job.*
    from {s}.django_tasks_database_dbtaskresult as job
   where job.id = any ($1::text[]::uuid[]) and job.status = 'READY' and $2::boolean is not null
   order by job.id
     for update
), changed as (
  update {s}.django_tasks_database_dbtaskresult as job
     set status = 'FAILED', finished_at = now(), exception_class_path = 'asyncio.exceptions.CancelledError',
         traceback = 'Cancelled by secateur'
    from locked
   where job.id = locked.id
  returning job.id
)
select locked.id::text as id, locked.task_path as function_id, to_jsonb(locked) as pre, false as running
  from locked join changed using (id)

-- name: restore
-- A task that `prune_db_task_results` has deleted is inserted again.
with given as materialized (
  select one.place, one.pre, was.*
    from unnest($1::jsonb[]) with ordinality as one (pre, place)
   cross join lateral jsonb_populate_record(null::{s}.django_tasks_database_dbtaskresult, one.pre) as was
), locked as materialized (
  select job.id, job.status, job.traceback
    from {s}.django_tasks_database_dbtaskresult as job
   where job.id = any (array(select given.id from given))
   order by job.id
     for update
), judged as materialized (
  select given.*, locked.id is null as gone,
         case when locked.status <> 'FAILED' or locked.traceback <> 'Cancelled by secateur'
              then 'it is no longer cancelled: it is ' || locked.status end as outcome
    from given
    left join locked on locked.id = given.id
), changed as (
  update {s}.django_tasks_database_dbtaskresult as job
     set status = judged.status, finished_at = judged.finished_at, exception_class_path = judged.exception_class_path,
         traceback = judged.traceback
    from judged
   where job.id = judged.id and judged.outcome is null and not judged.gone
  returning job.id
), inserted as (
  insert into {s}.django_tasks_database_dbtaskresult
  select (jsonb_populate_record(null::{s}.django_tasks_database_dbtaskresult, judged.pre)).*
    from judged
   where judged.gone
   order by judged.id
  returning id
)
select judged.id::text as id, judged.outcome
  from judged
 where (select count(*) from changed) + (select count(*) from inserted) >= 0
