-- engine: procrastinate
-- home: public
-- tried: 3.10.0
-- ids: bigint
-- word: args
-- fields: queue = queue_name, unique_key = queueing_lock, concurrency_key = lock
-- stops: next await or check of should_abort()
-- priority: higher
-- claims: one
--
-- The application is the queue, the function is the task, event.data is the arguments. Not here: errors, which only the worker's log
-- has, and locks: a job that waits behind another one with the same lock counts as queued.
-- Labels that not every version has are compared as text: an enum refuses one that it does not know.

-- name: detect
-- The database does not have the version: the functions that each release added tell it. Another function or label belongs to a
-- version that is not known here. Before 2.1 jobs had no priority, and are not found.
select space.nspname as schema, '' as prefix,
       case when made.unknown then 'newer than 3.10'
            when made.functions @> '{procrastinate_retry_job_v2}' then '3.4+'
            when made.functions @> '{procrastinate_defer_jobs_v1}' then '3.2'
            when made.functions @> '{procrastinate_fetch_job_v2}' then '3.1'
            when made.functions @> '{procrastinate_cancel_job_v1}' then '3.0'
            when made.functions @> '{procrastinate_cancel_job}' then '2.6'
            else '2.1' end as version,
       made.functions @> '{procrastinate_fetch_job_v2}' and not made.unknown as supported,
       row_security_active(jobs.oid) as hidden
  from pg_class as jobs
  join pg_namespace as space on space.oid = jobs.relnamespace
 cross join lateral (
    select coalesce(array_agg(distinct own.name) filter (where own.kind = 'function'), '{}') as functions,
           coalesce(bool_or(not own.name = any (case own.kind
             when 'function' then array[
               'procrastinate_cancel_job', 'procrastinate_cancel_job_v1', 'procrastinate_defer_job', 'procrastinate_defer_job_v1',
               'procrastinate_defer_jobs_v1', 'procrastinate_defer_periodic_job', 'procrastinate_defer_periodic_job_v1',
               'procrastinate_defer_periodic_job_v2', 'procrastinate_fetch_job', 'procrastinate_fetch_job_v1', 'procrastinate_fetch_job_v2',
               'procrastinate_finish_job', 'procrastinate_finish_job_v1', 'procrastinate_notify_queue',
               'procrastinate_notify_queue_abort_job_v1', 'procrastinate_notify_queue_job_inserted_v1',
               'procrastinate_prune_stalled_workers_v1', 'procrastinate_register_worker_v1', 'procrastinate_retry_job',
               'procrastinate_retry_job_v1', 'procrastinate_retry_job_v2', 'procrastinate_sync_abort_requested_with_status_temp',
               'procrastinate_trigger_abort_requested_events_procedure_v1', 'procrastinate_trigger_function_scheduled_events_v1',
               'procrastinate_trigger_function_status_events_insert_v1', 'procrastinate_trigger_function_status_events_update_v1',
               'procrastinate_trigger_scheduled_events_procedure', 'procrastinate_trigger_status_events_procedure_insert',
               'procrastinate_trigger_status_events_procedure_update', 'procrastinate_unlink_periodic_defers',
               'procrastinate_unlink_periodic_defers_v1', 'procrastinate_unregister_worker_v1', 'procrastinate_update_heartbeat_v1']
             else array['todo', 'doing', 'succeeded', 'failed', 'cancelled', 'aborting', 'aborted'] end)), false) as unknown
      from (
        select 'function' as kind, routine.proname::text as name
          from pg_proc as routine
         where routine.pronamespace = space.oid and routine.proname like 'procrastinate\_%'
        union all
        select 'label', label.enumlabel::text
          from pg_type as type join pg_enum as label on label.enumtypid = type.oid
         where type.typnamespace = space.oid and type.typname = 'procrastinate_job_status'
      ) as own
  ) as made
 where jobs.relname = 'procrastinate_jobs' and jobs.relkind in ('r', 'p') and space.nspname not like 'pg\_temp\_%'
   and exists (select from pg_attribute as part
                where part.attrelid = jobs.oid and part.attname = 'priority' and not part.attisdropped)
   and exists (select from pg_class as events where events.relnamespace = space.oid and events.relname = 'procrastinate_events')

