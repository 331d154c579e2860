-- engine: solid_queue
-- home: public
-- tried: 1.5.0
-- ids: bigint
-- word: arguments
-- fields: queue = queue_name, concurrency_key
-- priority: lower
--
-- Solid Queue, of Rails 8; often in a database of its own. The application is the queue, the function is the job's class. event.data is
-- the last argument where that is a hash (keyword arguments are), with the arguments before it in `args`.
-- The table of executions that has a job tells its status. Without `preserve_finished_jobs`, a job that is done is deleted.
-- Times are in UTC, without a zone or with one, as Rails is told: the seconds since 1970 are right for both.

-- name: detect
-- Rails does not write down its version. Processes have had names since 1.0.
select space.nspname as schema, '' as prefix, case when made.named then '1' else '0' end as version,
       made.named as supported,
       row_security_active(jobs.oid) as hidden
  from pg_class as jobs
  join pg_namespace as space on space.oid = jobs.relnamespace
 cross join lateral (
    select exists (select from pg_class as processes join pg_attribute as part on part.attrelid = processes.oid
                    where processes.relnamespace = space.oid and processes.relname = 'solid_queue_processes'
                      and part.attname = 'name' and not part.attisdropped) as named
  ) as made
 where jobs.relname = 'solid_queue_jobs' and jobs.relkind in ('r', 'p')
   and (select count(*) from pg_class as other
         where other.relnamespace = space.oid
           and other.relname in ('solid_queue_ready_executions', 'solid_queue_scheduled_executions', 'solid_queue_blocked_executions',
                                 'solid_queue_claimed_executions', 'solid_queue_failed_executions', 'solid_queue_processes')) = 6

