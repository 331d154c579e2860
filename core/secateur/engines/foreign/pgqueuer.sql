-- engine: pgqueuer
-- home: public
-- tried: 1.6.0
-- ids: bigint
-- word: payload
-- stops: next await inside its cancellation scope
-- priority: higher
--
-- The application is the prefix of its tables or, without one, their schema; the function is the entrypoint, event.data is the payload
-- where that is JSON. A job's row is gone when it has ended, unless its entrypoint holds failed ones; only the log knows of it then.
-- It has no state of cancelled jobs but in the log: its own cancel deletes the row. The label is in its enum, and free for our use.

-- name: detect
-- By the shape of the tables, whatever the prefix. The version is nowhere: `slot` came with 1.6. A column or a label that is not known
-- here is of a newer version.
select space.nspname as schema, named.prefix,
       case when made.unknown then 'newer than 1.6' when made.has_slots then '1.6+' else 'older than 1.6' end as version,
       made.has_slots and not made.unknown as supported,
       row_security_active(jobs.oid) or row_security_active(log.oid) as hidden
  from pg_class as jobs
  join pg_namespace as space on space.oid = jobs.relnamespace
 cross join lateral (select left(jobs.relname, length(jobs.relname) - length('pgqueuer')) as prefix) as named
  join pg_class as log on log.relnamespace = space.oid and log.relname = named.prefix || 'pgqueuer_log'
 cross join lateral (
    select bool_or(part.attname = 'slot') as has_slots,
           bool_or(part.attname <> all ('{id, priority, queue_manager_id, created, updated, heartbeat, execute_after, status, entrypoint,
             dedupe_key, payload, headers, attempts, slot}'::name[]))
           or exists (select from pg_attribute as status join pg_enum as label on label.enumtypid = status.atttypid
                       where status.attrelid = jobs.oid and status.attname = 'status'
                         and label.enumlabel <> all ('{queued, picked, successful, exception, canceled, deleted, failed}'::name[]))
             as unknown,
           count(*) filter (where part.attname in ('entrypoint', 'execute_after', 'queue_manager_id', 'attempts')) = 4 as is_pgqueuer
      from pg_attribute as part
     where part.attrelid = jobs.oid and part.attnum > 0 and not part.attisdropped
  ) as made
 where jobs.relname like '%pgqueuer' and jobs.relkind = 'r' and space.nspname not like 'pg\_temp\_%' and made.is_pgqueuer

-- name: source
-- A payload is bytes. It is text if it is valid UTF-8 without zeros. JSON as most libraries write it is ASCII, and shown by cheap means to be
-- that: encoded with escapes, nothing is escaped in it but backslashes. Else its bytes, taken for characters, have to follow UTF-8's rules.
-- `having true` makes it one row, which is evaluated once and left out of the plan where nobody asks for the data.
-- `attempts` counts retries. A job is written to when it is picked and when it is held; before that, only the log knows of its claims.
select job.id as key, job.id::text as id, coalesce(nullif(rtrim('{prefix}', '_'), ''), {schema}) as app_id,
       job.entrypoint as function_id, job.entrypoint as name,
       parsed.data, jsonb_build_object('name', job.entrypoint, 'data', parsed.data) as event,
       case job.status::text
         when 'queued' then case when job.execute_after > now() then 'scheduled' else 'queued' end
         when 'picked' then 'running'
         when 'canceled' then 'cancelled'
         when 'successful' then 'completed'
         else 'failed' end as status,
       job.status as state, job.priority,
       job.attempts + case when job.status::text in ('picked', 'failed') then 1 else 0 end as attempt,
       job.created as started_at, case when job.execute_after > job.created then job.execute_after end as scheduled_for,
       case when job.status = 'picked' then job.updated else (
         select max(entry.created) from {s}."{prefix}pgqueuer_log" as entry
          where entry.job_id = job.id and entry.status = 'picked') end as claimed_at,
       case when job.status not in ('queued', 'picked') then job.updated end as finished_at,
       job.queue_manager_id::text as worker,
       case when job.status <> 'picked' then (
         select coalesce(entry.traceback ->> 'exception_type' || ': ', '') || coalesce(entry.traceback ->> 'exception_message', '')
           from {s}."{prefix}pgqueuer_log" as entry
          where entry.job_id = job.id and entry.traceback is not null
          order by entry.created desc limit 1) end as error,
       job.ctid as place
  from {s}."{prefix}pgqueuer" as job {sampled}
  left join lateral (
    select case when strpos(replace(encode(job.payload, 'escape'), '\\', ''), '\') = 0 then replace(encode(job.payload, 'escape'), '\\', '\')
                when position('\x00'::bytea in job.payload) = 0 and getdatabaseencoding() = 'UTF8'
                 and convert_from(job.payload, 'LATIN1') collate "C" ~
                     ('^(?:[\u0001-\u007f]|[\u00c2-\u00df][\u0080-\u00bf]|\u00e0[\u00a0-\u00bf][\u0080-\u00bf]'
                   || '|[\u00e1-\u00ec\u00ee\u00ef][\u0080-\u00bf][\u0080-\u00bf]|\u00ed[\u0080-\u009f][\u0080-\u00bf]'
                   || '|\u00f0[\u0090-\u00bf][\u0080-\u00bf][\u0080-\u00bf]|[\u00f1-\u00f3][\u0080-\u00bf][\u0080-\u00bf][\u0080-\u00bf]'
                   || '|\u00f4[\u0080-\u008f][\u0080-\u00bf][\u0080-\u00bf])*$')
                then convert_from(job.payload, 'UTF8') end as text
    having true
  ) as written on true
  left join lateral (select {json written.text} as data having true) as parsed on true

-- name: unfinished
-- Two conditions, for each of its partial indexes has one of them.
(run.state = 'queued' or run.state = 'picked')

-- name: failed
run.state::text in ('failed', 'exception', 'deleted')

-- name: cancelled
run.state::text = 'canceled'

-- name: ended
run.state not in ('queued', 'picked')

-- name: depth
select live.app_id, live.function_id, live.queued, live.scheduled, live.running, live.failed,
       live.oldest[2] as oldest_started_at, live.oldest[1] as oldest_claimable_at
  from (
    select coalesce(nullif(rtrim('{prefix}', '_'), ''), {schema}) as app_id, job.entrypoint as function_id,
           count(*) filter (where job.status = 'queued' and job.execute_after <= now()) as queued,
           count(*) filter (where job.status = 'queued' and job.execute_after > now()) as scheduled,
           count(*) filter (where job.status = 'picked') as running,
           count(*) filter (where job.status::text in ('failed', 'exception', 'deleted')) as failed,
           min(array[greatest(job.execute_after, job.created), job.created])
             filter (where job.status = 'queued' and job.execute_after <= now()) as oldest
      from {s}."{prefix}pgqueuer" as job
     group by job.entrypoint
  ) as live

-- name: rates
-- From its log, which has an index on the time. A retry is logged as queued again, with what went wrong before.
select coalesce(nullif(rtrim('{prefix}', '_'), ''), {schema}) as app_id, entry.entrypoint as function_id,
       count(*) filter (where entry.status = 'queued' and entry.traceback is null) as arrived,
       count(*) filter (where entry.status::text in ('successful', 'exception', 'failed')) as drained
  from {s}."{prefix}pgqueuer_log" as entry
 where entry.created > now() - interval '10 s'
 group by entry.entrypoint

-- name: table
select format('%I.%I', {schema}, '{prefix}pgqueuer')::regclass

-- name: claim_order
run.priority desc, run.key
