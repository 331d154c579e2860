-- name: commit
-- O(running runs); see the function's header.
select record
  from secateur.cancellation_records(
         array(select committed.id from secateur.commit_cancellations($1, $2, $3::jsonb) as committed)) as record

-- name: no_records
-- What a commit reads at its end, of no cancellation.
select record from secateur.cancellation_records('{}') as record

-- name: commit_retry
-- O(1); see the function's header.
select record
  from secateur.cancellation_records(
         array(select committed.id from secateur.commit_retries($1, $2, $3::jsonb) as committed)) as record

-- name: cancel_run
select record from secateur.cancellation_records(array(select written.id from secateur.cancel_run($1, $2, $3, $4, $5, $6, $7) as written)) as record

-- name: app_of_run
select secateur.app_of_run($1, $2)

-- name: cancelled_singly
-- The cancellation of this run alone: the oldest that has asked it to stop and still waits for that; else the last one that
-- was undone.
select rule.id
  from secateur.cancellations as rule
 where rule.app_id = $1 and rule.run_id = $2
   and (rule.state = 'undone'
        or rule.state = 'active' and exists (
             select from secateur.cancel_requests as open
              where open.app_id = rule.app_id and open.run_id = rule.run_id and open.cancellation_id = rule.id
                and open.outcome is null))
 order by rule.state, case rule.state when 'active' then rule.serial else -rule.serial end
 limit 1

-- name: app_of_cancellation
select rule.app_id
  from secateur.cancellations as rule
  join secateur.apps as home on home.app_id = rule.app_id and home.installation is not distinct from $2
 where rule.id = $1

-- name: stop
select record from secateur.cancellation_records(array(select written.id from secateur.stop_cancellation($1, $2, $3, $4) as written)) as record

-- name: undo
select record from secateur.cancellation_records(array(select written.id from secateur.undo_cancellation($1, $2, $3, $4, $5) as written)) as record

-- name: sweep
select * from secateur.sweep_cancellation($1, $2, $3)

-- name: decide
select secateur.decide_slowly($1, $2)

-- name: restore
select * from secateur.restore_cancellation($1, $2, $3)

-- name: note_sweep_failure
select secateur.note_sweep_failure($1, $2, $3)

-- name: activity
-- First each function and app with active cancellations, not counting those of single runs; then the sweeps that fail or that
-- nobody makes (`id`, `error`, `since`). One statement for both, because every console asks every second. Both parts use the
-- indexes of open cancellations, so a long history costs nothing.
(select rule.app_id, rule.function_id, count(*) as count,
        max(rule.started_before) filter (where rule.standing and rule.started_before > now()) as standing_until,
        null::uuid as id, null as error, null::timestamptz as since, null::bigint as serial
   from secateur.cancellations as rule
  where rule.state = 'active' and rule.kind <> 'run'
    and (select home.installation from secateur.apps as home where home.app_id = rule.app_id) is not distinct from $1
  group by rule.app_id, rule.function_id)
union all
(select rule.app_id, rule.function_id, null, null, rule.id,
        coalesce(place.last_error, 'nobody has swept it: keep a console, server or worker running'),
        coalesce(place.failing_since, place.stepped_at, rule.undone_at, rule.created_at), rule.serial
   from secateur.cancellations as rule
   join secateur.sweeps as place on place.app_id = rule.app_id and place.cancellation_id = rule.id
  where (rule.state = 'active' or rule.state = 'retrying' or rule.state = 'undone' and rule.restored_at is null or rule.ending)
    and (select home.installation from secateur.apps as home where home.app_id = rule.app_id) is not distinct from $1
    and (place.failures >= 2 or coalesce(place.stepped_at, rule.undone_at, rule.created_at) < now() - interval '1 minute')
  order by rule.serial
  limit 20)
 order by serial nulls first

