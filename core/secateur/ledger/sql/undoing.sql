-- Stopping a cancellation, and undoing it: runs that waited when they were cancelled wait again. The runs are put back in the
-- background: see restore_cancellation and, for other engines' queues, begin_job_restore.
--
-- Both always go through. If open transactions that may still act for the cancellation do not end in time, the record is `ending`: it
-- is stopped or undone for every claim and sweep that begins from then on, and settle_ending makes that final behind the locks.

-- Locks a cancellation's record for a stop or an undo, and returns it. First comes the gate: it keeps the app's sweeps, which share
-- records, from beginning another batch, and waits until the deadline for those that have begun. `alone` is false if they have not
-- ended by then. Raises SC404, and SC423 if somebody holds the record itself for half a second longer.
create or replace function secateur.lock_ending(
  app_id text, id uuid, deadline timestamptz, out rule secateur.cancellations, out alone boolean
)
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set lock_timeout = 0
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  perform secateur.wait_until(lock_ending.deadline);
  begin
    perform secateur.take_lock(lock_ending.app_id, 'sweeps', 'exclusive');
    alone := true;
  exception when lock_not_available then
    alone := false;
  end;
  -- point: gate locked
  perform secateur.wait_until(lock_ending.deadline + interval '0.5 seconds');
  select one.* into rule
    from secateur.cancellations as one
   where one.app_id = lock_ending.app_id and one.id = lock_ending.id
     for no key update;
  if not found then
    raise exception using errcode = 'SC404', message = format('there is no cancellation %s', lock_ending.id);
  end if;
exception when lock_not_available then
  perform secateur.refuse_locked(lock_ending.app_id, null, format('cancellation %s', lock_ending.id));
end
$$;

-- Tells the queue of a cancellation that was stopped or undone that it matches nothing any more. True if that is final: nobody can
-- act for the cancellation any more. So the caller must have `held` the gate of the app's sweeps and the app's lock; else only what
-- nobody holds is told, for those who come. Part of a stop and of an undo.
create or replace function secateur.withdraw(rule secateur.cancellations, held boolean)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp set lock_timeout = '250ms'
as $$
declare
  home constant text := secateur.home_of(rule.app_id);
begin
  if home is null then
    perform secateur.withdraw_requests(rule.app_id, rule.id, waits => held);
    perform secateur.reset_floors(rule.app_id, rule.function_id);
    return held and not secateur.has_requests(rule.app_id, rule.id);
  end if;
  if held then
    begin
      perform secateur.withdraw_jobs(rule.app_id, rule.id);
      if rule.state = 'undone' then
        perform secateur.reopen_jobs(rule.app_id, rule.id);
      end if;
      perform secateur.compile_gate(home);
      return true;
    exception when lock_not_available then
      null; -- somebody changes the gate, and stays open
    end;
  end if;
  perform secateur.compile_gate(home, waits => false);
  return false;
end
$$;

-- Makes the end of a cancellation final, if nobody can act for it any more; else it stays `ending`. The caller holds the record
-- and, if `held`, the gate of the app's sweeps and the app's lock. Returns the record as it is then.
create or replace function secateur.finish_ending(ended secateur.cancellations, held boolean)
  returns secateur.cancellations
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  final secateur.cancellations := ended;
begin
  if secateur.withdraw(ended, held) then
    update secateur.cancellations as rule
       set ending = false
     where rule.app_id = ended.app_id and rule.id = ended.id
    returning rule.* into final;
  end if;
  perform pg_notify('secateur_cancellations', final.id::text);
  return final;
end
$$;

-- Takes the gate of the app's sweeps, exclusive, and the record for the rest of the transaction, and returns the record. Both are only
-- tried: null if somebody has one of them.
create or replace function secateur.try_ending(app_id text, cancellation_id uuid)
  returns secateur.cancellations
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set lock_timeout = '50ms'
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  ended secateur.cancellations;
begin
  perform secateur.take_lock(try_ending.app_id, 'sweeps', 'exclusive');
  select rule.* into ended
    from secateur.cancellations as rule
   where rule.app_id = try_ending.app_id and rule.id = try_ending.cancellation_id
     for no key update;
  return ended;
exception when lock_not_available then
  return null;
end
$$;

