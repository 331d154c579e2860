-- Stopping a cancellation, and undoing it: what was waiting when it was cancelled waits again. The runs are put back in the
-- background, by restore_batch in restoring.sql.

-- Locks a cancellation's record for a stop or an undo, by the deadline, and gives what is in it. The gate comes first: it keeps
-- the app's sweeps, which share records, from beginning another batch, and waits for those that have begun. Raises SC404, and
-- SC423 when the deadline has come.
create or replace function secateur.lock_record(app_id text, id uuid, deadline timestamptz)
  returns secateur.cancellations
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set lock_timeout = 0
as $$
declare
  record secateur.cancellations;
begin
  perform secateur.wait_until(lock_record.deadline);
  perform secateur.take_lock(lock_record.app_id, 'sweeps', 'exclusive');
  -- point: gate locked
  perform secateur.wait_until(lock_record.deadline);
  select rule.* into record
    from secateur.cancellations as rule
   where rule.app_id = lock_record.app_id and rule.id = lock_record.id
     for no key update;
  if not found then
    raise exception using errcode = 'SC404', message = format('there is no cancellation %s', lock_record.id);
  end if;
  return record;
exception when lock_not_available then
  perform secateur.refuse_locked(lock_record.app_id, 'sweeps', format('cancellation %s or the sweeps of app %L', lock_record.id,
                                                                      lock_record.app_id));
end
$$;

-- Stops an active cancellation: from now on it matches nothing, and running runs that were only asked to stop go on. What
-- it cancelled stays cancelled. Repeatable. Raises SC404, SC423 (after 5 s in all).
-- Locks: the gate of the app's sweeps and the record, which a sweep's batch holds shared. Only then the app's, exclusive, so
-- that claims need not wait for that batch. Then the requests, in the order of runs.
create or replace function secateur.stop_cancellation(app_id text, id uuid, author text, source text default null)
  returns secateur.cancellations
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set lock_timeout = 0
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  deadline constant timestamptz := clock_timestamp() + interval '5 seconds';
  stopped secateur.cancellations;
  moment timestamptz;
begin
  perform secateur.require_read_committed();
  perform secateur.require_author(stop_cancellation.author, stop_cancellation.source);
  stopped := secateur.lock_record(stop_cancellation.app_id, stop_cancellation.id, deadline);
  if stopped.state not in ('active', 'retrying') then
    return stopped;
  end if;
  -- point: before the lock
  perform secateur.lock_app(stopped.app_id, deadline - clock_timestamp());
  perform secateur.wait_until(deadline);
  -- point: locked
  moment := clock_timestamp();
  update secateur.cancellations as rule
     set state = 'stopped', stopped_at = moment, stopped_by = stop_cancellation.author
   where rule.app_id = stop_cancellation.app_id and rule.id = stop_cancellation.id
  returning rule.* into stopped;
  -- point: stopped
  perform secateur.withdraw_requests(stopped.app_id, stopped.id);
  perform secateur.withdraw_jobs(stopped.app_id, stopped.id);
  perform secateur.compile_gate_of(stopped.app_id);
  perform secateur.reset_floors(stopped.app_id, stopped.function_id);
  perform secateur.record_audit('stop', stopped.app_id, stopped.function_id, stopped.id, stop_cancellation.author,
                                stop_cancellation.source, secateur.tallied(stopped.app_id, stopped.id));
  perform pg_notify('secateur_cancellations', stopped.id::text);
  return stopped;
end
$$;

-- Until when a cancellation can be undone, which is as long as its runs are kept. Null if it has not ended.
create or replace function secateur.undo_until(rule secateur.cancellations)
  returns timestamptz
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
begin
  return coalesce(rule.stopped_at, rule.completed_at, rule.undone_at)
         + (select retention.cancelled from secateur.retention);
end
$$;

