-- The queue, as SQL functions: usable from any language, and the only way to write.
--
-- The lock protocol. Every app has one advisory lock (7216, apps.lock_key). claim and begin_step take it shared, commit
-- and stop exclusive; each reads what it decides by in a *later statement*, whose snapshot is therefore newer than
-- whatever the lock waited for. This needs READ COMMITTED, so the functions refuse anything stricter.
-- Row locks come after the app's lock, in id order or with SKIP LOCKED. A commit locks no run.
--
-- Statements that have a run's id ask for nothing that a partial index has as its predicate, but look at the status
-- afterwards: such an index is empty when statistics are taken on a quiet queue, so that reading all of it looks cheaper
-- than the primary key; and then the flood comes. Those that walk an index in its order forbid the planner to sort.
--
-- Lines `-- point: …` name the places between two statements of a deciding function; tests put a pause there.

-- Raises unless each statement of the transaction takes a snapshot of its own.
create or replace function secateur.require_read_committed()
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    raise exception using
      errcode = 'SC412',
      message = format('secateur decides by what is committed now, so it cannot run in a %s transaction',
                       upper(current_setting('transaction_isolation'))),
      hint = 'use READ COMMITTED, the default of Postgres';
  end if;
end
$$;

-- Takes the app's lock exclusive for the rest of the transaction, in slices of 50 ms, so that an open claim never holds
-- up the other claims for longer. Raises SC423 with the blocking processes when `patience` is over.
create or replace function secateur.lock_app(app_id text, patience interval default '5 seconds')
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  key constant integer := (select apps.lock_key from secateur.apps where apps.app_id = lock_app.app_id);
  before constant text := current_setting('lock_timeout');
  deadline constant timestamptz := clock_timestamp() + patience;
begin
  loop
    begin
      perform set_config('lock_timeout', '50ms', true);
      perform pg_advisory_xact_lock(7216, key);
      perform set_config('lock_timeout', before, true);
      return;
    exception when lock_not_available then
      if clock_timestamp() >= deadline then
        raise exception using
          errcode = 'SC423',
          message = format('nothing was changed: an open transaction holds the lock of app %s (process %s)',
                           lock_app.app_id,
                           (select string_agg(distinct held.pid::text, ', ') from pg_locks as held
                             where held.locktype = 'advisory' and held.classid = 7216 and held.objid = key
                               and held.objsubid = 2 and held.granted
                               and held.database = (select oid from pg_database where datname = current_database()))),
          hint = 'a worker must not keep the transaction open in which it claimed; try again, or end that process';
      end if;
      perform pg_sleep(0.005);
    end;
  end loop;
end
$$;

-- Makes sure that app and function exist. Repeatable; writes nothing when they do.
create or replace function secateur.ensure_function(app_id text, function_id text)
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (select from secateur.functions as known
              where known.app_id = ensure_function.app_id and known.function_id = ensure_function.function_id) then
    return;
  end if;
  if coalesce(ensure_function.app_id, '') = '' or coalesce(ensure_function.function_id, '') = '' then
    raise exception using errcode = 'SC422', column = 'app_id', message = 'app_id and function_id must not be empty';
  end if;
  insert into secateur.apps (app_id) values (ensure_function.app_id) on conflict do nothing;
  insert into secateur.functions (app_id, function_id)
  values (ensure_function.app_id, ensure_function.function_id) on conflict do nothing;
end
$$;

-- Declares a function as its worker knows it. Repeatable: the last declaration stands.
create or replace function secateur.register_function(
  app_id text, function_id text, triggers text[], max_attempts integer
)
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform secateur.ensure_function(register_function.app_id, register_function.function_id);
  update secateur.functions as known
     set triggers = register_function.triggers, max_attempts = register_function.max_attempts
   where known.app_id = register_function.app_id
     and known.function_id = register_function.function_id
     and (known.triggers, known.max_attempts)
         is distinct from (register_function.triggers, register_function.max_attempts);
end
$$;
