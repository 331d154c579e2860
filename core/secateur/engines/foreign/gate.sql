-- Statements that make and remove the gate of one installation. {n} is the number of its lock. {name} is its name and {app} the first
-- part of its apps' names, `NAME/`, both as literals. {runs}, {this}, {id}, {fields}, {on}, {table}, {keeps}, {cancel} and {wake} come from the
-- engine's file. {hook} is the name of a trigger's function. {mark} tells the second trigger that the first one took a job.

-- name: patience
-- A session that waits for a lock on the engine's table makes all later ones wait behind it. So it never waits long.
set local lock_timeout = '200ms'

-- name: enter
-- The gate calls it first. `active` is false if there are no active cancellations. It is null if this claim must leave the job alone: its
-- snapshot is older than the last change of the active cancellations, and cannot be renewed. The next claim decides.
create or replace function secateur_gates.enter_{n}(out active boolean, out generation bigint)
  language plpgsql volatile
  -- The session's own lock_timeout must not apply: a commit holds the lock for milliseconds.
  security definer set search_path = pg_catalog, pg_temp set lock_timeout = 0
as $body$
begin
  lock table only secateur_locks.app_{n} in row share mode;
  if current_setting('transaction_isolation') in ('repeatable read', 'serializable')
     and not pg_visible_in_snapshot((select newest.last_value from secateur_gates.newest_{n} as newest)::text::xid8,
                                    pg_current_snapshot()) then
    begin
      perform pg_xact_status((select newest.last_value from secateur_gates.newest_{n} as newest)::text::xid8);
      return;
    exception when invalid_parameter_value then
      null; -- no transaction of this server yet: the number was restored from another one's dump
    end;
  end if;
  select gate.active, gate.generation into active, generation from secateur.gates as gate where gate.installation = {name};
end
$body$

-- name: newest
create sequence if not exists secateur_gates.newest_{n} minvalue 0 start 0

-- name: judge
-- Judges a job by the tables. For claims that cannot rely on the generated function.
drop function if exists secateur_gates.judge_{n}(text, text, text, jsonb, timestamptz, integer);
create or replace function secateur_gates.judge_{n}(
  app_id text, function_id text, id text, event jsonb, started_at timestamptz, priority integer, fields jsonb
)
  returns uuid
  language sql volatile
  security definer set search_path = pg_catalog, pg_temp
as $body$
  select secateur.judge_job({name}, app_id, function_id, id, event, started_at, priority, fields)
$body$

-- name: keep
-- Writes into the ledger that the gate has cancelled a job.
create or replace function secateur_gates.keep_{n}(
  app_id text, cancellation_id uuid, job_id text, function_id text, pre jsonb
)
  returns void
  language plpgsql volatile
  security definer set search_path = pg_catalog, pg_temp
as $body$
begin
  perform secateur.take_jobs(app_id, cancellation_id, array[job_id], array[function_id], array[pre], array[false], 'gate');
end
$body$

-- name: note
create or replace function secateur_gates.note_{n}(error text)
  returns void
  language sql volatile
  security definer set search_path = pg_catalog, pg_temp
as $body$
  select secateur.note_gate_failure({name}, error)
$body$

-- name: gate
-- The trigger's function. It runs with the rights of the owner of the engine's table, whoever claims: roles get rights to claim in many
-- ways, and later. Nobody else may put it on a table. It cancels a job that an active cancellation matches, as the engine itself would,
-- and the claim does not get the job. If something fails, it judges the job once more, by the tables. If that fails too, it lets the job through with a warning: a fault of ours must not stop the queue.
create or replace function secateur_gates.gate_{n}()
  returns trigger
  language plpgsql volatile
  security definer set search_path = pg_catalog, pg_temp
as $body$
declare
  gate_known text[] := string_to_array(current_setting('secateur_gates.entered_{n}', true), ' ');
  gate_entered record;
  gated_job record;
  gate_said record;
  gate_owner uuid;
  gate_taken record;
  gate_by_tables boolean := false;
