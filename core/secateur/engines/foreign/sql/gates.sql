-- The claim gates of queues of others. See docs/guarantee.md, and gate.sql beside the engines' files for what is made for each.
--
-- A gate is a trigger on the engine's own table that fires before a job is claimed. First it takes the installation's lock, shared. A
-- later statement, whose snapshot is newer than what the lock waited for, reads whether there are active cancellations. Then it asks
-- the installation's generated function which of them matches. A commit, stop or undo holds the lock exclusively, as for
-- secateur's own queue, and makes that function anew in its own transaction.

-- A stored condition with its parameters written out: each `$k` becomes element k of them, as a literal. So Postgres computes what
-- depends on nothing else once, and not for every job. What only some queues have, such as `$queue`, is of the run's fields.
create or replace function secateur.with_literals(condition text, parameters jsonb)
  returns text
  language sql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
  select string_agg(
           case when part.nth = 1 then part.text
                when part.name ~ '^([0-9]+|now)$'
                  then format('(%L::text)%s', parameters ->> part.name, substr(part.text, length(part.name) + 1))
                else format('(run.fields ->> %L)%s', part.name, substr(part.text, length(part.name) + 1)) end,
           '' order by part.nth)
    from (select one.text, one.nth, substring(one.text from '^[a-z0-9_]*') as name
            from unnest(string_to_array(condition, '$')) with ordinality as one (text, nth)) as part
$$;

-- A value that a job's event has wherever it contains the document, and its place: SQL over the job's `data` or `name`. One in the data,
-- if there is one. Nulls if there is none: the document is empty, or asks for nothing but lists.
create or replace function secateur.leaf_of(document jsonb, out place text, out value jsonb)
  language sql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
  with recursive walk (place, value) as (
    select case member.key when 'data' then 'data' else 'to_jsonb(name)' end, member.value
      from jsonb_each(leaf_of.document) as member
     where member.key in ('data', 'name')
    union all
    select format('%s -> %L', walk.place, member.key), member.value
      from walk
     cross join lateral jsonb_each(case when jsonb_typeof(walk.value) = 'object' then walk.value else '{}' end) as member
  )
  select walk.place, walk.value
    from walk
   where jsonb_typeof(walk.value) not in ('object', 'array')
   order by walk.place = 'to_jsonb(name)', walk.place
   limit 1
$$;

-- Makes the function that says which active cancellation matches a job; `body` is its text. This function, and so the one that it makes,
-- belongs to a role with no right on any table: the second wall around stored conditions, as for evaluate_conditions.
create or replace function secateur.define_match(lock_number bigint, body text)
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
begin
  execute format(
    'create or replace function secateur_gates.%I(
       known text, app_id text, function_id text, id text, name text, data jsonb, started_at timestamptz, priority integer,
       fields jsonb)
     returns uuid language plpgsql stable security definer
     set search_path = pg_catalog, pg_temp set extra_float_digits = 1 set standard_conforming_strings = on
     set bytea_output = hex set datestyle = %L set intervalstyle = postgres set timezone = %L
     set array_nulls = on set transform_null_equals = off
     as %L', 'match_' || lock_number, 'ISO, MDY', 'UTC', body);
end
$$;

-- Of older programs.
drop function if exists secateur.drop_match(bigint);

-- The oldest active cancellation that matches a job; null if none does; a uuid of es if that takes too long, and then it is written down in
-- slow_jobs. `fields` are those of the run that only some queues have. It reads the cancellations from the table, and evaluates each by
-- itself. For claims whose generated function is not the newest, raised, or took too long.
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
             -- The jobs of one statement share their time: a commit or stop waits for all of them.
             case when clock_timestamp() < statement_timestamp() + interval '1 second' then interval '100 ms' else interval '10 ms' end
           ) as given;
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
  set search_path = pg_catalog, pg_temp
as $$
declare
  home constant text := secateur.home_of(obeys.app_id);
begin
  return home is null or secateur.has_gate(home);
end
$$;

-- One active cancellation in the text of the generated function. `might` is a test that is quick, and true of whatever it matches.
create or replace function secateur.match_arm(rule secateur.cancellations, own_app text, might text)
  returns text
  language plpgsql
  stable
  -- How times and texts are written must not depend on who commits.
  set search_path = pg_catalog, pg_temp set datestyle = 'ISO, MDY' set timezone = 'UTC' set standard_conforming_strings = on
as $$
declare
  scope constant text := concat_ws(' and ',
    might, 'app_id = ' || quote_literal(own_app), 'function_id = ' || quote_literal(rule.function_id));
  time constant text := concat_ws(' and ',
    'started_at > ' || quote_literal(rule.started_after) || '::timestamptz',
    'started_at < ' || quote_literal(rule.started_before) || '::timestamptz');
  requires constant text := 'event @> any (' || quote_literal(rule.requires) || '::jsonb[])';
  condition constant text :=
    case when not rule.requires_suffices then '(' || secateur.with_literals(rule.condition, rule.parameters) || ')' end;
  tests constant text := concat_ws(' and ', requires, condition);
  -- A pattern is looked for in one go, which nothing can interrupt: see verdicts.
  has_pattern constant boolean := strpos(coalesce(condition, ''), ' ~ ') > 0;
