-- A cancellation's record: what it may contain, what it says for the audit, and its horizon.
--
-- The ledger names no table of a queue. The queue decides which runs a record reaches, and how they are cancelled, queued again and
-- put back (engines/native/sql, engines/foreign/sql). The ledger also works without secateur's own queue. It calls that queue's
-- functions only for its own apps: require_functions, exceeds, request_running, withdraw_requests, has_requests, reset_floors,
-- has_keyed and awaits_runs.
--
-- `run_id`, of the cancellation of a single run, is a uuid because the queue's ids are. As text, it would need a cast wherever it
-- is compared with a run, and such a comparison could not use the primary key. Outside the database, ids are text for every engine.

-- Left by older programs: require_draft has replaced it.
drop function if exists secateur.require_commit(
  uuid[], text[], text, text, jsonb, integer, jsonb, text, text, bigint, jsonb, integer, jsonb[]);

-- A time as the API writes it: 2024-01-21T00:00:00.000000Z.
create or replace function secateur.in_utc(moment timestamptz)
  returns text
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $$
  select to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- What a cancellation executes, for the audit. Its request is only what the author wrote.
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

-- What a cancellation did until it was stopped or undone, for the audit, and whether that is not final yet.
create or replace function secateur.ended_so_far(ended secateur.cancellations)
  returns jsonb
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
begin
  return secateur.tallied(ended.app_id, ended.id)
         || case when ended.ending then jsonb_build_object('guarantee', 'pending') else '{}' end;
end
$$;

