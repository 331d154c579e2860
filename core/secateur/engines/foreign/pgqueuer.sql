-- engine: pgqueuer
-- home: public
-- tried: 1.6.0
-- ids: bigint
-- word: payload
-- fields: unique_key = dedupe_key
-- stops: next await in a cancellation scope
-- priority: higher
--
-- The application is the prefix of its tables or, without one, their schema; the function is the entrypoint, event.data is the payload
-- where that is JSON. A job's row is gone when it has ended, unless its entrypoint holds failed ones; only the log knows of it then.
-- It has no state of cancelled jobs but in the log: its own cancel deletes the row. The label is in its enum, and free for our use.

-- name: detect
-- By the shape of the tables, whatever the prefix. The version is nowhere: `slot` came with 1.6. A column or a label that is not known
-- here is of a newer version. Its notification channel, which can be set, is in its trigger.
select space.nspname as schema, named.prefix,
       case when made.unknown then 'newer than 1.6' when made.has_slots then '1.6+' else 'older than 1.6' end as version,
       made.has_slots and not made.unknown as supported,
       row_security_active(jobs.oid) or row_security_active(log.oid) as hidden,
       quote_literal(coalesce(made.channel, named.prefix || 'ch_pgqueuer')) as channel
  from pg_class as jobs
  join pg_namespace as space on space.oid = jobs.relnamespace
 cross join lateral (select left(jobs.relname, length(jobs.relname) - length('pgqueuer')) as prefix) as named
  join pg_class as log on log.relnamespace = space.oid and log.relname = named.prefix || 'pgqueuer_log'
 cross join lateral (
    select bool_or(part.attname = 'slot') as has_slots,
           (select min(substring(told.prosrc from $$pg_notify\(\s*'([A-Za-z0-9_.-]+)'$$))
              from pg_trigger as trigger join pg_proc as told on told.oid = trigger.tgfoid
             where trigger.tgrelid = jobs.oid) as channel,
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
-- A payload is bytes. It is text if it is valid UTF-8 without zeros. Most libraries write JSON in ASCII, for which there is a cheap
-- test: encoded with escapes, nothing in it is escaped but backslashes. Else its bytes, taken for characters, have to follow the rules
-- of UTF-8.
-- With `having true` the part is one row: it is evaluated once, and Postgres drops it if nobody asks for the data.
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
       job.attempts::bigint + case when job.status::text in ('picked', 'failed') then 1 else 0 end as attempt,
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
       job.dedupe_key::text as unique_key, job.ctid as place
  from {s}."{prefix}pgqueuer" as job {sampled}
  left join lateral (
    select case when strpos(replace(encode(job.payload, 'escape'), '\\', ''), '\') = 0
                then replace(encode(job.payload, 'escape'), '\\', '\')
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
-- It has two conditions since each of the two partial indexes has one of them.
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
-- It reads the log, which has an index on the time. The log has a retry as queued again, with the error before it.
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

-- name: gone
-- How jobs ended whose rows are gone.
select distinct on (entry.job_id) entry.job_id::text as id,
       case entry.status::text when 'canceled' then 'cancelled' when 'successful' then 'completed' else 'failed' end as status
  from {s}."{prefix}pgqueuer_log" as entry
 where entry.job_id = any ($1::text[]::bigint[]) and entry.status not in ('queued', 'picked')
 order by entry.job_id, entry.created desc, entry.id desc

-- name: lock
select job.id::text as id
  from {s}."{prefix}pgqueuer" as job
 where job.id = any ($1::text[]::bigint[])
 order by job.id
   for update

-- name: cancel
-- In place: its own cancel deletes the row, and the payload with it. No claim takes the label, and no key is held by it. A worker
-- that is told of a picked one deletes it itself; a notification holds some hundred ids.
with locked as materialized (
  select job.*
    from {s}."{prefix}pgqueuer" as job
   where job.id = any ($1::text[]::bigint[]) and (job.status = 'queued' or ($2::boolean and job.status = 'picked'))
   order by job.id
     for update
), changed as (
  update {s}."{prefix}pgqueuer" as job
     set status = 'canceled', updated = now()
    from locked
   where job.id = locked.id and locked.status = 'queued'
  returning job.id, job.status, job.entrypoint, job.priority
), logged as (
  insert into {s}."{prefix}pgqueuer_log" (job_id, status, entrypoint, priority)
  select changed.id, changed.status, changed.entrypoint, changed.priority from changed
), told as (
  select pg_notify({channel}, json_build_object('channel', {channel}, 'sent_at', now(), 'type', 'cancellation_event',
           'ids', json_agg(part.id))::text)
    from (select locked.id, (row_number() over ()) / 300 as part from locked where locked.status = 'picked') as part
   group by part.part
)
select locked.id::text as id, locked.entrypoint as function_id,
       to_jsonb(locked) || jsonb_build_object('has_headers', locked.headers is not null) as pre,
       locked.status = 'picked' as running
  from locked
 where (select count(*) from told) >= 0

-- name: restore
-- One that was stopped while it ran was deleted by its worker: it is inserted again, and waits. Headers are often
-- a null of JSON, which a pre-image does not tell from one of SQL by itself. Only one job with a dedupe key may be there:
-- of several, the first comes back.
with given as materialized (
  select one.place, one.pre, was.*
    from unnest($1::jsonb[]) with ordinality as one (pre, place)
   cross join lateral jsonb_populate_record(null::{s}."{prefix}pgqueuer", one.pre) as was
), locked as materialized (
  select job.id, job.status, job.attempts
    from {s}."{prefix}pgqueuer" as job
   where job.id = any (array(select given.id from given))
   order by job.id
     for update
), judged as materialized (
  select given.*, locked.id is null as gone,
         case when locked.status <> 'canceled' then 'it is no longer cancelled: it is ' || locked.status::text
              when holder.id is not null then 'its dedupe key is held by job ' || holder.id end as reason
    from given
    left join locked on locked.id = given.id
    left join lateral (
         select other.id
           from {s}."{prefix}pgqueuer" as other
          where other.dedupe_key = given.dedupe_key and other.status in ('queued', 'picked') and other.id <> given.id
          limit 1
         ) as holder on true
), ordered as materialized (
  select judged.*,
         coalesce(judged.reason, case when judged.dedupe_key is not null
           and row_number() over (partition by judged.reason is null, judged.dedupe_key order by judged.place) > 1
           then 'its dedupe key is held by a job that came back before it' end) as outcome
    from judged
), changed as (
  update {s}."{prefix}pgqueuer" as job
     set status = 'queued', updated = ordered.updated
    from ordered
   where job.id = ordered.id and ordered.outcome is null and not ordered.gone
  returning job.id, job.status, job.entrypoint, job.priority
), inserted as (
  insert into {s}."{prefix}pgqueuer" (id, priority, created, updated, heartbeat, execute_after, status, entrypoint, dedupe_key, payload,
    headers, attempts)
  select ordered.id, ordered.priority, ordered.created, ordered.updated, ordered.heartbeat, ordered.execute_after, 'queued',
         ordered.entrypoint, ordered.dedupe_key, ordered.payload,
         case when (ordered.pre ->> 'has_headers')::boolean then ordered.pre -> 'headers' end, ordered.attempts
    from ordered
   where ordered.outcome is null and ordered.gone
  returning id, status, entrypoint, priority
), logged as (
  insert into {s}."{prefix}pgqueuer_log" (job_id, status, entrypoint, priority)
  select back.id, back.status, back.entrypoint, back.priority
    from (select * from changed union all select * from inserted) as back
)
select ordered.id::text as id, ordered.outcome
  from ordered

-- name: wake
-- The trigger of the engine does this for an insertion, but not for an update.
select pg_notify({channel}, json_build_object('channel', {channel}, 'operation', 'insert', 'sent_at', now(),
         'table', '{prefix}pgqueuer', 'type', 'table_changed_event')::text)
 where cardinality($1::text[]) > 0

-- name: gate_table
{s}."{prefix}pgqueuer"

-- name: gate_on
-- A claim takes several jobs in one UPDATE. A picked job of a worker that no longer lives stays `picked` when another one takes it
-- over: it ran already, and the gate leaves it alone.
update of status

-- name: gate_when
old.status <> 'picked' and new.status = 'picked'