begin
  return concat_ws(chr(10),
    format('  if %s then', scope),
    format('    if fields is null and %s then', case when strpos(tests, 'run.fields') > 0 then 'true' else 'started_at is null' end),
    '      return ''11111111-1111-1111-1111-111111111111'';',
    '    end if;',
    case when tests <> '' then
      $arm$    event := coalesce(event, jsonb_build_object('name', name, 'data', data));$arm$ end,
    case when has_pattern then format('    if %s and pg_column_size(event) > 2000 and octet_length(event::text) > 250000 then',
      concat_ws(' and ', time, requires)) end,
    case when has_pattern then '      raise exception using errcode = ''SC408'';' || chr(10) || '    end if;' end,
    format('    if %s then', concat_ws(' and ', time, nullif(tests, ''))),
    format('      return %L;', rule.id),
    '    end if;',
    '  end if;') || chr(10);
end
$$;

-- The text of the generated function, which looks for the oldest active cancellation that matches a job. `known` is what the claim's
-- transaction has read under the lock: its own id, and the generation. If this text is of another generation, it decides
-- nothing, and returns a uuid of zeros. If none is active, it returns one of fs. If it needs the start or the run's fields of a job that
-- may match, and both are null, it returns one of ones.
--
-- Most jobs match nothing, and are told apart by what is quick: what a cancellation matches has one of certain values in a certain place, as
-- a rule. In each place, the values of all cancellations are looked for at once.
create or replace function secateur.match_body(installation text, generation bigint)
  returns text
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  rules constant secateur.cancellations[] := array(
    select active
      from secateur.apps
      join secateur.cancellations as active on active.app_id = apps.app_id
     where apps.installation = match_body.installation and active.state = 'active' and active.kind = 'bulk'
     order by active.serial);
  rule secateur.cancellations;
  leaves constant jsonb := (
    select jsonb_object_agg(found.place, found.values)
      from (select leaf.place, jsonb_agg(distinct leaf.value) as values
              from unnest(rules) as active
             cross join unnest(active.requires) as document
             cross join lateral secateur.leaf_of(document) as leaf
             where leaf.place is not null
             group by leaf.place) as found);
  places constant text[] := array(select jsonb_object_keys(leaves));
  might text;
  all_might boolean := true;
  arms text := '';
begin
  foreach rule in array rules loop
    select string_agg(distinct 'might' || array_position(places, leaf.place), ' or ') into might
      from unnest(rule.requires) as document
     cross join lateral secateur.leaf_of(document) as leaf
    having bool_and(leaf.place is not null);
    all_might := all_might and might is not null;
    arms := arms || secateur.match_arm(rule, substr(rule.app_id, length(match_body.installation) + 2), '(' || might || ')');
  end loop;
  return concat_ws(chr(10),
    '#variable_conflict use_column',
    '<<run>>',
    'declare',
    -- What conditions read, by the names that they have for it.
    '  app_id alias for $2; function_id alias for $3; id alias for $4; started_at alias for $7; priority alias for $8;',
    '  fields alias for $9;',
    '  event jsonb;',
    (select string_agg(format('  might%s boolean;', place.nth), chr(10))
       from generate_subscripts(places, 1) as place (nth)),
    'begin',
    format('  if known is distinct from pg_current_xact_id()::text || %L then', ' ' || match_body.generation),
    format('    return %L;', '00000000-0000-0000-0000-000000000000'),
    '  end if;',
    (select string_agg(format('  might%s := %L::jsonb @> (%s);', place.nth, leaves -> places[place.nth], places[place.nth]), chr(10))
       from generate_subscripts(places, 1) as place (nth)),
    case when all_might and places <> '{}' then format('  if not coalesce(%s, false) then return null; end if;',
      (select string_agg('might' || place.nth, ' or ') from generate_subscripts(places, 1) as place (nth))) end,
    arms || case when arms = '' then '  return ''ffffffff-ffff-ffff-ffff-ffffffffffff'';' else '  return null;' end,
    'end');
end
$$;

-- Makes the installation's generated function anew, if it has a gate: after whatever changed the active cancellations, in the same
-- transaction. The number of the change tells a claim whose catalog lags behind that its function is not the newest.
-- Locks: the gate's row, so that two changes at once do not make the function at once. `waits` false: it gives way to
-- whoever holds that row, and the function stays as it is; for a commit that is pending, since putting it in force does it again.
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
  perform secateur.define_match(gate.lock_number, secateur.match_body(gate.installation, gate.generation));
  -- Claims read this without a snapshot: those in REPEATABLE READ learn so that their own is older.
  perform setval(format('secateur_gates.newest_%s', gate.lock_number), gate.generation);
  -- And whoever claims in this very transaction reads anew.
  perform set_config(format('secateur_gates.entered_%s', gate.lock_number), '', true);
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
