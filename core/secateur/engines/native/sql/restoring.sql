-- Putting back the runs of an undone cancellation, in the background, and telling which were not.

-- Finds which of the app's runs another of its cancellations matches as well, active or complete, and gives each the oldest one. It
-- looks only at cancellations whose scope and window meet the runs, a few dozen at a time, so that a long history costs little. If
-- none matches a run, but the budget left some undecided, `undecided_by` has the oldest of these. Part of a restore, under the
-- app's shared lock.
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

-- The next runs of an undone retry after a place that can still become what they were, because nobody has claimed them. In id
-- order. Part of a restore.
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

-- The next runs of an undone cancellation after a place, in id order. Part of a restore.
--
-- The query uses the predicate of runs_cancelled, because for one cancellation's runs in id order the planner might choose the
-- primary key. Cancelled rows are written only by pruning, which spares these, and by whoever takes their keys, which
-- reclaim_keys guards against.
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
-- It sees all of them, unless another cancellation's condition takes too long on one: then it sees those before that run. If more
-- time does not decide that run, it goes to the other cancellation, because it may be restored only if nothing else matches it.
-- Part of a restore.
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

-- Hands runs over to other cancellations: `owners[i]` takes `taken[i]`, in id order. The tallies follow, and a cancellation that
-- had nothing left to prune has something again. Part of a restore; the caller holds the owners' records.
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

-- Whether the restore of an undone cancellation left runs cancelled because another run had taken their key: a repeated undo
-- tries these again.
create or replace function secateur.has_keyed(undone secateur.cancellations)
  returns boolean
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  return exists (select from secateur.runs as run
                  where run.app_id = undone.app_id and run.cancellation_id = undone.id and run.key_taken_by is not null
                    and (run.cancelled_from <> 'running' or undone.requeue_stopped));
end
$$;

-- Up to `limit` runs of an undone cancellation that its restore did not put back, and why. These include the runs that were
-- handed over to another cancellation. For a retry, these are the runs that it left alone and, once it is undone, the runs that
-- it could not take back.
create or replace function secateur.unrestored(app_id text, id uuid, "limit" integer)
  returns table (run_id uuid, reason text)
  language plpgsql
  stable
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  rule secateur.cancellations;
begin
  -- For the number of all, whatever it is.
  perform secateur.require_number('limit', unrestored."limit", 0, 2147483647);
  select known.* into rule from secateur.cancellations as known
   where known.app_id = unrestored.app_id and known.id = unrestored.id;
  if rule.kind = 'retry' and rule.state <> 'undone' then
    return query select one.run_id, one.reason from secateur.left_alone(rule, unrestored."limit") as one;
    return;
  elsif rule.kind = 'retry' then
    return query
    select run.id,
           case when run.cancellation_id is not null then format('cancellation %s has cancelled it since', run.cancellation_id)
                when run.retried_from is null then 'it has begun since'
                else 'the undo has not reached it yet' end
      from secateur.runs as run
     where run.app_id = unrestored.app_id and run.retry_id = unrestored.id
     order by run.id
     limit unrestored."limit";
    return;
  end if;
  return query
  (select run.id,
          case when run.cancelled_from = 'running' and not rule.requeue_stopped
            then 'it was stopped while it ran: an undo that queues stopped runs again brings it back'
            else format('its idempotency key %L %s', run.idempotency_key,
                        coalesce('is taken by run ' || run.key_taken_by, 'is being taken right now')) end
     from secateur.runs as run
     left join secateur.restores as place on place.app_id = run.app_id and place.cancellation_id = run.cancellation_id
    where run.app_id = unrestored.app_id
      and run.cancellation_id = unrestored.id
      and rule.state = 'undone'
      and (rule.restored_at is not null or run.id <= place.run_id)
    order by run.id
    limit unrestored."limit")
  union all
  (select run.id, format('cancellation %s matches it too', run.cancellation_id)
     from secateur.runs as run
    where run.app_id = unrestored.app_id and run.handed_over_from = unrestored.id
    order by run.id
    limit unrestored."limit")
  limit unrestored."limit";
end
$$;