-- Undoes a cancellation that is active, complete or stopped: from now on it matches nothing, running runs that were only
-- asked to stop go on, and restore_cancellation puts back what it cancelled. With `requeue_stopped` it also queues the
-- runs again that were stopped while they ran; a later call may ask for that, too. Repeatable. If runs were left because
-- their key was taken, the restore tries again.
--
-- O(open requests), whatever was cancelled. Raises SC404, SC409 (too late: its runs may have been pruned), SC423.
--
-- Once this has returned, no run can be cancelled by it any more, so that one walk of the restore sees all of them: a
-- sweep's batch and a restore that hands over to it hold the record or the app's lock; so does a claim; and whoever
-- ends a running run that was asked to stop holds the request, which is withdrawn here.
-- Locks: as stop_cancellation.
create or replace function secateur.undo_cancellation(
  app_id text, id uuid, author text, source text default null, requeue_stopped boolean default false
)
  returns secateur.cancellations
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set lock_timeout = 0
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  deadline constant timestamptz := clock_timestamp() + interval '5 seconds';
  undone secateur.cancellations;
  until timestamptz;
  moment timestamptz;
begin
  perform secateur.require_read_committed();
  perform secateur.require_author(undo_cancellation.author, undo_cancellation.source);
  undone := secateur.lock_record(undo_cancellation.app_id, undo_cancellation.id, deadline);
  if undone.state = 'undone' and (undone.requeue_stopped or undo_cancellation.requeue_stopped is not true)
     and (undone.restored_at is null or not (secateur.has_keyed(undone) or secateur.has_left_jobs(undone))) then
    return undone;
  end if;
  until := secateur.undo_until(undone);
  if until < clock_timestamp() then
    raise exception using errcode = 'SC409',
      message = format('cancellation %s can no longer be undone: its cancelled runs were kept until %s only', undone.id,
                       secateur.in_utc(until)),
      hint = 'the limit is `cancelled` of secateur.set_retention';
  end if;
  -- point: before the lock
  perform secateur.lock_app(undone.app_id, deadline - clock_timestamp());
  perform secateur.wait_until(deadline);
  -- point: locked
  moment := clock_timestamp();
  update secateur.cancellations as rule
     set state = 'undone',
         undone_at = coalesce(rule.undone_at, moment),
         undone_by = coalesce(rule.undone_by, undo_cancellation.author),
         requeue_stopped = rule.requeue_stopped or coalesce(undo_cancellation.requeue_stopped, false),
         restored_at = null
   where rule.app_id = undo_cancellation.app_id and rule.id = undone.id
  returning rule.* into undone;
  -- point: undone
  perform secateur.withdraw_requests(undone.app_id, undone.id);
  perform secateur.withdraw_jobs(undone.app_id, undone.id);
  perform secateur.reopen_jobs(undone.app_id, undone.id);
  perform secateur.compile_gate_of(undone.app_id);
  perform secateur.reset_floors(undone.app_id, undone.function_id);
  insert into secateur.restores as place (app_id, cancellation_id) values (undone.app_id, undone.id)
  on conflict on constraint restores_pkey do update set run_id = null, again_from = null;
  perform secateur.record_audit(
    'undo', undone.app_id, undone.function_id, undone.id, undo_cancellation.author, undo_cancellation.source,
    secateur.tallied(undone.app_id, undone.id) || jsonb_build_object('requeue_stopped', undone.requeue_stopped));
  perform pg_notify('secateur_cancellations', undone.id::text);
  return undone;
end
$$;