-- name: source
-- Only the events tell when a job entered. A job without events was not deferred by procrastinate, or somebody deleted them. Then its
-- scheduled time stands for it or, without one, the beginning of time: it was there before any window.
-- `attempts` counts attempts that ended. The worker's column came with 3.1.
select job.id as key, job.id::text as id, job.queue_name::text as app_id, job.task_name::text as function_id, job.task_name::text as name,
       job.args as data, jsonb_build_object('name', job.task_name, 'data', job.args) as event,
       case job.status::text
         when 'todo' then case when job.scheduled_at > now() then 'scheduled' else 'queued' end
         when 'doing' then 'running'
         when 'succeeded' then 'completed'
         when 'failed' then 'failed'
         else 'cancelled' end as status,
       job.status as state, job.priority, job.attempts::bigint + case job.status when 'doing' then 1 else 0 end as attempt,
       coalesce(
         (select min(event.at) from {s}.procrastinate_events as event where event.job_id = job.id and event.type = 'deferred'),
         (select min(event.at) from {s}.procrastinate_events as event where event.job_id = job.id and event.type <> 'scheduled'),
         job.scheduled_at, '-infinity') as started_at,
       job.scheduled_at as scheduled_for,
       (select max(event.at) from {s}.procrastinate_events as event where event.job_id = job.id and event.type = 'started') as claimed_at,
       case when job.status not in ('todo', 'doing') then (
         select max(event.at) from {s}.procrastinate_events as event
          where event.job_id = job.id and event.type::text in ('succeeded', 'failed', 'cancelled', 'aborted')) end as finished_at,
       to_jsonb(job) ->> 'worker_id' as worker, null::text as error,
       job.queue_name::text as queue, job.queueing_lock::text as unique_key, job.lock::text as concurrency_key, job.ctid as place
  from {s}.procrastinate_jobs as job {sampled}

-- name: unfinished
-- Written as its partial index on (id, lock) has it.
run.state in ('todo', 'doing')

-- name: failed
run.state = 'failed'

-- name: cancelled
-- `aborting` was, until 3.0, a running job that had been asked to stop.
run.state::text in ('cancelled', 'aborting', 'aborted')

-- name: ended
run.state not in ('todo', 'doing')

-- name: depth
-- It counts unfinished jobs only, from the partial index. By default nothing is ever deleted, and no index tells failed jobs from
-- succeeded ones: counting them would read the whole history at every look. So `failed` is null: not known.
-- The oldest of the jobs that have no scheduled time is the one with the smallest id: ids and times are given out together.
with live as materialized (
  select job.queue_name::text as app_id, job.task_name::text as function_id,
         count(*) filter (where job.status = 'todo' and (job.scheduled_at is null or job.scheduled_at <= now())) as queued,
         count(*) filter (where job.status = 'todo' and job.scheduled_at > now()) as scheduled,
         count(*) filter (where job.status = 'doing') as running,
         min(job.id) filter (where job.status = 'todo' and job.scheduled_at is null) as unscheduled_id,
         min(array[extract(epoch from job.scheduled_at), job.id]) filter (where job.status = 'todo' and job.scheduled_at <= now()) as due
    from {s}.procrastinate_jobs as job
   where job.status in ('todo', 'doing')
   group by job.queue_name, job.task_name
)
select live.app_id, live.function_id, live.queued, live.scheduled, live.running, null::bigint as failed,
       oldest.started_at as oldest_started_at, oldest.claimable_at as oldest_claimable_at
  from live
  left join lateral (
    select job.started_at, coalesce(job.scheduled_at, job.started_at) as claimable_at
      from (
        select own.scheduled_at, coalesce(
                 (select min(event.at) from {s}.procrastinate_events as event where event.job_id = own.id and event.type <> 'scheduled'),
                 own.scheduled_at) as started_at
          from {s}.procrastinate_jobs as own
         where own.id in (live.unscheduled_id, live.due[2]::bigint)
      ) as job
     order by claimable_at limit 1
  ) as oldest on true

-- name: rates
-- It reads the events, which have no index on their time. It looks for the id of ten seconds ago from the newest one downwards, in steps
-- that double. A job that is deleted when it succeeds takes its events along, and is not counted.
with newest as materialized (
  select max(event.id) as id from {s}.procrastinate_events as event
), earlier as materialized (
  select past.id
    from newest
   cross join generate_series(8, 20) as step
   cross join lateral (
      select event.id, event.at from {s}.procrastinate_events as event
       where event.id <= newest.id - (1 << step) and event.type <> 'scheduled'
       order by event.id desc limit 1
    ) as past
   where past.at <= now() - interval '10 s'
   order by step limit 1
), recent as materialized (
  select last.job_id, last.type
    from (select event.job_id, event.type, event.at from {s}.procrastinate_events as event
           where event.id > coalesce((select earlier.id from earlier), 0)
           order by event.id desc limit 200000) as last
   where last.at > now() - interval '10 s' and last.type in ('deferred', 'succeeded', 'failed')
)
select job.app_id, job.function_id,
       count(*) filter (where recent.type = 'deferred') as arrived,
       count(*) filter (where recent.type <> 'deferred') as drained
  from recent
 cross join lateral (
    select own.queue_name::text as app_id, own.task_name::text as function_id
      from {s}.procrastinate_jobs as own where own.id = recent.job_id
    offset 0
  ) as job
 group by job.app_id, job.function_id

-- name: table
select $name${s}.procrastinate_jobs$name$::regclass

-- name: claim_order
run.priority desc, run.key

-- name: lock
select job.id::text as id
  from {s}.procrastinate_jobs as job
 where job.id = any ($1::text[]::bigint[])
 order by job.id
   for update

