-- The batches of a sweep in another engine's queue: what comes before and after the engine's own statements, in their transaction.
-- job_restores.sql has those of a restore. See installations.sql.

-- Records the jobs that a cancellation has met. Waiting jobs are cancelled by now, and `pre` is how they were. Running jobs were asked to
-- stop, or go on; they have no `pre` if nothing was written to them. Returns how many of them it had not met before, or had met while they
-- ran. Raises SC404, and SC422 with the parameter.
create or replace function secateur.take_jobs(
  app_id text, cancellation_id uuid, job_ids text[], function_ids text[], pres jsonb[], running boolean[],
  taken_by text default 'sweep'
)
  returns integer
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  taken integer;
begin
  perform secateur.job_cancellation(take_jobs.app_id, take_jobs.cancellation_id);
  perform secateur.require_jobs(job_ids);
  perform secateur.require_said('taken_by', array[take_jobs.taken_by], 1, '{sweep,gate}');
  perform secateur.require_same_length(given.name, cardinality(job_ids), array[coalesce(given.length, 0)])
     from (values ('function_ids', cardinality(function_ids)), ('pres', cardinality(pres)), ('running', cardinality(running)))
          as given (name, length);
  -- An engine's task may have any name, or none, and must not hold up the others of its batch.
  function_ids := array(select left(coalesce(given.id, ''), 200)
                          from unnest(function_ids) with ordinality as given (id, nth) order by given.nth);
  perform secateur.require_flags('running', running);
  if exists (select from unnest(pres, running) as given (pre, running) where given.pre is null and not given.running) then
    raise exception using errcode = 'SC422', column = 'pres', message = 'pres: must be there for each job that does not run';
  end if;
  with known as materialized (
    select met.job_id, met.was_running and met.outcome is null as is_open from secateur.preimages as met
     where met.app_id = take_jobs.app_id and met.cancellation_id = take_jobs.cancellation_id and met.job_id = any (job_ids)
  ), given as materialized (
    select one.job_id, one.function_id, one.pre, one.was_running, known.is_open as was_open
      from unnest(job_ids, function_ids, pres, running) as one (job_id, function_id, pre, was_running)
      left join known using (job_id)
  ), written as (
    insert into secateur.preimages as kept (app_id, cancellation_id, job_id, function_id, pre, was_running, taken_by)
    select take_jobs.app_id, take_jobs.cancellation_id, given.job_id, given.function_id, given.pre, given.was_running, take_jobs.taken_by
      from given
     -- A running job that is known already is waited for as before.
     where not (given.was_running and given.was_open is true)
    on conflict on constraint preimages_pkey do update
       set pre = excluded.pre, was_running = excluded.was_running, taken_by = excluded.taken_by, taken_at = clock_timestamp(),
           outcome = null, told = null
    returning kept.job_id
  ), counted as (
    insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, cancelled, requested, withdrawn)
    select take_jobs.app_id, take_jobs.cancellation_id, given.function_id,
           count(*) filter (where not given.was_running and coalesce(given.was_open, true)),
           count(*) filter (where given.was_running),
           -- It ran, failed or was given back, and waited again.
           count(*) filter (where not given.was_running and given.was_open)
      from given join written using (job_id)
     group by given.function_id
  )
  select count(*) into taken from written;
  if exists (select from secateur.slow_jobs as slow
              where slow.app_id = take_jobs.app_id and slow.cancellation_id = take_jobs.cancellation_id) then
    delete from secateur.slow_jobs as slow
     where slow.app_id = take_jobs.app_id and slow.cancellation_id = take_jobs.cancellation_id and slow.job_id = any (job_ids);
  end if;
  return taken;
end
$$;

-- Records what became of running jobs that a cancellation waits for: `stopped` or `finished_first`. Raises SC404, and SC422 with the
-- parameter.
create or replace function secateur.settle_jobs(app_id text, cancellation_id uuid, job_ids text[], outcomes text[])
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  outcome_of jsonb;
begin
  perform secateur.job_cancellation(settle_jobs.app_id, settle_jobs.cancellation_id);
  perform secateur.require_jobs(job_ids);
  perform secateur.require_said('outcomes', outcomes, cardinality(job_ids), '{stopped,finished_first}');
  outcome_of := (select jsonb_object_agg(given.job_id, given.outcome)
                   from unnest(job_ids, outcomes) as given (job_id, outcome));
  with settled as (
    update secateur.preimages as met
       set outcome = outcome_of ->> met.job_id
     where met.app_id = settle_jobs.app_id and met.cancellation_id = settle_jobs.cancellation_id and met.job_id = any (job_ids)
       and met.was_running and met.outcome is null
    returning met.function_id, met.outcome
  )
  insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, cancelled, stopped, finished_first)
  select settle_jobs.app_id, settle_jobs.cancellation_id, settled.function_id,
         count(*) filter (where settled.outcome = 'stopped'), count(*) filter (where settled.outcome = 'stopped'),
         count(*) filter (where settled.outcome = 'finished_first')
    from settled group by settled.function_id;
