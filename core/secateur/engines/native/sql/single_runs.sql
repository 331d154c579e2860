-- Cancelling a single run; undoing.sql takes it back like any other cancellation.

-- Cancels a single run. A waiting run is cancelled at once, so its record is complete; a running run is asked to stop. If an older
-- active cancellation matches a waiting run, the run belongs to that one, as always. To restore the run, undo the record.
-- Repeatable under its idempotency key. Raises SC404, SC409 (the run has ended; or the key was used for another request).
--
-- Locks: the app's, shared, so that the older cancellations stay what they are; then the run. A transaction that claims the run,
-- begins a step of it or ends it holds its row, and reads the requests afterwards: that decides between it and this one.
create or replace function secateur.cancel_run(
  id uuid, app_id text, run_id uuid, idempotency_key text, reason text, source text, created_by text
)
  returns secateur.cancellations
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  request constant jsonb := jsonb_strip_nulls(jsonb_build_object('run_id', cancel_run.run_id, 'reason', cancel_run.reason));
  doomed secateur.runs;
  moment timestamptz;
  done_at timestamptz;
  older secateur.cancellations[];
  owner uuid;
  committed secateur.cancellations;
begin
  perform secateur.require_read_committed();
  perform secateur.require_key(cancel_run.idempotency_key);
  perform secateur.require_record(cancel_run.reason, cancel_run.created_by, cancel_run.source);
  -- point: before the lock
  if not secateur.share_app(cancel_run.app_id) then
    raise exception using errcode = 'SC404', message = format('there is no run %s', cancel_run.run_id);
  end if;
  -- point: locked
  select run.* into doomed
    from secateur.runs as run where run.app_id = cancel_run.app_id and run.id = cancel_run.run_id for update;
  -- point: run locked
  committed := secateur.committed_under(cancel_run.app_id, cancel_run.idempotency_key, request);
  if committed.id is not null then
    return committed;
  end if;
  if doomed.id is null then
    raise exception using errcode = 'SC404', message = format('there is no run %s', cancel_run.run_id);
  elsif doomed.finished_at is not null then
    raise exception using errcode = 'SC409',
      message = format('run %s has already ended: %s at %s%s', doomed.id, doomed.status,
                       secateur.in_utc(doomed.finished_at), ', by cancellation ' || doomed.cancellation_id);
  end if;
  perform secateur.require_free_ids(cancel_run.app_id, array[cancel_run.id]);
  moment := clock_timestamp();
  insert into secateur.cancellations (
    id, kind, state, app_id, function_id, started_before, standing, parameters, compiler, request, idempotency_key, reason,
    source, created_at, created_by, created_role, expected, expected_exact, expected_by_function, in_force_at,
    run_id)
  values (
    cancel_run.id, 'run', 'active', doomed.app_id, doomed.function_id,
    greatest(moment, doomed.started_at + interval '1 microsecond'), false, '{}', 0, request, cancel_run.idempotency_key,
    cancel_run.reason, cancel_run.source, moment, cancel_run.created_by, session_user, 1, true,
    jsonb_build_object(doomed.function_id, 1), moment, doomed.id)
  on conflict on constraint cancellations_app_id_idempotency_key_key do nothing
  returning * into committed;
  if committed.id is null then
    -- Another run was cancelled under this key since we looked: that is refused.
    return secateur.committed_under(cancel_run.app_id, cancel_run.idempotency_key, request);
  end if;
  -- The run is there already: there is no transaction to wait for.
  insert into secateur.sweeps (app_id, cancellation_id, horizon) values (committed.app_id, committed.id, '0');
  -- point: recorded
  if doomed.status = 'running' then
    perform secateur.request_running(committed);
  else
    older := array(select rule from secateur.cancellations as rule
                    where rule.app_id = cancel_run.app_id and rule.state = 'active' and rule.serial < committed.serial
                    order by rule.serial);
    select hit.cancellation_id into owner
      from secateur.reached(cancel_run.app_id, older, array[doomed.id], quickly => true, budget => '250 ms') as hit;
    -- point: owner known
    perform secateur.cancel_backlog(cancel_run.app_id, array[doomed.id], array[coalesce(owner, committed.id)]);
    done_at := clock_timestamp();
    update secateur.cancellations as rule
       set state = 'complete', completed_at = done_at
     where rule.app_id = cancel_run.app_id and rule.id = committed.id
    returning rule.* into committed;
  end if;
  -- point: cancelled
  perform secateur.record_audit(
    'commit', committed.app_id, committed.function_id, committed.id, committed.created_by, committed.source,
    jsonb_build_object('request', committed.request, 'status', doomed.status));
  perform pg_notify('secateur_cancellations', committed.id::text);
  return committed;
end
$$;

-- The app of a run, even of a pruned one, so that its cancellation can be requested again under the same key; null if it is
-- unknown.
create or replace function secateur.app_of_run(run_id uuid, idempotency_key text)
  returns text
  language sql
  stable
  security definer set search_path = pg_catalog, pg_temp
as $$
  select coalesce(
    (select run.app_id from secateur.runs as run where run.id = app_of_run.run_id),
    (select rule.app_id from secateur.cancellations as rule
      where rule.run_id = app_of_run.run_id and rule.idempotency_key = app_of_run.idempotency_key))
$$;
