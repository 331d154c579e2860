-- Rewriting the rows that a committed cancellation matches, in the background.

-- Takes the gate of the app's sweeps shared for the rest of the transaction; false when a stop or an undo has it, or waits for
-- it: the batch gives way. Part of a sweep.
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

-- The virtual ids of the transactions that are open in this database, but for the caller's; of those `among` them, if it is given.
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

-- Begins a pass of a sweep, or goes on with it: `place` is then where it stands. `requeued` runs have just gone back to the backlog,
-- so that what was clean is not clean any more. `waiting`: the last pass found nothing but began too early, and before the old
-- transactions have ended another one is of no use. `paused`: its rate, or the time between two passes, has it wait.
--
-- In a queue of others a job may be as old as the transaction that inserts it, however late that takes its id. So all transactions have to
-- end that were open when the horizon was taken. Then a horizon is taken again: one of them may have been prepared meanwhile.
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

-- Ends a pass. The cancellation is complete if a pass has found nothing that began after the horizon, and no request or slow run
-- of it is open; else the next pass begins at the first function again. Part of a sweep.
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
  complete := false;
  if place.clean
     and not exists (select from secateur.cancel_requests as open
                      where open.app_id = rule.app_id and open.cancellation_id = rule.id
                        and open.outcome is null)
     and not exists (select from secateur.preimages as met
                      where met.app_id = rule.app_id and met.cancellation_id = rule.id
                        and met.was_running and met.outcome is null)
     and not exists (select from secateur.slow_jobs as slow
                      where slow.app_id = rule.app_id and slow.cancellation_id = rule.id
                        and slow.verdict is not false)
     and not exists (select from secateur.slow_verdicts as slow
                      where slow.app_id = rule.app_id and slow.cancellation_id = rule.id
                        and slow.verdict is not false) then
    complete := true;
    moment := clock_timestamp();
    update secateur.cancellations as swept
       set state = 'complete', completed_at = moment
     where swept.app_id = rule.app_id and swept.id = rule.id;
  end if;
  if place.horizon is null then
    place.next_at := least(
      rule.started_before,
      clock_timestamp() + greatest(
        interval '5 seconds', case when place.found > 0 then 1 else 10 end * (clock_timestamp() - place.pass_at)));
  end if;
  place.function_id := null;
  place.status := null;
  place.run_id := null;
end
$$;

-- Sweeps one batch: cancels runs of the backlog that an active cancellation matches, looking at up to `batch` runs. One transaction a
-- call. Whoever calls next, in whichever process, goes on where the last one ended.
--
-- A pass walks function by function, `scheduled` before `queued` (a run that is promoted meanwhile is met again), in id
-- order. A pass is clean when it found nothing and saw all that transactions older than the horizon wrote. From then on
-- only requests are settled, unless a run comes back from one. Clean, and no running run still asked to stop: complete.
--
-- For example, a cancellation is committed while transaction 990 is open, which enqueues a matching run; 1000 is the next id, and
-- becomes the horizon:
--   pass 1  oldest open 990   finds 12,000 runs in two batches. Something was found, so there is another pass.
--   pass 2  oldest open 990   finds nothing, but 990 may still insert. Not clean; the next calls wait until 990 has ended.
--   pass 3  oldest open 1003  finds the run of 990, and cancels it.
--   pass 4  oldest open 1010  finds nothing, and 1010 >= 1000: clean, and complete.
--
-- A pending cancellation is not swept: the call tries to put it in force. A batch would wait for rows that the older claims hold. So
-- each pass begins after those are over.
--
-- A standing cancellation has no horizon before its window has ended. Until then claims cancel what arrives. The pause between two
-- passes is as long as the last one if that found something, so that the depth soon shows it, else ten times as long (5 s at least). With a rate, a batch ends with the run
-- that uses up a quarter of a second of it, and the next one waits. (Claims know no rate: the guarantee comes first.)
--
-- A matching run belongs to the oldest active cancellation that matches it, whoever sweeps. Runs on which the condition takes too
-- long are left to decide_slowly. Those that it finds to match are cancelled here, and the cancellation is not complete before.
--
-- Locks: the gate of the app's sweeps, shared, so that a stop or undo waits for the batch, giving way to one that waits; its
-- place, tried, so that one process sweeps it; requests of runs that left their claim; matching rows in id order.
create or replace function secateur.sweep_batch(app_id text, id uuid, batch integer)
  returns secateur.sweep_step
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
as $$
declare
  app constant text := app_id;
  rule secateur.cancellations;
  place secateur.sweeps;
  pass record;
  walked record;
  walk_ended boolean := false;
  ended record;
  step secateur.sweep_step;
