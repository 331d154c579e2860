-- engine: pg-boss
-- home: pgboss
-- tried: 12.38.0 (schema 46), 11.1.2 (schema 26), 10.4.2 (schema 24)
-- ids: text
-- word: data
-- fields: queue = name, unique_key = singleton_key
-- priority: higher
--
-- pg-boss, from npm. The app is the schema, the function is the queue: pg-boss has nothing that groups queues.
-- `job` is partitioned: all queues in job_common (in version 10 each in a partition of its own), and those created with
-- `partition: true` in their own tables.
--
-- A job's key is its queue and its id. An id alone is not enough: `publish` with a given id sends it to several queues. So
-- the id of a run is `queue:uuid`; a queue's name has no colon.

-- name: detect
-- A table `job` with these columns, and a table and a type beside it that nobody else has under these names. The columns are
-- those since version 10. ts_stat reads the version: it runs a query that is given as text, on every Postgres. What stands in the
-- places of `upserts` and so on depends on columns of `job` and `queue` that came later.
select space.nspname as schema, '' as prefix, 'schema ' || coalesce(at.version::text, 'unknown') as version,
       coalesce(at.version between 24 and 46, false) as supported,
       case when 'upsert_by_key' = any (its.columns) then 'other.upsert_by_key' else 'false' end as upserts,
       case when 'retained_on' = any (its.columns) then 'back.completed_on <= queue.retained_on' else 'false' end as counted,
       case when 'retained_on' = any (its.columns) then 'retained_count = greatest(0, queue.retained_count - part.jobs)'
            else 'name = queue.name' end as counter,
       case when 'notify' = any (its.columns) then 'queue.notify' else 'false' end as notified
  from pg_class as job
  join pg_namespace as space on space.oid = job.relnamespace
  join pg_class as version on version.relnamespace = space.oid and version.relname = 'version' and version.relkind = 'r'
 cross join lateral (
       select array_agg(part.attname::text) as columns
         from pg_attribute as part
         join pg_class as table_of on table_of.oid = part.attrelid
        where table_of.relnamespace = space.oid and table_of.relname in ('job', 'queue') and part.attnum > 0 and not part.attisdropped
       ) as its
 cross join lateral (
       select case when has_schema_privilege(space.oid, 'usage') and has_table_privilege(version.oid, 'select')
                   then (select found.word::int
                           from ts_stat(format('select array_to_tsvector(array_remove(array[max(version)::text], null)) from %I.version',
                                               space.nspname)) as found) end as version
       ) as at
 where job.relname = 'job' and job.relkind in ('r', 'p')
   and exists (select from pg_type as type where type.typnamespace = space.oid and type.typname = 'job_state' and type.typtype = 'e')
   and (select count(*) from pg_attribute as its
         where its.attrelid = job.oid and not its.attisdropped
           and its.attname in ('id', 'name', 'data', 'state', 'priority', 'retry_count', 'start_after', 'created_on', 'started_on',
                               'completed_on', 'output')) = 11

-- name: source
-- Before schema 31 there is no column `blocked`: then the name means that of `absent`, for names are looked up from the inside
-- outwards. Postgres pulls all of this up, so that it costs nothing.
-- `attempt` counts claims; pg-boss counts those after the first.
select job.id as key,
       job.name || ':' || job.id as id,
       {schema}::text as app_id,
       job.name as function_id,
       job.name as name,
       job.data as data,
       jsonb_build_object('name', job.name, 'data', job.data) as event,
       case when job.state = 'active' then 'running'
            when job.state = 'completed' then 'completed'
            when job.state = 'failed' then 'failed'
            when job.state = 'cancelled' then 'cancelled'
            when job.blocked or job.start_after > now() then 'scheduled'
            else 'queued' end as status,
       job.state as state,
       job.priority as priority,
       job.retry_count::bigint + (job.started_on is not null)::int as attempt,
       job.created_on as started_at,
       job.start_after as scheduled_for,
       job.started_on as claimed_at,
       job.completed_on as finished_at,
       null::text as worker,
       case when job.state in ('failed', 'retry') then coalesce(job.output ->> 'message', job.output ->> 'value', job.output::text) end as error,
       job.name as queue,
       job.singleton_key as unique_key,
       job.ctid as place
  from (select false as blocked) as absent
 cross join lateral (
       select job.id, job.name, job.data, job.state, job.priority, job.retry_count, job.start_after, job.created_on, job.started_on,
              job.completed_on, job.output, job.singleton_key, blocked, job.ctid
         from {s}.job as job {sampled}
       ) as job

