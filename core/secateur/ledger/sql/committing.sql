-- Committing cancellations; undoing.sql stops them and takes them back.

-- A time as the API writes it: 2024-01-21T00:00:00.000000Z.
create or replace function secateur.in_utc(moment timestamptz)
  returns text
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $$
  select to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- What a cancellation executes, for the audit: its request is only said.
create or replace function secateur.executed(rule secateur.cancellations)
  returns jsonb
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  return jsonb_build_object(
    'condition', rule.condition, 'parameters', rule.parameters, 'compiler', rule.compiler,
    'requires', to_jsonb(rule.requires), 'requires_suffices', rule.requires_suffices);
end
$$;

-- What a cancellation did so far, for the audit.
create or replace function secateur.tallied(app_id text, cancellation_id uuid)
  returns jsonb
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  return (
    select jsonb_build_object(
             'cancelled', coalesce(sum(delta.cancelled), 0),
             'requested', coalesce(sum(delta.requested), 0),
             'finished_first', coalesce(sum(delta.finished_first), 0),
             'restored', coalesce(sum(delta.restored), 0),
             'handed_over', coalesce(sum(delta.handed_over), 0),
             'pruned', coalesce(sum(delta.pruned), 0))
           || case when sum(delta.retried) <> 0 then jsonb_build_object('retried', sum(delta.retried)) else '{}' end
      from secateur.cancellation_deltas as delta
     where delta.app_id = tallied.app_id and delta.cancellation_id = tallied.cancellation_id);
end
$$;

