-- The generated functions of gates on other engines' queues. They say which active cancellation matches a job. See gates.sql.
--
-- None of the functions here is in SQL: Postgres would plan it anew at each commit.

-- A stored condition with its parameters written out: each `$k` becomes element k of them, as a literal. So Postgres computes constant
-- parts once, and not for every job. Fields that only some queues have, such as `$queue`, are read from the run's fields.
create or replace function secateur.with_literals(condition text, parameters jsonb)
  returns text
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  return (
    select string_agg(
             case when part.nth = 1 then part.text
                  when part.name ~ '^([0-9]+|now)$'
                    then format('(%L::text)%s', parameters ->> part.name, substr(part.text, length(part.name) + 1))
                  else format('(run.fields ->> %L)%s', part.name, substr(part.text, length(part.name) + 1)) end,
             '' order by part.nth)
      from (select one.text, one.nth, substring(one.text from '^[a-z0-9_]*') as name
              from unnest(string_to_array(condition, '$')) with ordinality as one (text, nth)) as part);
end
$$;

-- A value that every event which contains the document has, and its place: SQL over the job's `data` or `name`. Prefers a value in the
-- data. Nulls if there is none: the document is empty, or contains only lists.
create or replace function secateur.leaf_of(document jsonb, out place text, out value jsonb)
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  with recursive walk (place, value) as (
    select case member.key when 'data' then 'data' else 'to_jsonb(name)' end, member.value
      from jsonb_each(leaf_of.document) as member
     where member.key in ('data', 'name')
    union all
    select format('%s -> %L', walk.place, member.key), member.value
      from walk
     cross join lateral jsonb_each(case when jsonb_typeof(walk.value) = 'object' then walk.value else '{}' end) as member
  )
  select walk.place, walk.value
    into leaf_of.place, leaf_of.value
    from walk
   where jsonb_typeof(walk.value) not in ('object', 'array')
   order by walk.place = 'to_jsonb(name)', walk.place
   limit 1;
end
$$;

-- A stored condition over variables, one for each field that it reads: all conditions share those of `places`, to which it adds its own. A place is
-- a variable's type and value, over a job's `data` and `name`. Null unless the condition is plain: it never raises, takes no time to speak of, and says the same
-- whatever a session has set, for it calls none of the language's functions, looks for no pattern, has no loop, and reads what every row has.
create or replace function secateur.plain_condition(condition text, parameters jsonb, inout places text[], out plain text)
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
declare
  harmless constant text[] := array[
    'run.event', 'run.app_id', 'run.function_id', 'run.id', 'run.priority', 'text', 'jsonb', 'numeric',
    'case', 'when', 'then', 'else', 'end', 'and', 'or', 'not', 'is', 'null', 'true', 'false', 'in', 'any',
    'array', 'jsonb_typeof', 'number', 'string', 'boolean', 'object',
    'starts_with', 'strpos', 'left', 'right', 'length'];
  path text;
  keys text[];
  place text;
begin
  -- All that is not known to be harmless is not plain. A condition that is not the compiler's may say anything.
  if exists (select from regexp_matches(condition, '[a-zA-Z_"][a-zA-Z0-9_."]*', 'g') as word (found)
              where word.found[1] <> all (harmless))
     or octet_length(condition) <> length(condition)
     or regexp_replace(condition, '[$][0-9]+::text(::(jsonb|numeric))?|run[.]priority::numeric|''(true|false)''::jsonb|::text|->>?|@>|~[<>]=?~', '', 'g')
        ~ '[-+*/%~@^&#$:]' then
    return;
  end if;
  begin
    perform case given.found[2] when 'jsonb' then (parameters ->> given.found[1])::jsonb is null
                               else (parameters ->> given.found[1])::numeric is null end
       from regexp_matches(condition, '[$]([0-9]+)::text::(jsonb|numeric)', 'g') as given (found);
  exception when others then
    return;
  end;
  plain := condition;
  for path in
    select found.path[1]
      from regexp_matches(condition, '(run[.]event(?: ->>? [$][0-9]+::text)+)', 'g') as found (path)
     group by found.path order by length(found.path[1]) desc
  loop
    keys := array(select parameters ->> number.found[1] from regexp_matches(path, '[$]([0-9]+)', 'g') as number (found));
    place := case
      when keys = '{name}' then case when path ~ '->>' then 'text := name' else 'jsonb := coalesce(to_jsonb(name), ''null'')' end
      when keys = '{data}' and path !~ '->>' then 'jsonb := coalesce(data, ''null'')'
      when keys[1] = 'data' and cardinality(keys) > 1 then
        case when path ~ '->>' then 'text' else 'jsonb' end || ' := data'
        || (select string_agg(format(case when key.nth = cardinality(keys) and path ~ '->>' then ' ->> %L' else ' -> %L' end, key.key), ''
                              order by key.nth)
              from unnest(keys) with ordinality as key (key, nth) where key.nth > 1) end;
    if not place = any (places) then
      places := places || place;
    end if;
    plain := replace(plain, path, 'field' || array_position(places, place));
  end loop;
  plain := case when strpos(plain, 'run.event') = 0 then secateur.with_literals(plain, parameters) end;
