-- Statements that make and remove the gate of one installation. {n} is the number of its lock. {name} is its name and {app} the first
-- part of its apps' names, `NAME/`, both as literals. {claimed}, {on}, {when}, {table}, {keeps}, {cancel} and {wake} come from the
-- engine's file, and {fields} from its header; {claimed} is the job that is being claimed, as a relation of one run. {hook} is the name of a trigger's function. {mark}
-- tells the second trigger that the first one took a job.

-- name: patience
-- A session that waits for a lock on the engine's table makes all later ones wait behind it. So it never waits long.
set local lock_timeout = '200ms'

-- name: enter
-- The gate calls it first. Takes the lock, and returns what the generated function is told: the transaction's own id, and that of the last
-- transaction that has changed which cancellations are active, or has begun to. Null if this claim must leave the job alone: its snapshot
-- is older than that transaction, and cannot be renewed. The next claim decides.
create or replace function secateur_gates.enter_{n}()
  returns text
  language plpgsql volatile
  -- The session's own lock_timeout must not apply: a commit holds the lock for milliseconds.
  security definer set search_path = pg_catalog, pg_temp set lock_timeout = 0
as $body$
declare
  changed_by bigint;
begin
  lock table only secateur_locks.app_{n} in row share mode;
  -- A sequence is read without a snapshot.
  if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
    changed_by := pg_sequence_last_value('secateur_gates.newest_{n}');
    if not pg_visible_in_snapshot(changed_by::text::xid8, pg_current_snapshot()) then
      begin
        perform pg_xact_status(changed_by::text::xid8);
        return null;
      exception when invalid_parameter_value then
        null; -- no transaction of this server yet: the number was restored from another one's dump
      end;
    end if;
    return concat(pg_current_xact_id(), ' ', changed_by);
  end if;
  return concat(pg_current_xact_id(), ' ', pg_sequence_last_value('secateur_gates.newest_{n}'));
end
$body$

-- name: generation
-- The id of the transaction that made the last change. Where the last one that began to was rolled back, `enter` tells another one.
create or replace function secateur_gates.generation_{n}()
  returns bigint
  language sql volatile
  security definer set search_path = pg_catalog, pg_temp
as $body$
  select gate.generation from secateur.gates as gate where gate.installation = {name}
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

-- name: left
-- Left by older programs.
drop function if exists secateur_gates.match_{n}(text, text, text, text, text, jsonb, timestamptz, integer, jsonb)

-- name: gate
-- The trigger's function. It runs with the rights of the owner of the engine's table, whoever claims: roles get rights to claim in many
-- ways, and later. Nobody else may put it on a table. It cancels a job that an active cancellation matches, as the engine itself would,
-- and the claim does not get the job. If something fails, it judges the job once more, by the tables. If that fails too, it lets the job
-- through with a warning: a fault of ours must not stop the queue.
--
-- The conditions have a quarter of a second for all jobs of a statement. A job on which they take longer is judged by the tables as well,
-- which know of such jobs.
--
-- What the first job of a transaction has read under the lock holds for the others: nothing comes into force before the transaction ends.
-- So most jobs cost one call of a generated function, the first step. The others are for when it does not know enough.
--
-- In each transaction Postgres prepares anew every expression that it comes to here. So what most claims do not need is left to the branches.
create or replace function secateur_gates.gate_{n}()
  returns trigger
  language plpgsql volatile
  security definer set search_path = pg_catalog, pg_temp
  set standard_conforming_strings = on set extra_float_digits = 1 set intervalstyle = postgres
as $body$
-- The settings are for the engine's statements, which this text contains: a worker's session must change neither how they are read nor how
-- they write the values that an undo needs.
declare
  gate_known text := {known};
  -- 0: judge by the generated function and what this transaction has read; 1: take the lock and read the sequence before; 2: read the
  -- table as well, since the last change was rolled back; 3: judge by the tables, since this session's function is not the newest, or raised.
  gate_step integer;
  gate_owner uuid;
  gate_passes boolean;
  gated_job record;
  gate_taken record;
