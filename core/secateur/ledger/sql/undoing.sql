-- Stopping a cancellation, and undoing it: what was waiting when it was cancelled waits again.

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
  raise exception using
    errcode = 'SC423',
    message = format('an open transaction has locked cancellation %s or the sweeps of app %s; nothing was changed',
                     lock_record.id, quote_literal(lock_record.app_id)),
    hint = 'try again; pg_stat_activity shows long-open transactions';
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

-- Whether the restore of an undone cancellation left runs cancelled because another run had taken their key: a repeated undo
-- tries these again.
create or replace function secateur.has_keyed(undone secateur.cancellations)
  returns boolean
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  return exists (select from secateur.runs as run
                  where run.app_id = undone.app_id and run.cancellation_id = undone.id and run.key_taken_by is not null
                    and (run.cancelled_from <> 'running' or undone.requeue_stopped));
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
     and (undone.restored_at is null or not secateur.has_keyed(undone)) then
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

-- Up to `limit` runs of an undone cancellation that its restore did not put back, and why; those that were handed over
-- to another cancellation are among them. Of a retry: those that it left alone, and once it is undone, those that it could
-- not take back.
create or replace function secateur.unrestored(app_id text, id uuid, "limit" integer)
  returns table (run_id uuid, reason text)
  language plpgsql
  stable
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  rule secateur.cancellations;
begin
  -- For the number of all, whatever it is.
  perform secateur.require_number('limit', unrestored."limit", 0, 2147483647);
  select known.* into rule from secateur.cancellations as known
   where known.app_id = unrestored.app_id and known.id = unrestored.id;
  if rule.kind = 'retry' and rule.state <> 'undone' then
    return query select one.run_id, one.reason from secateur.left_alone(rule, unrestored."limit") as one;
    return;
  elsif rule.kind = 'retry' then
    return query
    select run.id,
           case when run.cancellation_id is not null then format('cancellation %s has cancelled it since', run.cancellation_id)
                when run.retried_from is null then 'it has begun since'
                else 'the undo has not reached it yet' end
      from secateur.runs as run
     where run.app_id = unrestored.app_id and run.retry_id = unrestored.id
     order by run.id
     limit unrestored."limit";
    return;
  end if;
  return query
  (select run.id,
          case when run.cancelled_from = 'running' and not rule.requeue_stopped
            then 'it was stopped while it ran: an undo that queues stopped runs again brings it back'
            else format('its idempotency key %L %s', run.idempotency_key,
                        coalesce('is taken by run ' || run.key_taken_by, 'is being taken right now')) end
     from secateur.runs as run
     left join secateur.restores as place on place.app_id = run.app_id and place.cancellation_id = run.cancellation_id
    where run.app_id = unrestored.app_id
      and run.cancellation_id = unrestored.id
      and rule.state = 'undone'
      and (rule.restored_at is not null or run.id <= place.run_id)
    order by run.id
    limit unrestored."limit")
  union all
  (select run.id, format('cancellation %s matches it too', run.cancellation_id)
     from secateur.runs as run
    where run.app_id = unrestored.app_id and run.handed_over_from = unrestored.id
    order by run.id
    limit unrestored."limit")
  limit unrestored."limit";
end
$$;
