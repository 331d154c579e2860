-- The claim gates of queues of others. See docs/guarantee.md, and gate.sql beside the engines' files for what is made for each.
--
-- A gate is a trigger on the engine's own table that fires before a job is claimed. First it takes the installation's lock, shared. A
-- later statement, whose snapshot is newer than what the lock waited for, reads whether there are active cancellations. Then it asks
-- the installation's generated function which of them matches. A commit, stop or undo holds the lock exclusively, as for
-- secateur's own queue, and makes that function anew in its own transaction.

-- A stored condition as part of a function: each `$k` is element k of the parameters, which are there by that name. What only some queues
-- have, such as `$queue`, is of the run's fields.
create or replace function secateur.with_parameters(condition text, parameters_name text)
  returns text
  language sql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
  select string_agg(
           case when part.nth = 1 then part.text
                else format('(%s ->> %L)%s', case when part.name ~ '^([0-9]+|now)$' then parameters_name else 'run.fields' end, part.name, substr(part.text, length(part.name) + 1)) end,
           '' order by part.nth)
    from (select one.text, one.nth, substring(one.text from '^[a-z0-9_]*') as name
            from unnest(string_to_array(condition, '$')) with ordinality as one (text, nth)) as part
$$;

-- Makes the function that says which active cancellation matches a job; `body` is its text. This function, and so the one that it makes,
-- belongs to a role with no right on any table: the second wall around stored conditions, as for evaluate_conditions.
create or replace function secateur.define_match(lock_number bigint, body text)
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
begin
  -- The one of an older program had no fields. A gate that calls it so is understood all the same.
  if to_regprocedure(format('secateur_gates.%I(text, text, text, jsonb, timestamptz, integer)', 'match_' || lock_number)) is not null then
    execute format('drop function secateur_gates.%I(text, text, text, jsonb, timestamptz, integer)', 'match_' || lock_number);
  end if;
  execute format(
    'create or replace function secateur_gates.%I(
       app_id text, function_id text, id text, event jsonb, started_at timestamptz, priority integer,
       fields jsonb default %L,
       out generation bigint, out cancellation_id uuid)
     language plpgsql stable security definer
     set search_path = pg_catalog, pg_temp set extra_float_digits = 1 set standard_conforming_strings = on
     set bytea_output = hex set datestyle = %L set intervalstyle = postgres set timezone = %L
     set array_nulls = on set transform_null_equals = off
     as %L', 'match_' || lock_number, '{}', 'ISO, MDY', 'UTC', body);
end
$$;

-- Of older programs.
drop function if exists secateur.drop_match(bigint);

-- The oldest active cancellation that matches a job; null if none does. `fields` are those of the run that only some queues have. It reads
-- the cancellations from the table, and evaluates each by itself. For claims whose generated function is not the newest, or raised.
drop function if exists secateur.judge_job(text, text, text, text, jsonb, timestamptz, integer);
create or replace function secateur.judge_job(
  installation text, app_id text, function_id text, id text, event jsonb, started_at timestamptz, priority integer,
  fields jsonb default '{}'
)
  returns uuid
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  rule secateur.cancellations;
  verdict boolean;
begin
  for rule in
    select active.*
      from secateur.cancellations as active
     where active.app_id = judge_job.app_id and active.state = 'active' and active.kind = 'bulk'
       and (active.function_id is null or active.function_id = judge_job.function_id)
       and (active.started_after is null or judge_job.started_at > active.started_after)
       and judge_job.started_at < active.started_before
     order by active.serial
  loop
    if rule.condition is null then
      return rule.id;
    end if;
    select said.verdict into verdict
      from secateur.verdicts(
             rule.condition, rule.parameters || judge_job.fields, substr(judge_job.app_id, length(installation) + 2),
             array[judge_job.function_id], array[judge_job.id], array[judge_job.event], array[judge_job.started_at],
             array[judge_job.priority]) as said;
    if found and verdict then
      return rule.id;
    end if;
  end loop;
  return null;
end
$$;

-- Whether claims of the queue obey cancellations: its gate is made, and its trigger is there and fires.
create or replace function secateur.has_gate(installation text)
  returns boolean
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
begin
  return exists (
    select from secateur.gates as gate
      join pg_trigger as made on made.tgrelid = gate.guarded::oid and made.tgname = 'aaa_secateur_gate' and made.tgenabled in ('O', 'A')
     where gate.installation = has_gate.installation);
end
$$;

-- Whether claims of the app's runs obey cancellations: always in secateur's own queue.
create or replace function secateur.obeys(app_id text)
  returns boolean
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  home text;
begin
  select apps.installation into home from secateur.apps where apps.app_id = obeys.app_id;
  return home is null or secateur.has_gate(home);
end
$$;

-- Makes the installation's generated function anew, if it has a gate: after whatever changed the active cancellations, in the same
-- transaction. The number of the change tells a claim whose catalog lags behind that its function is not the newest.
-- Locks: the gate's row, so that two changes at once do not make the function at once. `waits` false: it gives way to
-- whoever holds that row, and the function stays as it is; for a commit that is pending, since putting it in force does it again.
create or replace function secateur.compile_gate(installation text, waits boolean default true)
  returns void
  language plpgsql
  -- How times and texts are written must not depend on who installs.
  set search_path = pg_catalog, pg_temp set datestyle = 'ISO, MDY' set timezone = 'UTC' set extra_float_digits = 1
  set standard_conforming_strings = on
