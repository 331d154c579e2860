-- engine: good_job
-- home: public
-- tried: 4.19.2
-- ids: uuid
-- word: arguments
-- fields: queue = queue_name, tags = labels, concurrency_key
-- priority: lower
--
-- GoodJob, for Rails. The application is the queue, the function is the job's class. event.data is the last argument where that is a hash
-- (keyword arguments are), with the arguments before it in `args`. A job that somebody discarded is cancelled; one whose last attempt
-- raised is failed. Times are in UTC, without a zone or with one, as Rails is told: the seconds since 1970 are right for both.

-- name: detect
-- The columns tell the version: `lock_type` came with 4.14, `locked_by_id` with 4.0.
select space.nspname as schema, '' as prefix,
       case when made.columns @> '{lock_type}' then '4.14+' else '4.0+' end as version,
       made.columns @> '{lock_type,executions_count,error_event}' as supported,
       row_security_active(jobs.oid) as hidden
  from pg_class as jobs
  join pg_namespace as space on space.oid = jobs.relnamespace
 cross join lateral (
    select array_agg(part.attname::text) as columns
      from pg_attribute as part
     where part.attrelid = jobs.oid and part.attnum > 0 and not part.attisdropped
  ) as made
 where jobs.relname = 'good_jobs' and jobs.relkind in ('r', 'p')
   and made.columns @> '{serialized_params,job_class,executions_count,performed_at,locked_by_id,locked_at}'
   and exists (select from pg_class as processes where processes.relnamespace = space.oid and processes.relname = 'good_job_processes')

-- name: source
-- ActiveJob marks a hash that was one in Ruby with a key `_aj_…`; a hash without such a mark stands for a record or a time.
-- A job that has `performed_at` and no `finished_at` is running; a retry begins without `performed_at`.
-- A job that is locked by a process that is gone is lost. Another process takes it once its advisory lock is free.
select job.id as key, job.id::text as id, coalesce(job.queue_name, 'default') as app_id, coalesce(job.job_class, '-') as function_id,
       coalesce(job.job_class, '-') as name, given.data, jsonb_build_object('name', coalesce(job.job_class, '-'), 'data', given.data) as event,
       case
         when job.finished_at is not null then
           case when job.error is null then 'completed' when job.error like 'GoodJob::Job::DiscardJobError%' then 'cancelled' else 'failed' end
         when job.performed_at is not null or job.locked_by_id is not null then 'running'
         when extract(epoch from job.scheduled_at) > extract(epoch from now()) then 'scheduled'
         else 'queued' end as status,
       case
         when job.finished_at is not null then case when job.error is null then 'succeeded' else 'discarded' end
         when job.performed_at is not null or job.locked_by_id is not null then 'running'
         when extract(epoch from job.scheduled_at) > extract(epoch from now()) then 'scheduled'
         else 'queued' end as state,
       job.finished_at as finished, coalesce(job.priority, 0) as priority, coalesce(job.executions_count, 0) as attempt,
       to_timestamp(extract(epoch from job.created_at)) as started_at,
       to_timestamp(extract(epoch from job.scheduled_at)) as scheduled_for,
       to_timestamp(extract(epoch from coalesce(job.performed_at, job.locked_at))) as claimed_at,
       to_timestamp(extract(epoch from job.finished_at)) as finished_at,
       job.locked_by_id::text as worker, job.error, job.ctid as place,
       job.finished_at is null and job.locked_by_id is not null and process.id is null as lost,
       job.queue_name as queue, to_jsonb(job.labels) as tags, job.concurrency_key
  from {s}.good_jobs as job {sampled}
  left join {s}.good_job_processes as process on process.id = job.locked_by_id
  left join lateral (
    select case when jsonb_typeof(job.serialized_params -> 'arguments') = 'array' then job.serialized_params -> 'arguments' end as args
    having true
  ) as passed on true
  left join lateral (
    select case
             when passed.args is null then null
             when passed.args -> -1 ?| array['_aj_ruby2_keywords', '_aj_symbol_keys', '_aj_hash_with_indifferent_access']
               then (passed.args -> -1) - array['_aj_ruby2_keywords', '_aj_symbol_keys', '_aj_hash_with_indifferent_access']
                    || case when jsonb_array_length(passed.args) > 1 then jsonb_build_object('args', passed.args - -1) else '{}' end
             when passed.args = '[]' then '{}'
             else jsonb_build_object('args', passed.args) end as data
    having true
  ) as given on true

-- name: unfinished
-- Written as its many partial indexes have it.
run.finished is null

-- name: failed
-- Written as the partial index on discarded jobs has it. GoodJob calls every job discarded that ended with an error.
(run.finished is not null and run.error is not null and run.error not like 'GoodJob::Job::DiscardJobError%')

-- name: cancelled
(run.finished is not null and run.error is not null and run.error like 'GoodJob::Job::DiscardJobError%')

-- name: ended
run.finished is not null

