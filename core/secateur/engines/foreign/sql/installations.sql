-- Other engines' queues: which of them may be written to, and the records of their cancellations.
--
-- Decisions are made as for secateur's own queue, by the functions of the ledger. A batch of a sweep or of a restore is a transaction that
-- a process drives: it calls the functions of jobs.sql and, between them, the engine's own statements (cancel and restore of its SQL file),
-- which need the caller's rights on the engine's tables.

-- Notes that jobs of a queue may be cancelled. Repeatable; audited if it changes something. Only the owner of the schema may call it.
create or replace function secateur.install_queue(
  name text, engine text, schema text, prefix text, version text, author text, source text
)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  number bigint;
begin
  insert into secateur.installations as known (name, engine, schema, prefix, version)
  values (install_queue.name, install_queue.engine, install_queue.schema, install_queue.prefix, install_queue.version)
  on conflict on constraint installations_pkey do update
     set version = excluded.version, installed_at = clock_timestamp()
   where known.version <> excluded.version
  returning known.lock_number into number;
  if not found then
    return false;
  end if;
  perform secateur.make_locks(number);
  perform secateur.record_audit(
    'install', '', null, null, install_queue.author, install_queue.source,
    jsonb_build_object('installation', install_queue.name, 'engine', install_queue.engine, 'schema', install_queue.schema,
                       'prefix', install_queue.prefix, 'version', install_queue.version));
  return true;
end
$$;

-- The queue's row. Raises SC404 if it was not installed.
create or replace function secateur.installed(name text)
  returns secateur.installations
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  found_row secateur.installations;
begin
  select known.* into found_row from secateur.installations as known where known.name = installed.name;
  if found_row.name is null then
    raise exception using errcode = 'SC404',
      message = format('nothing was installed for the queue %s, so that its jobs cannot be cancelled', installed.name),
      hint = format('secateur install --engine %s', installed.name);
  end if;
  return found_row;
end
$$;

-- The record of a cancellation in another engine's queue. Raises SC404.
create or replace function secateur.job_cancellation(app_id text, id uuid)
  returns secateur.cancellations
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  known secateur.cancellations;
begin
  select rule.* into known
    from secateur.cancellations as rule
   where rule.app_id = job_cancellation.app_id and rule.id = job_cancellation.id
     and secateur.home_of(rule.app_id) is not null;
  if not found then
    raise exception using errcode = 'SC404', message = format('there is no cancellation %s', job_cancellation.id);
  end if;
  return known;
end
$$;