end
$$;

-- Stops waiting for the running jobs of a cancellation that was stopped or undone. Part of a stop and of an undo.
create or replace function secateur.withdraw_jobs(app_id text, cancellation_id uuid)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  with withdrawn as (
    update secateur.preimages as met
       set outcome = 'withdrawn'
     where met.app_id = withdraw_jobs.app_id and met.cancellation_id = withdraw_jobs.cancellation_id
       and met.was_running and met.outcome is null
    returning met.function_id
  )
  insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, withdrawn)
  select withdraw_jobs.app_id, withdraw_jobs.cancellation_id, withdrawn.function_id, count(*)
    from withdrawn group by withdrawn.function_id;
end
$$;

-- Whether the restore of an undone cancellation left jobs as they are: a repeated undo tries these again.
create or replace function secateur.has_left_jobs(undone secateur.cancellations)
  returns boolean
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  return exists (select from secateur.preimages as met
                  where met.app_id = undone.app_id and met.cancellation_id = undone.id and met.outcome = 'left');
end
$$;

-- Lets the restore retry the jobs that it left and, if the undo asks for it, jobs that were stopped while they ran and whose saved rows
-- exist. Part of an undo.
create or replace function secateur.reopen_jobs(app_id text, cancellation_id uuid)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  update secateur.preimages as met
     set outcome = null, told = null
   where met.app_id = reopen_jobs.app_id and met.cancellation_id = reopen_jobs.cancellation_id
     and (met.outcome = 'left'
          or met.outcome = 'stopped' and met.pre is not null
             and (select rule.requeue_stopped from secateur.cancellations as rule
                   where rule.app_id = reopen_jobs.app_id and rule.id = reopen_jobs.cancellation_id));
end
$$;

-- Begins a batch of a sweep; end_job_batch ends it. As sweep_batch does for secateur's own queue, it takes two locks: the gate of the
-- sweeps, shared, so that a stop or undo waits for the batch; and the cancellation's place, so that only one process sweeps it. `walks`:
-- the caller must look for matching jobs; `pass` distinguishes the walks. `open` are the running jobs that it waits for. `most` is how many
-- it may cancel, if the cancellation has a rate.
create or replace function secateur.begin_job_batch(
  app_id text, id uuid, out state text, out busy boolean, out wait double precision, out walks boolean, out pass integer,
  out open text[], out most integer
)
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan set lock_timeout = '1s'
as $$
declare
  app constant text := app_id;
  rule secateur.cancellations;
  place secateur.sweeps;
  begun record;
begin
  perform secateur.require_read_committed();
  busy := true;
  walks := false;
  rule := secateur.job_cancellation(app, begin_job_batch.id);
  state := 'active';
  if rule.ending then
    state := (secateur.ending_step(rule)).state;
    busy := false;
    return;
  end if;
  if rule.state = 'active' and rule.in_force_at is null and not secateur.confirm_cancellation(rule.app_id, rule.id) then
    return;
  end if;
  if not secateur.enter_sweeps(app) then
    wait := 0.05;
    return;
  end if;
  select active.* into rule from secateur.cancellations as active where active.app_id = app and active.id = begin_job_batch.id;
  state := case when rule.state = 'undone' and rule.restored_at is null then 'restoring' else rule.state end;
  if rule.state <> 'active' then
    busy := false;
    return;
  end if;
  select sweeps.* into place
    from secateur.sweeps where sweeps.app_id = app and sweeps.cancellation_id = rule.id
     for no key update skip locked;
  if not found then
    return;
  end if;
  busy := false;
  begun := secateur.begin_pass(rule, place, 0);
  place := begun.place;
  walks := not (place.clean or begun.waiting or begun.paused);
  pass := place.pass;
  most := ceil(rule.rate / 4.0);
  -- In the middle of a pass there is a function; which one does not matter. A walk keeps no place: what it has met is gone.
  place.function_id := case when walks then '' end;
  open := array(select met.job_id from secateur.preimages as met
                 where met.app_id = app and met.cancellation_id = rule.id and met.outcome is null and met.was_running);
  update secateur.sweeps
     set pass = place.pass, pass_xmin = place.pass_xmin, pass_at = place.pass_at, found = place.found, clean = place.clean,
         function_id = place.function_id, status = null, run_id = null, horizon = place.horizon,
         open_transactions = place.open_transactions, next_at = place.next_at
   where sweeps.app_id = app and sweeps.cancellation_id = rule.id;
exception when lock_not_available then
  state := 'active';
  busy := true;
  walks := false;
  wait := 0.25;
end
$$;

-- Ends a batch of a sweep. `met` is how many jobs it has met for the first time. `ended`: it found no others in this walk.
-- Raises SC404, SC409 if the cancellation is not active, and SC422.
create or replace function secateur.end_job_batch(app_id text, id uuid, met integer, walked boolean, ended boolean)
  returns secateur.sweep_step
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
as $$
declare
  app constant text := app_id;
  rule secateur.cancellations;
  place secateur.sweeps;
  over record;
  step secateur.sweep_step;