-- Makes the end of a cancellation final, if all who may still act for it are over. True if it is final. Locks: as stop_cancellation,
-- but each is only tried. Part of a sweep, a restore and confirm_cancellation.
create or replace function secateur.settle_ending(app_id text, cancellation_id uuid)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  ended constant secateur.cancellations := secateur.try_ending(settle_ending.app_id, settle_ending.cancellation_id);
begin
  if ended.id is null or not ended.ending then
    return ended.id is not null;
  end if;
  -- point: before the lock
  if not secateur.try_lock_app(ended.app_id, '50 ms') then
    return false;
  end if;
  -- point: locked
  return not (secateur.finish_ending(ended, held => true)).ending;
end
$$;

-- What a sweeper does for a cancellation whose end is not final: it tries to make it final. The next call goes on with what is left.
create or replace function secateur.ending_step(rule secateur.cancellations)
  returns secateur.sweep_step
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  final constant boolean := secateur.settle_ending(rule.app_id, rule.id);
begin
  perform secateur.note_step(rule.app_id, rule.id);
  return row(case when not final then 'ending'
                  when rule.state = 'undone' and rule.restored_at is null then 'restoring'
                  else rule.state end,
             0, false, not final, 0, null, 0)::secateur.sweep_step;
end
$$;

-- Whether the restore of an undone cancellation left something that a repeated undo tries again.
create or replace function secateur.has_left(undone secateur.cancellations)
  returns boolean
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if secateur.home_of(undone.app_id) is null then
    return secateur.has_keyed(undone);
  end if;
  return secateur.has_left_jobs(undone);
end
$$;

-- Stops an active cancellation: from now on it matches nothing, and running runs that were only asked to stop go on. What
-- it cancelled stays cancelled. Repeatable. Raises SC404, and SC423 if somebody else ends the record and does not commit.
--
-- Ending: if an open transaction has held the gate or the app's lock for 4.5 s, the cancellation is stopped all the same.
-- * Promised: the stop is durable. Every claim, sweep and step that begins after this transaction has ended obeys it.
-- * Not promised yet: transactions that were open before may still cancel, in the name of the cancellation, what they had found. When
--   they have ended, settle_ending makes the stop final.
--
-- Locks: the gate of the app's sweeps and the record, which a sweep's batch holds shared. Only then the app's, exclusive, so
-- that claims need not wait for that batch. Then the requests, in the order of runs.
create or replace function secateur.stop_cancellation(app_id text, id uuid, author text, source text default null)
  returns secateur.cancellations
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set lock_timeout = 0
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  deadline constant timestamptz := clock_timestamp() + interval '4.5 seconds';
  locked record;
  stopped secateur.cancellations;
  held boolean;
  moment timestamptz;
begin
  perform secateur.require_read_committed();
  perform secateur.require_author(stop_cancellation.author, stop_cancellation.source);
  locked := secateur.lock_ending(stop_cancellation.app_id, stop_cancellation.id, deadline);
  stopped := locked.rule;
  if stopped.state not in ('active', 'retrying') and not stopped.ending then
    return stopped;
  end if;
  -- point: before the lock
  held := locked.alone and secateur.try_lock_app(stopped.app_id, deadline - clock_timestamp());
  -- point: locked
  if stopped.state not in ('active', 'retrying') then
    return secateur.finish_ending(stopped, held);
  end if;
  moment := clock_timestamp();
  update secateur.cancellations as rule
     set state = 'stopped', stopped_at = moment, stopped_by = stop_cancellation.author, ending = true
   where rule.app_id = stop_cancellation.app_id and rule.id = stop_cancellation.id
  returning rule.* into stopped;
  -- point: stopped
  stopped := secateur.finish_ending(stopped, held);
  perform secateur.record_audit('stop', stopped.app_id, stopped.function_id, stopped.id, stop_cancellation.author,
                                stop_cancellation.source, secateur.ended_so_far(stopped));
  return stopped;
end
$$;

-- Until when a cancellation can be undone, which is as long as its runs are kept. Null if it has not ended. In another engine's
-- queue also null if the time is over but all saved rows still exist, for example because nobody could undo it while the queue's
-- version was unknown.
create or replace function secateur.undo_until(rule secateur.cancellations)
  returns timestamptz
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  until constant timestamptz := coalesce(rule.stopped_at, rule.completed_at, rule.undone_at)
                                + (select retention.cancelled from secateur.retention);
begin
  if until < clock_timestamp() and rule.pruned_at is null and secateur.home_of(rule.app_id) is not null
     and not exists (select from secateur.cancellation_tallies as tally
                      where tally.app_id = rule.app_id and tally.cancellation_id = rule.id and tally.pruned > 0) then
    return null;
  end if;
  return until;