-- name: one
-- The run whose id is $1, by the primary key. A bare uuid, as in an application's log, is looked for in every queue.
run.key = case when $1::text ~* '[0-9a-f]{8,8}(-[0-9a-f]{4,4}){3,3}-[0-9a-f]{12,12}$' then right($1::text, 36)::uuid end
and run.function_id = any (case when length($1::text) > 36 then array[left($1::text, -37)]
                                else array(select queue.name from {s}.queue as queue) end)

-- name: these
-- The runs whose ids are $1, by the primary key.
run.function_id = any (array(select distinct left(given.id, -37) from unnest($1::text[]) as given (id)))
and run.key = any (array(select right(given.id, 36)::uuid from unnest($1::text[]) as given (id) where length(given.id) > 36))
and run.id = any ($1::text[])

-- name: unfinished
run.state in ('created', 'retry', 'active')

-- name: failed
run.state = 'failed'

-- name: cancelled
run.state = 'cancelled'

-- name: ended
run.state in ('completed', 'cancelled', 'failed')

-- name: depth
-- From the index that pg-boss has for its own monitor (queue, state, blocked, start_after), without the rows. A run can be
-- claimed from `start_after` on; when the one that waits longest entered is then asked for it alone.
select {schema}::text as app_id,
       queue.name as function_id,
       coalesce(part.queued, 0) as queued,
       coalesce(part.scheduled, 0) as scheduled,
       coalesce(part.running, 0) as running,
       coalesce(part.failed, 0) as failed,
       oldest.started_at as oldest_started_at,
       part.claimable_at as oldest_claimable_at
  from {s}.queue as queue
  left join (
       select job.name,
              count(*) filter (where job.state in ('created', 'retry') and not job.blocked and job.start_after <= now()) as queued,
              count(*) filter (where job.state in ('created', 'retry') and (job.blocked or job.start_after > now())) as scheduled,
              count(*) filter (where job.state = 'active') as running,
              count(*) filter (where job.state = 'failed') as failed,
              min(job.start_after) filter (where job.state in ('created', 'retry') and not job.blocked and job.start_after <= now())
                as claimable_at
         from (select false as blocked) as absent
        cross join lateral (select job.name, job.state, job.start_after, blocked from {s}.job as job) as job
        where job.state in ('created', 'retry', 'active', 'failed')
        group by job.name
       ) as part on part.name = queue.name
  left join lateral (
       select job.created_on as started_at
         from (select false as blocked) as absent
        cross join lateral (select job.name, job.state, job.start_after, job.created_on, blocked from {s}.job as job) as job
        where job.name = queue.name and job.state in ('created', 'retry') and not job.blocked
          and job.start_after = part.claimable_at
        limit 1
       ) as oldest on part.claimable_at is not null

-- name: table
-- The largest partition. A `place` does not name its partition: a sample of several takes pages of the same number for one.
select coalesce((select part.inhrelid::regclass
                   from pg_inherits as part
                  where part.inhparent = format('%I.job', {schema})::regclass
                  order by pg_relation_size(part.inhrelid) desc
                  limit 1), format('%I.job', {schema})::regclass)

-- name: claim_order
run.priority desc, run.started_at