begin
  -- What an earlier row of this transaction has read, stands: it holds the lock, and nothing comes into force before it ends.
  if gate_known[1] is distinct from pg_current_xact_id()::text then
    gate_known := null;
  elsif gate_known[2] = 'idle' then
    return NEW;
  end if;
  loop
    begin
      if gate_known is null then
        select * into gate_entered from secateur_gates.enter_{n}();
        if gate_entered.active is null then
          return null;
        end if;
        gate_known := array[pg_current_xact_id()::text,
                            case when gate_entered.active then gate_entered.generation::text else 'idle' end];
        perform set_config('secateur_gates.entered_{n}', array_to_string(gate_known, ' '), true);
        if not gate_entered.active then
          return NEW;
        end if;
      end if;
      select run.id, run.app_id, run.function_id, run.event, run.started_at, run.priority, {fields} as fields
        into gated_job
        from {runs} as run
       where {this};
      if not gate_by_tables then
        select * into gate_said from secateur_gates.match_{n}(
          {app} || gated_job.app_id, gated_job.function_id, gated_job.id, gated_job.event, gated_job.started_at, gated_job.priority::integer,
          gated_job.fields);
        gate_by_tables := gate_said.generation::text is distinct from gate_known[2];
        gate_owner := gate_said.cancellation_id;
      end if;
      if gate_by_tables then
        gate_owner := secateur_gates.judge_{n}(
          {app} || gated_job.app_id, gated_job.function_id, gated_job.id, gated_job.event, gated_job.started_at, gated_job.priority::integer,
          gated_job.fields);
      end if;
      if gate_owner is null then
        return NEW;
      end if;
      execute {cancel} into gate_taken using array[gated_job.id], false;
      if gate_taken.id is null then
        return NEW;
      end if;
      perform secateur_gates.keep_{n}({app} || gated_job.app_id, gate_owner, gated_job.id, gated_job.function_id, gate_taken.pre);
      {wake}
      {mark}
      return null;
    exception
      when lock_not_available or deadlock_detected or serialization_failure then
        return null; -- it cannot be known now: the job stays where it is
      when others then
      if gate_by_tables then
        raise warning 'secateur: the gate of % let job % through: %', {name}, {id}, sqlerrm;
        perform secateur_gates.note_{n}(sqlerrm);
        return NEW;
      end if;
      gate_by_tables := true;
      gate_known := null; -- what the block has locked is free again
    end;
  end loop;
exception when others then
  raise warning 'secateur: the gate of % let job % through: %', {name}, {id}, sqlerrm;
  return NEW;
end
$body$

-- name: gate_also
-- For a claim that writes to another table as well, whether or not it got the job: that stays as it was where the gate has
-- taken something in this transaction, and the engine's condition says that nothing is left for which it was written.
create or replace function secateur_gates.gate_also_{n}()
  returns trigger
  language plpgsql volatile
as $body$
begin
  if current_setting('secateur_gates.took_{n}', true) = 'yes' then
    begin
      if {keeps} then
        return null;
      end if;
    exception when others then
      raise warning 'secateur: the gate of %: %', {name}, sqlerrm;
    end;
  end if;
  return NEW;
end
$body$

-- name: trigger
create trigger aaa_secateur_gate {on} execute function secateur_gates.{hook}_{n}()

-- name: drop_trigger
drop trigger if exists aaa_secateur_gate on {table}

-- name: owner
select relation.relowner::regrole::text from pg_class as relation where relation.oid = $1::oid

-- name: give
-- To the owner of the engine's table. Only the gate may call what writes into the ledger.
do $body$
begin
  revoke execute on function secateur_gates.enter_{n}, secateur_gates.judge_{n}, secateur_gates.keep_{n}, secateur_gates.note_{n},
    secateur_gates.gate_{n} from public;
  grant execute on function secateur_gates.enter_{n}, secateur_gates.judge_{n}, secateur_gates.keep_{n}, secateur_gates.note_{n}
    to {role};
  if '{role}'::regrole <> (select known.proowner from pg_proc as known where known.oid = 'secateur_gates.gate_{n}'::regproc) then
    grant create on schema secateur_gates to {role};
    alter function secateur_gates.gate_{n}() owner to {role};
    revoke create on schema secateur_gates from {role};
  end if;
end
$body$

-- name: state
-- The trigger as it is now; no row if there is none.
select made.tgenabled::text as enabled,
       made.tgfoid = to_regproc('secateur_gates.{hook}_{n}') as ours,
       '{hook}' <> 'gate' or relation.relowner = routine.proowner as owned
  from pg_trigger as made
  join pg_class as relation on relation.oid = made.tgrelid
  join pg_proc as routine on routine.oid = made.tgfoid
 where made.tgrelid = $1::oid and made.tgname = 'aaa_secateur_gate' and not made.tgisinternal

-- name: guarded
select {guarded}::regclass::oid

-- name: numbers
-- The numbers in the names of the functions that triggers of gates on these tables call.
select distinct substring(routine.proname from '[0-9]+$')::bigint as number
  from pg_trigger as made
  join pg_proc as routine on routine.oid = made.tgfoid
  join pg_namespace as room on room.oid = routine.pronamespace
 where made.tgname = 'aaa_secateur_gate' and room.nspname = 'secateur_gates' and made.tgrelid = any ($1::text[]::regclass[])

-- name: drop
-- All functions of the gate, unless a trigger of another queue calls them: that has got the same number from another schema `secateur`.
-- They belong to several roles; the owner of their schema may drop all of them.
do $body$
declare
  one text;
begin
  if exists (select from pg_trigger as made
               join pg_proc as routine on routine.oid = made.tgfoid
              where routine.pronamespace = to_regnamespace('secateur_gates') and routine.proname ~ '_{n}$') then
    return;
  end if;
  for one in
    select 'function ' || routine.oid::regprocedure
      from pg_proc as routine
     where routine.pronamespace = to_regnamespace('secateur_gates') and routine.proname ~ '_{n}$'
    union all
    select 'sequence ' || relation.oid::regclass
      from pg_class as relation
     where relation.relnamespace = to_regnamespace('secateur_gates') and relation.relname = 'newest_{n}'
  loop
    execute 'drop ' || one;
  end loop;
end
$body$
