-- engine: river
-- home: public
-- tried: migrations 6 and 7
-- ids: bigint
-- word: args
-- fields: queue, tags
-- priority: lower
-- stops: next check of its context
--
-- River, of Go. The app is the queue, the function is the kind of job. Its index on `args` serves conditions on event.data.
-- Times are those of the application's clock, where it gives them.

-- name: detect
-- The columns are those since migration 4. Its number is in a table where River's own tool runs the migrations, of one line
-- only before migration 5; where another tool runs them there is no such table, and what they brought along tells the number.
select space.nspname as schema, '' as prefix, 'migration ' || coalesce(at.version::text, 'unknown') as version,
       coalesce(at.version between 6 and 7, false) as supported
  from pg_class as job
  join pg_namespace as space on space.oid = job.relnamespace
  left join pg_class as migrations
         on migrations.relnamespace = space.oid and migrations.relname = 'river_migration' and migrations.relkind = 'r'
 cross join lateral (
       select case
         when migrations.oid is null
           then case when exists (select from pg_class as part where part.relnamespace = space.oid and part.relname = 'river_notification')
                     then 7
                     when exists (select from pg_attribute as its where its.attrelid = job.oid and its.attname = 'unique_states') then 6
                     when exists (select from pg_attribute as its where its.attrelid = job.oid and its.attname = 'unique_key') then 5
                     else 4 end
         when has_schema_privilege(space.oid, 'usage') and has_table_privilege(migrations.oid, 'select')
           then (select found.word::int
                   from ts_stat(
                          format('select array_to_tsvector(array_remove(array[max(version)::text], null)) from %I.river_migration',
                                 space.nspname)
                          || case when exists (select from pg_attribute as its
                                                where its.attrelid = migrations.oid and its.attname = 'line')
                                  then ' where line = ''main''' else '' end) as found)
         end as version
       ) as at
 where job.relname = 'river_job' and job.relkind in ('r', 'p')
   and exists (select from pg_type as type join pg_enum as label on label.enumtypid = type.oid
                where type.typnamespace = space.oid and type.typname = 'river_job_state' and label.enumlabel = 'pending')
   and (select count(*) from pg_attribute as its
         where its.attrelid = job.oid and not its.attisdropped
           and its.attname in ('id', 'state', 'attempt', 'attempted_at', 'attempted_by', 'created_at', 'finalized_at', 'scheduled_at',
                               'priority', 'args', 'errors', 'kind', 'queue')) = 13

-- name: source
-- A job is claimed once it is `available` and its time has come. `scheduled` and `retryable` ones are made available by the
-- leader's next pass, `pending` ones by whoever keeps them back.
select job.id as key,
       job.id::text as id,
       job.queue as app_id,
       job.kind as function_id,
       job.kind as name,
       job.args as data,
       jsonb_build_object('name', job.kind, 'data', job.args) as event,
       case when job.state = 'available' and job.scheduled_at <= now() then 'queued'
            when job.state = 'running' then 'running'
            when job.state = 'completed' then 'completed'
            when job.state = 'discarded' then 'failed'
            when job.state = 'cancelled' then 'cancelled'
            else 'scheduled' end as status,
       job.state as state,
       job.priority::int as priority,
       job.attempt::int as attempt,
       job.created_at as started_at,
       job.scheduled_at as scheduled_for,
       job.attempted_at as claimed_at,
       job.finalized_at as finished_at,
       job.attempted_by[cardinality(job.attempted_by)] as worker,
       case when job.state in ('retryable', 'discarded', 'cancelled') then job.errors[cardinality(job.errors)] ->> 'error' end as error,
       job.queue as queue,
       to_jsonb(job.tags) as tags,
       job.ctid as place
  from {s}.river_job as job {sampled}

-- name: unfinished
run.state in ('available', 'pending', 'retryable', 'running', 'scheduled')

-- name: failed
run.state = 'discarded'

-- name: cancelled
run.state = 'cancelled'

-- name: ended
run.state in ('cancelled', 'completed', 'discarded')

-- name: depth
-- No index has both queue and kind. The index on state passes over finished jobs, which are kept for a day or more.
-- `oldest` belongs to the job that has waited longest: when it could be claimed, and when it was made.
select part.app_id, part.function_id, part.queued, part.scheduled, part.running, part.failed,
       part.oldest[2] as oldest_started_at, part.oldest[1] as oldest_claimable_at
  from (
    select job.queue as app_id, job.kind as function_id,
           count(*) filter (where job.state = 'available' and job.scheduled_at <= now()) as queued,
           count(*) filter (where job.state in ('pending', 'retryable', 'scheduled')
                               or job.state = 'available' and job.scheduled_at > now()) as scheduled,
           count(*) filter (where job.state = 'running') as running,
           count(*) filter (where job.state = 'discarded') as failed,
           min(array[job.scheduled_at, job.created_at]) filter (where job.state = 'available' and job.scheduled_at <= now()) as oldest
      from {s}.river_job as job
     where job.state in ('available', 'pending', 'retryable', 'running', 'scheduled', 'discarded')
     group by job.queue, job.kind
  ) as part