-- Raises SC422 unless these are the ids of different jobs.
create or replace function secateur.require_jobs(job_ids text[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if job_ids is null then
    raise exception using errcode = 'SC422', column = 'job_ids', message = 'job_ids: must not be null';
  end if;
  perform secateur.require_count('job_ids', cardinality(job_ids), 0, 100000);
  if exists (select from unnest(job_ids) as given (id) where (length(given.id) between 1 and 500) is not true) then
    raise exception using errcode = 'SC422', column = 'job_ids', message = 'job_ids: each must have 1 to 500 characters';
  elsif (select count(distinct given.id) from unnest(job_ids) as given (id)) < cardinality(job_ids) then
    raise exception using errcode = 'SC422', column = 'job_ids', message = 'job_ids: must not name a job twice';
  end if;
end
$$;

-- Raises SC422 unless the list has one of the allowed values for each of this many jobs.
create or replace function secateur.require_said(field text, said text[], jobs integer, choices text[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform secateur.require_same_length(field, jobs, array[coalesce(cardinality(said), 0)]);
  if exists (select from unnest(said) as one (value) where (one.value = any (choices)) is not true) then
    raise exception using errcode = 'SC422', column = field,
      message = format('%s: each must be %s', field, array_to_string(choices, ' or '));
  end if;
end
$$;

-- Adds an app of the queue, and these functions of it, to the ledger: records refer to them. Repeatable. Raises SC422,
-- and SC409 if secateur's own queue has an app of that name.
create or replace function secateur.adopt(home secateur.installations, app_id text, function_ids text[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if not starts_with(coalesce(adopt.app_id, ''), home.name || '/') then
    raise exception using errcode = 'SC422', column = 'app_id',
      message = format('app_id: an app of the queue %s must begin with %L', home.name, home.name || '/');
  end if;
  perform secateur.require_name('app_id', adopt.app_id, 401);
  perform secateur.require_name('function_id', named.id) from unnest(adopt.function_ids) as named (id);
  insert into secateur.apps (app_id, lock_number, installation) overriding system value
  values (adopt.app_id, home.lock_number, home.name)
  on conflict do nothing;
  if exists (select from secateur.apps where apps.app_id = adopt.app_id and apps.installation is distinct from home.name) then
    raise exception using errcode = 'SC409', column = 'app_id',
      message = format('secateur''s own queue has an app that is called %L, as one of the queue %s would be', adopt.app_id, home.name);
  end if;
  insert into secateur.functions (app_id, function_id, installation)
  select adopt.app_id, named.id, home.name from unnest(adopt.function_ids) as named (id)
  on conflict do nothing;
end
$$;

-- commit_cancellations for another engine's queue, which must be installed. Adds its app and functions to the ledger; the caller must know
-- that they exist. It asks no run to stop. If the queue has a gate, it updates the gate under the lock; otherwise it keeps no run from
-- being claimed. The sweep does the rest.
create or replace function secateur.commit_jobs(installation text, ids uuid[], function_ids text[], draft jsonb)
  returns setof secateur.cancellations
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  given secateur.cancellations := secateur.draft_of(draft);
begin
  perform secateur.require_expected(given.expected, given.expected_by_function);
  given.kind := 'bulk';
  given.gated := secateur.has_gate(commit_jobs.installation);
  perform secateur.adopt(secateur.installed(commit_jobs.installation), given.app_id,
                         coalesce(function_ids, array(select jsonb_object_keys(given.expected_by_function))));
  return query select committed.* from secateur.commit_draft(given, ids, function_ids) as committed;
  -- The first batch of the sweep takes it, with the transactions that are open then: see begin_pass.
  update secateur.sweeps as place
     set horizon = null
   where place.app_id = given.app_id and place.cancellation_id = any (commit_jobs.ids) and place.pass = 0;
  -- The lock is held now, in a later statement than the look: a gate that was removed meanwhile keeps nothing.
  if given.gated and not secateur.has_gate(commit_jobs.installation) then
    update secateur.cancellations as rule
       set gated = false
     where rule.app_id = given.app_id and rule.id = any (commit_jobs.ids);
  end if;
  perform secateur.compile_gate(
    commit_jobs.installation,
    waits => exists (select from secateur.cancellations as rule
                      where rule.app_id = given.app_id and rule.id = any (commit_jobs.ids) and rule.in_force_at is not null));
end
$$;

-- Records the cancellation of a single job. The caller has locked the job, and cancels it in the same transaction. If the job waits, the
-- record is complete. If it runs, the sweep watches for its end. `made` is false if it was recorded before, under the same key. Raises
-- SC404, and SC409 if the key was used for another request.
create or replace function secateur.commit_job(
  installation text, id uuid, app_id text, function_id text, job_id text, running boolean, idempotency_key text, reason text,
  source text, created_by text, out made boolean, out record uuid
)
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  request constant jsonb := jsonb_strip_nulls(jsonb_build_object('run_id', commit_job.job_id, 'reason', commit_job.reason));
  moment timestamptz;
  committed secateur.cancellations;
begin
  perform secateur.require_read_committed();
  perform secateur.require_key(commit_job.idempotency_key);
  perform secateur.require_record(commit_job.reason, commit_job.created_by, commit_job.source);
  perform secateur.require_name('job_id', commit_job.job_id, 500);
  perform secateur.require_flags('running', array[commit_job.running]);
  perform secateur.adopt(secateur.installed(commit_job.installation), commit_job.app_id, array[commit_job.function_id]);
  perform secateur.share_app(commit_job.app_id);
  committed := secateur.committed_under(commit_job.app_id, commit_job.idempotency_key, request);
  if committed.id is null then
    perform secateur.require_free_ids(commit_job.app_id, array[commit_job.id]);
    moment := clock_timestamp();
    insert into secateur.cancellations (
      id, kind, state, app_id, function_id, started_before, standing, parameters, compiler, request, idempotency_key, reason,
      source, created_at, created_by, created_role, expected, expected_exact, expected_by_function, in_force_at, job_id, gated,
      completed_at)
    values (
      commit_job.id, 'run', case when running then 'active' else 'complete' end, commit_job.app_id, commit_job.function_id,
      moment, false, '{}', 0, request, commit_job.idempotency_key, commit_job.reason, commit_job.source, moment,
      commit_job.created_by, session_user, 1, true, jsonb_build_object(commit_job.function_id, 1), moment, commit_job.job_id,
      false, case when not running then moment end)
    on conflict on constraint cancellations_app_id_idempotency_key_key do nothing
    returning * into committed;
    made := committed.id is not null;
    if made then
      -- No other job can become this one, so there is no transaction to wait for.
      insert into secateur.sweeps (app_id, cancellation_id, horizon, clean) values (committed.app_id, committed.id, '0', true);
      perform secateur.record_audit(
        'commit', committed.app_id, committed.function_id, committed.id, committed.created_by, committed.source,
        jsonb_build_object('request', request, 'status', case when running then 'running' else 'waiting' end));
      perform pg_notify('secateur_cancellations', committed.id::text);
    else
      committed := secateur.committed_under(commit_job.app_id, commit_job.idempotency_key, request);
    end if;
  else
    made := false;
  end if;
  record := committed.id;
end
$$;