end
$$;

-- Undoes a cancellation that is active, complete or stopped: from now on it matches nothing, running runs that were only
-- asked to stop go on, and restore_cancellation puts back what it cancelled. With `requeue_stopped` it also queues the
-- runs again that were stopped while they ran; a later call may ask for that, too. Repeatable. If runs were left because
-- their key was taken, the restore tries again.
--
-- O(open requests), whatever was cancelled. Raises SC404, SC409 (too late: its runs may have been pruned), SC423.
--
-- Once it is final, the cancellation can cancel no run any more, so one walk of the restore, which does not begin before, sees all of
-- its runs. A sweep's batch, a claim, and a restore that hands over to it hold the gate or the app's lock. A transaction that ends a
-- running run which was asked to stop holds the request, which is withdrawn here. Locks, and an undo that is `ending`: as
-- stop_cancellation.
create or replace function secateur.undo_cancellation(
  app_id text, id uuid, author text, source text default null, requeue_stopped boolean default false
)
  returns secateur.cancellations
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set lock_timeout = 0
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  deadline constant timestamptz := clock_timestamp() + interval '4.5 seconds';
  locked record;
  undone secateur.cancellations;
  held boolean;
  until timestamptz;
  moment timestamptz;
begin
  perform secateur.require_read_committed();
  perform secateur.require_author(undo_cancellation.author, undo_cancellation.source);
  locked := secateur.lock_ending(undo_cancellation.app_id, undo_cancellation.id, deadline);
  undone := locked.rule;
  if undone.state = 'undone' and (undone.requeue_stopped or undo_cancellation.requeue_stopped is not true)
     and (undone.restored_at is null or not secateur.has_left(undone)) then
    if undone.ending then
      held := locked.alone and secateur.try_lock_app(undone.app_id, deadline - clock_timestamp());
      undone := secateur.finish_ending(undone, held);
    end if;
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
  held := locked.alone and secateur.try_lock_app(undone.app_id, deadline - clock_timestamp());
  -- point: locked
  moment := clock_timestamp();
  update secateur.cancellations as rule
     set state = 'undone',
         undone_at = coalesce(rule.undone_at, moment),
         undone_by = coalesce(rule.undone_by, undo_cancellation.author),
         requeue_stopped = rule.requeue_stopped or coalesce(undo_cancellation.requeue_stopped, false),
         restored_at = null,
         ending = true
   where rule.app_id = undo_cancellation.app_id and rule.id = undone.id
  returning rule.* into undone;
  -- point: undone
  undone := secateur.finish_ending(undone, held);
  insert into secateur.restores as place (app_id, cancellation_id) values (undone.app_id, undone.id)
  on conflict on constraint restores_pkey do update set run_id = null, again_from = null;
  perform secateur.record_audit(
    'undo', undone.app_id, undone.function_id, undone.id, undo_cancellation.author, undo_cancellation.source,
    secateur.ended_so_far(undone) || jsonb_build_object('requeue_stopped', undone.requeue_stopped));
  return undone;
end
$$;

-- Sets how long runs are kept; null leaves a time unchanged. Returns the resulting retention. Repeatable; audited if it changes
-- something. Raises SC422.
create or replace function secateur.set_retention(
  finished interval, cancelled interval, standing interval, author text, source text
)
  returns secateur.retention
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  before secateur.retention;
  after secateur.retention;
begin
  perform secateur.require_author(set_retention.author, set_retention.source);
  perform secateur.require_interval(given.name, given.value, '0', '100 years')
     from (values ('finished', set_retention.finished), ('cancelled', set_retention.cancelled),
                  ('standing', set_retention.standing)) as given (name, value)
    where given.value is not null;
  select retention.* into before from secateur.retention for update;
  update secateur.retention as kept
     set finished = coalesce(set_retention.finished, kept.finished),
         cancelled = coalesce(set_retention.cancelled, kept.cancelled),
         standing = coalesce(set_retention.standing, kept.standing)
  returning kept.* into after;
  if after is distinct from before then
    perform secateur.record_audit(
      'retention', '', null, null, set_retention.author, set_retention.source,
      jsonb_build_object('before', to_jsonb(before) - 'one', 'after', to_jsonb(after) - 'one'));
  end if;
  return after;
end
$$;