-- name: rates
-- Arrived: of the twenty thousand newest ids, so that it is less than the truth beyond two thousand a second. Drained: by the index
-- on finalized jobs.
select coalesce(entered.app_id, ended.app_id) as app_id,
       coalesce(entered.function_id, ended.function_id) as function_id,
       coalesce(entered.runs, 0) as arrived,
       coalesce(ended.runs, 0) as drained
  from (
    select newest.queue as app_id, newest.kind as function_id, count(*) as runs
      from (select job.queue, job.kind, job.created_at from {s}.river_job as job order by job.id desc limit 20000) as newest
     where newest.created_at > now() - interval '10 s'
     group by newest.queue, newest.kind
  ) as entered
  full join (
    select job.queue as app_id, job.kind as function_id, count(*) as runs
      from {s}.river_job as job
     where job.state in ('completed', 'discarded') and job.finalized_at > now() - interval '10 s'
     group by job.queue, job.kind
  ) as ended using (app_id, function_id)

-- name: table
select format('%I.river_job', {schema})::regclass

-- name: claim_order
run.priority, run.scheduled_for, run.key

-- name: lock
select job.id::text as id
  from {s}.river_job as job
 where job.id = any ($1::text[]::bigint[])
 order by job.id
   for update

-- name: cancel
-- As its client's JobCancel: a job that runs keeps its state; the client that has it hears of it and cancels its context, and the
-- mark in its metadata keeps it from being rescued. What a cancel frees is the unique key, unless it was made to hold in that state too.
with locked as materialized (
  select job.*
    from {s}.river_job as job
   where job.id = any ($1::text[]::bigint[]) and job.finalized_at is null
     and (job.state <> 'running' or ($2::boolean and not job.metadata ? 'cancel_attempted_at'))
   order by job.id
     for update
), changed as (
  update {s}.river_job as job
     set state = case when job.state = 'running' then job.state else 'cancelled' end,
         finalized_at = case when job.state = 'running' then null else now() end,
         metadata = jsonb_set(job.metadata, array['cancel_attempted_at'], to_jsonb(now()))
    from locked
   where job.id = locked.id
  returning job.id
), told as (
  select pg_notify({schema} || '.river_control', json_build_object('action', 'cancel', 'job_id', locked.id, 'queue', locked.queue)::text)
    from locked
   where locked.state = 'running'
)
select locked.id::text as id, locked.kind as function_id, to_jsonb(locked) as pre, locked.state = 'running' as running
  from locked join changed using (id)
 where (select count(*) from told) >= 0

-- name: restore
-- One that ran is available again. The unique key holds in the states whose bits it has; of several with the same, the first comes back.
-- River deletes cancelled jobs after a day; such a one is inserted again.
with given as materialized (
  select one.place, one.pre, was.*,
         case was.state when 'running' then 'available' else was.state end as now_state
    from unnest($1::jsonb[]) with ordinality as one (pre, place)
   cross join lateral jsonb_populate_record(null::{s}.river_job, one.pre) as was
), locked as materialized (
  select job.id, job.state, job.attempt
    from {s}.river_job as job
   where job.id = any (array(select given.id from given))
   order by job.id
     for update
), judged as materialized (
  select given.*, locked.id is null as gone, held.holds,
         case when locked.state <> 'cancelled' then 'it is no longer cancelled: it is ' || locked.state::text
              when locked.attempt <> given.attempt then 'it has run since'
              when holder.id is not null then 'its unique key is held by job ' || holder.id end as reason
    from given
    left join locked on locked.id = given.id
   cross join lateral (
         select given.unique_key is not null and given.unique_states is not null
                and {s}.river_job_state_in_bitmask(given.unique_states, given.now_state) as holds
         ) as held
    left join lateral (
         select other.id
           from {s}.river_job as other
          where held.holds and other.unique_key = given.unique_key and other.unique_key is not null and other.unique_states is not null
            and {s}.river_job_state_in_bitmask(other.unique_states, other.state) and other.id <> given.id
          limit 1
         ) as holder on true
), ordered as materialized (
  select judged.*,
         coalesce(judged.reason, case when judged.holds
           and row_number() over (partition by judged.reason is null, judged.holds, judged.unique_key order by judged.place) > 1
           then 'its unique key is held by a job that came back before it' end) as outcome
    from judged
), changed as (
  update {s}.river_job as job
     set state = ordered.now_state, finalized_at = null,
         metadata = case when ordered.metadata ? 'cancel_attempted_at'
           then jsonb_set(job.metadata, array['cancel_attempted_at'], ordered.metadata -> 'cancel_attempted_at')
           else job.metadata - 'cancel_attempted_at' end
    from ordered
   where job.id = ordered.id and ordered.outcome is null and not ordered.gone
  returning job.id
), inserted as (
  insert into {s}.river_job
  select (jsonb_populate_record(null::{s}.river_job, ordered.pre || jsonb_build_object('state', ordered.now_state))).*
    from ordered
   where ordered.outcome is null and ordered.gone
  returning id
)
select ordered.id::text as id, ordered.outcome
  from ordered
 where (select count(*) from changed) + (select count(*) from inserted) >= 0

-- name: wake
select pg_notify({schema} || '.river_insert', json_build_object('queue', queue.name)::text) from unnest($1::text[]) as queue (name)

-- name: gate_table
{s}.river_job

-- name: gate_on
-- A claim takes several jobs in one UPDATE, and only those that are `available`: others are made that first.
update of state

-- name: gate_when
old.state <> 'running' and new.state = 'running'

-- name: gate_columns
-- The row has all that a condition reads.
old.queue, old.kind, old.id::text, old.kind, old.args, old.created_at, old.priority