-- The horizon is greater than every transaction id that has been assigned so far. Once the oldest open transaction's id has reached
-- it, all of those transactions have ended.
--
-- The end of a snapshot does not suffice: it is only above the last transaction that *ended*. The caller's own id may be old, too.
-- So a subtransaction locks a row, which takes a new id, and ends when it is rolled back. (Nobody waits for that row: it is the
-- cancellation's place.)
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

-- The cancellation that was committed under an idempotency key; null if there is none. Raises SC409 if its request was different.
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

-- A draft is a record that has not been inserted: it has only what its author gave. As a document it has these fields, all
-- optional: app_id, if, condition, parameters, compiler, requires (a list) and requires_suffices, started_after, started_before,
-- standing, with_cancelled (of a retry), request, idempotency_key, reason, source, created_by, rate, and `expected`: how many
-- matches the author was shown, by `expected_by_function`, as an estimate unless `expected_exact`. Without it nothing was counted;
-- one may commit all the same. Raises SC422 for an unknown field, and for a value of the wrong type; require_draft checks the
-- values.
create or replace function secateur.draft_of(document jsonb)
  returns secateur.cancellations
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  fields constant text[] := array[
    'app_id', 'if', 'condition', 'parameters', 'compiler', 'requires_suffices', 'started_after', 'started_before', 'standing',
    'with_cancelled', 'request', 'idempotency_key', 'reason', 'source', 'created_by', 'rate', 'expected', 'expected_exact',
    'expected_by_function'];
  unknown text;
  draft secateur.cancellations;
begin
  perform secateur.require_object('draft', document, 8000000);
  unknown := (select min(given.key) from jsonb_object_keys(document) as given (key)
               where given.key <> 'requires' and given.key <> all (fields));
  if unknown is not null then
    raise exception using errcode = 'SC422', column = 'draft',
      message = format('draft: has a field %L, which no draft has', left(unknown, 200));
  elsif jsonb_typeof(document -> 'requires') not in ('array', 'null') then
    raise exception using errcode = 'SC422', column = 'requires', message = 'requires: must be a list';
  end if;
  begin
    draft := jsonb_populate_record(null::secateur.cancellations, document - 'requires');
  exception when data_exception then
    raise exception using errcode = 'SC422', column = 'draft', message = format('draft: %s', sqlerrm);
  end;
  if jsonb_typeof(document -> 'requires') = 'array' then
    -- Each may be a list itself, which would become a dimension of the array.
    draft.requires := array(select one.value from jsonb_array_elements(document -> 'requires') as one);
  end if;
  return draft;
end
$$;

-- Raises unless a draft can become records with these ids, one for each of the functions (null: one for all of the app
-- together). What an event declares may be larger. Raises SC422 with the field, SC400 (condition).
create or replace function secateur.require_draft(draft secateur.cancellations, ids uuid[], function_ids text[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  by_event constant boolean := draft.source is not distinct from 'event';
  named constant integer := coalesce(cardinality(function_ids), 1);
begin
  perform secateur.require_instant('started_after', draft.started_after);
  perform secateur.require_instant('started_before', draft.started_before);
  perform secateur.require_record(draft.reason, draft.created_by, draft.source);
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
  elsif (draft."if" is null) <> (draft.condition is null) then
    raise exception using errcode = 'SC422', column = 'if',
      message = 'if: must be given together with its compiled condition';
  end if;
  perform secateur.require_text('if', draft."if", case when by_event then 40000 else 20000 end);
  perform secateur.require_object('parameters', draft.parameters, case when by_event then 67108864 else 1000000 end);
  if exists (select from jsonb_each(draft.parameters) as given where jsonb_typeof(given.value) not in ('string', 'null')) then
    raise exception using errcode = 'SC422', column = 'parameters', message = 'parameters: each must be a string or null';
  end if;
  perform secateur.require_number('compiler', draft.compiler, 1, 4);
  perform secateur.require_object('request', draft.request, case when by_event then 2000000 else 1000000 end);
  if not by_event then
    perform secateur.require_key(draft.idempotency_key);
  end if;
  perform secateur.require_expected(draft.expected, draft.expected_by_function);
  if draft.rate is not null then
    perform secateur.require_number('rate', draft.rate, 1, 2147483647);
  end if;
  if pg_column_size(draft.requires) > 1000000 then
    raise exception using errcode = 'SC422', column = 'requires', message = 'requires: is larger than 1000000 bytes';
  end if;
  perform secateur.check_condition(draft.condition);
  perform secateur.require_executable(draft.condition);
  -- Those of queues of others have been adopted; nobody can give `gated` in a document.
  if draft.gated is null then
    perform secateur.require_functions(draft.app_id, function_ids);
  end if;
end
$$;

-- Raises SC422 unless these can be the numbers of matches that the author was shown. Null: nothing was counted.
create or replace function secateur.require_expected(expected bigint, expected_by_function jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  most constant bigint := 9007199254740991;
begin
  if expected is not null then
    perform secateur.require_number('expected', expected, 0, most);
  end if;
  if expected_by_function is not null then
    perform secateur.require_object('expected_by_function', expected_by_function, 1000000);
    perform secateur.require_number('expected_by_function',
              case when given.value::text ~ '^[0-9]{1,16}$' then given.value::text::bigint end, 0, most)
       from jsonb_each(expected_by_function) as given;
  end if;
end
$$;

-- Raises SC422 unless a draft's window can be committed at its `created_at`. Only a standing cancellation's window may end in
-- the future, and no later than the limit.
create or replace function secateur.require_window(draft secateur.cancellations)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  moment constant timestamptz := draft.created_at;
  latest constant timestamptz := moment + (select retention.standing from secateur.retention);
begin
  if draft.standing and draft.started_before is null then
    raise exception using errcode = 'SC422', column = 'started_before',
      message = 'started_before: is required for a standing cancellation, which cancels new runs until then';
  elsif draft.standing and draft.started_before <= moment then
    raise exception using errcode = 'SC422', column = 'started_before',
      message = format('started_before: must be in the future for a standing cancellation; the database''s clock says %s',
                       secateur.in_utc(moment)),
      hint = 'leave `standing` out to cancel only runs that have already arrived';
  elsif draft.started_before > moment and not draft.standing then
    raise exception using errcode = 'SC422', column = 'started_before',
      message = format('started_before: %s is in the future; the database''s clock says %s',
                       secateur.in_utc(draft.started_before), secateur.in_utc(moment)),
      hint = 'leave it out to mean the time of the commit' || case when draft.kind <> 'retry' then ', or set `standing`' else '' end;
  elsif draft.standing and draft.started_before > latest then
    raise exception using errcode = 'SC422', column = 'started_before',
      message = format('started_before: is too far ahead; here a standing cancellation may last until %s',
                       secateur.in_utc(latest)),
      hint = 'the limit is `standing` of secateur.set_retention';
  elsif draft.started_after >= coalesce(draft.started_before, moment) then
    raise exception using errcode = 'SC422', column = 'started_after',
      message = 'started_after: must be before started_before, and in the past';
  end if;
end
$$;

-- The records that a draft becomes, one for each of the functions, in their order. The first has the draft's key; the others' keys
-- are made from it. Each has its function's part of the expected count.
create or replace function secateur.records_of(draft secateur.cancellations, ids uuid[], function_ids text[])
  returns setof secateur.cancellations
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  made secateur.cancellations := draft;
begin
  made.started_before := coalesce(draft.started_before, draft.created_at);
  made.parameters := draft.parameters || jsonb_build_object('now', secateur.in_utc(draft.created_at));
  made.requires_suffices := draft.requires is not null and coalesce(draft.requires_suffices, false);
  for i in 1 .. cardinality(ids) loop
    made.id := ids[i];
    made.function_id := function_ids[i];
    if i > 1 then
      made.idempotency_key := draft.idempotency_key || ' ' || made.function_id;
    end if;
    if cardinality(ids) > 1 then
      made.expected := coalesce((draft.expected_by_function ->> made.function_id)::bigint,
                                case when draft.expected is not null then 0 end);
      made.expected_by_function := case when draft.expected_by_function ? made.function_id
        then jsonb_build_object(made.function_id, draft.expected_by_function -> made.function_id) end;
    end if;
    made.expected_exact := case when made.expected is not null then coalesce(draft.expected_exact, false) end;
    return next made;
  end loop;
end
$$;

-- Inserts a record, and the place of its sweep. Null if another commit, which did not hold the app's lock, has taken its key.
--
-- The horizon is taken after the record's time: below it lies every transaction that may still insert a run which started
-- before that time, since enqueue takes its transaction id before its time. The window of a standing cancellation goes on;
-- its horizon is taken when the window has ended.
create or replace function secateur.insert_record(made secateur.cancellations)
  returns secateur.cancellations
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  committed secateur.cancellations;
  end_of_ids xid8;
begin
  insert into secateur.cancellations (
    id, kind, state, app_id, function_id, "if", started_after, started_before, standing, with_cancelled, condition, parameters,
    compiler, request, idempotency_key, reason, source, created_at, created_by, created_role, expected, expected_exact,
    expected_by_function, in_force_at, rate, requires, requires_suffices, gated)
  values (
    made.id, made.kind, made.state, made.app_id, made.function_id, made."if", made.started_after, made.started_before,
    made.standing, coalesce(made.with_cancelled, false), made.condition, made.parameters, made.compiler, made.request,
    made.idempotency_key, made.reason, made.source, made.created_at, made.created_by, session_user, made.expected,
    made.expected_exact, made.expected_by_function, made.in_force_at, made.rate, made.requires, made.requires_suffices,
    coalesce(made.gated, true))
  on conflict on constraint cancellations_app_id_idempotency_key_key do nothing
  returning * into committed;
  if committed.id is null then
    return null;
  end if;
  insert into secateur.sweeps (app_id, cancellation_id) values (committed.app_id, committed.id);
  if committed.state = 'active' and not committed.standing then
    end_of_ids := secateur.horizon(committed.app_id, committed.id);
    update secateur.sweeps as place
       set horizon = end_of_ids
     where place.app_id = committed.app_id and place.cancellation_id = committed.id;
  end if;
  return committed;
end
$$;

-- Writes a commit to the audit, with the further details `more`, and notifies the programs that listen.
create or replace function secateur.announce_commit(committed secateur.cancellations, more jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform secateur.record_audit(
    'commit', committed.app_id, committed.function_id, committed.id, committed.created_by, committed.source,
    jsonb_build_object('request', committed.request, 'expected', committed.expected, 'expected_exact', committed.expected_exact,
                       'executed', secateur.executed(committed)) || more);
  perform pg_notify('secateur_cancellations', committed.id::text);
end
$$;
