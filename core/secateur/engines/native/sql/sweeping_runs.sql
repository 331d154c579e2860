-- Sweeping: a cancellation's runs are cancelled in the background, batch by batch. How passes begin and end is in ledger/sql/sweeping.sql.

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
  elsif rule.ending then
    return secateur.ending_step(rule);
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
  -- None waits longer than a minute, unless the clock was set back.
  update secateur.slow_verdicts as slow
     set next_at = clock_timestamp()
   where slow.app_id = app and slow.cancellation_id = rule.id and slow.verdict is null
     and slow.next_at > clock_timestamp() + interval '2 minutes';
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
