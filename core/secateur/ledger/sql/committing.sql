-- Committing cancellations, and putting pending ones in force. undoing.sql stops them and takes them back.

-- Asks every running run that the cancellation matches to stop, also when an older one asked before; whom it asked already
-- is not asked twice. Part of a commit.
create or replace function secateur.request_running(rule secateur.cancellations)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  app constant text := rule.app_id;
  running uuid[];
  slow uuid[];
begin
  if rule.run_id is not null then
    running := array[rule.run_id];
  else
    running := array(
      select run.id from secateur.runs as run
       where run.app_id = app
         and run.status = 'running'
         -- It has one. The index of all that is unfinished has none, and would otherwise do without a look at the table.
         and run.lease_expires_at is not null
         and (rule.function_id is null or run.function_id = rule.function_id));
  end if;
  select coalesce(array_agg(hit.run_id) filter (where hit.cancellation_id is not null), '{}'),
         coalesce(array_agg(hit.run_id) filter (where hit.undecided_by is not null), '{}')
    into running, slow
    from secateur.reached(app, array[rule], running, quickly => true, budget => '250 ms') as hit;
  -- None of these begins another step: see begin_step. Nobody else writes of a cancellation that is being committed.
  insert into secateur.slow_verdicts (app_id, cancellation_id, run_id, function_id)
  select app, rule.id, run.id, run.function_id
    from secateur.runs as run where run.app_id = app and run.id = any (slow)
  on conflict do nothing;
  -- point: running runs known
  with requested as (
    insert into secateur.cancel_requests (app_id, run_id, claim_token, cancellation_id, function_id)
    select run.app_id, run.id, run.claim_token, rule.id, run.function_id
      from secateur.runs as run
     where run.app_id = app and run.id = any (running) and run.status || '' = 'running'
    on conflict do nothing
    returning cancel_requests.function_id
  )
  insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, requested)
  select app, rule.id, requested.function_id, count(*) from requested group by requested.function_id;
end
$$;

-- lock_app, answering false instead of raising.
create or replace function secateur.try_lock_app(app_id text, patience interval)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform secateur.lock_app(try_lock_app.app_id, patience);
  return true;
exception when sqlstate 'SC423' then
  return false;
end
$$;

-- Puts a pending cancellation in force: the caller holds the app's lock exclusive, so every claim that had not seen the
-- record is over, and what it claimed is visible and asked to stop now. Gives way to whoever holds the record, who may be
-- waiting for the same lock. Returns the record as it is then.
create or replace function secateur.put_in_force(app_id text, cancellation_id uuid)
  returns secateur.cancellations
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  moment constant timestamptz := clock_timestamp();
  pending secateur.cancellations;
begin
  select rule.* into pending from secateur.cancellations as rule
   where rule.app_id = put_in_force.app_id and rule.id = put_in_force.cancellation_id
     for no key update skip locked;
  if pending.state = 'active' and pending.in_force_at is null then
    update secateur.cancellations as rule
       set in_force_at = moment
     where rule.app_id = put_in_force.app_id and rule.id = pending.id
    returning rule.* into pending;
    -- point: in force
    perform secateur.request_running(pending);
    perform pg_notify('secateur_cancellations', pending.id::text);
  elsif pending.id is null then
    select rule.* into pending from secateur.cancellations as rule
     where rule.app_id = put_in_force.app_id and rule.id = put_in_force.cancellation_id;
  end if;
  return pending;
end
$$;

-- Commits a cancellation of one app's functions (`function_ids` null: of all of them together), one for each function, all
-- or nothing; `ids` are theirs. Returns their records in the order of the functions.
--
-- O(running runs), whatever the backlog: it inserts the record, and a cancel request for each matching running run.
-- `expected` is how many matches the author was shown, for the record; null where nothing was counted, which keeps nobody
-- from committing. It is an estimate unless `expected_exact`.
-- Repeatable under its idempotency key: the same request gives the same records, another one raises SC409. (The first
-- function's record has the key itself, the others' one made of it.)
-- Raises SC404, SC422 with the field (app or functions unknown, window, rate), SC400 (condition).
--
-- In force: when it holds the app's lock, exclusive, until its transaction ends; then no matching run is claimed and no
-- further step of one begins. Pending: an open transaction that claimed holds the lock for longer than 250 ms. The
-- record is inserted all the same. What that promises is durability, and that every claim which begins after this
-- transaction has ended honours it, since a claim reads the records after taking the lock; so do the requests of all runs
-- that were seen running. What it does not promise yet are runs that a claim holds which read before: they become visible
-- with that claim's end, and can then begin steps, until put_in_force, under the exclusive lock that only the end of all those
-- claims makes free, asks them to stop. No sweep begins before, so nothing can become complete.
--
-- Locks: the app's, exclusive, until the transaction ends; no run. Its time is taken after the lock or the attempt; then
-- the horizon, below which lies every transaction that may still insert a run that started before that time: enqueue
-- takes its transaction id before its time, with or without the lock. The window of a standing cancellation goes on, and
-- its horizon is taken when it has ended.
create or replace function secateur.commit_cancellations(
  ids uuid[],
  app_id text,
  function_ids text[],
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
  expected_by_function jsonb,
  rate integer default null,
  requires jsonb[] default null,
  requires_suffices boolean default false,
  expected_exact boolean default true
)
  returns setof secateur.cancellations
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  functions constant text[] := coalesce(function_ids, array[null::text]);
  keys text[];
  held boolean;
  moment timestamptz;
  ahead interval;
  committed secateur.cancellations;
  expected_here bigint;
  by_function_here jsonb;
  end_of_ids xid8;