as $$
declare
  gate secateur.gates;
  rule secateur.cancellations;
  n integer := 0;
  declared text := '';
  arms text := '';
begin
  if not waits then
    perform from secateur.gates as known where known.installation = compile_gate.installation for update skip locked;
    if not found then
      return;
    end if;
  end if;
  update secateur.gates as known
     set generation = known.generation + 1
   where known.installation = compile_gate.installation
  returning known.* into gate;
  if not found then
    return;
  end if;
  for rule in
    select active.*
      from secateur.apps
      join secateur.cancellations as active on active.app_id = apps.app_id
     where apps.installation = gate.installation and active.state = 'active' and active.kind = 'bulk'
     order by active.serial
  loop
    n := n + 1;
    declared := declared || format('  p%s constant jsonb := %L;%s', n, rule.parameters, chr(10));
    arms := arms || format(
      '    when run.app_id = %L%s%s and run.started_at < %L::timestamptz%s%s then %L::uuid%s',
      substr(rule.app_id, length(gate.installation) + 2),
      case when rule.function_id is not null then format(' and run.function_id = %L', rule.function_id) end,
      case when rule.started_after is not null then format(' and run.started_at > %L::timestamptz', rule.started_after) end,
      rule.started_before,
      case when rule.requires is not null then format(' and run.event @> any (%L::jsonb[])', rule.requires) end,
      case when rule.condition is not null and not rule.requires_suffices
           then format(' and (%s)', secateur.with_parameters(rule.condition, 'p' || n)) end,
      rule.id, chr(10));
  end loop;
  perform secateur.define_match(gate.lock_number, format(
    'declare%s%sbegin%s  generation := %s;%s%send', chr(10), declared, chr(10), gate.generation, chr(10),
    case when n > 0 then
      '  select case' || chr(10) || arms || '    end into cancellation_id' || chr(10)
      -- A condition reads the app's own name, without that of the queue.
      || format('    from (select substr(app_id, %s) as app_id, function_id, id, event, started_at, priority, fields) as run;%s',
                length(gate.installation) + 2, chr(10)) end));
  update secateur.gates as known set active = n > 0 where known.installation = gate.installation;
  -- A claim in REPEATABLE READ reads this without a snapshot, and so learns that its own is older.
  execute format('select setval(%L, %s)', format('secateur_gates.newest_%s', gate.lock_number), pg_current_xact_id());
  -- And whoever claims in this very transaction reads anew.
  perform set_config(format('secateur_gates.entered_%s', gate.lock_number), '', true);
end
$$;

-- The same for the queue that has the app; nothing for secateur's own.
create or replace function secateur.compile_gate_of(app_id text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  home text;
begin
  select apps.installation into home from secateur.apps where apps.app_id = compile_gate_of.app_id;
  if home is not null then
    perform secateur.compile_gate(home);
  end if;
end
$$;

-- What claims call is in a schema of its own: their roles need no right on secateur's.
grant usage on schema secateur_gates to public;
grant create on schema secateur_gates to secateur_sandbox;

-- Notes that a gate let a job through since something failed, once a second at most.
create or replace function secateur.note_gate_failure(installation text, error text)
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
begin
  insert into secateur.gate_failures (installation, error)
  select note_gate_failure.installation, left(note_gate_failure.error, 2000)
   where not exists (select from secateur.gate_failures as before
                      where before.installation = note_gate_failure.installation
                        and before.at > clock_timestamp() - interval '1 second');
end
$$;

-- Notes that the trigger is on the table. The caller has created it in the same transaction, and so has waited for every claim that
-- did not meet it. From the end of this transaction on, a commit promises that no worker claims what it matches.
create or replace function secateur.guard(installation text, guarded oid, author text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  update secateur.gates as known set guarded = guard.guarded::regclass where known.installation = guard.installation;
  perform secateur.record_audit(
    'install', '', null, null, guard.author, null, jsonb_build_object('gate', guard.installation, 'table', guard.guarded::regclass));
end
$$;

-- Forgets a gate. The caller drops its trigger in the same transaction. Active cancellations that relied on it are only swept from now
-- on. Locks: the installation's, exclusive.
create or replace function secateur.unguard(installation text, author text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  gate secateur.gates;
begin
  select known.* into gate from secateur.gates as known where known.installation = unguard.installation;
  if not found then
    return;
  end if;
  -- The lock before the gate's row, as commits take them.
  execute format('lock table only secateur_locks.app_%s in exclusive mode', gate.lock_number);
  perform from secateur.gates as known where known.installation = unguard.installation for update;
  update secateur.cancellations as rule
     set gated = false
   where rule.state = 'active' and rule.gated
     and rule.app_id in (select apps.app_id from secateur.apps where apps.installation = unguard.installation);
  delete from secateur.gate_failures as kept where kept.installation = unguard.installation;
  delete from secateur.gates as known where known.installation = unguard.installation;
  perform secateur.record_audit(
    'install', '', null, null, unguard.author, null, jsonb_build_object('gate_removed', unguard.installation));
end
$$;