-- A horizon: above the id of every transaction that has one by now, so that they all have ended when the oldest open one
-- is not below it. The end of a snapshot alone is only above the last transaction that *ended*, and the caller's own id
-- may be an old one; a subtransaction takes a new id when it locks a row (nobody else waits for a cancellation's place), and
-- has ended when it is rolled back.
create or replace function secateur.horizon(app_id text, cancellation_id uuid)
  returns xid8
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  begin
    perform from secateur.sweeps as place
      where place.app_id = horizon.app_id and place.cancellation_id = horizon.cancellation_id
        for update;
    raise exception using errcode = 'SC000';
  exception when sqlstate 'SC000' then
    null;
  end;
  return pg_snapshot_xmax(pg_current_snapshot());
end
$$;

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

-- The cancellation that was committed under an idempotency key; null if none was. Raises SC409 if it was another request.
create or replace function secateur.committed_under(app_id text, idempotency_key text, request jsonb)
  returns secateur.cancellations
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  committed secateur.cancellations;
begin
  select rule.* into committed
    from secateur.cancellations as rule
   where rule.app_id = committed_under.app_id and rule.idempotency_key = committed_under.idempotency_key;
  if found and committed.request <> committed_under.request then
    raise exception using errcode = 'SC409', column = 'idempotency_key',
      message = format('idempotency key %L was already used for another request', committed_under.idempotency_key),
      hint = format('cancellation %s was committed under it; use a new key', committed.id);
  end if;
  return committed;
end
$$;

-- Raises unless these can be the ids of new cancellations: SC409 if there is one of that id.
create or replace function secateur.require_free_ids(app_id text, ids uuid[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  taken uuid;
begin
  if exists (select from unnest(ids) as given (id) where given.id is null) then
    raise exception using errcode = 'SC422', column = 'id', message = 'id: must not be null';
  end if;
  select given.id into taken
    from unnest(ids) as given (id)
   group by given.id
  having count(*) > 1
      or exists (select from secateur.cancellations as rule
                  where rule.app_id = require_free_ids.app_id and rule.id = given.id
                 offset 0)
   limit 1;
  if taken is not null then
    raise exception using errcode = 'SC409', message = format('a cancellation with the id %s already exists', taken),
      hint = 'generate a new id';
  end if;
end
$$;

-- Raises unless a commit's numbers, texts and documents can be kept. What an event declares may be longer.
create or replace function secateur.require_commit(
  ids uuid[], function_ids text[], "if" text, condition text, parameters jsonb, compiler integer, request jsonb,
  idempotency_key text, source text, expected bigint, expected_by_function jsonb, rate integer, requires jsonb[]
)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  named constant integer := coalesce(cardinality(function_ids), 1);
begin
  if function_ids is not null then
    perform secateur.require_count('function_ids', cardinality(function_ids), 1, 100);
    if exists (select from unnest(function_ids) as given (id) where given.id is null) then
      raise exception using errcode = 'SC422', column = 'function_ids', message = 'function_ids: must not contain null';
    elsif (select count(distinct given) from unnest(function_ids) as given) < cardinality(function_ids) then
      raise exception using errcode = 'SC422', column = 'function_ids', message = 'function_ids: must not name a function twice';
    end if;
  end if;
  if coalesce(cardinality(ids) <> named, true) then
    raise exception using errcode = 'SC422', column = 'ids', message = format('ids: must have %s values, not %s',
      named, coalesce(cardinality(ids), 0));
  elsif ("if" is null) <> (condition is null) then
    raise exception using errcode = 'SC422', column = 'if',
      message = 'if: must be given together with its compiled condition';
  end if;
  perform secateur.require_text('if', "if", case when source = 'event' then 40000 else 20000 end);
  perform secateur.require_object('parameters', parameters, case when source = 'event' then 67108864 else 1000000 end);
  if exists (select from jsonb_each(parameters) as given where jsonb_typeof(given.value) not in ('string', 'null')) then
    raise exception using errcode = 'SC422', column = 'parameters', message = 'parameters: each must be a string or null';
  end if;
  perform secateur.require_number('compiler', compiler, 1, 3);
  perform secateur.require_object('request', request, case when source = 'event' then 2000000 else 1000000 end);
  if source is distinct from 'event' then
    perform secateur.require_key(idempotency_key);
  end if;
  if expected is not null then
    perform secateur.require_number('expected', expected, 0, 9007199254740991);
  end if;
  if expected_by_function is not null then
    perform secateur.require_object('expected_by_function', expected_by_function, 1000000);
    perform secateur.require_number('expected_by_function',
              case when given.value::text ~ '^[0-9]{1,16}$' then given.value::text::bigint end, 0, 9007199254740991)
       from jsonb_each(expected_by_function) as given;
  end if;
  if rate is not null then
    perform secateur.require_number('rate', rate, 1, 2147483647);
  end if;
  if pg_column_size(requires) > 1000000 then
    raise exception using errcode = 'SC422', column = 'requires', message = 'requires: is larger than 1000000 bytes';
  end if;
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

-- Raises SC422, with what is known, unless there are such an app and such functions of it (null: all of them).
create or replace function secateur.require_functions(app_id text, function_ids text[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  field constant text := case when cardinality(function_ids) = 1 then 'function_id' else 'function_ids' end;
  unknown text;
begin
  if not exists (select from secateur.apps where apps.app_id = require_functions.app_id) then
    raise exception using errcode = 'SC422', column = 'app_id',
      message = format('app_id: there is no app %s', quote_literal(require_functions.app_id)),
      hint = (select 'known apps: ' || coalesce(string_agg(known.app_id, ', ' order by known.app_id), 'none yet')
                from (select apps.app_id from secateur.apps order by 1 limit 20) as known);
  end if;
  select string_agg(format('%s: app %s has no function %s', field, quote_literal(require_functions.app_id),
                           quote_literal(named.function_id)), E'\n' order by named.place)
    into unknown
    from unnest(require_functions.function_ids) with ordinality as named (function_id, place)
   where not exists (select from secateur.functions as known
                      where known.app_id = require_functions.app_id and known.function_id = named.function_id
                     offset 0);
  if unknown is not null then
    raise exception using errcode = 'SC422', column = field, message = unknown,
      hint = (select 'known functions: ' || coalesce(string_agg(known.function_id, ', ' order by known.function_id), 'none yet')
                from secateur.functions as known
               where known.app_id = require_functions.app_id
                 and not exists (select from secateur.forgotten_functions as gone
                                  where gone.app_id = known.app_id and gone.function_id = known.function_id offset 0));
  end if;
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
