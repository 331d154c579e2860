-- Keeping the depth: its deltas are moved into totals, and the sums compared with the rows.
--
-- Any number of processes may call both. For each app, one process at a time does the work (see is_alone), and `every` keeps
-- the others from repeating what was just done.

-- The queued run of each function that has been claimable for longest, and since when: the first among a thousand that never waited
-- for its time, or the one with the earliest time. (It repeats the predicate of runs_unfinished: for `status = 'queued' order by
-- id` the planner might take the primary key, past everything that has finished.) No row if none is queued. Ask for one function at
-- a time, by app and function. A view, so that every role that may read the tables may ask, and the planner inlines it.
create or replace view secateur.oldest_queued as
  select known.app_id, known.function_id, one.started_at, one.claimable_at
    from secateur.functions as known
   cross join lateral (
      (select first.started_at, first.started_at as claimable_at
         from (select run.started_at, run.scheduled_for
                 from secateur.runs as run
                where run.app_id = known.app_id
                  and run.function_id = known.function_id
                  and run.status in ('queued', 'scheduled', 'running')
                  and (run.status, run.id) >= ('queued', '00000000-0000-0000-0000-000000000000')
                  and (run.status, run.id) <= ('queued', 'ffffffff-ffff-ffff-ffff-ffffffffffff')
                order by run.status, run.id
                limit 1000) as first
        where first.scheduled_for is null
        limit 1)
       union all
      (select run.started_at, run.scheduled_for
         from secateur.runs as run
        where run.app_id = known.app_id and run.function_id = known.function_id
          and run.status = 'queued' and run.scheduled_for is not null
        order by run.scheduled_for
        limit 1)
      order by claimable_at
      limit 1
    ) as one;

-- Moves up to `batch` deltas of the app into the totals, unless that was done less than `every` ago, and keeps a sample of the
-- totals for the history (see history.sql). Returns how many it moved.
-- A reader sees each delta once: still pending, or already in the totals.
-- Locks: the app's `compact`, tried; then rows that nobody else writes.
create or replace function secateur.compact_depth(app_id text, every interval default '0', batch integer default 100000)
  returns integer
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
  -- Where the statistics expect few rows there may be thousands by now. Compiling a plan would take longer than running it.
  set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off
as $$
declare
  moment constant timestamptz := clock_timestamp();
  moved_rows integer;
begin
  perform secateur.require_read_committed();
  perform secateur.require_interval('every', compact_depth.every, '0', '1 year');
  perform secateur.require_number('batch', compact_depth.batch, 1, 1000000);
  if not secateur.is_alone(compact_depth.app_id, 'compact') then
    return 0;
  end if;
  -- point: alone
  if exists (select from secateur.depth_totals as total
              where total.app_id = compact_depth.app_id and total.moved_at > moment - compact_depth.every) then
    return 0;
  end if;
  with moved as (
    delete from secateur.depth_deltas as delta
     where delta.app_id = compact_depth.app_id
       and delta.ctid = any (array(select next.ctid from secateur.depth_deltas as next
                                    where next.app_id = compact_depth.app_id limit compact_depth.batch))
    returning delta.*
  ), rated as (
    insert into secateur.depth_seconds as known (app_id, function_id, second, entered, drained, grown)
    select compact_depth.app_id, moved.function_id, date_trunc('second', moved.at), sum(moved.entered), sum(moved.drained),
           sum(moved.queued + moved.scheduled)
      from moved
     where moved.at > moment - interval '15 seconds'
       and (moved.entered <> 0 or moved.drained <> 0 or moved.queued + moved.scheduled <> 0)
     group by moved.function_id, date_trunc('second', moved.at)
    on conflict on constraint depth_seconds_pkey do update
       set entered = known.entered + excluded.entered, drained = known.drained + excluded.drained,
           grown = known.grown + excluded.grown
  ), totalled as (
    insert into secateur.depth_totals as known
      (app_id, function_id, queued, scheduled, running, failed, entered, drained, ever_failed, oldest_started_at,
       oldest_claimable_at, moved_at)
    select compact_depth.app_id, part.function_id, part.queued, part.scheduled, part.running, part.failed, part.entered,
           part.drained, part.ever_failed, oldest.started_at, oldest.claimable_at, moment
      from (
        select moved.function_id,
               sum(moved.queued) as queued, sum(moved.scheduled) as scheduled, sum(moved.running) as running,
               sum(moved.failed) as failed, sum(moved.entered) as entered, sum(moved.drained) as drained,
               -- What failed just now: neither what is put right, nor what the undo of a retry puts back.
               coalesce(sum(moved.failed) filter (where moved.failed > 0 and moved.drained > 0), 0) as ever_failed
          from moved
         group by moved.function_id
      ) as part
      left join lateral (
        select one.started_at, one.claimable_at from secateur.oldest_queued as one
         where one.app_id = compact_depth.app_id and one.function_id = part.function_id
      ) as oldest on true
    on conflict on constraint depth_totals_pkey do update
       set queued = known.queued + excluded.queued,
           scheduled = known.scheduled + excluded.scheduled,
           running = known.running + excluded.running,
           failed = known.failed + excluded.failed,
           entered = known.entered + excluded.entered,
           drained = known.drained + excluded.drained,
           ever_failed = known.ever_failed + excluded.ever_failed,
           oldest_started_at = excluded.oldest_started_at,
           oldest_claimable_at = excluded.oldest_claimable_at,
           moved_at = excluded.moved_at
  )
  select count(*) into moved_rows from moved;
  -- point: moved
  delete from secateur.depth_seconds as old
   where old.app_id = compact_depth.app_id and old.second < moment - interval '15 seconds';
  -- What is half moved is no depth that ever was.
  if moved_rows < compact_depth.batch then
    perform secateur.sample_depth(compact_depth.app_id, moment);
  end if;
  return moved_rows;
