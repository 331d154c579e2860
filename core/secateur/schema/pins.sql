-- What the session has set must not change what we compute. Every function that others may call runs with the rights of its
-- owner, and pins each setting that could: a role, a database, a URL or a pooler may have set it otherwise. What it calls
-- runs within it. tests/integration/test_session_settings.py tries all settings that a user can change.
--
-- The helpers of the expression language (secateur_cel) pin nothing, for they are called for every run, and some are to be
-- written out where they are called: conditions are evaluated by evaluate_conditions, which does, and by the previews of a
-- program, whose sessions do (database.py has the same list). For no cached text of a function to depend on who called it
-- first, no function has a backslash in a plain literal.
do $$
declare
  pinned constant text[] := array[
    -- How values become text, and text values.
    'extra_float_digits', '1',
    'standard_conforming_strings', 'on',
    'bytea_output', 'hex',
    'datestyle', 'ISO, MDY',
    'intervalstyle', 'postgres',
    'timezone', 'UTC',
    'array_nulls', 'on',
    'transform_null_equals', 'off',
    -- What an index of documents leaves out by chance.
    'gin_fuzzy_search_limit', '0',
    -- How rows are found: without these, a call with a few ids reads the whole table.
    'enable_indexscan', 'on',
    'enable_indexonlyscan', 'on',
    'enable_nestloop', 'on'];
  one record;
begin
  for one in
    select format('alter function %s', routine.oid::regprocedure)
           || string_agg(format(' set %s = %L', pinned[n], pinned[n + 1]), '' order by n) as pin
      from pg_proc as routine, generate_series(1, cardinality(pinned), 2) as n
     where routine.pronamespace = 'secateur'::regnamespace
       and routine.prosecdef
       -- Unless the function says what it needs.
       and not exists (select from unnest(routine.proconfig) as own where lower(own) like pinned[n] || '=%')
     group by routine.oid
  loop
    execute one.pin;
  end loop;
end
$$;