begin
  rule := secateur.job_cancellation(app, end_job_batch.id);
  if rule.state <> 'active' or rule.in_force_at is null then
    raise exception using errcode = 'SC409', message = format('cancellation %s is not swept: it is %s', rule.id,
      case when rule.state = 'active' then 'pending' else rule.state end);
  end if;
  perform secateur.require_number('met', met, 0, 100000);
  perform secateur.require_flags('walked', array[walked]);
  perform secateur.require_flags('ended', array[ended]);
  select sweeps.* into place from secateur.sweeps where sweeps.app_id = app and sweeps.cancellation_id = rule.id for no key update;
  step := row('active', met, false, false, 0, null, 0);
  place.found := place.found + met;
  if rule.rate is not null and met > 0 then
    place.next_at := clock_timestamp() + met * interval '1 second' / rule.rate;
  end if;
  if ended or (not walked and coalesce(place.next_at <= clock_timestamp(), true)) then
    over := secateur.end_pass(rule, place, not walked);
    place := over.place;
    step.state := case when over.complete then 'complete' else 'active' end;
    step.idle := not over.complete and place.found = 0;
    if over.complete then
      perform secateur.compile_gate_of(app);
    end if;
  end if;
  if place.next_at > clock_timestamp() and step.state = 'active' then
    step.idle := true;
    step.wait := extract(epoch from place.next_at - clock_timestamp());
  end if;
  -- None waits longer than a minute, unless the clock was set back.
  update secateur.slow_jobs as slow
     set next_at = clock_timestamp()
   where slow.app_id = app and slow.cancellation_id = rule.id and slow.verdict is null
     and slow.next_at > clock_timestamp() + interval '2 minutes';
  step.undecided := secateur.undecided_jobs(app, rule.id);
  update secateur.sweeps
     set found = place.found, clean = place.clean, function_id = place.function_id, next_at = place.next_at
   where sweeps.app_id = app and sweeps.cancellation_id = rule.id;
  perform secateur.note_step(app, rule.id);
  return step;
end
$$;

-- Deletes up to `batch` pre-images of cancellations in the queue that ended longer ago than the retention allows. These can no longer be
-- undone, and their tallies say so. Returns how many. Skips records that another session has locked.
create or replace function secateur.prune_jobs(installation text, batch integer default 1000)
  returns integer
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  ended_before constant timestamptz := now() - (select retention.cancelled from secateur.retention);
  ended record;
  moment constant timestamptz := clock_timestamp();
  gone integer;
  pruned integer := 0;
begin
  perform secateur.require_read_committed();
  perform secateur.require_number('batch', prune_jobs.batch, 1, 100000);
  delete from secateur.slow_jobs as slow
   using secateur.apps as home, secateur.cancellations as rule
   where home.installation = prune_jobs.installation and rule.app_id = home.app_id and rule.state <> 'active'
     and slow.app_id = rule.app_id and slow.cancellation_id = rule.id;
  for ended in
    select rule.app_id, rule.id, rule.state
      from secateur.apps as home
      join secateur.cancellations as rule on rule.app_id = home.app_id
     where home.installation = prune_jobs.installation
       and rule.state <> 'active'
       and not rule.ending
       and rule.pruned_at is null
       and (rule.state <> 'undone' or rule.restored_at is not null)
       and greatest(rule.completed_at, rule.stopped_at, rule.restored_at) < ended_before
     order by greatest(rule.completed_at, rule.stopped_at, rule.restored_at)
     limit 100
       for update of rule skip locked
  loop
    with doomed as (
      select met.job_id from secateur.preimages as met
       where met.app_id = ended.app_id and met.cancellation_id = ended.id
       limit prune_jobs.batch - pruned
    ), deleted as (
      delete from secateur.preimages as met
       where met.app_id = ended.app_id and met.cancellation_id = ended.id and met.job_id = any (array(select doomed.job_id from doomed))
      returning met.function_id, met.outcome, met.was_running
    ), counted as (
      insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, pruned)
      select ended.app_id, ended.id, deleted.function_id, count(*)
        from deleted
       -- Only jobs that are cancelled by it: the others came back, were handed over, or ended by themselves.
       where deleted.outcome in ('stopped', 'left') or (deleted.outcome is null and not deleted.was_running)
       group by deleted.function_id
    )
    select count(*) into gone from deleted;
    pruned := pruned + gone;
    if not exists (select from secateur.preimages as met where met.app_id = ended.app_id and met.cancellation_id = ended.id) then
      update secateur.cancellations as rule
         set pruned_at = moment where rule.app_id = ended.app_id and rule.id = ended.id;
    end if;
    exit when pruned >= prune_jobs.batch;
  end loop;
  return pruned;
end
$$;
