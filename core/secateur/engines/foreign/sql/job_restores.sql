-- The batches of a restore in another engine's queue: what comes before and after the engine's own statements, in their transaction.
-- jobs.sql has those of a sweep.

-- Begins a batch of a restore; end_job_restore ends it. Returns up to `batch` jobs of an undone cancellation, in the order in which they
-- were cancelled. `others` are the records of the cancellations that may match them too, oldest first. It holds the app's lock, shared, so
-- that this list does not change during the batch: see restore_cancellation.
create or replace function secateur.begin_job_restore(
  app_id text, id uuid, batch integer, out state text, out busy boolean, out wait double precision, out job_ids text[],
  out function_ids text[], out pres jsonb[], out others jsonb[]
)
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  app constant text := app_id;
  undone secateur.cancellations;
  place secateur.restores;
begin
  perform secateur.require_read_committed();
  perform secateur.require_number('batch', batch, 1, 100000);
  undone := secateur.job_cancellation(app, begin_job_restore.id);
  state := undone.state;
  busy := false;
  if undone.state <> 'undone' then
    return;
  elsif undone.ending then
    state := (secateur.ending_step(undone)).state;
    return;
  end if;
  select rule.* into undone
    from secateur.cancellations as rule where rule.app_id = app and rule.id = begin_job_restore.id
     for no key update skip locked;
  if not found or undone.ending then
    state := 'restoring';
    busy := true;
    return;
  elsif undone.restored_at is not null then
    return;
  end if;
  state := 'restoring';
  select restores.* into place from secateur.restores where restores.app_id = app and restores.cancellation_id = undone.id;
  if secateur.must_wait(app, undone.id, place.next_at) then
    wait := extract(epoch from place.next_at - clock_timestamp());
    return;
  end if;
  perform secateur.share_app(app);
  select coalesce(array_agg(one.job_id order by one.serial), '{}'), array_agg(one.function_id order by one.serial),
         array_agg(one.pre order by one.serial)
    into job_ids, function_ids, pres
    from (select met.* from secateur.preimages as met
           where met.app_id = app and met.cancellation_id = undone.id and met.outcome is null
           order by met.serial
           limit least(batch, ceil(undone.rate / 4.0))) as one;
  others := array(
    select to_jsonb(one)
      -- Not by the index on the order of commits: there may be many commits.
      from (select rule.* from secateur.cancellations as rule
             where rule.app_id = app and rule.state in ('active', 'complete') and rule.kind = 'bulk'
               and rule.started_before > coalesce(undone.started_after, '-infinity')
               and (rule.started_after is null or rule.started_after < undone.started_before)
               and (rule.function_id is null or undone.function_id is null or rule.function_id = undone.function_id)
            offset 0) as one
     order by one.serial);
end
$$;

-- Ends a batch of a restore. The outcome of each job is `restored`, `handed_over` (to `owners[i]`, which keeps its `pres[i]`), or `left`
-- for the reason `told[i]`. Raises SC404, SC409 if the cancellation is not undone, and SC422.
create or replace function secateur.end_job_restore(
  app_id text, id uuid, job_ids text[], outcomes text[], told text[], owners uuid[], pres jsonb[]
)
  returns secateur.sweep_step
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  app constant text := app_id;
  undone secateur.cancellations;
  back integer;
  moment timestamptz;
  step secateur.sweep_step;
begin
  undone := secateur.job_cancellation(app, end_job_restore.id);
  if undone.state <> 'undone' then
    raise exception using errcode = 'SC409', message = format('cancellation %s is not undone: it is %s', undone.id, undone.state);
  end if;
  perform secateur.require_jobs(job_ids);
  perform secateur.require_said('outcomes', outcomes, cardinality(job_ids), '{restored,handed_over,left}');
  perform secateur.require_same_length(given.name, cardinality(job_ids), array[coalesce(given.length, 0)])
     from (values ('told', cardinality(end_job_restore.told)), ('owners', cardinality(owners)),
                  ('pres', cardinality(end_job_restore.pres))) as given (name, length);
  if exists (select from unnest(outcomes, owners, end_job_restore.pres) as given (outcome, owner, pre)
              where given.outcome = 'handed_over' and (given.owner is null or given.pre is null)) then
    raise exception using errcode = 'SC422', column = 'owners', 
      message = 'owners: must be there, with its pre, for each job that is handed over';
  end if;
  perform secateur.job_cancellation(app, given.owner) 
     from (select distinct unnest(owners)) as given (owner) where given.owner is not null;
  step := row('restoring', 0, false, false, 0, null, 0);
  with given as materialized (
    select * from unnest(job_ids, outcomes, end_job_restore.told, owners, end_job_restore.pres)
      as one (job_id, outcome, told, owner, pre)
  ), written as (
    update secateur.preimages as met
       set outcome = given.outcome, told = given.told
      from given
     where met.app_id = app and met.cancellation_id = undone.id and met.job_id = given.job_id and met.outcome is null
    returning met.job_id, met.function_id, met.outcome
  ), theirs as (
    insert into secateur.preimages as kept (app_id, cancellation_id, job_id, function_id, pre, was_running, taken_by)
    select app, given.owner, given.job_id, written.function_id, given.pre, false, 'sweep'
      from given join written using (job_id) where given.outcome = 'handed_over'
    on conflict on constraint preimages_pkey do update
       set pre = excluded.pre, was_running = false, taken_at = clock_timestamp(), outcome = null, told = null
    returning kept.cancellation_id, kept.function_id
  ), counted as (
    insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, cancelled, restored, handed_over)
    select app, undone.id, written.function_id, 0, count(*) filter (where written.outcome = 'restored'),
           count(*) filter (where written.outcome = 'handed_over')
      from written group by written.function_id
    union all
    select app, theirs.cancellation_id, theirs.function_id, count(*), 0, 0
      from theirs group by theirs.cancellation_id, theirs.function_id
  )
  select count(*) filter (where written.outcome = 'restored') into back from written;
  step.restored := back;
  if undone.rate is not null and cardinality(job_ids) > 0 then
    step.wait := cardinality(job_ids)::double precision / undone.rate;
    update secateur.restores
       set next_at = clock_timestamp() + step.wait * interval '1 second'
     where restores.app_id = app and restores.cancellation_id = undone.id;
  end if;
  if not exists (select from secateur.preimages as met
                  where met.app_id = app and met.cancellation_id = undone.id and met.outcome is null) then
    moment := clock_timestamp();
    update secateur.cancellations as rule set restored_at = moment where rule.app_id = app and rule.id = undone.id;
    step.state := 'undone';
    perform secateur.record_audit('restore', app, undone.function_id, undone.id, undone.undone_by, null,
                                  secateur.tallied(app, undone.id));
  end if;
  perform secateur.note_step(app, undone.id);
  return step;
end
$$;
