-- Declaring which events cancel a function's runs. events.sql sends these events.

-- The condition for a declaration's `match` (the path has the same value in both events), with parameters numbered from `first`,
-- and the same as an expression. It equals what the compiler makes of that expression. Part of a declaration.
create or replace function secateur.matching_condition(
  match text, first integer, out condition text, out parameters jsonb, out expression text
)
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
declare
  path text := '';
  key text;
begin
  parameters := '{}';
  expression := '';
  foreach key in array string_to_array(match, '.') loop
    path := path || format(' -> $%s::text', first);
    parameters := parameters || jsonb_build_object(first::text, key);
    expression := expression
      || case when key ~ '^[A-Za-z_][A-Za-z0-9_]*$' and key not in ('in', 'true', 'false', 'null')
              then '.' || key else format('[%s]', to_json(key)) end;
    first := first + 1;
  end loop;
  condition := format(
    'case when jsonb_typeof(run.event%1$s) in (''string'', ''boolean'', ''null'') '
    'then run.event%1$s = $async::text::jsonb%1$s '
    'else secateur_cel.equal_v1(secateur_cel.box_json_v1(run.event%1$s), '
    'secateur_cel.box_json_v1($async::text::jsonb%1$s)) end', path);
  expression := format('event%1$s == async%1$s', expression);
end
$$;

-- What is wrong with one declaration of cancel_on; the text begins with the field's name. Part of a declaration.
create or replace function secateur.problems_of_declaration(declared jsonb)
  returns setof text
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  given text;
begin
  if jsonb_typeof(declared) <> 'object' then
    return next ': must be a JSON object with at least the field "event"';
    return;
  end if;
  for given in select jsonb_object_keys(declared)
               except values ('event'), ('if'), ('match'), ('timeout'), ('condition'), ('parameters'), ('compiler') loop
    return next format(', %s: is not a field of a declaration; the fields are event, if, match and timeout', given);
  end loop;
  given := declared ->> 'event';
  if coalesce(jsonb_typeof(declared -> 'event') <> 'string' or given = '', true) then
    return next ', event: must be the name of an event';
  elsif length(given) > 200 or not secateur.is_plain(given) then
    return next ', event: must have at most 200 characters, and no control characters';
  elsif given = 'function.cancelled' then
    return next ', event: function.cancelled can only trigger functions; it cannot cancel runs';
  end if;
  if jsonb_typeof(declared -> 'match') <> 'null' then
    given := declared ->> 'match';
    if jsonb_typeof(declared -> 'match') <> 'string' or length(given) > 1000
       or '' = any (string_to_array(given, '.') || case when given = '' then array[''] end) then
      return next ', match: must be the path of a field of the event, such as data.user_id';
    elsif given ~ '^(event|async)[.]' then
      return next format(', match: must be a path inside the event, without the prefix %s', substring(given from '^[a-z]+'));
    end if;
  end if;
  if jsonb_typeof(declared -> 'timeout') <> 'null' then
    begin
      given := declared ->> 'timeout';
      if jsonb_typeof(declared -> 'timeout') <> 'string' or not given::interval between '1 microsecond' and '100 years' then
        raise exception using errcode = 'SC422';
      end if;
    exception when sqlstate 'SC422' or data_exception then
      return next ', timeout: must be a duration above zero and at most 100 years, such as 1 hour or PT1H';
    end;
  end if;
  if coalesce(nullif(declared -> 'if', 'null'), nullif(declared -> 'condition', 'null'),
              nullif(declared -> 'parameters', 'null'), nullif(declared -> 'compiler', 'null')) is null then
    return;
  end if;
  if coalesce(jsonb_typeof(declared -> 'if') <> 'string' or jsonb_typeof(declared -> 'condition') <> 'string'
              or jsonb_typeof(declared -> 'parameters') <> 'object' or jsonb_typeof(declared -> 'compiler') <> 'number'
              or (declared ->> 'compiler') !~ '^[0-9]{1,6}$', true) then
    return next ', if: must be given together with its compiled condition, parameters and compiler; '
                'to compare one field, use match instead';
  elsif (declared ->> 'compiler')::integer not between 1 and 4 then
    return next ', compiler: must be 1, 2, 3 or 4, the versions that this database knows';
  elsif length(declared ->> 'if') > 20000 then
    return next ', if: is longer than 20000 characters';
  elsif pg_column_size(declared -> 'parameters') > 1000000 then
    return next ', parameters: are larger than 1000000 bytes';
  elsif exists (select from jsonb_each(declared -> 'parameters') as parameter
                 where parameter.key !~ '^[0-9]{1,6}$' or jsonb_typeof(parameter.value) not in ('string', 'null')) then
    return next ', parameters: each must be a string or null, under a number';
  end if;
