-- Putting back the runs of an undone cancellation, in the background.

-- Of the app's runs: those that another of its cancellations matches as well, active or complete, each
-- with the oldest of them. Looks at those whose scope and window meet the runs only, a few dozen at a time, so that a
-- long history costs little. A run that none matches, as far as the budget let them be evaluated, comes with the oldest that may,
-- in `undecided_by`. Part of a restore, under the app's shared lock.
create or replace function secateur.other_owners(app_id text, run_ids uuid[], budget interval)
  returns table (run_id uuid, cancellation_id uuid, undecided_by uuid)
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  functions text[];
  earliest timestamptz;
  latest timestamptz;
  -- Of the cancellations that may concern them, oldest commit first.
  candidates uuid[];
  others secateur.cancellations[];
  left_over uuid[] := run_ids;
  taken uuid[];
  owners uuid[];
  slow uuid[] := '{}';
  slow_owners uuid[] := '{}';
begin
  select array_agg(distinct run.function_id), min(run.started_at), max(run.started_at)
    into functions, earliest, latest
    from secateur.runs as run where run.app_id = other_owners.app_id and run.id = any (run_ids);
  select array_agg(other.id order by other.serial) into candidates
    from (select one.id, one.serial from secateur.cancellations as one
           where one.app_id = other_owners.app_id
             and one.state in ('active', 'complete')
             and one.kind <> 'retry'
             and one.started_before > earliest
             and (one.started_after is null or one.started_after < latest)
             and (one.function_id is null or one.function_id = any (functions))
             and (one.run_id is null or one.run_id = any (run_ids))
           -- The order of the index, which sees to it that it is this one.
           order by one.app_id, one.started_before
          offset 0) as other;
  while cardinality(candidates) > 0 and cardinality(left_over) > 0 loop
    others := array(select owner.rule
                      from unnest(candidates[:50]) as candidate (id),
                           lateral (select one as rule from secateur.cancellations as one
                                     where one.app_id = other_owners.app_id and one.id = candidate.id offset 0) as owner);
    candidates := candidates[51:];
    select coalesce(array_agg(hit.run_id) filter (where hit.cancellation_id is not null), '{}'),
           coalesce(array_agg(hit.cancellation_id) filter (where hit.cancellation_id is not null), '{}'),
           slow || coalesce(array_agg(hit.run_id) filter (where hit.undecided_by is not null), '{}'),
           slow_owners || coalesce(array_agg(hit.undecided_by) filter (where hit.undecided_by is not null), '{}')
      into taken, owners, slow, slow_owners
      from secateur.reached(other_owners.app_id, others, left_over, quickly => true, budget => other_owners.budget) as hit;
    return query select mine.id, mine.rule, null::uuid from unnest(taken, owners) as mine (id, rule);
    left_over := array(select unnest(left_over) except select unnest(taken));
  end loop;
  return query
  select distinct on (one.id) one.id, null::uuid, one.rule
    from unnest(slow, slow_owners) with ordinality as one (id, rule, turn)
   where one.id in (select unnest(left_over))
   order by one.id, one.turn;
end
$$;

-- The next runs of an undone retry behind a place that may still become what they were: nobody has claimed them. In id order.
-- Part of a restore.
create or replace function secateur.retried_after(rule secateur.cancellations, place uuid, batch integer)
  returns uuid[]
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
  set enable_sort = off set enable_seqscan = off set jit = off
