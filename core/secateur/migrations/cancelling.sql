-- Committing, stopping and sweeping cancellations: the operator's half of the queue. The lock protocol is described in
-- functions.sql, and both files are always replaced together.

-- Refuses SQL that the compiler did not write: each token must belong to the compiler's own vocabulary, which has no
-- second statement, no comment, no literal but a few type names, and no function outside pg_catalog's pure ones and
-- secateur_cel; a sub-select may only go through what one of two of those returns. Raises SC400.
create or replace function secateur.check_condition(condition text)
  returns void
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  part text[];
  token text;
  before text[] := array['', ''];
  open integer := 0;
  -- The depths of the brackets around what is looped over, and what must come next of `from helper(…) item)`.
  loops integer[] := '{}';
  due text := '';
  fits boolean;
  vocabulary jsonb := (select jsonb_object_agg(known.token, true) from secateur.condition_vocabulary as known);
begin
  if length(condition) > 1000000 then
    raise exception using errcode = 'SC400', message = 'the condition is too long';
  end if;
  for part in
    select parts
      from regexp_matches(
        condition,
        -- free: brackets, placeholders, numbers; to be looked up: words (with their schema), type-name literals, operators;
        -- then whatever is left. Space and newline are the only white space: Postgres reads others as part of a name.
        '([(\[])|([)\]])|(,|\$(?:[0-9]+|now)\M|[0-9]+\M)'
        '|([a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)?|''[a-zA-Z0-9_]*''|[-+*/%<>=!@?|&#~^]+|::)|([^ \n])',
        'g') as parts
  loop
    token := coalesce(part[1], part[2], part[3], part[4], part[5]);
    open := open + case when part[1] is not null then 1 when part[2] is not null then -1 else 0 end;
    fits := open >= 0 and part[5] is null and (part[4] is null or vocabulary ? part[4])
      -- A sub-select stands in `any|all|array (select … from helper(…) item)` only, so that it can read no table.
      and (token <> 'select' or before[2] = '(' and before[1] in ('any', 'all', 'array'))
      and (due = 'helper') = (token in ('secateur_cel.items_v1', 'secateur_cel.json_items_v1'))
      and (due <> 'bracket' or token = '(')
      and (due <> 'item' or token in ('item1', 'item2'))
      and (due <> 'end' or token = ')');
    if fits is not true then
      raise exception using
        errcode = 'SC400',
        message = format('the stored condition contains %L, which secateur''s compiler never writes%s', token,
                         case when due <> '' or token = any (array['select', 'secateur_cel.items_v1',
                              'secateur_cel.json_items_v1']) then ' in that place' end),
        hint = 'conditions are stored by secateur itself; do not write them by hand';
    end if;
    if due = 'bracket' then
      loops := loops || open;
    end if;
    due := case
      when token = 'from' then 'helper'
      when due = 'helper' then 'bracket'
      when due = 'item' then 'end'
      when token = ')' and open + 1 = loops[cardinality(loops)] then 'item'
      else ''
    end;
    if due = 'item' then
      loops := trim_array(loops, 1);
    end if;
    before := array[before[2], token];
  end loop;
  if due <> '' then
    raise exception using errcode = 'SC400', message = 'the stored condition ends in the middle of a sub-select';
  end if;
  if open > 0 then
    raise exception using errcode = 'SC400', message = 'the stored condition leaves a bracket open';
  end if;
end
$$;

-- A horizon: above the id of every transaction that has one by now, so that they all have ended when the oldest open one
-- is not below it. The end of a snapshot alone is only above the last transaction that *ended*, and the caller's own id
-- may be an old one; a subtransaction takes a new id, and has ended when it is rolled back.
create or replace function secateur.horizon(app_id text)
  returns xid8
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  begin
    perform from secateur.apps where apps.app_id = horizon.app_id for no key update;
    raise exception using errcode = 'SC000';
  exception when sqlstate 'SC000' then
    null;
  end;
  return pg_snapshot_xmax(pg_current_snapshot());
end
$$;

-- Asks every running run that the cancellation matches to stop, also when an older one asked before. Part of a commit.
create or replace function secateur.request_running(rule secateur.cancellations)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
as $$
  with running as (
    select run.id, run.claim_token, run.function_id from secateur.runs as run
     where run.app_id = rule.app_id
       and run.status = 'running'
       and (rule.function_id is null or run.function_id = rule.function_id)
  ), requested as (
    insert into secateur.cancel_requests (run_id, claim_token, cancellation_id, function_id)
    select running.id, running.claim_token, rule.id, running.function_id
      from secateur.reached(array[rule], array(select running.id from running)) as hit
      join running on running.id = hit.run_id
     where hit.cancellation_id is not null
    returning cancel_requests.function_id
  )
  insert into secateur.cancellation_deltas (cancellation_id, function_id, requested)
  select rule.id, requested.function_id, count(*) from requested group by requested.function_id