-- name: cancel
-- As its own cancel_job: the engine's triggers write the events, and tell the worker that is to abort. A cancel frees the queueing lock,
-- and lets the next job with the same lock go on. The time at which it was deferred is kept, since a deleted job takes its events along.
-- The triggers name its tables without their schema, and find them by the search path: that of this transaction from now on.
with found as materialized (
  select set_config('search_path', format('pg_catalog, %I, pg_temp', {schema}), true) as path
), locked as materialized (
  select job.*
    from {s}.procrastinate_jobs as job
   where job.id = any ($1::text[]::bigint[])
     and (job.status = 'todo' or ($2::boolean and job.status = 'doing' and not job.abort_requested))
   order by job.id
     for update
), changed as (
  update {s}.procrastinate_jobs as job
     set status = case job.status when 'todo' then 'cancelled' else job.status end, abort_requested = job.status = 'doing'
    from locked
   where job.id = locked.id and (select found.path from found) is not null
  returning job.id
)
select locked.id::text as id, locked.task_name::text as function_id,
       to_jsonb(locked) || jsonb_build_object('deferred_at', (
         select min(event.at) from {s}.procrastinate_events as event where event.job_id = locked.id and event.type = 'deferred')) as pre,
       locked.status = 'doing' as running
  from locked join changed using (id)

-- name: restore
-- One that was aborted while it ran waits again. Only one job with a queueing lock may wait: of several, the first comes back. A job that
-- was deleted is inserted again, with the event that says when it was deferred; its trigger adds another one, of now. The search path
-- is for the triggers, as in `cancel`.
with found as materialized (
  select set_config('search_path', format('pg_catalog, %I, pg_temp', {schema}), true) as path
), given as materialized (
  select one.place, one.pre, was.*
    from unnest($1::jsonb[]) with ordinality as one (pre, place)
   cross join lateral jsonb_populate_record(null::{s}.procrastinate_jobs, one.pre) as was
), locked as materialized (
  select job.id, job.status, job.attempts
    from {s}.procrastinate_jobs as job
   where job.id = any (array(select given.id from given))
   order by job.id
     for update
), judged as materialized (
  select given.*, locked.id is null as gone,
         case when locked.status not in ('cancelled', 'aborted') then 'it is no longer cancelled: it is ' || locked.status::text
              when locked.attempts > given.attempts and given.status = 'todo' then 'it has run since'
              when holder.id is not null then 'its queueing lock is held by job ' || holder.id end as reason
    from given
    left join locked on locked.id = given.id
    left join lateral (
         select other.id
           from {s}.procrastinate_jobs as other
          where other.queueing_lock = given.queueing_lock and other.status = 'todo' and other.id <> given.id
          limit 1
         ) as holder on true
), ordered as materialized (
  select judged.*,
         coalesce(judged.reason, case when judged.queueing_lock is not null
           and row_number() over (partition by judged.reason is null, judged.queueing_lock order by judged.place) > 1
           then 'its queueing lock is held by a job that came back before it' end) as outcome
    from judged
), changed as (
  update {s}.procrastinate_jobs as job
     set status = 'todo', abort_requested = false
    from ordered
   where job.id = ordered.id and ordered.outcome is null and not ordered.gone and (select found.path from found) is not null
  returning job.id
), inserted as (
  insert into {s}.procrastinate_jobs
  select (jsonb_populate_record(null::{s}.procrastinate_jobs, ordered.pre || jsonb_build_object(
           'status', 'todo', 'abort_requested', false,
           'worker_id', (select worker.id from {s}.procrastinate_workers as worker where worker.id = ordered.worker_id)))).*
    from ordered
   where ordered.outcome is null and ordered.gone and (select found.path from found) is not null
  returning id
), entered as (
  insert into {s}.procrastinate_events (job_id, type, at)
  select inserted.id, 'deferred', (ordered.pre ->> 'deferred_at')::timestamptz
    from inserted
    join ordered using (id)
   where ordered.pre ->> 'deferred_at' is not null
  returning job_id
)
select ordered.id::text as id, ordered.outcome
  from ordered
 where (select count(*) from changed) + (select count(*) from entered) >= 0

-- name: wake
-- The engine's trigger does this for a job that is deferred. A worker that found nothing sleeps until it hears of a job, or for five seconds.
select pg_notify(channel.name, json_build_object('type', 'job_inserted', 'job_id', 0)::text)
  from unnest($1::text[]) as queue (name)
 cross join lateral (values ('procrastinate_any_queue_v1'), ('procrastinate_queue_v1#' || queue.name)) as channel (name)
 where octet_length(channel.name) < 64

-- name: gate_table
{s}.procrastinate_jobs

-- name: gate_on
-- A claim is procrastinate_fetch_job_v2: one UPDATE of one row. Where the gate keeps it, a worker takes the answer for an empty queue
-- and sleeps: the sweep, which is there at once, cancels the others that it would meet, and wakes it.
update of status

-- name: gate_when
old.status = 'todo' and new.status = 'doing'

-- name: gate_columns
-- Only the events tell when it entered.
old.queue_name, old.task_name, old.id::text, old.task_name, old.args, null, old.priority