end
$$;

-- How far the app's sums differ from its rows, for each function; `counted` is the number of unfinished rows. It is one statement,
-- so both are of one snapshot. Part of check_depth.
create or replace function secateur.compare_depth(app_id text)
  returns table (function_id text, counted bigint, queued bigint, scheduled bigint, running bigint, failed bigint)
  language sql
  stable
as $$
  with rows_counted as (
    select run.function_id,
           count(*) filter (where run.status = 'queued') as queued,
           count(*) filter (where run.status = 'scheduled') as scheduled,
           count(*) filter (where run.status = 'running') as running,
           0::bigint as failed
      from secateur.runs as run
     where run.app_id = compare_depth.app_id and run.status in ('queued', 'scheduled', 'running')
     group by run.function_id
     union all
    select run.function_id, 0, 0, 0, count(*)
      from secateur.runs as run
     where run.app_id = compare_depth.app_id and run.status = 'failed'
     group by run.function_id
  ), found as (
    select one.function_id,
           sum(one.queued) as queued, sum(one.scheduled) as scheduled, sum(one.running) as running, sum(one.failed) as failed
      from rows_counted as one
     group by one.function_id
  ), summed as (
    select part.function_id,
           sum(part.queued) as queued, sum(part.scheduled) as scheduled, sum(part.running) as running,
           sum(part.failed) as failed
      from (
        select total.function_id, total.queued, total.scheduled, total.running, total.failed
          from secateur.depth_totals as total where total.app_id = compare_depth.app_id
         union all
        select delta.function_id, delta.queued, delta.scheduled, delta.running, delta.failed
          from secateur.depth_deltas as delta where delta.app_id = compare_depth.app_id
      ) as part
     group by part.function_id
  )
  select function_id,
         coalesce(found.queued + found.scheduled + found.running, 0) as counted,
         coalesce(found.queued, 0) - coalesce(summed.queued, 0) as queued,
         coalesce(found.scheduled, 0) - coalesce(summed.scheduled, 0) as scheduled,
         coalesce(found.running, 0) - coalesce(summed.running, 0) as running,
         coalesce(found.failed, 0) - coalesce(summed.failed, 0) as failed
    from found full join summed using (function_id)
$$;

-- Compares the app's totals and deltas with its rows, in one snapshot. `counted` is the number of unfinished rows; `drift` is how
-- far the sums were off, including those of failed rows. A difference is recorded, and corrected by a delta. Without an app it
-- checks every app, and returns a row for each. `checked` is false if another process is checking, or if the last check is
-- younger than `every`. Takes seconds per ten million runs. Also makes sure that every queued run has its level (see find_levels).
-- Locks: the app's `check`, tried.
create or replace function secateur.check_depth(app_id text default null, every interval default '0')
  returns table (checked boolean, counted bigint, drift bigint)
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
  -- The statistics may be from before the flood.
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  functions text[];
  queued bigint[];
  scheduled bigint[];
  running bigint[];
  failed bigint[];
  this_check bigint;
begin
  perform secateur.require_read_committed();
  perform secateur.require_interval('every', check_depth.every, '0', '1 year');
  if check_depth.app_id is null then
    return query
    select one.* from unnest(secateur.all_apps()) as known (app_id), secateur.check_depth(known.app_id, check_depth.every) as one;
    return;
  end if;
  checked := false;
  if not secateur.is_alone(check_depth.app_id, 'check') then
    return next;
    return;
  end if;
  -- point: alone
  if exists (select from secateur.depth_checks as past
              where past.app_id = check_depth.app_id and past.checked_at > clock_timestamp() - check_depth.every) then
    return next;
    return;
  end if;
  -- What is written next is a statement of its own.
  select coalesce(sum(one.counted), 0),
         coalesce(sum(abs(one.queued) + abs(one.scheduled) + abs(one.running) + abs(one.failed)), 0),
         array_agg(one.function_id), array_agg(one.queued), array_agg(one.scheduled), array_agg(one.running),
         array_agg(one.failed)
    into counted, drift, functions, queued, scheduled, running, failed
    from secateur.compare_depth(check_depth.app_id) as one;
  insert into secateur.depth_checks (app_id, counted, drift) values (check_depth.app_id, counted, drift)
  returning depth_checks.id into this_check;
  with rebased as (
    insert into secateur.depth_deltas (app_id, function_id, queued, scheduled, running, failed, at)
    -- What is put right did not happen just now: it is in no rate.
    select check_depth.app_id, off.*, clock_timestamp() - interval '1 minute'
      from unnest(functions, queued, scheduled, running, failed) as off (function_id, queued, scheduled, running, failed)
     where off.queued <> 0 or off.scheduled <> 0 or off.running <> 0 or off.failed <> 0
    returning depth_deltas.function_id, depth_deltas.queued, depth_deltas.scheduled, depth_deltas.running, depth_deltas.failed
  )
  insert into secateur.depth_drifts (check_id, app_id, function_id, queued, scheduled, running, failed)
  select this_check, check_depth.app_id, rebased.* from rebased;
  -- point: rebased
  perform secateur.find_levels(check_depth.app_id);
  checked := true;
  return next;
end
$$;
