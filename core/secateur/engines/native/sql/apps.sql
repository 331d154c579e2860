-- Apps and their functions. The first run that is sent to them creates them. They can be paused.

-- Makes sure that app and function exist and are not forgotten. Repeatable: it writes nothing if they are. Raises SC422, SC421.
create or replace function secateur.ensure_function(app_id text, function_id text)
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  here constant integer := pg_backend_pid();
  forgotten boolean;
  home text;
begin
  select exists (select from secateur.forgotten_functions as gone
                  where gone.app_id = ensure_function.app_id and gone.function_id = ensure_function.function_id),
         known.installation
    into forgotten, home
    from secateur.functions as known
   where known.app_id = ensure_function.app_id and known.function_id = ensure_function.function_id
     and pg_backend_pid() = here;
  if found and home is null then
    if forgotten then
      perform secateur.recall_functions(ensure_function.app_id, array[ensure_function.function_id]);
    end if;
    return;
  end if;
  perform secateur.require_name('app_id', ensure_function.app_id);
  perform secateur.require_name('function_id', ensure_function.function_id);
  if exists (select from secateur.apps where apps.app_id = ensure_function.app_id and apps.installation is not null) then
    raise exception using errcode = 'SC422', column = 'app_id',
      message = format('app_id: %L is the app of another queue, to which nothing can be sent from here', ensure_function.app_id);
  end if;
  insert into secateur.apps (app_id) values (ensure_function.app_id) on conflict do nothing;
  perform secateur.make_locks(apps.lock_number) from secateur.apps
    where apps.app_id = ensure_function.app_id and pg_backend_pid() = here;
  insert into secateur.idle (app_id, idle) values (ensure_function.app_id, true) on conflict do nothing;
  insert into secateur.due_epochs (app_id) values (ensure_function.app_id) on conflict do nothing;
  insert into secateur.searches (app_id) values (ensure_function.app_id) on conflict do nothing;
  insert into secateur.functions (app_id, function_id)
  values (ensure_function.app_id, ensure_function.function_id) on conflict do nothing;
  insert into secateur.due_floors (app_id, function_id)
  values (ensure_function.app_id, ''), (ensure_function.app_id, ensure_function.function_id) on conflict do nothing;
  perform secateur.require_here(ensure_function.app_id);
end
$$;

-- All apps of secateur's own queue, for upkeep that visits them one by one.
create or replace function secateur.all_apps()
  returns text[]
  language plpgsql
  stable
  security definer set search_path = pg_catalog, pg_temp
as $$
begin
  return array(select apps.app_id from secateur.apps where apps.installation is null order by apps.app_id);
end
$$;

-- Raises SC404 if the app does not exist or, if a function is named, has no such function.
create or replace function secateur.require_known(app_id text, function_id text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from secateur.apps where apps.app_id = require_known.app_id and apps.installation is null) then
    raise exception using errcode = 'SC404',
      message = format('there is no app %s', quote_literal(require_known.app_id)),
      hint = (select 'known apps: ' || coalesce(string_agg(known.app_id, ', ' order by known.app_id), 'none yet')
                from (select apps.app_id from secateur.apps where apps.installation is null order by 1 limit 20) as known);
  end if;
  if require_known.function_id is not null
     and not exists (select from secateur.functions as known
                      where known.app_id = require_known.app_id and known.function_id = require_known.function_id) then
    raise exception using errcode = 'SC404',
      message = format('app %s has no function %s', quote_literal(require_known.app_id),
                       quote_literal(require_known.function_id)),
      hint = (select 'known functions: ' || coalesce(string_agg(known.function_id, ', ' order by known.function_id), 'none yet')
                from (select functions.function_id from secateur.functions
                       where functions.app_id = require_known.app_id order by 1 limit 20) as known);
  end if;
end
$$;

-- Writes down a pause of the function or, with null, of the app, unless it is paused. The caller has tried to get the app's lock, and
-- has it if the pause is `held`. Returns whether the pause is in force, and else who may still start what they have claimed. Raises
-- SC404, and SC423 if somebody changes the function and does not commit.
create or replace function secateur.write_pause(app_id text, function_id text, author text, source text, held boolean)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp set lock_timeout = '500ms'
as $$
declare
  moment constant timestamptz := clock_timestamp();
  answer constant jsonb := jsonb_build_object(
    'in_force', held, 'blocked_by', '[]'::jsonb, 'blocked_by_prepared', '[]'::jsonb);
begin
  perform secateur.require_known(write_pause.app_id, write_pause.function_id);
  begin
    if write_pause.function_id is null then
      update secateur.apps
         set paused_at = moment, paused_by = write_pause.author
       where apps.app_id = write_pause.app_id and apps.paused_at is null;
    else
      update secateur.functions as known
         set paused_at = moment, paused_by = write_pause.author
       where known.app_id = write_pause.app_id and known.function_id = write_pause.function_id and known.paused_at is null;
    end if;
  exception when lock_not_available then
    perform secateur.refuse_locked(write_pause.app_id, 'app', format('app %L', write_pause.app_id));
  end;
  if found then
    perform secateur.record_audit('pause', write_pause.app_id, write_pause.function_id, null, write_pause.author, write_pause.source,
                                  case when held then '{}' else '{"guarantee": "pending"}'::jsonb end);
  end if;
  if held then
    return answer;
  end if;
  return answer || (
    select jsonb_build_object('blocked_by', coalesce(jsonb_agg(distinct one.pid) filter (where one.pid is not null), '[]'),
                              'blocked_by_prepared', coalesce(jsonb_agg(distinct one.gid) filter (where one.gid is not null), '[]'))
      from secateur.lock_holders as one
     where one.app_id = write_pause.app_id and one.kind = 'app' and one.pid is distinct from pg_backend_pid());
