-- The queue, as SQL functions: usable from any language, and the only way to write.
--
-- The lock protocol. Every app has one lock. claim and begin_step take it shared; commit, stop, undo, pause, resume, forget and a
-- change of a function's limit exclusive; each reads the facts for its decision in a *later statement*, whose snapshot is therefore
-- newer than whatever the lock waited for. This needs READ COMMITTED, so the functions refuse anything stricter. And lock,
-- snapshots and transaction ids must be those of the server that has the app's rows. If tables are spread over several servers
-- (Citus), share_app and lock_app refuse to be called on another one.
--
-- The lock is that of an empty table, secateur_locks.app_N (N is apps.lock_number): ROW SHARE is shared, EXCLUSIVE is exclusive.
-- Only the owner's functions can take it, unlike an advisory lock. It has a fair queue, unlike a row lock. And taking it writes
-- nothing. (ACCESS SHARE, which a dump holds for hours, blocks nobody.) A second table, sweeps_N, is the gate of the app's sweeps:
-- a batch holds it shared, and a stop or undo asks for it exclusive first, so that a series of batches cannot keep it waiting. A
-- missing table is made: see make_locks.
--
-- Row locks come after the app's lock: runs in id order or with SKIP LOCKED, then slots in their order or with SKIP
-- LOCKED. Levels, idle and searches are only ever locked with SKIP LOCKED, so that nobody waits for a hint. A commit locks no run.
--
-- A statement that has ids looks the rows up by their key, whatever the planner knows of the table. It may have been planned when
-- the table was empty, and that plan stays until something analyzes the table, while the flood comes. So:
-- * `id = any (ids)` finds the rows, never a join with unnest(ids), which can begin at the table's side. If only some pairs are
--   meant, a second condition says so: `((id, token) in (select * from unnest(ids, tokens))) is true` is a hashed list, which the
--   planner does not turn into a join. Values that belong to each id are taken from a sorted array by width_bucket.
-- * Values that belong to a row are looked up by a sub-select of one value, or by a lateral or an `exists` that ends in `offset 0`:
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

-- The other engine's queue that has the app. Null for an app of secateur's own queue, and where there is no such app.
create or replace function secateur.home_of(app_id text)
  returns text
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
begin
  return (select apps.installation from secateur.apps where apps.app_id = home_of.app_id);
end
$$;

-- Raises SC421 if the app's rows are on another server: another process reads a row that lies elsewhere. Does nothing if there is
-- no such app, or was none a moment ago.
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

-- Makes the tables that are an app's locks if they are missing: the app is new, or has moved here from another server. Repeatable;
-- two that make the same one at once wait for each other.
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

-- Who holds an app's lock (kind `app`) or the gate of its sweeps (`sweeps`), shared or exclusive: a process, or a prepared
-- transaction (by its gid), which has none. A view, so that every role that may read the tables may read this as well.
create or replace view secateur.lock_holders as
  select distinct apps.app_id, held.pid, prepared.gid, lock.kind
    from secateur.apps
   cross join (values ('app'), ('sweeps')) as lock (kind)
    join pg_catalog.pg_class as relation on relation.relname = format('%s_%s', lock.kind, apps.lock_number)
    join pg_catalog.pg_namespace as schema on schema.oid = relation.relnamespace and schema.nspname = 'secateur_locks'
    join pg_catalog.pg_locks as held on held.locktype = 'relation' and held.relation = relation.oid
     and held.database = (select oid from pg_catalog.pg_database where datname = current_database())
    -- A transaction that was prepared is known by the lock of its own id.
    left join pg_catalog.pg_locks as own on held.pid is null and own.pid is null and own.locktype = 'transactionid'
     and own.virtualtransaction = held.virtualtransaction
    left join pg_catalog.pg_prepared_xacts as prepared on prepared.transaction = own.transactionid
   where held.granted and held.mode <> 'AccessShareLock';

-- Raises SC423: `what` is locked. Names the holders of the app's lock of that kind, or of both (null), and says what ends them.
create or replace function secateur.refuse_locked(app_id text, kind text, what text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  holders text;
  ending text;
begin
  select string_agg(coalesce('process ' || held.pid, format('prepared transaction %L', held.gid)), ', '),
         string_agg(coalesce('select pg_terminate_backend(' || held.pid || ')', format('rollback prepared %L', held.gid)), '; ')
    into holders, ending
    from secateur.lock_holders as held
   where held.app_id = refuse_locked.app_id and held.kind = coalesce(refuse_locked.kind, held.kind);
  raise exception using
    errcode = 'SC423',
    message = format('an open transaction%s has locked %s; nothing was changed', ' (' || holders || ')', what),
    hint = coalesce('try again, or end that transaction, as a superuser or as its own role: ' || ending,
                    'try again; pg_stat_activity and pg_prepared_xacts show transactions that stay open');
end
$$;

-- Limits the waits of the following statements to the time that is left until the deadline.
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
        perform secateur.refuse_locked(lock_app.app_id, 'app', format('app %L', lock_app.app_id));
      end if;
      perform pg_sleep(0.005);
    end;
  end loop;
end
$$;