$$;

-- The cancellation that was committed under an idempotency key; null if none was. Raises SC409 if it was another request.
create or replace function secateur.committed_under(idempotency_key text, request jsonb)
  returns secateur.cancellations
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  committed secateur.cancellations;
begin
  select rule.* into committed
    from secateur.cancellations as rule where rule.idempotency_key = committed_under.idempotency_key;
  if found and committed.request <> committed_under.request then
    raise exception using errcode = 'SC409',
      message = format('the idempotency key %L was used before, for another request', committed_under.idempotency_key),
      hint = format('that was cancellation %s; use a new key', committed.id);
  end if;
  return committed;
end
$$;

-- Commits a cancellation, and returns its record once no matching run can be claimed any more.
--
-- O(running runs), whatever the backlog: it inserts the record, and a cancel request for each matching running run.
-- Repeatable under its idempotency key: the same request gives the same record, another one raises SC409.
-- Raises SC404 (no such app or function), SC422 with the field (window), SC423 (lock), SC400 (condition).
--
-- Locks: the app's, exclusive, until the transaction ends; no run. Its time is taken after the lock; then the horizon,
-- below which lies every transaction that may still insert a run that started before that time.
create or replace function secateur.commit_cancellation(
  id uuid,
  app_id text,
  function_id text,
  "if" text,
  started_after timestamptz,
  started_before timestamptz,
  standing boolean,
  condition text,
  parameters jsonb,
  compiler integer,
  request jsonb,
  idempotency_key text,
  reason text,
  source text,
  created_by text,
  expected bigint,
  expected_by_function jsonb
)
  returns secateur.cancellations
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  committed secateur.cancellations;
  moment timestamptz;
