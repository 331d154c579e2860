-- The claim gates of other engines' queues. See docs/guarantee.md, and gate.sql beside the engines' files for what is made for each.
--
-- A gate is a trigger on the engine's own table that fires before a job is claimed. First it takes the installation's lock, shared. A
-- later statement, whose snapshot is newer than what the lock waited for, reads whether there are active cancellations. Then it asks
-- the installation's generated function which of them matches. A commit, stop or undo holds the lock exclusively, as for
-- secateur's own queue, and makes that function anew in its own transaction.

-- Until when a claim's statement may evaluate conditions: a quarter of a second from its first one, because a commit or stop waits for all
-- of them. A setting of the transaction stores the deadline; if it is older than the statement, it belongs to another statement.
create or replace function secateur.claim_deadline()
  returns timestamptz
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  deadline timestamptz := to_timestamp(nullif(current_setting('secateur.deadline', true), '')::double precision);
begin
  if deadline >= statement_timestamp() then
    return deadline;
  end if;
  deadline := clock_timestamp() + interval '250 ms';
  perform secateur.set_deadline(deadline);
  return deadline;
end
$$;

-- The oldest active cancellation that matches a job; null if none does; a uuid of es if that takes too long: then the job is written to
-- slow_jobs. `fields` are the run's fields that only some queues have. After the statement's deadline, each condition still has 10 ms for a
-- job. Reads the cancellations from the table, and evaluates them one by one. Claims call it if their generated function is not the newest,
-- raised, or took too long.
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
  known record;
  said record;
  held_back boolean := false;
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
    select slow.verdict into known
      from secateur.slow_jobs as slow
     where slow.app_id = rule.app_id and slow.cancellation_id = rule.id and slow.job_id = judge_job.id;
    if found then
      if known.verdict then
        return rule.id;
      end if;
      held_back := held_back or known.verdict is null;
      continue;
    end if;
    select given.verdict, given.undecided into said
      from secateur.verdicts(
             rule.condition, rule.parameters || judge_job.fields, substr(judge_job.app_id, length(installation) + 2),
             array[judge_job.function_id], array[judge_job.id], array[judge_job.event], array[judge_job.started_at],
             array[judge_job.priority],
             greatest(secateur.claim_deadline() - clock_timestamp(), interval '10 ms')) as given;
    if found and said.undecided then
      insert into secateur.slow_jobs (app_id, cancellation_id, job_id) values (rule.app_id, rule.id, judge_job.id)
      on conflict on constraint slow_jobs_pkey do nothing;
      held_back := true;
    elsif found and said.verdict then
      return rule.id;
    end if;
  end loop;
  return case when held_back then 'eeeeeeee-eeee-eeee-eeee-eeeeeeeeeeee'::uuid end;
end
$$;

-- Whether claims of the queue obey cancellations: its gate is installed, and its trigger exists and fires.
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
  set search_path = pg_catalog, pg_temp
as $$
declare
  home constant text := secateur.home_of(obeys.app_id);
begin
  return home is null or secateur.has_gate(home);
end
$$;

-- Makes the installation's generated function anew, if it has a gate: after a change of the active cancellations, in the same transaction.
-- The number of the change tells a claim whose catalog lags behind that its function is not the newest. Locks: the gate's row, so that two
-- changes at once do not make the function at once. With `waits` false, it gives way to whoever holds that row and leaves the function as
-- it is. Pending commits use that, since putting them in force makes the function again.
create or replace function secateur.compile_gate(installation text, waits boolean default true)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  gate secateur.gates;
begin
  if not waits then
    perform from secateur.gates as known where known.installation = compile_gate.installation for update skip locked;
    if not found then
      return;
    end if;
  end if;
  update secateur.gates as known
     set generation = pg_current_xact_id()::text::bigint
   where known.installation = compile_gate.installation
  returning known.* into gate;
  if not found then
    return;
  end if;
  perform secateur.make_match(gate.installation, gate.lock_number, gate.generation);
  -- Claims read this without a snapshot: those in REPEATABLE READ learn so that their own is older.
  perform setval(format('secateur_gates.newest_%s', gate.lock_number), gate.generation);
  -- And this very transaction may have read that nothing is active.
  perform set_config(format('secateur_gates.idle_%s', gate.lock_number), '', true);
end
$$;

-- The same for the queue that has the app; nothing for secateur's own.
create or replace function secateur.compile_gate_of(app_id text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  home constant text := secateur.home_of(compile_gate_of.app_id);
begin
  if home is not null then
    perform secateur.compile_gate(home);
  end if;
end
$$;

-- Functions that claims call are in a separate schema: the claiming roles need no right on secateur's schema.
grant usage on schema secateur_gates to public;
grant create on schema secateur_gates to secateur_sandbox;

-- Notes that a gate let a job through because something failed, once a second at most.
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

-- Notes that the trigger is on the table. The caller has created it in the same transaction, and so has waited for every claim that did not
-- meet it. Once this transaction has ended, a commit promises that no worker claims what it matches.
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
