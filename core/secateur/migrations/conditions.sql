-- What stored conditions say of runs, and what may be stored as one.

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
        -- Without a backslash, which means something else where standard_conforming_strings is off.
        '([[(])|([])])|(,|[$](?:[0-9]+|now|async)(?![a-zA-Z0-9_])|[0-9]+(?![a-zA-Z0-9_]))'
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

-- What stored conditions say of runs: a row for every pair whose verdict is true, or null (could not be evaluated).
-- Runs with no right on any table (its owner has none) and an empty search path. That is the second wall: the first is
-- check_condition, without which nothing is stored.
--
-- A condition's `$k` stands for element k of its parameters, as do `$now` and `$async`; every parameter is text and cast
-- where it is used.
create or replace function secateur.evaluate_conditions(
  conditions text[],
  parameters jsonb,
  app_id text,
  function_ids text[],
  ids uuid[],
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
        from (select one.text, one.nth, substring(one.text from '^[a-z0-9]*') as name
                from unnest(string_to_array(conditions[i], '$')) with ordinality as one (text, nth)) as part));
  end loop;
  return query execute
    'select run.place, said.nth, said.verdict
       from (select $2 as app_id, one.*
               from unnest($3, $4, $5, $6, $7)
                    with ordinality as one (function_id, id, event, started_at, priority, place)) as run,
            lateral (values ' || verdicts || ') as said (nth, verdict)
      where said.verdict is distinct from false'
    using parameters, evaluate_conditions.app_id, function_ids, ids, events, evaluate_conditions.started_at, priorities;
end
$$;

-- evaluate_conditions, made total: should a condition raise all the same, the runs are evaluated singly, and a pair
-- that raises has the verdict null, like any other that cannot be evaluated.
create or replace function secateur.verdicts(
  conditions text[],
  parameters jsonb,
  app_id text,
  function_ids text[],
  ids uuid[],
  events jsonb[],
  started_at timestamptz[],
  priorities integer[]
)
  returns table (place bigint, nth integer, verdict boolean)
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  return query select * from secateur.evaluate_conditions(
    conditions, parameters, verdicts.app_id, function_ids, ids, events, verdicts.started_at, priorities);
exception when others then
  for p in 1 .. cardinality(ids) loop
    for c in 1 .. cardinality(conditions) loop
      begin
        return query
        select p::bigint, c, said.verdict from secateur.evaluate_conditions(
          array[conditions[c]], jsonb_build_array(parameters -> (c - 1)), verdicts.app_id, array[function_ids[p]],
          array[ids[p]], array[events[p]], array[verdicts.started_at[p]], array[priorities[p]]) as said;
      exception when others then
        place := p;
        nth := c;
        verdict := null;
        return next;
      end;
    end loop;
  end loop;
end
$$;

-- Which of the app's runs its cancellations reach: for each reached run the oldest of them; for a run that none reaches but that
-- some could not be evaluated on, a row without a cancellation. `rules` come oldest first. Scope and window are decided
-- here, not by the stored condition; status is the caller's business, and what is read here of a run never changes.
--
-- A run that contains what suffices for a condition is reached without evaluating it. `quickly` leaves those rows out that
-- only tell of errors. Then a condition is evaluated only on runs that fulfil what it requires, if that is known: a claim
-- that nothing matches mostly evaluates none.
create or replace function secateur.reached(
  app_id text, rules secateur.cancellations[], run_ids uuid[], quickly boolean default false
)
  returns table (run_id uuid, cancellation_id uuid)
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  -- By the primary key: ten thousand ids look to the planner like a reason to read a table of a million rows.
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  most constant integer := 60;
  -- What a run must contain one of to be worth a closer look; null where that is not known.
  documents jsonb[];
  -- Runs that a cancellation reaches for sure, and the place of the oldest such in `rules`.
  sure_ids uuid[];
  sure_nth integer[];
  -- Runs that conditions have yet to be asked about; of `asking`, bit n - 1 is for the n-th of `rules`.
  ids uuid[];
  asking bigint[];
  asked integer[];
  function_ids text[];
  events jsonb[];
  started_at timestamptz[];
  priorities integer[];