end
$$;

-- Left by older programs.
drop function if exists secateur.drop_match(bigint);
drop function if exists secateur.define_match(bigint, text);
drop function if exists secateur.define_match(bigint, text, text, text, text);
drop function if exists secateur.match_body(text, bigint);
drop function if exists secateur.match_arm(secateur.cancellations, text, text);

-- Makes the functions that say which active cancellation matches a job. `passes` is the expression of the one that claims call first: true if
-- nothing active can match, null if nothing is active. It has no settings of its own, so that Postgres inlines it. `tests` is the text of
-- the one that evaluates conditions; its result must not depend on a session's settings. `screen` is the text of one that `passes` may call:
-- it says whether a plain condition may match, whatever the session's settings. Where a text is null, the function stays as it is.
--
-- Their texts are not checked here, which would take longer than all the rest: whoever calls one that raises judges by the tables.
-- This function, and so the ones that it makes, belong to a role with no right on any table: the second wall around stored
-- conditions, as for evaluate_conditions.
create or replace function secateur.define_match(lock_number bigint, passes text, tests text, screen text)
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set check_function_bodies = off
as $$
declare
  arguments constant text :=
    'known text, app_id text, function_id text, id text, name text, data jsonb, started_at timestamptz, priority integer, fields jsonb';
begin
  if tests is not null then
    execute format(
      'create or replace function secateur_gates.%I(%s)
       returns uuid language plpgsql stable security definer
       set search_path = pg_catalog, pg_temp set extra_float_digits = 1 set standard_conforming_strings = on
       set bytea_output = hex set datestyle = %L set intervalstyle = postgres set timezone = %L
       set array_nulls = on set transform_null_equals = off
       as %L', 'test_' || lock_number, arguments, 'ISO, MDY', 'UTC', tests);
  end if;
  if screen is not null then
    execute format(
      'create or replace function secateur_gates.%I(%s)
       returns boolean language plpgsql stable security definer set search_path = pg_catalog, pg_temp
       as %L', 'screen_' || lock_number, arguments, screen);
  end if;
  execute format(
    'create or replace function secateur_gates.%I(%s) returns boolean language sql stable as %L',
    'passes_' || lock_number, arguments, 'select ' || passes);
end
$$;

-- The part of the generated function's text for one active cancellation. `might` is a quick test that is true of every job that it matches.
create or replace function secateur.match_arm(rule secateur.cancellations, own_app text, might text)
  returns text
  language plpgsql
  stable
  -- How times and texts are written must not depend on who commits.
  set search_path = pg_catalog, pg_temp set datestyle = 'ISO, MDY' set timezone = 'UTC' set standard_conforming_strings = on
as $$
declare
  scope constant text := concat_ws(' and ',
    might, 'app_id = ' || quote_literal(own_app), 'function_id = ' || quote_literal(rule.function_id));
  time constant text := concat_ws(' and ',
    'started_at > ' || quote_literal(rule.started_after) || '::timestamptz',
    'started_at < ' || quote_literal(rule.started_before) || '::timestamptz');
  requires constant text := 'event @> any (' || quote_literal(rule.requires) || '::jsonb[])';
  -- What a condition reads of the event is most often its data, for which the event need not be made. In a literal, the quotes would be double.
  condition constant text :=
    case when not rule.requires_suffices then
      '(' || replace(secateur.with_literals(rule.condition, rule.parameters), $data$run.event -> ('data'::text)::text$data$, 'run.payload') || ')' end;
  tests constant text := concat_ws(' and ', requires, condition);
  -- What it needs besides the columns that every row has.
  needs constant text := nullif(concat_ws(' or ',
    case when strpos(tests, 'run.fields') > 0 then 'true' end, case when strpos(tests, 'started_at') > 0 then 'started_at is null' end), '');
  -- A pattern is looked for in one go, which nothing can interrupt: see verdicts.
  has_pattern constant boolean := strpos(coalesce(condition, ''), ' ~ ') > 0;
begin
  return concat_ws(chr(10),
    format('  if %s then', scope),
    case when needs <> '' then format('    if fields is null and (%s) then', needs) end,
    case when needs <> '' then '      return ''11111111-1111-1111-1111-111111111111'';' || chr(10) || '    end if;' end,
    case when strpos(tests, 'event') > 0 then
      $arm$    event := coalesce(event, jsonb_build_object('name', name, 'data', data));$arm$ end,
    case when has_pattern then format('    if %s and pg_column_size(data) > 2000 and octet_length(data::text) > 250000 then',
      concat_ws(' and ', format('(%s) is not false', time), requires)) end,
    case when has_pattern then '      raise exception using errcode = ''SC408'';' || chr(10) || '    end if;' end,
    -- Where the start is not known yet, it is asked for only for what matches otherwise.
    format('    if %s then', concat_ws(' and ', format('(%s) is not false', time), nullif(tests, ''))),
    '      if started_at is not null then',
    format('        return %L;', rule.id),
    '      elsif fields is null then',
    '        return ''11111111-1111-1111-1111-111111111111'';',
    '      end if;',
    '    end if;',
    '  end if;') || chr(10);
end
$$;

-- The text of the generated function that tells what none of the cancellations may match: one expression over the fields that they read. Null where
-- one of them cannot be told quickly, so that a look at the others would be in vain. `is_other` is the test of the generation.
create or replace function secateur.match_screen(rules secateur.cancellations[], installation text, is_other text)
  returns text
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  rule secateur.cancellations;
  fields text[] := '{}';
  plain text;
  tests text := '';
begin
  foreach rule in array rules loop
    select found.places, found.plain into fields, plain
      from secateur.plain_condition(rule.condition, rule.parameters, fields) as found;
    if plain is null then
      select string_agg(format('%L::jsonb @> (%s)', jsonb_build_array(leaf.value), leaf.place), ' or ') into plain
        from unnest(rule.requires) as document
       cross join lateral secateur.leaf_of(document) as leaf
      having bool_and(leaf.place is not null);
    end if;
    plain := case when rule.condition is null then 'true' else plain end;
    if plain is null or length(tests) > 200000 then
      return null;
    end if;
    tests := concat_ws(' or ', nullif(tests, ''), '(' || concat_ws(' and ',
      'app_id = ' || quote_literal(substr(rule.app_id, length(match_screen.installation) + 2)),
      'function_id = ' || quote_literal(rule.function_id), '(' || plain || ')') || ')');
  end loop;
  if tests = '' then
    return null;
  end if;
  return concat_ws(chr(10),
    '#variable_conflict use_column',
    '<<run>>',
    'declare',
    '  app_id alias for $2; function_id alias for $3; id alias for $4; priority alias for $8;',
    (select string_agg(format('  field%s %s;', place.nth, place.declared), chr(10) order by place.nth)
       from unnest(fields) with ordinality as place (declared, nth)),
    'begin',
    format('  return %s or coalesce(%s, false);', is_other, tests),
    'end');
end
$$;

-- Makes the installation's generated functions, which find the oldest active cancellation that matches a job. `known` is what the claim's
-- transaction has read under the lock: its own id, and the generation. A function of another generation decides nothing: `passes` is false
-- then, and `test` is a uuid of zeros. Each function checks this, since a session may have one and not yet the other. So one that nobody
-- needs now is left as it is. If a job may match and its start or its run's fields are needed but were not passed (both are null), the
-- result of `test` is a uuid of ones.
--
-- Most jobs match nothing, and quick tests show that. If each cancellation requires one of certain values in a certain place, one test
-- looks for the values of all of them. Else most conditions are plain, and together one expression over the fields that they read.
create or replace function secateur.make_match(installation text, lock_number bigint, generation bigint)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  rules constant secateur.cancellations[] := array(
    select active
      from secateur.apps
      join secateur.cancellations as active on active.app_id = apps.app_id
     where apps.installation = make_match.installation and active.state = 'active' and active.kind = 'bulk'
     order by active.serial);
  rule secateur.cancellations;
  leaves constant jsonb := (
    select jsonb_object_agg(found.place, found.values)
      from (select leaf.place, jsonb_agg(distinct leaf.value) as values
              from unnest(rules) as active
             cross join unnest(active.requires) as document
             cross join lateral secateur.leaf_of(document) as leaf
             where leaf.place is not null
             group by leaf.place) as found);
  places constant text[] := array(select jsonb_object_keys(leaves));
  might text;
  all_might boolean := cardinality(rules) > 0;
  arms text := '';
  is_other constant text := format('known is distinct from pg_current_xact_id()::text || %L', ' ' || make_match.generation);
  screen text;
  passes text;
begin
  foreach rule in array rules loop
    select string_agg(distinct 'might' || array_position(places, leaf.place), ' or ') into might
      from unnest(rule.requires) as document
     cross join lateral secateur.leaf_of(document) as leaf
    having bool_and(leaf.place is not null);
    all_might := all_might and might is not null;
    arms := arms || secateur.match_arm(rule, substr(rule.app_id, length(make_match.installation) + 2), '(' || might || ')');
  end loop;
  if all_might then
    select format('not coalesce(%s, false)', string_agg(format('%L::jsonb @> (%s)', leaves -> place.name, place.name), ' or '))
      into passes from unnest(places) as place (name);
  elsif arms <> '' then
    screen := secateur.match_screen(rules, make_match.installation, is_other);
    passes := case when screen is null then 'false' end;
  else
    passes := 'null';
  end if;
  perform secateur.define_match(
    make_match.lock_number,
    case when passes is null
      then format('not secateur_gates.%I(known, app_id, function_id, id, name, data, started_at, priority, fields)',
                  'screen_' || make_match.lock_number)
      else format('case when %s then false else %s end', is_other, passes) end,
    -- It must be there, since the gate names it.
    case when arms <> '' or to_regproc('secateur_gates.test_' || make_match.lock_number) is null then concat_ws(chr(10),
      '#variable_conflict use_column',
      '<<run>>',
      'declare',
      -- What conditions read, by the names that they have for it.
      '  app_id alias for $2; function_id alias for $3; id alias for $4; started_at alias for $7; priority alias for $8;',
      '  fields alias for $9;',
      '  event jsonb;',
      '  payload jsonb := coalesce(data, ''null'');',
      (select string_agg(format('  might%s boolean;', place.nth), chr(10))
         from generate_subscripts(places, 1) as place (nth)),
      'begin',
      format('  if %s then', is_other),
      '    return ''00000000-0000-0000-0000-000000000000'';',
      '  end if;',
      -- As claim_deadline, for a role with no right on its schema. Only the language's own functions look at it.
      case when strpos(arms, 'secateur_cel.') > 0 then $limit$
  if coalesce(nullif(current_setting('secateur.deadline', true), '')::double precision, 0) < date_part('epoch', statement_timestamp()) then
    perform set_config('secateur.deadline', (date_part('epoch', clock_timestamp()) + 0.25)::text, true);
  end if;$limit$ end,
      (select string_agg(format('  might%s := %L::jsonb @> (%s);', place.nth, leaves -> places[place.nth], places[place.nth]), chr(10))
         from generate_subscripts(places, 1) as place (nth)),
      arms,
      '  return null;',
      'end') end,
    screen);
end
$$;