-- Puts back one batch of the runs of an undone cancellation, looking at up to `batch` of them in id order. Each of them
-- * is handed over, if other cancellations match it, active or complete: to the oldest of these;
-- * stays cancelled, if it was stopped while it ran (or is queued again, if the undo asked for that), or if another run has taken
--   its key meanwhile;
-- * else becomes exactly what it was.
-- One transaction a call. Whoever calls next, in whichever process, goes on where the last one ended. The step's state is
-- `restoring` until all is done, then `undone`. Raises SC404.
--
-- The batch reads the other cancellations in a statement after it has the app's lock shared, and holds that until its
-- rows are visible. So a commit, stop or undo of another one comes either before, and is read, or after the batch is
-- over: then its sweep finds the restored rows, and those that it would have taken back are not lost. A pending
-- commit holds no lock and may not be read. But it comes into force, and is swept, only when no such batch is left, and a
-- claim that could give out what the batch restored begins after it.
--
-- Locks: the record, tried, so that one process restores it and nobody repeats the undo meanwhile; then the app's,
-- shared; then the records that runs are handed over to, against pruning; then the runs. Runs whose key somebody is taking at
-- this moment are passed over, and come last.
create or replace function secateur.restore_cancellation(app_id text, id uuid, batch integer default 1000)
  returns secateur.sweep_step
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  app constant text := app_id;
  undone secateur.cancellations;
  place secateur.restores;
  wanted integer := batch;
  walk uuid[];
  ended boolean;
  done record;
  moment timestamptz;
  step secateur.sweep_step;
begin
  perform secateur.require_read_committed();
  perform secateur.require_number('batch', batch, 1, 100000);
  select rule.* into undone from secateur.cancellations as rule where rule.app_id = app and rule.id = restore_cancellation.id;
  if not found then
    raise exception using errcode = 'SC404', message = format('there is no cancellation %s', restore_cancellation.id);
  end if;
  step := row(undone.state, 0, false, false, 0, null, 0);
  if undone.state <> 'undone' then
    return step;
  end if;
  -- point: undone
  select rule.* into undone
    from secateur.cancellations as rule
   where rule.app_id = app and rule.id = restore_cancellation.id
     for no key update skip locked;
  if not found then
    step.state := 'restoring';
    step.busy := true;
    return step;
  elsif undone.restored_at is not null then
    return step;
  end if;
  -- point: alone
  step.state := 'restoring';
  select restores.* into place from secateur.restores where restores.app_id = app and restores.cancellation_id = undone.id;
  if place.next_at > clock_timestamp() then
    step.idle := true;
    step.wait := extract(epoch from place.next_at - clock_timestamp());
    return step;
  end if;
  wanted := least(wanted, ceil(undone.rate / 4.0));
  -- point: before the lock
  perform secateur.share_app(app);
  -- point: locked
  walk := case when undone.kind = 'retry' then secateur.retried_after(undone, place.run_id, wanted)
               else secateur.cancelled_after(undone, place.run_id, wanted) end;
  ended := cardinality(walk) < wanted;
  -- point: batch read
  if cardinality(walk) > 0 then
    done := secateur.restore_batch(undone, walk);
    ended := ended and done.seen = cardinality(walk);
    step.restored := done.restored;
    if cardinality(done.busy) > 0 then
      place.again_from := coalesce(place.again_from, place.run_id, '00000000-0000-0000-0000-000000000000');
    end if;
    place.run_id := walk[done.seen];
    if undone.rate is not null then
      step.wait := (done.restored + done.handed_over)::double precision / undone.rate;
      place.next_at := clock_timestamp() + step.wait * interval '1 second';
    end if;
  end if;
  if ended and place.again_from is not null then
    place.run_id := place.again_from;
    place.again_from := null;
    place.next_at := greatest(place.next_at, clock_timestamp() + interval '100 ms');
    step.idle := true;
    step.wait := extract(epoch from place.next_at - clock_timestamp());
    ended := false;
  end if;
  update secateur.restores
     set run_id = place.run_id, again_from = place.again_from, next_at = place.next_at
   where restores.app_id = app and restores.cancellation_id = undone.id;
  if ended then
    moment := clock_timestamp();
    update secateur.cancellations as rule set restored_at = moment where rule.app_id = app and rule.id = undone.id;
    step.state := 'undone';
    perform secateur.record_audit('restore', app, undone.function_id, undone.id, undone.undone_by, null,
                                  secateur.tallied(app, undone.id));
  end if;
  perform secateur.note_step(app, undone.id);
  return step;
end
$$;