-- name: source
-- `having true` tells Postgres that a lateral part has exactly one row. So it drops the joins that nobody asks for, and parses the arguments
-- once a row, however often a condition names them. ActiveJob marks a hash that was one in Ruby with a key `_aj_…`; a hash
-- without such a mark stands for a record or a time. Its `executions` counts the attempts before; a retry is a job of its own.
-- A job that waits has a scheduled execution, also past its time, until the dispatcher comes by, or a blocked one behind its
-- concurrency key. One without any execution never runs.
select job.id as key, job.id::text as id, job.queue_name::text as app_id, job.class_name::text as function_id, job.class_name::text as name,
       given.data, jsonb_build_object('name', job.class_name, 'data', given.data) as event,
       case
         when job.finished_at is not null then 'completed'
         when failed.id is not null then 'failed'
         when claimed.id is not null then 'running'
         when ready.id is not null then 'queued'
         else 'scheduled' end as status,
       case
         when job.finished_at is not null then 'finished'
         when failed.id is not null then 'failed'
         when claimed.id is not null then 'claimed'
         when ready.id is not null then 'ready'
         when scheduled.id is not null then 'scheduled'
         when blocked.id is not null then 'blocked'
         else 'none' end as state,
       job.finished_at as finished, failed.id as failure,
       job.priority,
       case when jsonb_typeof(parsed.job -> 'executions') = 'number' and parsed.job ->> 'executions' ~ '^[0-9]{1,9}$'
            then (parsed.job ->> 'executions')::integer else 0 end
         + case when job.finished_at is not null or failed.id is not null or claimed.id is not null then 1 else 0 end as attempt,
       to_timestamp(extract(epoch from job.created_at)) as started_at,
       to_timestamp(extract(epoch from job.scheduled_at)) as scheduled_for,
       to_timestamp(extract(epoch from claimed.created_at)) as claimed_at,
       to_timestamp(extract(epoch from coalesce(job.finished_at, failed.created_at))) as finished_at,
       coalesce(process.hostname || ':' || process.pid, claimed.process_id::text) as worker,
       coalesce(nullif(concat_ws(': ', told.error ->> 'exception_class', told.error ->> 'message'), ''), failed.error) as error,
       claimed.id is not null and process.id is null as lost,
       job.queue_name::text as queue, job.concurrency_key::text as concurrency_key
  from {s}.solid_queue_jobs as job {sampled}
  left join {s}.solid_queue_failed_executions as failed on failed.job_id = job.id
  left join {s}.solid_queue_claimed_executions as claimed on claimed.job_id = job.id
  left join {s}.solid_queue_ready_executions as ready on ready.job_id = job.id
  left join {s}.solid_queue_scheduled_executions as scheduled on scheduled.job_id = job.id
  left join {s}.solid_queue_blocked_executions as blocked on blocked.job_id = job.id
  left join {s}.solid_queue_processes as process on process.id = claimed.process_id
  left join lateral (select {json job.arguments} as job having true) as parsed on true
  left join lateral (
    select case when jsonb_typeof(parsed.job -> 'arguments') = 'array' then parsed.job -> 'arguments' end as args
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
  left join lateral (select {json failed.error} as error having true) as told on true

-- name: unfinished
-- It reads the jobs without an end, by their index, and subtracts those that failed.
(run.finished is null and run.failure is null)

-- name: failed
(run.finished is null and run.failure is not null)

-- name: cancelled
-- A job that is discarded is deleted.
false

-- name: ended
(run.finished is not null or run.failure is not null)

-- name: depth
select job.queue_name::text as app_id, job.class_name::text as function_id,
       count(*) filter (where job.stands = 'ready') as queued,
       count(*) filter (where job.stands = 'waits') as scheduled,
       count(*) filter (where job.stands = 'claimed') as running,
       count(*) filter (where job.stands = 'claimed' and job.orphaned) as lost,
       count(*) filter (where job.stands = 'failed') as failed,
       to_timestamp((min(array[job.ready_at, job.entered_at]) filter (where job.stands = 'ready'))[2]) as oldest_started_at,
       to_timestamp(min(job.ready_at) filter (where job.stands = 'ready')) as oldest_claimable_at
  from (
    select own.queue_name, own.class_name,
           case when failed.id is not null then 'failed' when claimed.id is not null then 'claimed'
                when ready.id is not null then 'ready' else 'waits' end as stands,
           claimed.id is not null and process.id is null as orphaned,
           extract(epoch from own.created_at) as entered_at,
           greatest(extract(epoch from own.created_at), extract(epoch from own.scheduled_at)) as ready_at
      from {s}.solid_queue_jobs as own
      left join {s}.solid_queue_failed_executions as failed on failed.job_id = own.id
      left join {s}.solid_queue_claimed_executions as claimed on claimed.job_id = own.id
      left join {s}.solid_queue_ready_executions as ready on ready.job_id = own.id
      left join {s}.solid_queue_processes as process on process.id = claimed.process_id
     where own.finished_at is null
  ) as job
 group by job.queue_name, job.class_name

-- name: table
select '{s}.solid_queue_jobs'::regclass

-- name: claim_order
run.priority, run.key

-- name: lock
-- It locks executions before jobs, as a claim does. A locked job gets no other execution, since that would refer to it. Where another
-- transaction holds an execution that is passed over, so is its job.
with executions as materialized (
  select ready.job_id from {s}.solid_queue_ready_executions as ready
   where ready.job_id = any ($1::text[]::bigint[]) order by ready.job_id for update
), scheduled as materialized (
  select scheduled.job_id from {s}.solid_queue_scheduled_executions as scheduled
   where scheduled.job_id = any ($1::text[]::bigint[]) order by scheduled.job_id for update
), blocked as materialized (
  select blocked.job_id from {s}.solid_queue_blocked_executions as blocked
   where blocked.job_id = any ($1::text[]::bigint[]) order by blocked.job_id for update
), held as materialized (
  select executions.job_id from executions
  union all select scheduled.job_id from scheduled
  union all select blocked.job_id from blocked
)
select job.id::text as id
  from {s}.solid_queue_jobs as job
 where job.id = any ($1::text[]::bigint[])
   and (select count(*) from held) >= 0
   and (job.id in (select held.job_id from held)
        or not (exists (select from {s}.solid_queue_ready_executions as ready where ready.job_id = job.id)
                or exists (select from {s}.solid_queue_scheduled_executions as scheduled where scheduled.job_id = job.id)
                or exists (select from {s}.solid_queue_blocked_executions as blocked where blocked.job_id = job.id)))
 order by job.id
   for update

-- name: cancel
-- It does what Solid Queue's discard does: it deletes jobs and their executions, and a ready job gives back its place behind its
-- concurrency key. A claim that came before the lock has its ready execution locked: that job is left alone. A running one goes on.
with ready as materialized (
  select ready.* from {s}.solid_queue_ready_executions as ready
   where ready.job_id = any ($1::text[]::bigint[]) and $2::boolean is not null order by ready.job_id for update skip locked
), scheduled as materialized (
  select scheduled.* from {s}.solid_queue_scheduled_executions as scheduled
   where scheduled.job_id = any ($1::text[]::bigint[]) order by scheduled.job_id for update skip locked
), blocked as materialized (
  select blocked.* from {s}.solid_queue_blocked_executions as blocked
   where blocked.job_id = any ($1::text[]::bigint[]) order by blocked.job_id for update skip locked
), locked as materialized (
  select job.*
    from {s}.solid_queue_jobs as job
   where job.id = any (array(select ready.job_id from ready union all select scheduled.job_id from scheduled
                             union all select blocked.job_id from blocked))
     and job.finished_at is null
   order by job.id
     for update
), kept as materialized (
  select locked.id, locked.class_name, locked.concurrency_key, ready.id is not null as holds,
         jsonb_build_object('job', to_jsonb(locked), 'ready', to_jsonb(ready), 'scheduled', to_jsonb(scheduled), 'blocked', to_jsonb(blocked),
                            'recurring', to_jsonb(recurring)) as pre
    from locked
    left join ready on ready.job_id = locked.id
    left join scheduled on scheduled.job_id = locked.id
    left join blocked on blocked.job_id = locked.id
    left join {s}.solid_queue_recurring_executions as recurring on recurring.job_id = locked.id
), given_back as (
  update {s}.solid_queue_semaphores as semaphore
     set value = semaphore.value + places.number
    from (select kept.concurrency_key as key, count(*) as number from kept
           where kept.holds and kept.concurrency_key is not null group by kept.concurrency_key) as places
   where semaphore.key = places.key
  returning semaphore.key
), gone as (
  delete from {s}.solid_queue_jobs as job using kept where job.id = kept.id returning job.id
)
select kept.id::text as id, kept.class_name::text as function_id, kept.pre, false as running
  from kept join gone using (id)
 where (select count(*) from given_back) >= 0

-- name: restore
-- The job is inserted again with its id, and its executions with it. A ready one takes its place behind its concurrency key again, where
-- there is one; of several with the same key, the first.
with given as materialized (
  select one.place, one.pre, (one.pre #>> '{job,id}')::bigint as id,
         case when one.pre -> 'ready' <> 'null' then one.pre #>> '{job,concurrency_key}' end as key
    from unnest($1::jsonb[]) with ordinality as one (pre, place)
), semaphores as materialized (
  select semaphore.key, semaphore.value
    from {s}.solid_queue_semaphores as semaphore
   where semaphore.key = any (array(select given.key from given))
   order by semaphore.key
     for update
), judged as materialized (
  select given.*, existing.id is not null as there, semaphores.value as places,
         row_number() over (partition by existing.id is null, given.key order by given.place) as nth
    from given
    left join {s}.solid_queue_jobs as existing on existing.id = given.id
    left join semaphores on semaphores.key = given.key
), ordered as materialized (
  select judged.id, judged.pre, judged.key,
         case when judged.there then 'it is there: somebody has put it back'
              when judged.places < judged.nth then 'its concurrency key is held by another job' end as outcome
    from judged
), taken as (
  update {s}.solid_queue_semaphores as semaphore
     set value = semaphore.value - places.number
    from (select ordered.key, count(*) as number from ordered where ordered.outcome is null and ordered.key is not null group by ordered.key) as places
   where semaphore.key = places.key
  returning semaphore.key
), jobs as (
  insert into {s}.solid_queue_jobs
  select (jsonb_populate_record(null::{s}.solid_queue_jobs, ordered.pre -> 'job')).* from ordered where ordered.outcome is null
   order by ordered.id
  on conflict do nothing
  returning id
), ready as (
  insert into {s}.solid_queue_ready_executions
  select (jsonb_populate_record(null::{s}.solid_queue_ready_executions, ordered.pre -> 'ready')).*
    from ordered join jobs using (id) where ordered.pre -> 'ready' <> 'null'
  returning job_id
), scheduled as (
  insert into {s}.solid_queue_scheduled_executions
  select (jsonb_populate_record(null::{s}.solid_queue_scheduled_executions, ordered.pre -> 'scheduled')).*
    from ordered join jobs using (id) where ordered.pre -> 'scheduled' <> 'null'
  returning job_id
), blocked as (
  insert into {s}.solid_queue_blocked_executions
  select (jsonb_populate_record(null::{s}.solid_queue_blocked_executions, ordered.pre -> 'blocked')).*
    from ordered join jobs using (id) where ordered.pre -> 'blocked' <> 'null'
  returning job_id
), recurring as (
  insert into {s}.solid_queue_recurring_executions
  select (jsonb_populate_record(null::{s}.solid_queue_recurring_executions, ordered.pre -> 'recurring')).*
    from ordered join jobs using (id) where ordered.pre -> 'recurring' <> 'null'
  on conflict do nothing
  returning job_id
)
select ordered.id::text as id,
       case when ordered.outcome is null and jobs.id is null then 'it is there: somebody has put it back' else ordered.outcome end as outcome
  from ordered
  left join jobs using (id)
 where (select count(*) from taken) + (select count(*) from ready) + (select count(*) from scheduled) + (select count(*) from blocked)
     + (select count(*) from recurring) >= 0