begin
  perform secateur.require_read_committed();
  perform secateur.check_condition(commit_cancellation.condition);
  if not exists (select from secateur.apps where apps.app_id = commit_cancellation.app_id) then
    raise exception using errcode = 'SC422', column = 'app_id',
      message = format('there is no app %s', quote_literal(commit_cancellation.app_id)),
      hint = (select 'known are: ' || string_agg(known.app_id, ', ' order by known.app_id)
                from (select apps.app_id from secateur.apps order by 1 limit 20) as known);
  end if;
  if commit_cancellation.function_id is not null
     and not exists (select from secateur.functions as known
                      where known.app_id = commit_cancellation.app_id
                        and known.function_id = commit_cancellation.function_id) then
    raise exception using errcode = 'SC422', column = 'function_id',
      message = format('app %s has no function %s', quote_literal(commit_cancellation.app_id),
                       quote_literal(commit_cancellation.function_id)),
      hint = (select 'known are: ' || string_agg(known.function_id, ', ' order by known.function_id)
                from secateur.functions as known where known.app_id = commit_cancellation.app_id);
  end if;
  if commit_cancellation.standing then
    raise exception using errcode = 'SC422', column = 'standing',
      message = 'standing cancellations are not supported yet: leave it out to cancel what has arrived so far';
  end if;
  -- point: before the lock
  perform secateur.lock_app(commit_cancellation.app_id);
  -- point: locked
  committed := secateur.committed_under(commit_cancellation.idempotency_key, commit_cancellation.request);
  if committed.id is not null then
    return committed;
  end if;
  moment := clock_timestamp();
  if commit_cancellation.started_before > moment then
    raise exception using errcode = 'SC422', column = 'started_before',
      message = format('%s lies in the future: it is %s now by the database''s clock',
                       to_char(commit_cancellation.started_before at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                       to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')),
      hint = 'leave it out to mean the moment of the commit';
  end if;
  if commit_cancellation.started_after >= coalesce(commit_cancellation.started_before, moment) then
    raise exception using errcode = 'SC422', column = 'started_after',
      message = 'must be before started_before, and in the past';
  end if;
  -- point: before the record
  insert into secateur.cancellations (
    id, kind, state, app_id, function_id, "if", started_after, started_before, standing, condition, parameters, compiler,
    request, idempotency_key, reason, source, created_at, created_by, created_role, expected, expected_by_function, horizon)
  values (
    commit_cancellation.id, 'bulk', 'active', commit_cancellation.app_id, commit_cancellation.function_id,
    commit_cancellation."if", commit_cancellation.started_after,
    coalesce(commit_cancellation.started_before, moment), false, commit_cancellation.condition,
    commit_cancellation.parameters
      || jsonb_build_object('now', to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')),
    commit_cancellation.compiler, commit_cancellation.request, commit_cancellation.idempotency_key,
    commit_cancellation.reason, commit_cancellation.source, moment, commit_cancellation.created_by, session_user,
    commit_cancellation.expected, commit_cancellation.expected_by_function,
    secateur.horizon(commit_cancellation.app_id))
  on conflict on constraint cancellations_idempotency_key_key do nothing
  returning * into committed;
  if committed.id is null then
    -- Another app's commit, under another lock, took the key at the same time.
    return secateur.committed_under(commit_cancellation.idempotency_key, commit_cancellation.request);
  end if;
  insert into secateur.sweeps (cancellation_id) values (committed.id);
  -- point: recorded
  perform secateur.request_running(committed);
  -- point: running runs asked to stop
  perform pg_notify('secateur_cancellations', committed.id::text);
  return committed;
end
$$;

-- Stops an active cancellation: from now on it matches nothing, and running runs that were only asked to stop go on. What
-- it cancelled stays cancelled. Repeatable. Raises SC404.
-- Locks: the record, which a sweep's batch holds shared; only then the app's, exclusive, so that claims need not wait for
-- that batch; then the requests in the order of runs.
create or replace function secateur.stop_cancellation(id uuid, author text)
  returns secateur.cancellations
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  stopped secateur.cancellations;
begin
  perform secateur.require_read_committed();
  select rule.* into stopped
    from secateur.cancellations as rule where rule.id = stop_cancellation.id for no key update;
  if not found then
    raise exception using errcode = 'SC404', message = format('there is no cancellation %s', stop_cancellation.id);
  end if;
  if stopped.state <> 'active' then
    return stopped;
  end if;
  -- point: before the lock
  perform secateur.lock_app(stopped.app_id);
  -- point: locked
  update secateur.cancellations as rule
     set state = 'stopped', stopped_at = clock_timestamp(), stopped_by = stop_cancellation.author
   where rule.id = stop_cancellation.id
  returning rule.* into stopped;
  -- point: stopped
  with open as (
    select request.run_id, request.claim_token
      from secateur.cancel_requests as request
     where request.cancellation_id = stopped.id and request.outcome is null
     order by request.run_id
       for update
  ), withdrawn as (
    update secateur.cancel_requests as request
       set outcome = 'withdrawn'
      from open
     where request.run_id = open.run_id and request.claim_token = open.claim_token and request.cancellation_id = stopped.id
    returning request.function_id
  )
  insert into secateur.cancellation_deltas (cancellation_id, function_id, withdrawn)
  select stopped.id, withdrawn.function_id, count(*) from withdrawn group by withdrawn.function_id;
  perform pg_notify('secateur_cancellations', stopped.id::text);
  return stopped;
end
$$;

-- Closes the cancel requests whose run left the claim that was asked: finished (the request was not seen yet) or back in
-- the backlog, where the sweep will find it. Returns how many did not finish. Part of a sweep.
create or replace function secateur.settle_requests(cancellation_id uuid)
  returns bigint
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  settled bigint;
begin
  perform secateur.close_requests(array_agg(run.id order by run.id), array_agg(run.claim_token order by run.id),
                                  'finished_first')
     from secateur.cancel_requests as open
     join secateur.runs as run on run.id = open.run_id and run.claim_token = open.claim_token
    where open.cancellation_id = settle_requests.cancellation_id
      and open.outcome is null
      and run.status in ('completed', 'failed');
  with left_claim as (
    select open.run_id, open.claim_token
      from secateur.cancel_requests as open
      join secateur.runs as run on run.id = open.run_id
     where open.cancellation_id = settle_requests.cancellation_id
       and open.outcome is null
       and (run.claim_token is distinct from open.claim_token or run.status in ('queued', 'scheduled', 'cancelled'))
     order by open.run_id
       for update of open
  ), withdrawn as (
    update secateur.cancel_requests as open
       set outcome = 'withdrawn'
      from left_claim
     where open.run_id = left_claim.run_id
       and open.claim_token = left_claim.claim_token
       and open.cancellation_id = settle_requests.cancellation_id
    returning open.function_id
  ), tallied as (
    insert into secateur.cancellation_deltas (cancellation_id, function_id, withdrawn)
    select settle_requests.cancellation_id, withdrawn.function_id, count(*)
      from withdrawn group by withdrawn.function_id
    returning cancellation_deltas.withdrawn
  )
  select coalesce(sum(tallied.withdrawn), 0) into settled from tallied;
  return settled;
end
$$;

-- The next `batch` backlog runs of a cancellation's scope behind a sweep's place, in the order of its pass.
create or replace function secateur.backlog_after(rule secateur.cancellations, place secateur.sweeps, batch integer)
  returns table (function_id text, status text, run_id uuid)
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
  -- A plan for any status could not use an index that has only some.
  set plan_cache_mode = force_custom_plan set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off
as $$
declare
  part record;
  wanted integer := backlog_after.batch;
  got integer;
begin
  for part in
    select known.function_id, walked.status
      from secateur.functions as known, (values ('scheduled', 1), ('queued', 2)) as walked (status, turn)
     where known.app_id = rule.app_id
       and (rule.function_id is null or known.function_id = rule.function_id)
       and (place.function_id is null or known.function_id > place.function_id
            or (known.function_id = place.function_id
                and (walked.status = place.status or place.status = 'scheduled')))
     order by known.function_id, walked.turn
  loop
    return query
    select part.function_id, part.status, run.id
      from secateur.runs as run
     where run.app_id = rule.app_id
       and run.function_id = part.function_id
       and run.status = part.status
       and run.id > case when part.function_id = place.function_id and part.status = place.status
                         then place.run_id else '00000000-0000-0000-0000-000000000000' end
     order by run.id
     limit wanted;
    get diagnostics got = row_count;
    wanted := wanted - got;
    exit when wanted = 0;
  end loop;
end
$$;

-- Cancels the runs that were asked to stop and whose worker died: nobody may claim from their queue any more, so a sweep
-- does not wait for a claim to take them back. Skips locked rows. Part of a sweep.
create or replace function secateur.cancel_abandoned(cancellation_id uuid)
  returns integer
  language sql
  set search_path = pg_catalog, pg_temp
as $$
  select cardinality(secateur.cancel_requested(array_agg(abandoned.id), array_agg(abandoned.claim_token)))
    from (
      select run.id, run.claim_token
        from secateur.cancel_requests as open
        join secateur.runs as run on run.id = open.run_id and run.claim_token = open.claim_token
       where open.cancellation_id = cancel_abandoned.cancellation_id
         and open.outcome is null
         and run.status = 'running'
         and run.lease_expires_at < now()
       order by run.id
         for update of run skip locked
    ) as abandoned
$$;

-- Rewrites one batch of the backlog that an active cancellation matches, looking at up to `batch` runs. One transaction a
-- call; whoever calls next, in whichever process, goes on where the last one ended.
--
-- A pass walks function by function, `scheduled` before `queued` (a run that is promoted meanwhile is met again), in id
-- order. A pass is clean when it found nothing and saw all that transactions older than the horizon wrote; from then on
-- only requests are settled, unless a run comes back from one. Clean, and no running run still asked to stop: complete.
--
-- A matching run belongs to the oldest active cancellation that matches it, whoever sweeps.
--
-- Locks: the records, shared, so that a stop waits for the batch; the sweep's advisory lock (7217), tried; matching rows
-- in id order. Raises SC404.
create or replace function secateur.sweep_cancellation(id uuid, batch integer default 10000)
  returns secateur.sweep_step
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  rule secateur.cancellations;
  place secateur.sweeps;
  walk uuid[] := '{}';
  functions text[];
  statuses text[];
  requeued bigint;
  waiting boolean := false;
  step secateur.sweep_step;
  older secateur.cancellations[];
  hit_runs uuid[];
  hit_rules uuid[];
  failing uuid[];
begin
  perform secateur.require_read_committed();
  if not sweep_cancellation.batch >= 1 then
    raise exception using errcode = 'SC422', column = 'batch', message = 'batch must be positive';
  end if;
  select active.* into rule from secateur.cancellations as active where active.id = sweep_cancellation.id for share;
  if not found then
    raise exception using errcode = 'SC404', message = format('there is no cancellation %s', sweep_cancellation.id);
  end if;
  step := row(rule.state, 0, false, false);
  if rule.state <> 'active' then
    return step;
  end if;
  if not pg_try_advisory_xact_lock(7217, rule.serial) then
    step.busy := true;
    return step;
  end if;
  select sweeps.* into place from secateur.sweeps where sweeps.cancellation_id = rule.id;
  perform secateur.cancel_abandoned(rule.id);
  requeued := secateur.settle_requests(rule.id);
  place.clean := place.clean and requeued = 0;
  if place.function_id is null then
    -- A pass that found nothing but began too early: walking again is of no use before the old transactions have ended.
    waiting := place.pass > 0 and place.found + requeued = 0 and not place.clean
      and pg_snapshot_xmin(pg_current_snapshot()) < rule.horizon;
    if not (place.clean or waiting) then
      place.pass := place.pass + 1;
      place.pass_xmin := pg_snapshot_xmin(pg_current_snapshot());
    end if;
    place.found := 0;
  end if;
  place.found := place.found + requeued;
  -- point: pass begun
  if not (place.clean or waiting) then
    select coalesce(array_agg(next.run_id), '{}'), array_agg(next.function_id), array_agg(next.status)
      into walk, functions, statuses
      from secateur.backlog_after(rule, place, sweep_cancellation.batch) as next;
  end if;
  -- point: batch read
  if cardinality(walk) > 0 then
    select coalesce(array_agg(hit.run_id) filter (where hit.cancellation_id is not null), '{}'),
           coalesce(array_agg(hit.cancellation_id) filter (where hit.cancellation_id is not null), '{}'),
           array_agg(hit.run_id) filter (where hit.cancellation_id is null)
      into hit_runs, hit_rules, failing
      from secateur.reached(array[rule], walk) as hit;
    if place.pass = 1 then
      insert into secateur.cancellation_deltas (cancellation_id, function_id, errors)
      select rule.id, run.function_id, count(*)
        from unnest(walk, functions) as run (id, function_id)
        join unnest(failing) as failed (id) using (id)
       group by run.function_id;
    end if;
    -- point: batch evaluated
    older := array(select active from secateur.cancellations as active
                    where active.app_id = rule.app_id and active.state = 'active' and active.serial < rule.serial
                    order by active.serial
                      for share);
    select coalesce(array_agg(hit.id), '{}'), coalesce(array_agg(coalesce(owner.cancellation_id, hit.rule_id)), '{}')
      into hit_runs, hit_rules
      from unnest(hit_runs, hit_rules) as hit (id, rule_id)
      left join secateur.reached(older, hit_runs) as owner on owner.run_id = hit.id;
    -- point: owners known
    step.cancelled := secateur.cancel_backlog(hit_runs, hit_rules);
    -- point: batch cancelled
    place.found := place.found + step.cancelled;
    place.function_id := functions[cardinality(walk)];
    place.status := statuses[cardinality(walk)];
    place.run_id := walk[cardinality(walk)];
  end if;
  if cardinality(walk) < sweep_cancellation.batch then
    place.clean := place.clean or (not waiting and place.found = 0 and place.pass_xmin >= rule.horizon);
    if place.clean
       and not exists (select from secateur.cancel_requests as open
                        where open.cancellation_id = rule.id and open.outcome is null) then
      update secateur.cancellations as swept
         set state = 'complete', completed_at = clock_timestamp() where swept.id = rule.id;
      step.state := 'complete';
    else
      step.idle := place.found = 0;
    end if;
    place.function_id := null;
    place.status := null;
    place.run_id := null;
  end if;
  update secateur.sweeps
     set pass = place.pass, pass_xmin = place.pass_xmin, found = place.found, clean = place.clean,
         function_id = place.function_id, status = place.status, run_id = place.run_id
   where sweeps.cancellation_id = rule.id;
  return step;
end
$$;

-- A cancellation's tallies, function by function: the sums of its deltas.
create or replace view secateur.cancellation_tallies as
  select cancellation_id,
         function_id,
         sum(requested)::bigint as requested,
         sum(cancelled)::bigint as cancelled,
         sum(finished_first)::bigint as finished_first,
         sum(errors)::bigint as errors,
         sum(requested - stopped - finished_first - withdrawn)::bigint as stopping
    from secateur.cancellation_deltas
   group by cancellation_id, function_id;

-- Rights: nobody may call anything until it is granted, and stored conditions run as a role that owns nothing else.
do $$
begin
  grant usage, create on schema secateur to secateur_sandbox;
  revoke all on all functions in schema secateur from public;
  execute format('grant execute on function secateur.evaluate_conditions to %I', current_user);
  alter function secateur.evaluate_conditions owner to secateur_sandbox;
  revoke all on schema secateur from secateur_sandbox;
  if not (select rolsuper from pg_roles where rolname = current_user) then
    execute format('revoke secateur_sandbox from %I', current_user);
  end if;
end
$$;