as $$
begin
  return array(
    select run.id from secateur.runs as run
     where run.app_id = rule.app_id
       and run.retry_id is not null
       and (run.retry_id, run.id) > (rule.id, coalesce(place, '00000000-0000-0000-0000-000000000000'))
       and (run.retry_id, run.id) <= (rule.id, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
     order by run.retry_id, run.id
     limit batch);
end
$$;

-- The next runs that an undone cancellation has, behind a place, in id order. Part of a restore.
--
-- In the words of runs_cancelled: to ask for one cancellation's runs in id order would let the primary key do. Nobody else writes
-- cancelled rows but pruning, which spares these, and whoever takes their keys, which reclaim_keys sees to.
create or replace function secateur.cancelled_after(rule secateur.cancellations, place uuid, batch integer)
  returns uuid[]
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
begin
  return array(
    select next.id
      from (
        select run.id, run.cancellation_id from secateur.runs as run
         where run.app_id = rule.app_id
           and run.cancellation_id is not null
           and (run.cancellation_id, run.id) > (rule.id, coalesce(place, '00000000-0000-0000-0000-000000000000'))
           -- Where the index goes on with another app's runs, the walk would pass by them all.
           and (run.cancellation_id, run.id) <= (rule.id, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
         order by run.cancellation_id, run.id
         limit batch
      ) as next
     where next.cancellation_id = rule.id
     order by next.id);
end
$$;

-- The new owners of the first `seen` of the runs: `owners[i]` takes over `taken[i]`, in id order; nobody else matches the others.
-- It sees all of them unless another's condition takes too long on one: then those before it. That one by itself goes to the other
-- if a longer time does not help: it may be restored only if nothing else matches it. Part of a restore.
create or replace function secateur.find_owners(
  undone secateur.cancellations, run_ids uuid[], out seen integer, out taken uuid[], out owners uuid[]
)
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  unsure integer;
begin
  seen := cardinality(run_ids);
  select coalesce(array_agg(other.run_id order by other.run_id) filter (where other.cancellation_id is not null), '{}'),
         coalesce(array_agg(other.cancellation_id order by other.run_id) filter (where other.cancellation_id is not null), '{}'),
         min(array_position(run_ids, other.run_id)) filter (where other.undecided_by is not null)
    into taken, owners, unsure
    from secateur.other_owners(undone.app_id, run_ids, '500 ms') as other;
  if unsure = 1 then
    seen := 1;
    select coalesce(array_agg(other.run_id), '{}'),
           coalesce(array_agg(coalesce(other.cancellation_id, other.undecided_by)), '{}')
      into taken, owners
      from secateur.other_owners(undone.app_id, run_ids[:1], '1 second') as other;
  elsif unsure > 1 then
    seen := unsure - 1;
    select coalesce(array_agg(other.run_id order by other.run_id), '{}'),
           coalesce(array_agg(other.cancellation_id order by other.run_id), '{}')
      into taken, owners
      from unnest(taken, owners) as other (run_id, cancellation_id) where other.run_id in (select unnest(run_ids[:seen]));
  end if;
end
$$;

-- Hands runs over to other cancellations: `owners[i]` takes `taken[i]`, in id order. The tallies follow, and what was pruned has
-- something to prune again. Part of a restore; the caller holds the owners' records.
create or replace function secateur.hand_over(undone secateur.cancellations, taken uuid[], owners uuid[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  owner_id uuid;
begin
  with moved as (
    update secateur.runs as run
       set cancellation_id = owners[width_bucket(run.id, taken)], handed_over_from = undone.id
     where run.app_id = undone.app_id and run.id = any (taken)
       -- A retry may have been quicker.
       and run.cancellation_id = undone.id
    returning run.function_id, run.cancellation_id
  ), given as (
    insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, handed_over)
    select undone.app_id, undone.id, moved.function_id, count(*) from moved group by moved.function_id
  )
  insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, cancelled)
  select undone.app_id, moved.cancellation_id, moved.function_id, count(*)
    from moved group by moved.cancellation_id, moved.function_id;
  for owner_id in select distinct one.id from unnest(owners) as one (id) order by one.id loop
    update secateur.cancellations as owner
       set pruned_at = null
     where owner.app_id = undone.app_id and owner.id = owner_id and owner.pruned_at is not null;
  end loop;
end
$$;

-- Makes runs what they were before the undone cancellation cancelled them; those that ran are queued. Returns them. The tallies and
-- the depth follow. Part of a restore; the caller holds the runs' keys.
create or replace function secateur.put_back(undone secateur.cancellations, run_ids uuid[])
  returns uuid[]
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  back uuid[];
begin
  with restored as (
    update secateur.runs as run
       set status = case run.cancelled_from when 'running' then 'queued' else run.cancelled_from end,
           claim_token = case when run.cancelled_from <> 'running' then run.claim_token end,
           worker = case when run.cancelled_from <> 'running' then run.worker end,
           finished_at = null,
           cancelled_from = null,
           cancellation_id = null,
           handed_over_from = null
     where run.app_id = undone.app_id
       and run.id = any (run_ids)
       and run.cancellation_id = undone.id
    returning run.id, run.function_id, run.status
  ), tallied as (
    insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, restored)
    select undone.app_id, undone.id, restored.function_id, count(*) from restored group by restored.function_id
  ), measured as (
    insert into secateur.depth_deltas (app_id, function_id, queued, scheduled)
    select undone.app_id, restored.function_id, count(*) filter (where restored.status = 'queued'),
           count(*) filter (where restored.status = 'scheduled')
      from restored group by restored.function_id
  )
  select coalesce(array_agg(restored.id), '{}') into back from restored;
  perform secateur.lower_floors(undone.app_id, back);
  if cardinality(back) > 0 then
    perform secateur.wake(undone.app_id);
  end if;
  return back;
end
$$;

-- Restores the first `seen` of the runs of an undone cancellation: `handed_over` of them to others, `restored` to what they were. `busy`
-- are those whose key somebody is taking at this moment. Part of a restore, under the app's shared lock.
create or replace function secateur.restore_batch(
  undone secateur.cancellations, run_ids uuid[],
  out seen integer, out handed_over integer, out restored integer, out busy uuid[]
)
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  walk uuid[];
  theirs record;
  reclaimed record;
  returned record;
begin
  if undone.kind = 'retry' then
    returned := secateur.unretry(undone, run_ids);
    seen := cardinality(run_ids);
    handed_over := 0;
    restored := cardinality(returned.back);
    busy := returned.busy;
    return;
  end if;
  theirs := secateur.find_owners(undone, run_ids);
  seen := theirs.seen;
  walk := run_ids[:seen];
  -- point: owners known
  -- A prune holds the record while it looks whether anything is left of it: that look must not miss what comes now.
  perform from (select distinct one.id from unnest(theirs.owners) as one (id) order by one.id) as mine,
               lateral (select from secateur.cancellations as owner
                         where owner.app_id = undone.app_id and owner.id = mine.id
                        offset 0
                           for key share) as held;
  -- point: owners locked
  perform secateur.hand_over(undone, theirs.taken, theirs.owners);
  handed_over := cardinality(theirs.taken);
  -- point: handed over
  reclaimed := secateur.reclaim_keys(
    undone.app_id,
    array(select run.id from secateur.runs as run
           where run.app_id = undone.app_id and run.id = any (array(select unnest(walk) except select unnest(theirs.taken)))
             and (run.cancelled_from <> 'running' or undone.requeue_stopped)));
  busy := reclaimed.busy;
  -- point: keys reclaimed
  restored := cardinality(secateur.put_back(undone, reclaimed.free));
  -- point: batch restored
end
$$;

-- Puts back one batch of the runs of an undone cancellation, looking at up to `batch` of them in id order. Each of them
-- * is handed over, if other cancellations match it, active or complete: to the oldest of these;
-- * stays cancelled, if it was stopped while it ran (or is queued again, if the undo asked for that), or if another run has taken
--   its key meanwhile;
-- * else becomes exactly what it was.
-- One transaction a call. Whoever calls next, in whichever process, goes on where the last one ended. The step's state is
-- `restoring` until all is done, then `undone`. Raises SC404.
--
-- The batch reads the other cancellations in a statement after it has the app's lock shared, and holds that until its
-- rows are visible. So a commit, stop or undo of another one comes either before, and is read, or after the batch is
-- over: then its sweep finds the restored rows, and those that it would have taken back are not lost. A pending
-- commit holds no lock and may not be read. But it comes into force, and is swept, only when no such batch is left, and a
-- claim that could give out what the batch restored begins after it.
--
-- Locks: the record, tried, so that one process restores it and nobody repeats the undo meanwhile; then the app's,
-- shared; then the records that runs are handed over to, against pruning; then the runs. Runs whose key somebody is taking at
-- this moment are passed over, and come last.
create or replace function secateur.restore_cancellation(app_id text, id uuid, batch integer default 1000)
  returns secateur.sweep_step
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  app constant text := app_id;
  undone secateur.cancellations;
  place secateur.restores;
  wanted integer := batch;
  walk uuid[];
  ended boolean;
  done record;
  moment timestamptz;
  step secateur.sweep_step;
begin
  perform secateur.require_read_committed();
  perform secateur.require_number('batch', batch, 1, 100000);
  select rule.* into undone from secateur.cancellations as rule where rule.app_id = app and rule.id = restore_cancellation.id;
  if not found then
    raise exception using errcode = 'SC404', message = format('there is no cancellation %s', restore_cancellation.id);
  end if;
  step := row(undone.state, 0, false, false, 0, null, 0);
  if undone.state <> 'undone' then
    return step;
  end if;
  -- point: undone
  select rule.* into undone
    from secateur.cancellations as rule
   where rule.app_id = app and rule.id = restore_cancellation.id
     for no key update skip locked;
  if not found then
    step.state := 'restoring';
    step.busy := true;
    return step;
  elsif undone.restored_at is not null then
    return step;
  end if;
  -- point: alone
  step.state := 'restoring';
  select restores.* into place from secateur.restores where restores.app_id = app and restores.cancellation_id = undone.id;
  if place.next_at > clock_timestamp() then
    step.idle := true;
    step.wait := extract(epoch from place.next_at - clock_timestamp());
    return step;
  end if;
  wanted := least(wanted, ceil(undone.rate / 4.0));
  -- point: before the lock
  perform secateur.share_app(app);
  -- point: locked
  walk := case when undone.kind = 'retry' then secateur.retried_after(undone, place.run_id, wanted)
               else secateur.cancelled_after(undone, place.run_id, wanted) end;
  ended := cardinality(walk) < wanted;
  -- point: batch read
  if cardinality(walk) > 0 then
    done := secateur.restore_batch(undone, walk);
    ended := ended and done.seen = cardinality(walk);
    step.restored := done.restored;
    if cardinality(done.busy) > 0 then
      place.again_from := coalesce(place.again_from, place.run_id, '00000000-0000-0000-0000-000000000000');
    end if;
    place.run_id := walk[done.seen];
    if undone.rate is not null then
      step.wait := (done.restored + done.handed_over)::double precision / undone.rate;
      place.next_at := clock_timestamp() + step.wait * interval '1 second';
    end if;
  end if;
  if ended and place.again_from is not null then
    place.run_id := place.again_from;
    place.again_from := null;
    place.next_at := greatest(place.next_at, clock_timestamp() + interval '100 ms');
    step.idle := true;
    step.wait := extract(epoch from place.next_at - clock_timestamp());
    ended := false;
  end if;
  update secateur.restores
     set run_id = place.run_id, again_from = place.again_from, next_at = place.next_at
   where restores.app_id = app and restores.cancellation_id = undone.id;
  if ended then
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