end
$$;

-- Stops claims of the function's runs or, with null, of all runs of the app, which has a flag of its own. Running runs go on.
-- Leases still end, and cancellations still cancel. Repeatable: the first pause is the one that is recorded and audited.
-- Raises SC404, SC423. Locks: the app's, exclusive.
--
-- The answer is `{"in_force", "blocked_by", "blocked_by_prepared"}`. In force: no run is claimed any more. If an open transaction that
-- claimed has held the lock for 4.5 s, the function is paused all the same, but not in force: each claim that begins from now on
-- obeys the pause, and that transaction may still start what it has claimed. Ask again to learn whether it has ended.
create or replace function secateur.pause(app_id text, function_id text, author text, source text)
  returns jsonb
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  held boolean;
begin
  perform secateur.require_read_committed();
  perform secateur.require_author(pause.author, pause.source);
  perform secateur.require_known(pause.app_id, pause.function_id);
  -- point: before the lock
  held := secateur.try_lock_app(pause.app_id, '4.5 seconds');
  -- point: locked
  return secateur.write_pause(pause.app_id, pause.function_id, pause.author, pause.source, held);
end
$$;

-- Ends one pause: the function's or, with null, the app's. A function whose app is paused too still waits. Repeatable.
-- Raises SC404. Locks: the app's, exclusive, so that no claim marks the app as idle that still saw the pause. But it goes on without the
-- lock after 250 ms: such a claim costs a polling interval.
create or replace function secateur.resume(app_id text, function_id text, author text, source text)
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform secateur.require_read_committed();
  perform secateur.require_author(resume.author, resume.source);
  perform secateur.require_known(resume.app_id, resume.function_id);
  -- point: before the lock
  perform secateur.try_lock_app(resume.app_id, '250 ms');
  -- point: locked
  if resume.function_id is null then
    update secateur.apps
       set paused_at = null, paused_by = null
     where apps.app_id = resume.app_id and apps.paused_at is not null;
  else
    update secateur.functions as known
       set paused_at = null, paused_by = null
     where known.app_id = resume.app_id and known.function_id = resume.function_id and known.paused_at is not null;
  end if;
  if found then
    perform secateur.record_audit('resume', resume.app_id, resume.function_id, null, resume.author, resume.source, '{}');
    perform secateur.wake(resume.app_id);
  end if;
end
$$;

-- Declares a function as its worker knows it. Repeatable: the last declaration holds. At most `concurrency` of its runs may
-- run at once, over all workers; null means any number. Raises SC422, and SC423 if the limit changes while somebody holds
-- the app's lock.
create or replace function secateur.register_function(
  app_id text, function_id text, triggers text[], max_attempts integer, concurrency integer default null
)
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  declared constant text[] := coalesce(register_function.triggers, '{}');
begin
  if register_function.concurrency is not null then
    -- Each is a row, written under the app's lock.
    perform secateur.require_number('concurrency', register_function.concurrency, 1, 10000);
  end if;
  perform secateur.require_number('max_attempts', register_function.max_attempts, 1, 10000);
  perform secateur.require_count('triggers', cardinality(declared), 0, 100);
  perform secateur.require_name('triggers', trigger.name) from unnest(declared) as trigger (name);
  perform secateur.ensure_function(register_function.app_id, register_function.function_id);
  if exists (select from secateur.functions as known
              where known.app_id = register_function.app_id
                and known.function_id = register_function.function_id
                and known.concurrency is distinct from register_function.concurrency) then
    perform secateur.require_read_committed();
    perform secateur.limit_function(register_function.app_id, register_function.function_id, register_function.concurrency);
  end if;
  update secateur.functions as known
     set triggers = declared, max_attempts = register_function.max_attempts
   where known.app_id = register_function.app_id
     and known.function_id = register_function.function_id
     and (known.triggers, known.max_attempts)
         is distinct from (declared, register_function.max_attempts);
end
$$;

-- Raises SC422, with the known names, if the app or one of the functions does not exist (null means all functions).
create or replace function secateur.require_functions(app_id text, function_ids text[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  field constant text := case when cardinality(function_ids) = 1 then 'function_id' else 'function_ids' end;
  unknown text;
begin
  if not exists (select from secateur.apps where apps.app_id = require_functions.app_id and apps.installation is null) then
    raise exception using errcode = 'SC422', column = 'app_id',
      message = format('app_id: there is no app %s', quote_literal(require_functions.app_id)),
      hint = (select 'known apps: ' || coalesce(string_agg(known.app_id, ', ' order by known.app_id), 'none yet')
                from (select apps.app_id from secateur.apps where apps.installation is null order by 1 limit 20) as known);
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