-- name: figures
-- For monitoring: reads the whole history, so that callers ask more seldom the longer it takes. `lag` is how long the open one
-- that was swept longest ago has waited. Of the tallies, only those that never fall.
with homes as materialized (
  select home.app_id from secateur.apps as home where home.installation is not distinct from $1
), listed as materialized (
  select rule.app_id, rule.id, rule.created_at, rule.stopped_at, rule.undone_at,
         case when rule.state = 'undone' and rule.restored_at is null then 'restoring' else rule.state end as state,
         rule.state = 'active' and rule.in_force_at is null or rule.ending as pending
    from secateur.cancellations as rule
   where rule.app_id = any (array(select homes.app_id from homes))
), counted as (
  select listed.state, count(*) as count from listed group by listed.state
), tallied as (
  select sum(delta.cancelled) as cancelled, sum(delta.finished_first) as finished_first, sum(delta.restored) as restored
    from secateur.cancellation_deltas as delta
   where delta.app_id = any (array(select homes.app_id from homes))
), going as (
  select max(extract(epoch from now() - coalesce(place.stepped_at, listed.undone_at, listed.created_at))) as lag,
         count(*) filter (where place.failures >= 2) as failing
    from listed
    join secateur.sweeps as place on place.app_id = listed.app_id and place.cancellation_id = listed.id
   where listed.state in ('active', 'retrying', 'restoring')
)
select coalesce((select jsonb_object_agg(counted.state, counted.count) from counted), '{}') as states,
       (select count(*) from listed where listed.pending) as pending,
       greatest(0, (select extract(epoch from now() - min(coalesce(listed.undone_at, listed.stopped_at, listed.created_at)))
                      from listed where listed.pending))::float8
         as pending_seconds,
       greatest(0, going.lag)::float8 as sweep_lag_seconds,
       going.failing,
       coalesce(tallied.cancelled + tallied.finished_first, 0)::bigint as matched,
       coalesce(tallied.cancelled, 0)::bigint as cancelled,
       coalesce(tallied.restored, 0)::bigint as restored
  from going, tallied

-- name: open_cancellations
-- A function, so that a role that may only work can sweep.
select open.app_id, open.id, open.state from secateur.open_cancellations($1) as open

-- name: unrestored
select * from secateur.unrestored($1, $2, $3)

-- name: cancellation
select one.record from secateur.cancellation_documents as one where one.id = $1 and one.installation is not distinct from $2

-- name: cancellations
-- Newest first.
select one.record
  from (
    select rule.id, rule.serial
      from secateur.cancellations as rule
     where ($1::uuid is null
            or rule.serial < (select page.serial from secateur.cancellations as page where page.id = $1))
       and rule.app_id = any (array(select home.app_id from secateur.apps as home where home.installation is not distinct from $3))
       and ($4::text is null or rule.app_id = $4)
       -- What reaches the whole app reaches the function.
       and ($5::text is null or rule.function_id is null or rule.function_id = $5)
       and ($6::text[] is null or rule.state = any ($6))
       and ($7::timestamptz is null or rule.created_at >= $7)
       and ($8::timestamptz is null or rule.created_at < $8)
     order by rule.serial desc
     limit $2
  ) as listed
 cross join lateral (
   select known.record from secateur.cancellation_documents as known where known.id = listed.id offset 0
 ) as one
 order by listed.serial desc

-- name: touching
-- Those that have $4, and the active ones whose scope a run of the function is in: at most 200 of an app, and those of single
-- runs. Newest first.
select one.record
  from (
    select unnest($4::uuid[]) as id
    union
    (select rule.id
       from secateur.cancellations as rule
      where rule.app_id = $1 and rule.state = 'active'
        and (rule.function_id is null or rule.function_id = $2)
        and (rule.run_id is null or rule.run_id = $3)
      order by rule.serial desc
      limit 200)
  ) as wanted
 cross join lateral (
   select known.serial, known.record from secateur.cancellation_documents as known where known.id = wanted.id offset 0
 ) as one
 order by one.serial desc

-- name: audit
select to_jsonb(entry) - 'xid' || jsonb_build_object('app_id', nullif(entry.app_id, ''))
  from secateur.audit as entry
 where ($2::bigint is null or entry.id < $2)
   -- What concerns no app is told with secateur's own queue, but for the install of this one; and with each of the others, but for their
   -- installs, where there is only the ledger.
   and (entry.app_id = any (array(select home.app_id from secateur.apps as home where home.installation is not distinct from $3
                                  union all select '' where $3::text is null))
        or entry.details ->> 'installation' = $3
        or entry.app_id = '' and coalesce(entry.details ->> 'installation', entry.details ->> 'gate', $3) = $3
           and (select count(*) filter (where known.name = 'ledger.sql') > count(*) filter (where known.name = 'queue.sql')
                  from secateur.migrations as known))
 order by entry.id desc
 limit $1

-- name: rights
-- Why nothing can be committed here: the role's rights, a standby, a session that may only read. Also without the right to use
-- the schema this answers.
select current_user::text as role,
       pg_is_in_recovery() as is_standby,
       current_setting('transaction_read_only') = 'on' as is_read_only,
       coalesce((select bool_or(has_function_privilege(known.oid, 'execute'))
                   from pg_proc as known
                  where known.pronamespace = to_regnamespace('secateur') and known.proname = $1),
                false) as may_commit