begin
  select active.* into rule from secateur.cancellations as active where active.app_id = app and active.id = sweep_batch.id;
  if rule.state = 'active' and rule.in_force_at is null then
    return row('active', 0, false, not secateur.confirm_cancellation(rule.app_id, rule.id), 0, null, 0)::secateur.sweep_step;
  end if;
  if rule.id is null then
    raise exception using errcode = 'SC404', message = format('there is no cancellation %s', sweep_batch.id);
  end if;
  -- point: in force
  if not secateur.enter_sweeps(app) then
    return row(rule.state, 0, false, true, 0, 0.05, 0)::secateur.sweep_step;
  end if;
  -- point: in the gate
  select active.* into rule from secateur.cancellations as active where active.app_id = app and active.id = sweep_batch.id;
  step := row(case when rule.state = 'undone' and rule.restored_at is null then 'restoring' else rule.state end,
              0, false, false, 0, null, 0);
  if rule.state = 'retrying' then
    return secateur.retry_batch(rule, batch);
  elsif rule.state <> 'active' then
    return step;
  end if;
  select sweeps.* into place
    from secateur.sweeps where sweeps.app_id = app and sweeps.cancellation_id = rule.id
     for no key update skip locked;
  if not found then
    step.busy := true;
    return step;
  end if;
  perform secateur.cancel_abandoned(app, rule.id);
  pass := secateur.begin_pass(rule, place, secateur.settle_requests(app, rule.id));
  place := pass.place;
  -- point: pass begun
  if not (place.clean or pass.waiting or pass.paused) then
    walked := secateur.walk_backlog(rule, place, batch);
    place := walked.place;
    walk_ended := walked.ended;
    step.cancelled := walked.cancelled;
  end if;
  step.cancelled := step.cancelled + secateur.cancel_decided(rule);
  -- point: decided ones cancelled
  if place.clean or pass.waiting or walk_ended then
    ended := secateur.end_pass(rule, place, pass.waiting);
    place := ended.place;
    step.state := case when ended.complete then 'complete' else 'active' end;
    step.idle := not ended.complete and place.found = 0;
  end if;
  if place.next_at > clock_timestamp() and step.state = 'active' then
    step.idle := true;
    step.wait := extract(epoch from place.next_at - clock_timestamp());
  end if;
  step.undecided := (select count(*) from (select from secateur.slow_verdicts as due
                                            where due.app_id = app and due.cancellation_id = rule.id
                                              and due.verdict is null and due.next_at <= clock_timestamp()
                                            limit 1000) as due);
  update secateur.sweeps
     set pass = place.pass, pass_xmin = place.pass_xmin, pass_at = place.pass_at, found = place.found, clean = place.clean,
         function_id = place.function_id, status = place.status, run_id = place.run_id, horizon = place.horizon,
         next_at = place.next_at
   where sweeps.app_id = app and sweeps.cancellation_id = rule.id;
  return step;
end
$$;

-- Sweeps one batch: see sweep_batch. Whoever it would have to wait for longer than a second makes it give way, and look again: for
-- so long a stop would wait for the batch as well. Raises SC404, SC422.
--
-- Of one that is undone it says `restoring` as long as restore_cancellation has something to do.
create or replace function secateur.sweep_cancellation(app_id text, id uuid, batch integer default 10000)
  returns secateur.sweep_step
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set lock_timeout = '1s'
as $$
declare
  step secateur.sweep_step;
begin
  perform secateur.require_read_committed();
  perform secateur.require_number('batch', sweep_cancellation.batch, 1, 100000);
  step := secateur.sweep_batch(sweep_cancellation.app_id, sweep_cancellation.id, sweep_cancellation.batch);
  if not step.busy then
    perform secateur.note_step(sweep_cancellation.app_id, sweep_cancellation.id);
  end if;
  return step;
exception when lock_not_available then
  return row('active', 0, false, true, 0, 0.25, 0)::secateur.sweep_step;
end
$$;
