-- What an undo puts back, batch by batch. restoring.sql decides on each run.

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
  elsif undone.ending then
    return secateur.ending_step(undone);
  end if;
  -- point: undone
  select rule.* into undone
    from secateur.cancellations as rule
   where rule.app_id = app and rule.id = restore_cancellation.id
     for no key update skip locked;
  if not found or undone.ending then
    return row('restoring', 0, true, false, 0, null, 0)::secateur.sweep_step;
  elsif undone.restored_at is not null then
    return step;
  end if;
  -- point: alone
  step.state := 'restoring';
  select restores.* into place from secateur.restores where restores.app_id = app and restores.cancellation_id = undone.id;
  if secateur.must_wait(app, undone.id, place.next_at) then
    step.idle := true;
    step.wait := extract(epoch from place.next_at - clock_timestamp());
    return step;
  end if;
  place.next_at := null;
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
    update secateur.cancellations as rule set restored_at = clock_timestamp() where rule.app_id = app and rule.id = undone.id;
    step.state := 'undone';
    perform secateur.record_audit('restore', app, undone.function_id, undone.id, undone.undone_by, null,
                                  secateur.tallied(app, undone.id));
  end if;
  perform secateur.note_step(app, undone.id);
  return step;
end
$$;
