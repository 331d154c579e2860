-- Evaluates stored conditions, and checks what may be stored as one.

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
    raise exception using errcode = 'SC400', message = 'the stored condition is longer than 1000000 characters';
  end if;
  for part in
    select parts
      from regexp_matches(
        condition,
        -- free: brackets, placeholders, numbers; to be looked up: words (with their schema), type-name literals, operators;
        -- then whatever is left. Space and newline are the only white space: Postgres reads others as part of a name.
        -- Without a backslash, which means something else where standard_conforming_strings is off.
        '([[(])|([])])|(,|[$](?:[0-9]+|now|async|queue|tags|unique_key|concurrency_key)(?![a-zA-Z0-9_])|[0-9]+(?![a-zA-Z0-9_]))'
        '|([a-z_][a-z0-9_]*(?:[.][a-z_][a-z0-9_]*)?|''[a-zA-Z0-9_]*''|[-+*/%<>=!@?|&#~^]+|::)|([^ ' || chr(10) || '])',
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

-- Raises SC400 for a condition that check_condition lets pass but Postgres cannot execute, such as `not` alone. The compiler never
-- writes one. Stored, it would match nothing and only show as errors. This executes it on no run.
create or replace function secateur.require_executable(condition text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if require_executable.condition is not null then
    perform from secateur.evaluate_conditions(
      array[require_executable.condition], '[{}]', '', '{}', '{}'::text[], '{}', '{}', '{}');
  end if;
exception when syntax_error_or_access_rule_violation then
  raise exception using errcode = 'SC400', message = format('the stored condition cannot be executed: %s', sqlerrm);
end
$$;

-- Left by older programs.
drop function if exists secateur.evaluate_conditions(text[], jsonb, text, text[], uuid[], jsonb[], timestamptz[], integer[]);
drop function if exists secateur.verdicts(text, jsonb, text, text[], uuid[], jsonb[], timestamptz[], integer[], interval);

-- Evaluates stored conditions on runs: returns a row for every pair whose verdict is true, or null (could not be evaluated). Runs
-- with no right on any table (its owner has none) and an empty search path. That is the second wall: the first is check_condition,
-- without which nothing is stored.
--
-- A condition's `$k` stands for element k of its parameters, as do `$now`, `$async`, and the names of the fields that only some
-- queues have, such as `$queue`; every parameter is text and cast where it is used. `ids` are uuids in secateur's own queue, and
-- texts in other engines' queues; a condition reads them as texts.
create or replace function secateur.evaluate_conditions(
  conditions text[],
  parameters jsonb,
  app_id text,
  function_ids text[],
  ids anyarray,
  events jsonb[],
  started_at timestamptz[],
  priorities integer[]
)
  returns table (place bigint, nth integer, verdict boolean)
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  verdicts text := '';
begin
  for i in 1 .. cardinality(conditions) loop
    verdicts := verdicts || format('%s(%s, (%s))', case when i > 1 then ', ' end, i, (
      select string_agg(
               case when part.nth = 1 then part.text
                    else format('($1 -> %s ->> %L)%s', i - 1, part.name, substr(part.text, length(part.name) + 1)) end,
               '' order by part.nth)
        from (select one.text, one.nth, substring(one.text from '^[a-z0-9_]*') as name
                from unnest(string_to_array(conditions[i], '$')) with ordinality as one (text, nth)) as part));
  end loop;
  return query execute
    'select run.place, said.nth, said.verdict
       from (select $2 as app_id, one.*
               from unnest($3, $4, $5, $6, $7)
                    with ordinality as one (function_id, id, event, started_at, priority, place)
              where secateur_cel.in_time_v1(one.event)) as run,
            lateral (values ' || verdicts || ') as said (nth, verdict)
      where said.verdict is distinct from false'
    using parameters, evaluate_conditions.app_id, function_ids, ids, events, evaluate_conditions.started_at, priorities;
end
$$;

-- Whether an event is so large that searching it for a pattern can take seconds. If its stored form is small, it is not; its text is
-- then not read.
create or replace function secateur.is_large(event jsonb)
  returns boolean
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
begin
  return pg_column_size(event) > 2000 and octet_length(event::text) > 250000;
end
$$;

-- As evaluate_conditions for one condition, but it never raises, and its time is bounded. Returns a row for every run (by its place
-- in `ids`) whose verdict is true, or null (it cannot be evaluated), or that is `undecided`: the budget left no time for it. A null
-- budget means no bound.
--
-- All runs are evaluated together in half of the budget. If that raises or takes too long, they are evaluated one by one in the
-- other half, each within a tenth of the whole. Nothing can interrupt the search for a pattern, so a short budget does not allow
-- one in large events.
create or replace function secateur.verdicts(
  condition text,
  parameters jsonb,
  app_id text,
  function_ids text[],
  ids anyarray,
  events jsonb[],
  started_at timestamptz[],
  priorities integer[],
  budget interval default null
)
  returns table (place integer, verdict boolean, undecided boolean)
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  conditions constant text[] := array[verdicts.condition];
  givens constant jsonb := jsonb_build_array(verdicts.parameters);
  -- Not by a SET of the function, which takes a superuser to write.
  before constant text := current_setting('secateur.deadline', true);
  deadline timestamptz := clock_timestamp() + verdicts.budget / 2;
begin
  begin
    if verdicts.budget < interval '1 second' and strpos(verdicts.condition, ' ~ ') > 0
       and exists (select from unnest(events) as one (event) where secateur.is_large(one.event)) then
      raise exception using errcode = 'SC408';
    end if;
    perform secateur.set_deadline(deadline);
    return query
    select said.place::integer, said.verdict, false
      from secateur.evaluate_conditions(
             conditions, givens, verdicts.app_id, function_ids, ids, events, verdicts.started_at, priorities) as said;
  exception when others then
    deadline := clock_timestamp() + verdicts.budget / 2;
    for p in 1 .. cardinality(ids) loop
      place := p;
      verdict := null;
      undecided := coalesce(clock_timestamp() >= deadline, false)
        or verdicts.budget < interval '1 second' and strpos(verdicts.condition, ' ~ ') > 0 and secateur.is_large(events[p]);
      if undecided is not true then
        begin
          perform secateur.set_deadline(least(deadline, clock_timestamp() + verdicts.budget / 10));
          return query
          select p, said.verdict, false from secateur.evaluate_conditions(
            conditions, givens, verdicts.app_id, array[function_ids[p]],
            array[ids[p]], array[events[p]], array[verdicts.started_at[p]], array[priorities[p]]) as said;
          continue;
        exception
          when sqlstate 'SC408' then
            undecided := true;
          when others then
            undecided := false;
        end;
      end if;
      return next;
    end loop;
  end;
  perform set_config('secateur.deadline', coalesce(before, ''), true);
end
$$;

-- Until when conditions may be evaluated in this transaction; after that they raise SC408. Null: no limit.
create or replace function secateur.set_deadline(deadline timestamptz)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform set_config('secateur.deadline', coalesce(date_part('epoch', deadline)::text, ''), true);
end
$$;

-- evaluate_conditions for some cancellations on the same runs, in half of the budget. Raises whatever the conditions raise; the
-- caller then evaluates each by itself.
create or replace function secateur.verdicts_of_all(
  rules secateur.cancellations[],
  app_id text,
  function_ids text[],
  ids uuid[],
  events jsonb[],
  started_at timestamptz[],
  priorities integer[],
  budget interval
)
  returns table (place bigint, nth integer, verdict boolean)
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  before constant text := current_setting('secateur.deadline', true);
  conditions text[];
  givens jsonb;
begin
  select array_agg(rule.condition order by rule.ordinality), jsonb_agg(rule.parameters order by rule.ordinality)
    into conditions, givens
    from unnest(rules) with ordinality as rule;
  if verdicts_of_all.budget < interval '1 second' and strpos(conditions::text, ' ~ ') > 0
     and exists (select from unnest(events) as one (event) where secateur.is_large(one.event)) then
    raise exception using errcode = 'SC408';
  end if;
  perform secateur.set_deadline(clock_timestamp() + verdicts_of_all.budget / 2);
  return query
  select said.* from secateur.evaluate_conditions(
    conditions, givens, verdicts_of_all.app_id, function_ids, ids, events, verdicts_of_all.started_at, priorities) as said;
  perform set_config('secateur.deadline', coalesce(before, ''), true);
end
$$;
