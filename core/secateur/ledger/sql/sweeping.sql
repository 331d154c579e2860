-- How the passes of a sweep begin and end. The queue decides what a pass does: see sweeping_runs.sql and jobs.sql.

-- Takes the gate of the app's sweeps shared for the rest of the transaction. Returns false if a stop or an undo has it, or waits
-- for it: then the batch gives way. Part of a sweep.
create or replace function secateur.enter_sweeps(app_id text)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp set lock_timeout = '50ms'
as $$
begin
  return secateur.take_lock(enter_sweeps.app_id, 'sweeps', 'row share');
exception when lock_not_available then
  return false;
end
$$;

-- The virtual ids of the transactions that are open in this database, except the caller's; only those in `among`, if it is given.
create or replace function secateur.open_transactions(among text[] default null)
  returns text[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select held.virtualxid
      from pg_locks as held
      join pg_stat_activity as session on session.pid = held.pid
     where held.locktype = 'virtualxid' and held.granted and held.mode = 'ExclusiveLock'
       and session.pid <> pg_backend_pid()
       and session.datid = (select known.oid from pg_database as known where known.datname = current_database())
       -- Postgres's own processes enqueue nothing.
       and session.usesysid is not null
       and (among is null or held.virtualxid = any (among))
     order by held.virtualxid);
end
$$;

-- Begins a pass of a sweep, or continues it at `place`. If `requeued` runs have just gone back to the backlog, a clean pass is not
-- clean any more. `waiting`: the last pass found nothing but began too early, and another one is useless before the old
-- transactions have ended. `paused`: the sweep waits because of its rate, or for the time between two passes.
--
-- In another engine's queue, a job may be as old as the transaction that inserts it, however late that transaction takes its id. So
-- all transactions that were open when the horizon was taken must end. Then a new horizon is taken, because one of them may have
-- been prepared meanwhile.
create or replace function secateur.begin_pass(
  rule secateur.cancellations, inout place secateur.sweeps, requeued bigint, out waiting boolean, out paused boolean
)
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  still_open text[];
begin
  place.clean := place.clean and requeued = 0;
  if place.horizon > pg_snapshot_xmax(pg_current_snapshot()) then
    -- Another server's number: the tables were restored from a dump, or the app was moved. No transaction survives that, but
    -- the pass must begin again to be compared with a number of this one.
    place.horizon := null;
    place.pass_xmin := null;
    place.function_id := null;
    place.status := null;
    place.run_id := null;
    place.clean := false;
  end if;
  if place.horizon is null and rule.started_before <= clock_timestamp() then
    place.horizon := secateur.horizon(rule.app_id, rule.id);
    place.next_at := null;
    if secateur.home_of(rule.app_id) is not null then
      place.open_transactions := secateur.open_transactions();
    end if;
  end if;
  if greatest(place.pass_at, place.stepped_at) > clock_timestamp() then
    -- The clock was set back: what this batch was to wait for may be hours away.
    place.pass_at := clock_timestamp();
    place.next_at := null;
  end if;
  paused := coalesce(place.next_at > clock_timestamp(), false);
  waiting := false;
  if place.function_id is null and not paused then
    if place.open_transactions is not null then
      still_open := secateur.open_transactions(place.open_transactions);
      if still_open = '{}' then
        place.horizon := secateur.horizon(rule.app_id, rule.id);
      end if;
    end if;
    waiting := place.horizon is not null and place.pass > 0 and place.found + requeued = 0 and not place.clean
      and (coalesce(cardinality(still_open) > 0, false) or pg_snapshot_xmin(pg_current_snapshot()) < place.horizon)
      -- What has ended may have left something.
      and still_open is not distinct from place.open_transactions;
    place.open_transactions := nullif(still_open, '{}');
    if not (place.clean or waiting) then
      place.pass := place.pass + 1;
      place.pass_xmin := case when place.open_transactions is null then pg_snapshot_xmin(pg_current_snapshot()) end;
      place.pass_at := clock_timestamp();
    end if;
    place.found := 0;
  end if;
  place.found := place.found + requeued;
end
$$;

-- Ends a pass. The cancellation is complete if a pass that began after the horizon has found nothing, and no request or slow run of
-- it is open. Otherwise the next pass begins at the first function again. Part of a sweep.
create or replace function secateur.end_pass(
  rule secateur.cancellations, inout place secateur.sweeps, waiting boolean, out complete boolean
)
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
as $$
declare
  moment timestamptz;
begin
  place.clean := place.clean or coalesce(not waiting and place.found = 0 and place.pass_xmin >= place.horizon, false);
  complete := place.clean;
  if complete and secateur.home_of(rule.app_id) is null then
    complete := not secateur.awaits_runs(rule.app_id, rule.id);
  elsif complete then
    complete := not secateur.awaits_jobs(rule.app_id, rule.id);
  end if;
  if complete then
    moment := clock_timestamp();
    update secateur.cancellations as swept
       set state = 'complete', completed_at = moment
     where swept.app_id = rule.app_id and swept.id = rule.id
       -- A stop may not have waited for the gate.
       and swept.state = rule.state;
    complete := found;
  end if;
  if place.horizon is null then
    place.next_at := least(
      rule.started_before,
      -- At most so long also if the clock was put forward during the pass.
      clock_timestamp() + least(interval '1 hour', greatest(
        interval '5 seconds', case when place.found > 0 then 1 else 10 end * (clock_timestamp() - place.pass_at))));
  end if;
  place.function_id := null;
  place.status := null;
  place.run_id := null;
end
$$;