begin
  if cardinality(rules) = 0 or cardinality(run_ids) = 0 then
    return;
  end if;
  if cardinality(rules) > most then
    return query
    select distinct on (part.run_id) part.run_id, part.cancellation_id
      from (select 1 as turn, first.* from secateur.reached(reached.app_id, rules[:most], run_ids, quickly) as first
            union all
            select 2, other.*
              from secateur.reached(reached.app_id, rules[most + 1:], run_ids, quickly) as other) as part
     order by part.run_id, part.cancellation_id is null, part.turn;
    return;
  end if;
  if quickly then
    select case when bool_and(rule.requires is not null) then array_agg(document) end into documents
      from unnest(rules) as rule left join unnest(rule.requires) as document on true;
  end if;
  with rule as materialized (
    select one.ordinality::integer as nth, one.function_id, one.run_id, one.started_after, one.started_before,
           one.requires, one.condition is null or one.requires_suffices is true as suffices
      from unnest(rules) with ordinality as one
  ), tested as (
    select run.id, run.function_id, run.event, run.started_at, run.priority, fulfilled.sure,
           fulfilled.asking & ((1::bigint << coalesce(fulfilled.sure, most + 1) - 1) - 1) as asking
      from secateur.runs as run,
           lateral (
             select min(applied.nth) filter (where applied.suffices and applied.fulfils) as sure,
                    coalesce(bit_or(1::bigint << applied.nth - 1) filter (
                      where case when applied.fulfils then not applied.suffices else not quickly end), 0) as asking
               from (select rule.nth, rule.suffices, rule.requires is null or run.event @> any (rule.requires) as fulfils
                       from rule
                      where (rule.function_id is null or run.function_id = rule.function_id)
                        and (rule.run_id is null or run.id = rule.run_id)
                        and (rule.started_after is null or run.started_at > rule.started_after)
                        and run.started_at < rule.started_before
                     offset 0) as applied
           ) as fulfilled
     where run.app_id = reached.app_id and run.id = any (run_ids)
       and (documents is null or run.event @> any (documents))
  )
  select array_agg(tested.id) filter (where tested.sure is not null),
         array_agg(tested.sure) filter (where tested.sure is not null),
         array_agg(tested.id) filter (where tested.asking <> 0),
         array_agg(tested.asking) filter (where tested.asking <> 0),
         array_agg(tested.function_id) filter (where tested.asking <> 0),
         array_agg(tested.event) filter (where tested.asking <> 0),
         array_agg(tested.started_at) filter (where tested.asking <> 0),
         array_agg(tested.priority) filter (where tested.asking <> 0)
    into sure_ids, sure_nth, ids, asking, function_ids, events, started_at, priorities
    from tested
   where tested.sure is not null or tested.asking <> 0;
  if ids is null then
    return query
    select mine.id, rules[mine.nth].id from unnest(sure_ids, sure_nth) as mine (id, nth);
    return;
  end if;
  if cardinality(rules) = 1 then
    return query
    select mine.id, rules[1].id from unnest(sure_ids) as mine (id)
    union all
    select ids[one.place], case when one.verdict then rules[1].id end
      from secateur.verdicts(array[rules[1].condition], jsonb_build_array(rules[1].parameters), reached.app_id,
                             function_ids, ids, events, started_at, priorities) as one;
    return;
  end if;
  asked := array(select nth from generate_series(1, cardinality(rules)) as nth
                  where (select bit_or(one) from unnest(asking) as one) & (1::bigint << nth - 1) <> 0);
  return query
  select distinct on (said.id) said.id, case when said.verdict then rules[said.nth].id end
    from (select mine.id, mine.nth, true as verdict from unnest(sure_ids, sure_nth) as mine (id, nth)
          union all
          select ids[one.place], asked[one.nth], one.verdict
            from secateur.verdicts(
                   array(select rules[nth].condition from unnest(asked) with ordinality as those (nth, turn) order by turn),
                   (select jsonb_agg(rules[nth].parameters order by turn)
                      from unnest(asked) with ordinality as those (nth, turn)),
                   reached.app_id, function_ids, ids, events, started_at, priorities) as one
           where asking[one.place] & (1::bigint << asked[one.nth] - 1) <> 0) as said
   order by said.id, said.verdict nulls last, said.nth;
end
$$;
