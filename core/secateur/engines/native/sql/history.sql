-- The depth's history: how it was in the last 48 hours, for whoever looks only after something has begun.
--
-- Whichever process sums up the depth (compact_depth, once a second) also keeps a sample of the app. So there are samples for as
-- long as any worker, server or console was alive, and none for the time in which none was: readers show a gap there. All times
-- are the database's.
--
-- `depth_samples` has one row a sample, with arrays, and not one a function: it is one insert a second and one delete, whatever
-- the number of functions, and a tenth of the index. 48 hours take about 2 MB for an app that is idle, 10 MB with three busy
-- functions, and 70 MB with 200 or more, which is all that a sample has room for. A reader needs no more than SELECT on it; a
-- replica has it, too.

-- Keeps a sample of the app's depth as it was at `moment`, unless there is one of the same second, or the queue has not changed
-- and its last ten seconds have one. Then deletes what is too old, a batch at a time. Part of compact_depth, whose lock keeps
-- other processes from doing the same.
create or replace function secateur.sample_depth(app_id text, moment timestamptz)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  -- Functions that a sample has room for: those with the deepest queues, and the most traffic, come first.
  room constant integer := 200;
  batch constant integer := 1000;
  last_coarse timestamptz;
  last_one timestamptz;
  is_coarse boolean;
begin
  -- After a clock that was ahead has been set back, these would be in the way for as long.
  delete from secateur.depth_samples as ahead
   where ahead.app_id = sample_depth.app_id and ahead.coarse in (false, true) and ahead.at > moment + interval '1 minute';
  select max(past.at) into last_coarse
    from secateur.depth_samples as past where past.app_id = sample_depth.app_id and past.coarse;
  select greatest(max(past.at), last_coarse) into last_one
    from secateur.depth_samples as past where past.app_id = sample_depth.app_id and not past.coarse;
  is_coarse := last_coarse is null or last_coarse < date_bin('10 s', moment, timestamptz '2000-01-01 00:00:00+00');
  -- Two processes' turns may be closer than a second.
  if last_one > moment - interval '750 ms' and not is_coarse then
    return;
  end if;
  -- point: due
  if not is_coarse and not exists (select from secateur.depth_totals as total
                                    where total.app_id = sample_depth.app_id and total.moved_at > last_one) then
    return;
  end if;
  with now_there as (
    select total.function_id, total.queued, total.scheduled, total.running, total.failed, total.entered, total.drained,
           case when is_coarse then least(coalesce(matched.runs, 0), total.queued + total.scheduled + total.running)::bigint
                end as cancelling,
           total.queued <> 0 or total.scheduled <> 0 or total.running <> 0
             or (is_coarse and total.failed <> 0) or total.moved_at > coalesce(last_one, '-infinity') as listed,
           total.moved_at > coalesce(last_one, '-infinity') as changed
      from secateur.depth_totals as total
      left join (select one.function_id, one.runs from secateur.cancelling_runs as one
                  where is_coarse and one.app_id = sample_depth.app_id
                 offset 0) as matched using (function_id)
     where total.app_id = sample_depth.app_id
  ), kept as (
    -- The app as a whole, of all its functions.
    select '' as function_id, sum(there.queued) as queued, sum(there.scheduled) as scheduled, sum(there.running) as running,
           sum(there.failed) as failed, sum(there.entered) as entered, sum(there.drained) as drained,
           sum(there.cancelling) as cancelling, count(*) filter (where there.listed) > room as cut
      from now_there as there
    having bool_or(there.listed)
     union all
    (select there.function_id, there.queued, there.scheduled, there.running, there.failed, there.entered, there.drained,
            there.cancelling, false
       from now_there as there
      where there.listed
      order by there.queued + there.scheduled + there.running desc, there.changed desc
      limit room)
  )
  insert into secateur.depth_samples
    (app_id, coarse, at, function_ids, queued, scheduled, running, failed, entered, drained, cancelling, cut)
  select sample_depth.app_id, is_coarse, moment,
         array_agg(kept.function_id),
         array_agg(greatest(0, kept.queued)::bigint),
         array_agg(greatest(0, kept.scheduled)::bigint),
         array_agg(greatest(0, kept.running)::bigint),
         array_agg(greatest(0, kept.failed)::bigint),
         array_agg(kept.entered::bigint),
         array_agg(kept.drained::bigint),
         case when is_coarse then array_agg(kept.cancelling::bigint) end,
         coalesce(bool_or(kept.cut), false)
    from kept
  on conflict do nothing;
  -- point: sampled
  if is_coarse then
    delete from secateur.depth_samples as old
     where old.app_id = sample_depth.app_id
       and old.ctid = any (array(
             (select fine.ctid from secateur.depth_samples as fine
               where fine.app_id = sample_depth.app_id and not fine.coarse and fine.at < moment - interval '15 minutes'
               order by fine.at limit batch)
             union all
             (select long.ctid from secateur.depth_samples as long
               where long.app_id = sample_depth.app_id and long.coarse and long.at < moment - interval '48 hours'
               order by long.at limit batch)));
  end if;
end
$$;