-- name: lock
-- Here and below, an array of the one name finds it by the index and keeps Postgres from pruning partitions while it runs: a statement
-- that prunes in several places ends the server (a segmentation fault of Postgres 18.6) when it waited for a row that somebody changed.
select job.name || ':' || job.id as id
  from unnest($1::text[]) as given (id)
  join {s}.job as job on job.name = any (string_to_array(left(given.id, -37), ':')) and job.id = right(given.id, 36)::uuid
 order by job.name, job.id
   for update of job

-- name: cancel
-- As its own cancel(): what it frees are the keys of the queue's policy and of throttling. An active job is cancelled at once; its
-- handler is not told, and what it completes is void.
with locked as materialized (
  select job.*
    from unnest($1::text[]) as given (id)
    join {s}.job as job on job.name = any (string_to_array(left(given.id, -37), ':')) and job.id = right(given.id, 36)::uuid
   where job.state in ('created', 'retry') or ($2::boolean and job.state = 'active')
   order by job.name, job.id
     for update of job
), changed as (
  update {s}.job as job
     set state = 'cancelled', completed_on = now()
    from locked
   where job.name = any (string_to_array(locked.name, ':')) and job.id = locked.id
  returning job.name, job.id
)
select locked.name || ':' || locked.id as id, locked.name as function_id, to_jsonb(locked) as pre, locked.state = 'active' as running
  from locked join changed using (name, id)