begin
  perform secateur.require_read_committed();
  commit_cancellations.standing := coalesce(commit_cancellations.standing, false);
  perform secateur.require_instant('started_after', commit_cancellations.started_after);
  perform secateur.require_instant('started_before', commit_cancellations.started_before);
  perform secateur.require_record(commit_cancellations.reason, commit_cancellations.created_by, commit_cancellations.source);
  perform secateur.require_commit(
    commit_cancellations.ids, commit_cancellations.function_ids, commit_cancellations."if", commit_cancellations.condition,
    commit_cancellations.parameters, commit_cancellations.compiler, commit_cancellations.request,
    commit_cancellations.idempotency_key, commit_cancellations.source, commit_cancellations.expected,
    commit_cancellations.expected_by_function, commit_cancellations.rate, commit_cancellations.requires);
  perform secateur.check_condition(commit_cancellations.condition);
  perform secateur.require_functions(commit_cancellations.app_id, commit_cancellations.function_ids);
  keys := array(select case named.place when 1 then commit_cancellations.idempotency_key
                       else commit_cancellations.idempotency_key || ' ' || named.function_id end
                  from unnest(functions) with ordinality as named (function_id, place) order by named.place);
  -- point: before the lock
  held := secateur.try_lock_app(commit_cancellations.app_id, '250 ms');
  -- point: locked
  committed := secateur.committed_under(commit_cancellations.app_id, keys[1], commit_cancellations.request);
  if committed.id is null then
    moment := clock_timestamp();
    if commit_cancellations.standing and commit_cancellations.started_before is null then
      raise exception using errcode = 'SC422', column = 'started_before',
        message = 'started_before: is required for a standing cancellation, which cancels new runs until then';
    elsif commit_cancellations.standing and commit_cancellations.started_before <= moment then
      raise exception using errcode = 'SC422', column = 'started_before',
        message = format('started_before: must be in the future for a standing cancellation; the database''s clock says %s',
                         secateur.in_utc(moment)),
        hint = 'leave `standing` out to cancel only runs that have already arrived';
    elsif commit_cancellations.started_before > moment and not commit_cancellations.standing then
      raise exception using errcode = 'SC422', column = 'started_before',
        message = format('started_before: %s is in the future; the database''s clock says %s',
                         secateur.in_utc(commit_cancellations.started_before), secateur.in_utc(moment)),
        hint = 'leave it out to mean the time of the commit, or set `standing`';
    end if;
    select retention.standing into ahead from secateur.retention;
    if commit_cancellations.standing and commit_cancellations.started_before > moment + ahead then
      raise exception using errcode = 'SC422', column = 'started_before',
        message = format('started_before: is too far ahead; here a standing cancellation may last until %s',
                         secateur.in_utc(moment + ahead)),
        hint = 'the limit is `standing` of secateur.set_retention';
    end if;
    if commit_cancellations.started_after >= coalesce(commit_cancellations.started_before, moment) then
      raise exception using errcode = 'SC422', column = 'started_after',
        message = 'started_after: must be before started_before, and in the past';
    end if;
    perform secateur.require_free_ids(commit_cancellations.app_id, commit_cancellations.ids);
    -- Each of them costs every claim of the app something. What an event or a single run asks for is not refused for that.
    if commit_cancellations.source <> 'event' and cardinality(functions) + (
         select count(*) from secateur.cancellations as rule
          where rule.app_id = commit_cancellations.app_id and rule.state = 'active' and rule.kind = 'bulk'
            and rule.source <> 'event') > 200 then
      raise exception using errcode = 'SC409', column = 'app_id',
        message = format('app %s would have more than 200 active cancellations; each one slows down every claim',
                         quote_literal(commit_cancellations.app_id)),
        hint = 'wait until some complete, stop some, or combine several into one with a wider `if`';
    end if;
    -- point: before the record
    expected_here := commit_cancellations.expected;
    by_function_here := commit_cancellations.expected_by_function;
    for i in 1 .. cardinality(functions) loop
      if cardinality(functions) > 1 then
        expected_here := coalesce((commit_cancellations.expected_by_function ->> functions[i])::bigint,
                                  case when commit_cancellations.expected is not null then 0 end);
        by_function_here := case when commit_cancellations.expected_by_function ? functions[i]
          then jsonb_build_object(functions[i], commit_cancellations.expected_by_function -> functions[i]) end;
      end if;
      insert into secateur.cancellations (
        id, kind, state, app_id, function_id, "if", started_after, started_before, standing, condition, parameters,
        compiler, request, idempotency_key, reason, source, created_at, created_by, created_role, expected,
        expected_exact, expected_by_function, in_force_at, rate, requires, requires_suffices)
      values (
        commit_cancellations.ids[i], 'bulk', 'active', commit_cancellations.app_id, functions[i],
        commit_cancellations."if", commit_cancellations.started_after,
        coalesce(commit_cancellations.started_before, moment), commit_cancellations.standing,
        commit_cancellations.condition,
        commit_cancellations.parameters || jsonb_build_object('now', secateur.in_utc(moment)),
        commit_cancellations.compiler, commit_cancellations.request, keys[i], commit_cancellations.reason,
        commit_cancellations.source, moment, commit_cancellations.created_by, session_user,
        expected_here, case when expected_here is not null then coalesce(commit_cancellations.expected_exact, false) end,
        by_function_here,
        case when held then moment end, commit_cancellations.rate, commit_cancellations.requires,
        commit_cancellations.requires is not null and coalesce(commit_cancellations.requires_suffices, false))
      on conflict on constraint cancellations_app_id_idempotency_key_key do nothing
      returning * into committed;
      -- Another commit, which did not hold the app's lock, took the key at the same time.
      exit when committed.id is null;
      insert into secateur.sweeps (app_id, cancellation_id) values (committed.app_id, committed.id);
      if not committed.standing then
        end_of_ids := secateur.horizon(committed.app_id, committed.id);
        update secateur.sweeps as place
           set horizon = end_of_ids
         where place.app_id = commit_cancellations.app_id and place.cancellation_id = committed.id;
      end if;
      -- point: recorded
      perform secateur.request_running(committed);
      -- point: running runs asked to stop
      perform secateur.record_audit(
        'commit', committed.app_id, committed.function_id, committed.id, committed.created_by, committed.source,
        jsonb_build_object('request', committed.request, 'expected', committed.expected, 'expected_exact',
                           committed.expected_exact, 'guarantee',
                           case when held then 'in_force' else 'pending' end,
                           'executed', secateur.executed(committed)));
      perform pg_notify('secateur_cancellations', committed.id::text);
      return next committed;
    end loop;
    if committed.id is not null then
      return;
    end if;
  end if;
  for i in 1 .. cardinality(functions) loop
    committed := secateur.committed_under(commit_cancellations.app_id, keys[i], commit_cancellations.request);
    if held and committed.state = 'active' and committed.in_force_at is null then
      committed := secateur.put_in_force(committed.app_id, committed.id);
    end if;
    return next committed;
  end loop;
