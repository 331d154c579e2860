-- Stopping a cancellation, and undoing it: runs that waited when they were cancelled wait again. The runs are put back in the
-- background: see restore_cancellation and, for other engines' queues, begin_job_restore.

-- Locks a cancellation's record for a stop or an undo, before the deadline, and returns it. The gate comes first: it keeps the
-- app's sweeps, which share records, from beginning another batch, and waits for those that have begun. Raises SC404, and SC423
-- when the deadline has come.
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

-- Tells the queue of a cancellation that was stopped or undone that it matches nothing any more. Part of a stop and of an undo.
create or replace function secateur.withdraw(rule secateur.cancellations)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if secateur.home_of(rule.app_id) is null then
    perform secateur.withdraw_requests(rule.app_id, rule.id);
    perform secateur.reset_floors(rule.app_id, rule.function_id);
    return;
  end if;
  perform secateur.withdraw_jobs(rule.app_id, rule.id);
  if rule.state = 'undone' then
    perform secateur.reopen_jobs(rule.app_id, rule.id);
  end if;
  perform secateur.compile_gate_of(rule.app_id);
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
  perform secateur.withdraw(stopped);
  perform secateur.record_audit('stop', stopped.app_id, stopped.function_id, stopped.id, stop_cancellation.author,
                                stop_cancellation.source, secateur.tallied(stopped.app_id, stopped.id));
  perform pg_notify('secateur_cancellations', stopped.id::text);
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
-- Once this has returned, the cancellation can cancel no run any more, so one walk of the restore sees all of its runs. A sweep's
-- batch, a claim, and a restore that hands over to it hold the record or the app's lock. A transaction that ends a running run
-- which was asked to stop holds the request, which is withdrawn here. Locks: as stop_cancellation.
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
     and (undone.restored_at is null or not secateur.has_left(undone)) then
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
  perform secateur.withdraw(undone);
  insert into secateur.restores as place (app_id, cancellation_id) values (undone.app_id, undone.id)
  on conflict on constraint restores_pkey do update set run_id = null, again_from = null;
  perform secateur.record_audit(
    'undo', undone.app_id, undone.function_id, undone.id, undo_cancellation.author, undo_cancellation.source,
    secateur.tallied(undone.app_id, undone.id) || jsonb_build_object('requeue_stopped', undone.requeue_stopped));
  perform pg_notify('secateur_cancellations', undone.id::text);
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