-- name: restore
-- Its own resume() makes a job `created` and due at once; this puts back what was. One that ran waits for a retry. `slot` is what the
-- policy of its queue lets only one job have per key: see the unique indexes. Of several that want the same, the first comes back.
-- A job that pg-boss has deleted meanwhile is inserted again. The queue's counter of finished jobs loses those that it had counted.
with given as materialized (
  select one.place, one.pre, one.pre ->> 'name' as name, string_to_array(one.pre ->> 'name', ':') as names,
         (one.pre ->> 'id')::uuid as id, as_it.state,
         coalesce(one.pre ->> 'singleton_key', '') as key, (one.pre ->> 'singleton_on')::timestamp as throttled,
         case one.pre ->> 'policy' when 'short' then case as_it.state when 'created' then 'created' end
                                   when 'stately' then as_it.state
                                   when 'exclusive' then 'any'
                                   when 'key_strict_fifo' then case as_it.state when 'retry' then 'retry' end end as slot,
         one.pre ->> 'policy' as policy,
         coalesce((one.pre ->> 'upsert_by_key')::boolean, false) and as_it.state = 'created' as upserted
    from unnest($1::jsonb[]) with ordinality as one (pre, place)
   cross join lateral (select case one.pre ->> 'state' when 'active' then 'retry' else one.pre ->> 'state' end as state) as as_it
), locked as materialized (
  select job.name, job.id, job.state, job.started_on, job.retry_count, job.completed_on
    from given
    join {s}.job as job on job.name = any (given.names) and job.id = given.id
   order by job.name, job.id
     for update of job
), judged as materialized (
  select given.*, locked.id is null as gone, locked.completed_on,
         case when locked.state <> 'cancelled' then 'it is no longer cancelled: it is ' || locked.state::text
              when (locked.started_on, locked.retry_count) is distinct from
                   ((given.pre ->> 'started_on')::timestamptz, (given.pre ->> 'retry_count')::int) and locked.id is not null
                then 'it has run since'
              when locked.id is null and not exists (select from {s}.queue as queue where queue.name = given.name)
                then 'it was deleted, and so was its queue'
              when locked.id is null and given.pre ->> 'dead_letter' is not null
                   and not exists (select from {s}.queue as queue where queue.name = given.pre ->> 'dead_letter')
                then 'it was deleted, and so was its dead letter queue'
              when holder.id is not null then 'its key is held by job ' || holder.id end as reason
    from given
    left join locked on locked.name = given.name and locked.id = given.id
    left join lateral (
      select other.id from {s}.job as other
       where given.policy = 'short' and given.slot is not null and other.policy = 'short'
         and other.name = any (given.names) and other.state = 'created' and coalesce(other.singleton_key, '') = given.key
         and other.id <> given.id
      union all
      select other.id from {s}.job as other
       where given.policy = 'stately' and other.policy = 'stately'
         and other.name = any (given.names) and other.state = given.state::{s}.job_state and coalesce(other.singleton_key, '') = given.key
         and other.state <= 'active' and other.id <> given.id
      union all
      select other.id from {s}.job as other
       where given.policy = 'exclusive' and other.policy = 'exclusive'
         and other.name = any (given.names) and other.state <= 'active' and coalesce(other.singleton_key, '') = given.key
         and other.id <> given.id
      union all
      select other.id from {s}.job as other
       where given.policy = 'key_strict_fifo' and given.slot is not null and other.policy = 'key_strict_fifo'
         and other.name = any (given.names) and other.state in ('active', 'retry', 'failed') and other.singleton_key = given.key
         and other.id <> given.id
      union all
      select other.id from {s}.job as other
       where given.throttled is not null and other.singleton_on = given.throttled
         and other.name = any (given.names) and other.state <> 'cancelled' and coalesce(other.singleton_key, '') = given.key
         and other.id <> given.id
      union all
      select other.id from {s}.job as other
       where given.upserted and {upserts}
         and other.name = any (given.names) and other.state = 'created' and other.singleton_key = given.key and other.id <> given.id
      limit 1
    ) as holder on true
), ordered as materialized (
  select judged.*,
         coalesce(judged.reason, case when greatest(
           case when judged.slot is not null
                then row_number() over (partition by judged.reason is null, judged.name, judged.policy, judged.slot, judged.key
                                        order by judged.place) end,
           case when judged.throttled is not null
                then row_number() over (partition by judged.reason is null, judged.name, judged.throttled, judged.key
                                        order by judged.place) end,
           case when judged.upserted
                then row_number() over (partition by judged.reason is null, judged.name, judged.upserted, judged.key
                                        order by judged.place) end) > 1
           then 'its key is held by a job that came back before it' end) as outcome
    from judged
), back as materialized (
  select * from ordered where ordered.outcome is null
), changed as (
  update {s}.job as job
     set state = back.state::{s}.job_state, completed_on = (back.pre ->> 'completed_on')::timestamptz
    from back
   where job.name = any (back.names) and job.id = back.id and not back.gone
  returning job.id
), inserted as (
  insert into {s}.job
  select (jsonb_populate_record(null::{s}.job, back.pre || jsonb_build_object('state', back.state))).*
    from back
   where back.gone
  returning id
), recounted as (
  update {s}.queue as queue
     set {counter}
    from (select back.name, count(*) as jobs
            from back join {s}.queue as queue on queue.name = back.name
           where not back.gone and {counted}
           group by back.name) as part
   where queue.name = part.name
  returning queue.name
)
select ordered.name || ':' || ordered.id as id, ordered.outcome
  from ordered
 where (select count(*) from changed) + (select count(*) from inserted) + (select count(*) from recounted) >= 0

-- name: wake
-- Workers poll; those of queues that were made with `notify` may also listen. The schema is the app, so that all of its queues are woken.
select pg_notify('pgboss_' || left(encode(sha224({schema}::bytea), 'hex'), 24), queue.name)
  from {s}.queue as queue
 where {notified} and cardinality($1::text[]) > 0

-- name: gate_table
{s}.job

-- name: gate_on
-- On the partitioned table, and so on each of its partitions, those made later as well. A claim takes several jobs of one queue in
-- one UPDATE.
update of state

-- name: gate_when
old.state <> 'active' and new.state = 'active'

-- name: gate_columns
-- The row has all that a condition reads.
{schema}, old.name, old.name || ':' || old.id, old.name, old.data, old.created_on, old.priority