end
$$;

-- commit_cancellations of one function, or of all of an app together.
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
  expected_by_function jsonb,
  rate integer default null,
  requires jsonb[] default null,
  requires_suffices boolean default false,
  expected_exact boolean default true
)
  returns secateur.cancellations
  language sql
  security definer set search_path = pg_catalog, pg_temp
as $$
  select committed.* from secateur.commit_cancellations(
    array[id], app_id, case when function_id is not null then array[function_id] end, "if", started_after, started_before,
    standing, condition, parameters, compiler, request, idempotency_key, reason, source, created_by, expected,
    expected_by_function, rate, requires, requires_suffices, expected_exact) as committed
$$;

-- Puts a pending cancellation in force if every transaction that had not seen it is over; true when it is in force, or
-- active no more. Anybody may call this, as often as they like: sweepers do. Raises SC404.
-- Locks: the record, which keeps a stop waiting for one slice of the lock at most; then the app's, exclusive, tried once.
create or replace function secateur.confirm_cancellation(app_id text, id uuid)
  returns boolean
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  rule secateur.cancellations;
begin
  perform secateur.require_read_committed();
  select pending.* into rule
    from secateur.cancellations as pending
   where pending.app_id = confirm_cancellation.app_id and pending.id = confirm_cancellation.id
     for no key update;
  if not found then
    raise exception using errcode = 'SC404', message = format('there is no cancellation %s', confirm_cancellation.id);
  end if;
  if rule.state <> 'active' or rule.in_force_at is not null then
    return true;
  end if;
  -- point: before the lock
  if not secateur.try_lock_app(rule.app_id, '50 ms') then
    return false;
  end if;
  -- point: locked
  perform secateur.put_in_force(rule.app_id, rule.id);
  return true;
end
$$;
