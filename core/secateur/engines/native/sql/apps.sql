-- The queue, as SQL functions: usable from any language, and the only way to write.
--
-- The lock protocol. Every app has one lock. claim and begin_step take it shared; commit, stop, undo, pause, resume, forget and
-- a change of a function's limit exclusive; each reads what it decides by in a *later statement*, whose snapshot is therefore
-- newer than whatever the lock waited for. This needs READ COMMITTED, so the functions refuse anything stricter. And lock,
-- snapshots and transaction ids must be those of the server that has the app's rows: where tables are spread over several
-- (Citus), share_app and lock_app refuse to be called on another one.
--
-- The lock is that of an empty table, secateur_locks.app_N, N being apps.lock_number: ROW SHARE is shared, EXCLUSIVE exclusive.
-- Nobody but the owner's functions can take it, which is not true of advisory locks; whoever waits for it has their turn, which
-- is not true of row locks; and taking it writes nothing. (ACCESS SHARE, which a dump holds for hours, is in nobody's way.) A
-- second table, sweeps_N, is the gate of the app's sweeps: a batch holds it shared, a stop or undo asks for it exclusive first,
-- so that batches which follow each other cannot keep it waiting. Where a table is missing it is made: see make_locks.
--
-- Row locks come after the app's lock: runs in id order or with SKIP LOCKED, then slots in their order or with SKIP
-- LOCKED. Levels, idle and searches are only ever locked with SKIP LOCKED, so that nobody waits for a hint. A commit locks no run.
--
-- A statement that has ids looks the rows up by their key, whatever the planner knows of the table. It may have planned when
-- the table was empty, and until something analyzes the table, that plan stays, while the flood comes. Hence:
-- * `id = any (ids)` finds the rows, never a join with unnest(ids), which can begin at the table's side. If only some pairs
--   are meant, that is said besides: `((id, token) in (select * from unnest(ids, tokens))) is true` is a hashed list, of which
--   the planner does not make a join. What goes with each id is taken from a sorted array by width_bucket.
-- * What belongs to a row is looked up by a sub-select of one value, or by a lateral or an `exists` that ends in `offset 0`:
--   the planner neither pulls these up into a join nor hashes the whole table for them.
-- * It must not repeat the predicate of a partial index (hence `status || '' = 'running'`). Statistics of a quiet queue make that
--   index look empty, so the planner would read all of it instead of using the key, and keep doing so when the flood comes.
-- * They forbid whatever reads more: `enable_seqscan = off`, `enable_bitmapscan = off`, and a plan for any app and a few ids.
-- tests/integration/test_rows_read.py calls each of them and counts the rows.
-- Those that walk an index in its order forbid the planner to sort.
-- Before Postgres 18, a plan node disabled by `enable_… = off` gets a huge cost, and the plan would be compiled, which takes
-- 100 ms. Hence `jit = off` in all of them.
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
      message = format('secateur cannot work in a %s transaction, which does not see what others commit',
                       upper(current_setting('transaction_isolation'))),
      hint = 'use READ COMMITTED, the default isolation level of Postgres';
  end if;
end
$$;

-- Raises SC421 if the app's rows are on another server: a row that lies elsewhere is read by another process. Nothing if there
-- is no such app, or was none a moment ago.
create or replace function secateur.require_here(app_id text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  here constant integer := pg_backend_pid();
begin
  if exists (select from secateur.apps where apps.app_id = require_here.app_id and pg_backend_pid() <> here) then
    raise exception using
      errcode = 'SC421',
      message = format('the rows of app %s are on another server', quote_literal(require_here.app_id)),
      hint = 'connect to the node that has the app''s shard, or call the function in a statement of its own: select secateur.…';
  end if;
end
$$;

-- Makes the tables that are an app's locks, where they are missing: the app is new, or has come to this server from another.
-- Repeatable; two that make the same one at once wait for each other.
create or replace function secateur.make_locks(lock_number bigint)
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set client_min_messages = warning
as $$
declare
  -- They are this server's own: Citus, where it is, must not make them on others.
  propagated constant text := current_setting('citus.enable_ddl_propagation', true);
  name text;
begin
  if propagated is not null then
    perform set_config('citus.enable_ddl_propagation', 'off', true);
  end if;
  foreach name in array array[format('app_%s', lock_number), format('sweeps_%s', lock_number)] loop
    continue when to_regclass('secateur_locks.' || quote_ident(name)) is not null;
    begin
      if to_regnamespace('secateur_locks') is null then
        create schema secateur_locks;
      end if;
      -- They stay empty: there is nothing to vacuum, and a vacuum would take a lock.
      execute format('create table secateur_locks.%I () with (autovacuum_enabled = false)', name);
      execute format('revoke all on secateur_locks.%I from public', name);
    exception when duplicate_table or duplicate_object or duplicate_schema or unique_violation then
      null; -- another transaction was quicker, and has committed
    end;
  end loop;
  if propagated is not null then
    perform set_config('citus.enable_ddl_propagation', propagated, true);
  end if;
end
$$;

-- Takes one of the app's locks in that mode for the rest of the transaction; false if there is no such app here.
create or replace function secateur.take_lock(app_id text, kind text, mode text)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  here constant integer := pg_backend_pid();
  key bigint;
begin
  -- A row that lies elsewhere is read by another process.
  select apps.lock_number into key from secateur.apps where apps.app_id = take_lock.app_id and pg_backend_pid() = here;
  if not found then
    return false;
  end if;
  if to_regclass(format('secateur_locks.%s_%s', kind, key)) is null then
    perform secateur.make_locks(key);
  end if;
  execute format('lock table only secateur_locks.%s_%s in %s mode', kind, key, mode);
  return true;
end
$$;

-- Takes the app's lock shared for the rest of the transaction; false if there is no such app. Raises SC421.
create or replace function secateur.share_app(app_id text)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if not secateur.take_lock(share_app.app_id, 'app', 'row share') then
    -- point: no such app
    perform secateur.require_here(share_app.app_id);
    return false;
  end if;
  return true;
end
$$;

-- Who holds an app's lock, shared or exclusive: a process, or a prepared transaction (by its gid), which has none. A view, so that
-- whoever may read the tables may read this as well.
create or replace view secateur.lock_holders as
  select distinct apps.app_id, held.pid, prepared.gid
    from secateur.apps
    join pg_catalog.pg_class as relation on relation.relname = format('app_%s', apps.lock_number)
    join pg_catalog.pg_namespace as schema on schema.oid = relation.relnamespace and schema.nspname = 'secateur_locks'
    join pg_catalog.pg_locks as held on held.locktype = 'relation' and held.relation = relation.oid
     and held.database = (select oid from pg_catalog.pg_database where datname = current_database())
    -- A transaction that was prepared is known by the lock of its own id.
    left join pg_catalog.pg_locks as own on held.pid is null and own.pid is null and own.locktype = 'transactionid'
     and own.virtualtransaction = held.virtualtransaction
    left join pg_catalog.pg_prepared_xacts as prepared on prepared.transaction = own.transactionid
   where held.granted and held.mode <> 'AccessShareLock';

-- Gives the waits of the statements that follow what is left until the deadline.
create or replace function secateur.wait_until(deadline timestamptz)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform set_config(
    'lock_timeout', greatest(1, ceil(1000 * extract(epoch from deadline - clock_timestamp())))::bigint || 'ms', true);
end
$$;

-- Takes the app's lock exclusive for the rest of the transaction, in slices of 50 ms, so that an open claim never holds
-- up the other claims for longer. Raises SC423 with the transactions in the way when `patience` is over, and SC421.
create or replace function secateur.lock_app(app_id text, patience interval default '5 seconds')
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set lock_timeout = '50ms'
as $$
declare
  deadline constant timestamptz := clock_timestamp() + patience;
begin
  loop
    begin
      if not secateur.take_lock(lock_app.app_id, 'app', 'exclusive') then
        perform secateur.require_here(lock_app.app_id);
      end if;
      return;
    exception when lock_not_available then
      if clock_timestamp() >= deadline then
        raise exception using
          errcode = 'SC423',
          message = format(
            'an open transaction%2$s has locked app %1$L; nothing was changed', lock_app.app_id,
            (select ' (' || string_agg(case when held.pid is not null then format('process %s', held.pid)
                                            else format('prepared transaction %L', held.gid) end, ', ') || ')'
               from secateur.lock_holders as held where held.app_id = lock_app.app_id)),
          hint = 'try again, or end that process or prepared transaction; a worker must commit at once after it claims';
      end if;
      perform pg_sleep(0.005);
    end;
  end loop;
end
$$;

-- Whether this transaction is the only one that does the task for the app, which it then is until it ends. Waits for
-- nobody. Of no app nobody is.
create or replace function secateur.is_alone(app_id text, task text)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set lock_timeout = '1ms'
as $$
begin
  perform from secateur.upkeep as kept
    where kept.app_id = is_alone.app_id and kept.task = is_alone.task
      for update skip locked;
  if found then
    return true;
  end if;
  -- The app's first: whoever has just inserted the row is at it.
  insert into secateur.upkeep (app_id, task)
  select apps.app_id, is_alone.task from secateur.apps where apps.app_id = is_alone.app_id
  on conflict do nothing;
  return found;
exception when lock_not_available then
  return false;
end
$$;

-- Makes sure that app and function exist, and are not forgotten. Repeatable; writes nothing when that is so. Raises SC422, SC421.
create or replace function secateur.ensure_function(app_id text, function_id text)
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  here constant integer := pg_backend_pid();
  forgotten boolean;
begin
  select exists (select from secateur.forgotten_functions as gone
                  where gone.app_id = ensure_function.app_id and gone.function_id = ensure_function.function_id)
    into forgotten
    from secateur.functions as known
   where known.app_id = ensure_function.app_id and known.function_id = ensure_function.function_id
     and pg_backend_pid() = here;
  if found then
    if forgotten then
      perform secateur.recall_functions(ensure_function.app_id, array[ensure_function.function_id]);
    end if;
    return;
  end if;
  perform secateur.require_name('app_id', ensure_function.app_id);
  perform secateur.require_name('function_id', ensure_function.function_id);
  insert into secateur.apps (app_id) values (ensure_function.app_id) on conflict do nothing;
  perform secateur.make_locks(apps.lock_number) from secateur.apps
    where apps.app_id = ensure_function.app_id and pg_backend_pid() = here;
  insert into secateur.idle (app_id, idle) values (ensure_function.app_id, true) on conflict do nothing;
  insert into secateur.due_epochs (app_id) values (ensure_function.app_id) on conflict do nothing;
  insert into secateur.searches (app_id) values (ensure_function.app_id) on conflict do nothing;
  insert into secateur.functions (app_id, function_id)
  values (ensure_function.app_id, ensure_function.function_id) on conflict do nothing;
  perform secateur.require_here(ensure_function.app_id);
end
$$;

-- The apps that there are, for upkeep that goes through them one by one.
create or replace function secateur.all_apps()
  returns text[]
  language plpgsql
  stable
  security definer set search_path = pg_catalog, pg_temp
as $$
begin
  return array(select apps.app_id from secateur.apps order by apps.app_id);
end
$$;

-- Raises SC404 unless there is such an app and, if one is named, such a function of it.
create or replace function secateur.require_known(app_id text, function_id text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from secateur.apps where apps.app_id = require_known.app_id) then
    raise exception using errcode = 'SC404', message = format('there is no app %s', quote_literal(require_known.app_id));
  end if;
  if require_known.function_id is not null
     and not exists (select from secateur.functions as known
                      where known.app_id = require_known.app_id and known.function_id = require_known.function_id) then
    raise exception using errcode = 'SC404',
      message = format('app %s has no function %s', quote_literal(require_known.app_id),
                       quote_literal(require_known.function_id));
  end if;
end
$$;

-- From now on nothing is claimed of the function, or (null) of the app as a whole, which is a flag of its own. Running
-- runs go on; leases end and cancellations cancel as ever. Repeatable: who paused first stands, and is in the audit.
-- Raises SC404, SC423. Locks: the app's, exclusive.
create or replace function secateur.pause(app_id text, function_id text, author text, source text)
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  moment timestamptz;
begin
  perform secateur.require_read_committed();
  perform secateur.require_author(pause.author, pause.source);
  perform secateur.require_known(pause.app_id, pause.function_id);
  -- point: before the lock
  perform secateur.lock_app(pause.app_id);
  -- point: locked
  moment := clock_timestamp();
  if pause.function_id is null then
    update secateur.apps
       set paused_at = moment, paused_by = pause.author
     where apps.app_id = pause.app_id and apps.paused_at is null;
  else
    update secateur.functions as known
       set paused_at = moment, paused_by = pause.author
     where known.app_id = pause.app_id and known.function_id = pause.function_id and known.paused_at is null;
  end if;
  if found then
    perform secateur.record_audit('pause', pause.app_id, pause.function_id, null, pause.author, pause.source, '{}');
  end if;
end
$$;

-- Takes one pause back: the function's, or (null) the app's. A function whose app is paused too still waits. Repeatable.
-- Raises SC404, SC423. Locks: the app's, exclusive.
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
  perform secateur.lock_app(resume.app_id);
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

-- Declares a function as its worker knows it. Repeatable: the last declaration stands. `concurrency` is how many of its
-- runs may run at once, over all workers; null is any number. Raises SC422; SC423 where the limit changes while somebody
-- holds the app's lock.
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
