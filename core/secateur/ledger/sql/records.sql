-- A cancellation's record: what it may contain, what it says for the audit, and its horizon.

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