begin
  {quick}
  gate_step := case when gate_known <> '' then 0 else 1 end;
  loop
    begin
      if gate_step > 0 then
        -- point: enter
        gate_known := secateur_gates.enter_{n}();
        if gate_known is null then
          return null;
        end if;
        -- point: entered
      end if;
      if gate_step < 3 then
        if gate_step = 2 then
          gate_known := concat(pg_current_xact_id(), ' ', secateur_gates.generation_{n}());
        end if;
        {match};
        if gate_owner is not null then
          if gate_owner = 'ffffffff-ffff-ffff-ffff-ffffffffffff' then
            {idle}
            return NEW;
          elsif gate_owner = '11111111-1111-1111-1111-111111111111' then
            {match_with_fields};
          end if;
          if gate_owner = '00000000-0000-0000-0000-000000000000' then
            -- This transaction has read nothing yet, or not enough.
            gate_step := gate_step + 1;
            continue;
          end if;
        end if;
        if gate_step > 0 then
          {remember}
        end if;
      else
        select secateur_gates.judge_{n}(
                 {app} || run.app_id, run.function_id, run.id, run.event, run.started_at, run.priority::integer, {fields})
          into gate_owner
          from {claimed} as run;
      end if;
      if gate_owner is null then
        return NEW;
      elsif gate_owner = 'eeeeeeee-eeee-eeee-eeee-eeeeeeeeeeee' then
        return null; -- undecided: the job stays where it is
      end if;
      -- point: take
      select run.id, run.app_id, run.function_id into gated_job from {claimed} as run;
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
      when sqlstate 'SC408' then
        gate_step := 3;
        -- What the block has set is undone. The statement's time is over.
        gate_known := set_config('secateur.deadline', date_part('epoch', clock_timestamp())::text, true);
      when others then
        if gate_step = 3 then
          raise warning 'secateur: the gate of % let a job through: %', {name}, sqlerrm;
          begin
            perform secateur_gates.note_{n}(sqlerrm);
          exception when others then
            null; -- the warning says it
          end;
          return NEW;
        end if;
        gate_step := 3; -- what the block has locked is free again
    end;
  end loop;
end
$body$

-- name: match
-- A part of the trigger's function: which active cancellation matches the job.
select run.app_id, run.function_id, run.id, run.name, run.data, run.started_at, run.priority::integer as priority, {fields} as fields
  into gated_job
  from {claimed} as run;
gate_owner := case
  secateur_gates.passes_{n}(
    gate_known, gated_job.app_id, gated_job.function_id, gated_job.id, gated_job.name, gated_job.data, gated_job.started_at,
    gated_job.priority, gated_job.fields)
  when true then null
  when false then secateur_gates.test_{n}(
    gate_known, gated_job.app_id, gated_job.function_id, gated_job.id, gated_job.name, gated_job.data, gated_job.started_at,
    gated_job.priority, gated_job.fields)
  else 'ffffffff-ffff-ffff-ffff-ffffffffffff' end

-- name: match_by_columns
-- The same by what the trigger's row has itself: such an expression is evaluated faster than a query. The function says if it needs more.
gate_owner := case secateur_gates.passes_{n}(gate_known, {columns}, null)
  when true then null
  when false then secateur_gates.test_{n}(gate_known, {columns}, null)
  else 'ffffffff-ffff-ffff-ffff-ffffffffffff' end

-- name: quick
-- A part of the trigger's function, for most jobs. By what this transaction has read, or else as the loop below in as few steps as can be,
-- up to where it turns out that the loop is needed. What the transaction has read needs no handling of exceptions, which takes time: the
-- same has succeeded once.
if gate_known <> '' then
    if secateur_gates.passes_{n}(gate_known, {columns}, null) then
      return NEW;
    end if;
  else
    begin
      gate_known := secateur_gates.enter_{n}();
      gate_passes := secateur_gates.passes_{n}(gate_known, {columns}, null);
      if gate_passes then
        {remember}
        return NEW;
      elsif gate_passes is null then
        {idle}
        return NEW;
      end if;
      gate_known := '';
    exception
      when lock_not_available or deadlock_detected or serialization_failure then
        return null;
      when others then
        gate_known := '';
    end;
  end if;

-- name: quick_one
-- The same where a claim is of one job: what it has read is of no use to a second one.
begin
    -- point: first
    if secateur_gates.passes_{n}(secateur_gates.enter_{n}(), {columns}, null) is not false then
      -- point: passed
      return NEW;
    end if;
  exception
    when lock_not_available or deadlock_detected or serialization_failure then
      return null;
    when others then
      null; -- the loop knows what to do about it
  end;

-- name: remember
-- A part of the trigger's function.
gate_known := set_config('secateur_gates.entered_{n}', gate_known, true)

-- name: idle
-- A part of the trigger's function: the trigger's condition looks at it.
gate_known := set_config('secateur_gates.idle_{n}', pg_current_xact_id()::text, true);

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
create trigger aaa_secateur_gate before {on} on {table} for each row when ({when}) execute function secateur_gates.{hook}_{n}()

-- name: unless_idle
-- Of the trigger's condition: not if an earlier job of this transaction has read, under the lock, that nothing is active.
current_setting('secateur_gates.idle_{n}', true) is distinct from pg_current_xact_id()::text

-- name: drop_trigger
drop trigger if exists aaa_secateur_gate on {table}

-- name: owner
select relation.relowner::regrole::text from pg_class as relation where relation.oid = $1::oid

-- name: give
-- To the owner of the engine's table. Only the gate may call what writes into the ledger.
do $body$
begin
  revoke execute on function secateur_gates.enter_{n}, secateur_gates.generation_{n}, secateur_gates.judge_{n}, secateur_gates.keep_{n}, secateur_gates.note_{n},
    secateur_gates.gate_{n} from public;
  grant execute on function secateur_gates.enter_{n}, secateur_gates.generation_{n}, secateur_gates.judge_{n}, secateur_gates.keep_{n}, secateur_gates.note_{n}
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
       '{hook}' <> 'gate' or relation.relowner = routine.proowner as owned, routine.prosrc as body
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