-- name: depth
-- It reads a partial index of jobs that are unfinished or ended with an error, and so no jobs that succeeded.
select job.app_id, job.function_id,
       count(*) filter (where job.stands = 'queued') as queued,
       count(*) filter (where job.stands = 'scheduled') as scheduled,
       count(*) filter (where job.stands = 'running') as running,
       count(*) filter (where job.stands = 'running' and job.lost) as lost,
       count(*) filter (where job.stands = 'failed') as failed,
       to_timestamp((min(array[job.claimable_at, job.entered_at]) filter (where job.stands = 'queued'))[2]) as oldest_started_at,
       to_timestamp(min(job.claimable_at) filter (where job.stands = 'queued')) as oldest_claimable_at
  from (
    select coalesce(own.queue_name, 'default') as app_id, coalesce(own.job_class, '-') as function_id,
           case
             when own.finished_at is not null then case when own.error like 'GoodJob::Job::DiscardJobError%' then 'cancelled' else 'failed' end
             when own.performed_at is not null or own.locked_by_id is not null then 'running'
             when extract(epoch from own.scheduled_at) > extract(epoch from now()) then 'scheduled'
             else 'queued' end as stands,
           own.locked_by_id is not null and process.id is null as lost,
           extract(epoch from own.created_at) as entered_at,
           greatest(extract(epoch from own.created_at), extract(epoch from own.scheduled_at)) as claimable_at
      from {s}.good_jobs as own
      left join {s}.good_job_processes as process on process.id = own.locked_by_id
     where own.finished_at is null or own.error is not null
  ) as job
 group by job.app_id, job.function_id

-- name: rates
-- Both times have an index; it is one without a zone, or with one.
select coalesce(job.queue_name, 'default') as app_id, coalesce(job.job_class, '-') as function_id,
       count(*) filter (where job.what = 'arrived') as arrived,
       count(*) filter (where job.what = 'drained') as drained
  from (
    select fresh.queue_name, fresh.job_class, 'arrived' as what
      from {s}.good_jobs as fresh
     where fresh.created_at > timezone('UTC', now() - interval '10 s')
    union all
    select done.queue_name, done.job_class, 'drained'
      from {s}.good_jobs as done
     where done.finished_at is not null and done.finished_at > timezone('UTC', now() - interval '10 s')
       and (done.error is null or done.error not like 'GoodJob::Job::DiscardJobError%')
  ) as job
 group by 1, 2

-- name: table
select '{s}.good_jobs'::regclass

-- name: claim_order
-- The order unless `dequeue_query_sort` says otherwise.
run.priority, run.started_at

-- name: lock
select job.id::text as id
  from {s}.good_jobs as job
 where job.id = any ($1::text[]::uuid[])
 order by job.id
   for update

-- name: cancel
-- It does what Job#discard_job does. With the usual strategy, a worker first takes an advisory lock on a job, and holds it until the job
-- ends. The cancel leaves such a job alone. A running one goes on.
with locked as materialized (
  select job.*
    from {s}.good_jobs as job
   where job.id = any ($1::text[]::uuid[]) and job.finished_at is null and job.performed_at is null and job.locked_by_id is null
     and $2::boolean is not null
   order by job.id
     for update
), free as materialized (
  select locked.*
    from locked
   where pg_try_advisory_xact_lock(('x' || substr(md5('good_jobs-' || locked.id::text), 1, 16))::bit(64)::bigint)
), changed as (
  update {s}.good_jobs as job
     set finished_at = timezone('UTC', now()),
         error = 'GoodJob::Job::DiscardJobError: Cancelled by secateur', error_event = 5
    from free
   where job.id = free.id
  returning job.id
)
select free.id::text as id, coalesce(free.job_class, '-') as function_id, to_jsonb(free) as pre, false as running
  from free join changed using (id)

-- name: restore
-- A job that GoodJob has deleted is inserted again.
with given as materialized (
  select one.place, one.pre, was.*
    from unnest($1::jsonb[]) with ordinality as one (pre, place)
   cross join lateral jsonb_populate_record(null::{s}.good_jobs, one.pre) as was
), locked as materialized (
  select job.id, job.finished_at, job.error
    from {s}.good_jobs as job
   where job.id = any (array(select given.id from given))
   order by job.id
     for update
), judged as materialized (
  select given.*, locked.id is null as gone,
         case when locked.id is not null and (locked.finished_at is null or locked.error is distinct from 'GoodJob::Job::DiscardJobError: Cancelled by secateur')
              then 'it is no longer cancelled' end as outcome
    from given
    left join locked on locked.id = given.id
), changed as (
  update {s}.good_jobs as job
     set finished_at = judged.finished_at, error = judged.error, error_event = judged.error_event
    from judged
   where job.id = judged.id and judged.outcome is null and not judged.gone
  returning job.id
), inserted as (
  insert into {s}.good_jobs
  select (jsonb_populate_record(null::{s}.good_jobs, judged.pre)).*
    from judged
   where judged.gone
   order by judged.id
  returning id
)
select judged.id::text as id, judged.outcome
  from judged
 where (select count(*) from changed) + (select count(*) from inserted) >= 0
