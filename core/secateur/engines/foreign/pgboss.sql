-- engine: pg-boss
-- home: pgboss
-- tried: 12.38.0 (schema 46), 11.1.2 (schema 26), 10.4.2 (schema 24)
-- ids: text
-- word: data
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
-- those since version 10. ts_stat reads the version: it runs a query that is given as text, on every Postgres.
select space.nspname as schema, '' as prefix, 'schema ' || coalesce(at.version::text, 'unknown') as version,
       coalesce(at.version between 24 and 46, false) as supported,
       row_security_active(job.oid)
         and not exists (select from pg_policy as policy
                          where policy.polrelid = job.oid and policy.polpermissive and policy.polcmd in ('r', '*')
                            and pg_get_expr(policy.polqual, policy.polrelid) = 'true'
                            and (0 = any (policy.polroles)
                                 or exists (select from unnest(policy.polroles) as role where role <> 0 and pg_has_role(role, 'usage')))) as hidden
  from pg_class as job
  join pg_namespace as space on space.oid = job.relnamespace
  join pg_class as version on version.relnamespace = space.oid and version.relname = 'version' and version.relkind = 'r'
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
       job.retry_count + (job.started_on is not null)::int as attempt,
       job.created_on as started_at,
       job.start_after as scheduled_for,
       job.started_on as claimed_at,
       job.completed_on as finished_at,
       null::text as worker,
       case when job.state in ('failed', 'retry') then coalesce(job.output ->> 'message', job.output ->> 'value', job.output::text) end as error,
       job.ctid as place
  from (select false as blocked) as absent
 cross join lateral (
       select job.id, job.name, job.data, job.state, job.priority, job.retry_count, job.start_after, job.created_on, job.started_on,
              job.completed_on, job.output, blocked, job.ctid
         from {s}.job as job {sampled}
       ) as job

-- name: one
-- The run whose id is $1, by the primary key. A bare uuid, as in an application's log, is looked for in every queue.
run.key = case when $1::text ~* '[0-9a-f]{8,8}(-[0-9a-f]{4,4}){3,3}-[0-9a-f]{12,12}$' then right($1::text, 36)::uuid end
and run.function_id = any (case when length($1::text) > 36 then array[left($1::text, -37)]
                                else array(select queue.name from {s}.queue as queue) end)

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
-- The largest partition. `place` does not tell partitions apart; a sample of several of them takes pages of the same number for one.
select coalesce((select part.inhrelid::regclass
                   from pg_inherits as part
                  where part.inhparent = format('%I.job', {schema})::regclass
                  order by pg_relation_size(part.inhrelid) desc
                  limit 1), format('%I.job', {schema})::regclass)

-- name: claim_order
run.priority desc, run.started_at
