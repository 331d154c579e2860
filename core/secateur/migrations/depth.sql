-- Keeping the depth: its deltas are moved into totals, and the sums compared with the rows.
--
-- Both may run in any number of processes: an advisory lock (7218, tried) lets one at a time, and `every` keeps the others
-- from doing again what was just done.

-- Moves up to `batch` deltas into the totals, unless that was done less than `every` ago; returns how many it moved.
-- Readers see a delta either here or there, never twice.
-- Locks: 7218/1, tried; then rows that nobody else writes.
create or replace function secateur.compact_depth(every interval default '0', batch integer default 100000)
  returns integer
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
  -- Few or no rows by the statistics are thousands by now; and compiling a plan would take longer than running it.
  set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off
as $$
declare
  moment constant timestamptz := clock_timestamp();
  moved_rows integer;
begin
  perform secateur.require_read_committed();
  if not pg_try_advisory_xact_lock(7218, 1) then
    return 0;
  end if;
  -- point: alone
  if exists (select from secateur.depth_totals as total where total.moved_at > moment - compact_depth.every) then
    return 0;
  end if;
  with moved as (
    delete from secateur.depth_deltas as delta
     where delta.ctid = any (array(select next.ctid from secateur.depth_deltas as next limit compact_depth.batch))
    returning delta.*
  ), rated as (
    insert into secateur.depth_seconds as known (app_id, function_id, second, entered, drained)
    select moved.app_id, moved.function_id, date_trunc('second', moved.at), sum(moved.entered), sum(moved.drained)
      from moved
     where moved.at > moment - interval '15 seconds' and (moved.entered <> 0 or moved.drained <> 0)
     group by moved.app_id, moved.function_id, date_trunc('second', moved.at)
    on conflict (app_id, function_id, second) do update
       set entered = known.entered + excluded.entered, drained = known.drained + excluded.drained
  ), totalled as (
    insert into secateur.depth_totals as known
      (app_id, function_id, queued, scheduled, running, oldest_started_at, moved_at)
    select part.app_id, part.function_id, part.queued, part.scheduled, part.running, oldest.started_at, moment
      from (
        select moved.app_id, moved.function_id,
               sum(moved.queued) as queued, sum(moved.scheduled) as scheduled, sum(moved.running) as running
          from moved
         group by moved.app_id, moved.function_id
      ) as part
      left join lateral (
        -- One descent to the first entry from `queued` on. Not `status = 'queued' order by id`, for which the primary key
        -- would do as well, past everything that has finished.
        select run.status, run.started_at
          from secateur.runs as run
         where run.app_id = part.app_id
           and run.function_id = part.function_id
           and run.status in ('queued', 'scheduled', 'running')
           and (run.status, run.id) >= ('queued', '00000000-0000-0000-0000-000000000000')
         order by run.status, run.id
         limit 1
      ) as oldest on oldest.status = 'queued'
    on conflict (app_id, function_id) do update
       set queued = known.queued + excluded.queued,
           scheduled = known.scheduled + excluded.scheduled,
           running = known.running + excluded.running,
           oldest_started_at = excluded.oldest_started_at,
           moved_at = excluded.moved_at
  )
  select count(*) into moved_rows from moved;
  -- point: moved
  delete from secateur.depth_seconds as old where old.second < moment - interval '15 seconds';
  return moved_rows;
end
$$;

-- Counts the rows and sums totals and deltas, both in one snapshot: whoever writes at the same time is in neither or in
-- both. Where they differ, it records by how much, and adds the difference as a delta. Does nothing if another process
-- is at it, or the last check is younger than `every`: `checked` is false then. Takes seconds per ten million runs. Sees to
-- it as well that every queued run has its level (see find_levels).
-- Locks: 7218/2, tried.
create or replace function secateur.check_depth(every interval default '0')
  returns table (checked boolean, counted bigint, drift bigint)
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
  -- What statistics say of a queue was true before the flood.
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  perform secateur.require_read_committed();
  checked := false;
  if not pg_try_advisory_xact_lock(7218, 2) then
    return next;
    return;
  end if;
  -- point: alone
  if exists (select from secateur.depth_checks as past where past.checked_at > clock_timestamp() - check_depth.every) then
    return next;
    return;
  end if;
  with rows_counted as (
    select run.app_id, run.function_id,
           count(*) filter (where run.status = 'queued') as queued,
           count(*) filter (where run.status = 'scheduled') as scheduled,
           count(*) filter (where run.status = 'running') as running
      from secateur.runs as run
     where run.status in ('queued', 'scheduled', 'running')
     group by run.app_id, run.function_id
  ), summed as (
    select part.app_id, part.function_id,
           sum(part.queued) as queued, sum(part.scheduled) as scheduled, sum(part.running) as running
      from (
        select total.app_id, total.function_id, total.queued, total.scheduled, total.running
          from secateur.depth_totals as total
         union all
        select delta.app_id, delta.function_id, delta.queued, delta.scheduled, delta.running
          from secateur.depth_deltas as delta
      ) as part
     group by part.app_id, part.function_id
  ), missing as (
    select app_id, function_id,
           coalesce(rows_counted.queued, 0) - coalesce(summed.queued, 0) as queued,
           coalesce(rows_counted.scheduled, 0) - coalesce(summed.scheduled, 0) as scheduled,
           coalesce(rows_counted.running, 0) - coalesce(summed.running, 0) as running
      from rows_counted full join summed using (app_id, function_id)
  ), off as (
    select * from missing where missing.queued <> 0 or missing.scheduled <> 0 or missing.running <> 0
  ), rebased as (
    insert into secateur.depth_deltas (app_id, function_id, queued, scheduled, running)
    select off.app_id, off.function_id, off.queued, off.scheduled, off.running from off
  ), recorded as (
    insert into secateur.depth_checks (counted, drift)
    select coalesce((select sum(run.queued + run.scheduled + run.running) from rows_counted as run), 0),
           coalesce((select sum(abs(off.queued) + abs(off.scheduled) + abs(off.running)) from off), 0)
    returning depth_checks.id, depth_checks.counted, depth_checks.drift
  ), detailed as (
    insert into secateur.depth_drifts (check_id, app_id, function_id, queued, scheduled, running)
    select recorded.id, off.app_id, off.function_id, off.queued, off.scheduled, off.running from recorded, off
  )
  select recorded.counted, recorded.drift into counted, drift from recorded;
  -- point: rebased
  perform secateur.find_levels();
  checked := true;
  return next;
end
$$;