end
$$;

-- Declares which events cancel the function's runs: up to five of {"event", "if", "match", "timeout"}. An event of that name
-- cancels the runs that started before it, at most `timeout` before it, and for which both `match` and `if` are true. Each may be
-- left out. `match` is the path of a field that must be the same in both events, such as data.user_id; `if` is an
-- expression in which `event` is the run's event and `async` the one that arrived, and comes with what the compiler made of
-- it ("condition", "parameters" and "compiler").
--
-- Creates app and function if they are new. Repeatable: the last declaration holds; null or [] removes it. It applies to
-- events that are sent later. Raises SC422 with everything that is wrong, SC400 (condition). Locks the function's row only.
create or replace function secateur.declare_cancel_on(app_id text, function_id text, declarations jsonb)
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set intervalstyle = 'iso_8601'
as $$
declare
  problems text[];
  one record;
  matching record;
  declared jsonb := '[]';
begin
  declarations := coalesce(nullif(declarations, 'null'), '[]');
  if jsonb_typeof(declarations) <> 'array' then
    raise exception using errcode = 'SC422', column = 'cancel_on', message = 'cancel_on: must be a list of declarations';
  end if;
  select array_agg(format('cancel_on: declaration %s%s', given.place, problem)) into problems
    from (select * from jsonb_array_elements(declarations) with ordinality limit 20) as given (value, place),
         secateur.problems_of_declaration(given.value) as problem;
  if jsonb_array_length(declarations) > 5 then
    problems := format('cancel_on: must have at most 5 declarations, not %s', jsonb_array_length(declarations)) || problems;
  end if;
  if problems is not null then
    raise exception using errcode = 'SC422', column = 'cancel_on', message = array_to_string(problems, E'\n');
  end if;
  for one in
    select given.value ->> 'event' as event,
           given.value ->> 'if' as "if",
           given.value ->> 'condition' as condition,
           coalesce(nullif(given.value -> 'parameters', 'null'), '{}') as parameters,
           coalesce((given.value ->> 'compiler')::integer, 4) as compiler,
           given.value ->> 'match' as match,
           (given.value ->> 'timeout')::interval::text as timeout
      from jsonb_array_elements(declarations) with ordinality as given (value, place)
     order by given.place
  loop
    perform secateur.check_condition(one.condition);
    perform secateur.require_executable(one.condition);
    if one.match is not null then
      matching := secateur.matching_condition(
        one.match, 1 + (select coalesce(max(number::integer), 0) from jsonb_object_keys(one.parameters) as number));
      one.parameters := one.parameters || matching.parameters;
      one.condition := matching.condition || coalesce(' and (' || one.condition || ')', '');
      -- The new line ends a comment.
      one."if" := matching.expression || coalesce(E' && (' || one."if" || E'\n)', '');
    end if;
    declared := declared || jsonb_build_array(
      jsonb_strip_nulls(jsonb_build_object(
        'event', one.event, 'if', one."if", 'condition', one.condition, 'compiler', one.compiler, 'match', one.match,
        'timeout', one.timeout))
      || jsonb_build_object('parameters', one.parameters));
  end loop;
  perform secateur.ensure_function(declare_cancel_on.app_id, declare_cancel_on.function_id);
  update secateur.functions as known
     set cancel_on = declared
   where known.app_id = declare_cancel_on.app_id
     and known.function_id = declare_cancel_on.function_id
     and known.cancel_on <> declared;
end
$$;
