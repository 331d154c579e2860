-- Finding what a claim may give out: what came back, what has become due, what is next, and what lies behind cancelled runs.

-- Takes back up to 1,000 runs whose lease ended: cancelled if they were asked to stop, failed if that was their last
-- attempt, queued again otherwise. Until somebody begins it again, whoever held it may still say that it ended: see
-- complete_runs. Skips locked rows. Part of a claim. (now() and not clock_timestamp(): only a stable
-- function can bound an index scan.)
create or replace function secateur.recover_expired(app_id text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  moment constant timestamptz := clock_timestamp();
  ids uuid[];
  tokens uuid[];
  cancelled uuid[];
  spent uuid[];
  back uuid[];
  slotted boolean;
  effort bigint;
begin
  perform secateur.walk_below_due(recover_expired.app_id, array['']);
  effort := secateur.effort_on('secateur.runs_running');
  select array_agg(expired.id), array_agg(expired.claim_token), bool_or(expired.slot is not null) into ids, tokens, slotted
    from secateur.due_floor(recover_expired.app_id, '') as floor,
         lateral (
           select run.id, run.claim_token, run.slot
             from secateur.runs as run
            where run.app_id = recover_expired.app_id
              and run.status = 'running'
              and run.lease_expires_at >= floor.at
              and run.lease_expires_at < now()
            order by run.lease_expires_at
            limit 1000
              for update skip locked
         ) as expired;
  if secateur.effort_on('secateur.runs_running') - effort > 500 + 2 * coalesce(cardinality(ids), 0) then
    perform secateur.raise_lease_floor(recover_expired.app_id);
  end if;
  if ids is null then
    return;
  end if;
  cancelled := secateur.cancel_requested(recover_expired.app_id, ids, tokens);
  spent := array(select run.id
                   from secateur.runs as run
                  where run.app_id = recover_expired.app_id and run.id = any (ids)
                    and run.attempt >= (select known.max_attempts from secateur.functions as known
                                         where known.app_id = recover_expired.app_id
                                           and known.function_id = run.function_id));
  back := array(select unnest(ids) except select unnest(spent || cancelled));
  with failed as (
    update secateur.runs as run
       set status = 'failed',
           finished_at = moment,
           lease_expires_at = null,
           last_token = run.claim_token,
           error = 'the lease ended: the worker stopped without saying so'
     where run.app_id = recover_expired.app_id
       and run.id = any (array(select unnest(spent) except select unnest(cancelled)))
    returning run.function_id
  ), requeued as (
    update secateur.runs as run
       set status = 'queued', claim_token = null, last_token = run.claim_token, lease_expires_at = null, worker = null,
           past_attempts = secateur.with_attempt(
             run.past_attempts, run.attempt, 'lost', run.claimed_at, run.lease_expires_at, run.worker,
             'the lease ended: the worker stopped without saying so')
     where run.app_id = recover_expired.app_id and run.id = any (back)
    returning run.function_id
  )
  insert into secateur.depth_deltas (app_id, function_id, queued, running, failed, drained)
  select recover_expired.app_id, ended.function_id, sum(ended.queued), -count(*), sum(1 - ended.queued), sum(1 - ended.queued)
    from (select failed.function_id, 0 as queued from failed
          union all
          select requeued.function_id, 1 from requeued) as ended
   group by ended.function_id;
  perform secateur.lower_floors(recover_expired.app_id, back);
  if slotted then
    perform secateur.free_slots(recover_expired.app_id, ids);
  end if;
end
$$;

-- Makes up to 1,000 runs per function that have become due claimable. Skips locked rows. Part of a claim.
create or replace function secateur.promote_due(app_id text, function_ids text[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  effort constant bigint := secateur.effort_on('secateur.runs_scheduled');
  ids uuid[] := array(
    select due.id
      from unnest(promote_due.function_ids) as wanted (function_id),
           lateral secateur.due_floor(promote_due.app_id, wanted.function_id) as floor,
           lateral (
             select waiting.id from secateur.runs as waiting
              where waiting.app_id = promote_due.app_id
                and waiting.function_id = wanted.function_id
                and waiting.status = 'scheduled'
                and (waiting.scheduled_for, waiting.id) >= (floor.at, floor.id)
                and waiting.scheduled_for <= now()
              order by waiting.scheduled_for, waiting.id limit 1000
                for update skip locked
           ) as due);
begin
  if secateur.effort_on('secateur.runs_scheduled') - effort
     > 500 + 30 * cardinality(promote_due.function_ids) + 2 * cardinality(ids) then
    perform secateur.raise_due_floors(promote_due.app_id, promote_due.function_ids);
  end if;
  if cardinality(ids) = 0 then
    return;
  end if;
  with promoted as (
    update secateur.runs as run
       set status = 'queued'
     where run.app_id = promote_due.app_id and run.id = any (ids)
    returning run.function_id
  )
  insert into secateur.depth_deltas (app_id, function_id, queued, scheduled)
  select promote_due.app_id, promoted.function_id, count(*), -count(*) from promoted group by promoted.function_id;
  perform secateur.lower_floors(promote_due.app_id, ids);
end
$$;

-- The first `most` of these functions that have something to claim: a run that is queued or due by now and, if `claimable`, a free
-- slot where the function has a limit, and no pause of the function. `limited` says which have a limit, `floorless` which have
-- more levels than are kept. Part of a claim; locks nothing.
create or replace function secateur.find_functions(
  app_id text, function_ids text[], most integer, claimable boolean default true,
  out functions text[], out limited boolean[], out floorless boolean[]
)
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
begin
  select coalesce(array_agg(found.id), '{}'), coalesce(array_agg(found.limited), '{}'), coalesce(array_agg(found.floorless), '{}')
    into functions, limited, floorless
    from (
      select wanted.id, known.concurrency is not null as limited, queue.levels > 32 as floorless
        from unnest(find_functions.function_ids) as wanted (id),
             lateral (select count(*) as levels,
                             bool_or(exists (select from secateur.runs as run
                                              where run.app_id = find_functions.app_id
                                                and run.function_id = wanted.id
                                                and run.status = 'queued'
                                                and run.priority = level.priority
                                                and uuid_send(run.id) >= uuid_send(level.floor)
                                             offset 0)) as has_queued
                        from secateur.levels as level
                       where level.app_id = find_functions.app_id and level.function_id = wanted.id) as queue,
             lateral (select one.concurrency, one.paused_at from secateur.functions as one
                       where one.app_id = find_functions.app_id and one.function_id = wanted.id
                      offset 0) as known
       where (queue.has_queued
              or exists (select from secateur.due_floor(find_functions.app_id, wanted.id) as floor,
                                     lateral (select from secateur.runs as run
                                               where run.app_id = find_functions.app_id
                                                 and run.function_id = wanted.id
                                                 and run.status = 'scheduled'
                                                 and (run.scheduled_for, run.id) >= (floor.at, floor.id)
                                                 and run.scheduled_for <= now()
                                               limit 1) as due
                         offset 0)
              -- What has no level of its own.
              or queue.levels > 32
                 and exists (select from secateur.runs as run
                              where run.app_id = find_functions.app_id
                                and run.function_id = wanted.id
                                and run.status = 'queued'
                             offset 0))
         and (not claimable
              or known.paused_at is null
                 and (known.concurrency is null
                      or exists (select from secateur.slots as slot
                                  where slot.app_id = find_functions.app_id and slot.function_id = wanted.id
                                    and slot.run_id is null and not slot.surplus
                                 offset 0)))
       limit find_functions.most) as found;
end
$$;

-- Locks the next runs of each function's queue, `shares[i]` at most of function i, and returns their ids, the functions
-- taking turns. One descent per function and level: a single ORDER BY over several could not follow the index.
-- `floorless` says of a function that it has more levels than are kept. Part of a claim.
create or replace function secateur.lock_queued(
  app_id text, function_ids text[], shares integer[], floorless boolean[]
)
  returns uuid[]
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
begin
  if true = any (floorless) then
    return array(
      select next.id
        from (
          select locked.id, row_number() over (partition by wanted.function_id) as turn
            from unnest(lock_queued.function_ids, shares, floorless) as wanted (function_id, share, floorless),
                 lateral (
                   select run.id from secateur.runs as run
                    where run.app_id = lock_queued.app_id
                      and run.function_id = wanted.function_id
                      and run.status = 'queued'
                    order by run.priority desc, uuid_send(run.id)
                    limit wanted.share
                      for update skip locked
                 ) as locked
        ) as next
       order by next.turn, random());
  end if;
  if cardinality(function_ids) = 1 then
    -- There are no turns to take.
    return array(
      select found.id
        from (select level.priority, level.floor from secateur.levels as level
               where level.app_id = lock_queued.app_id and level.function_id = function_ids[1]
               order by level.priority desc) as level,
             lateral (select run.id from secateur.runs as run
                       where run.app_id = lock_queued.app_id and run.function_id = function_ids[1] and run.status = 'queued'
                         and run.priority = level.priority and uuid_send(run.id) >= uuid_send(level.floor)
                       order by uuid_send(run.id) limit shares[1]
                         for update skip locked) as found
       limit shares[1]);
  end if;
  return array(
    select next.id
      from unnest(lock_queued.function_ids, shares) as wanted (function_id, share),
           lateral (
             select locked.id, row_number() over () as turn
               from (
                 select found.id
                   from (select level.priority, level.floor
                           from secateur.levels as level
                          where level.app_id = lock_queued.app_id and level.function_id = wanted.function_id
                          order by level.priority desc) as level,
                        lateral (
                          select run.id from secateur.runs as run
                           where run.app_id = lock_queued.app_id
                             and run.function_id = wanted.function_id
                             and run.status = 'queued'
                             and run.priority = level.priority
                             and uuid_send(run.id) >= uuid_send(level.floor)
                           order by uuid_send(run.id)
                           limit wanted.share
                             for update skip locked
                        ) as found
                  limit wanted.share
               ) as locked
           ) as next
     order by next.turn, random());
end
$$;

-- Locks the runs that are still queued and returns their ids in order. Skips locked rows. Part of a claim.
create or replace function secateur.lock_still_queued(app_id text, run_ids uuid[])
  returns uuid[]
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  return array(select run.id from secateur.runs as run
                -- `status || ''`, so that no partial index matches: see locks.sql.
                where run.app_id = lock_still_queued.app_id and run.id = any (run_ids) and run.status || '' = 'queued'
                order by run.id
                  for update skip locked);
end
$$;

-- Takes runs that were read without a lock, in id order. It locks up to `room` that no active cancellation reaches, and cancels up
-- to `budget` that one reaches. `missed` is the first that the floor must not be raised past, because somebody else holds it: it may
-- come back. `place` is the last run that there was room for, if there was no more. Part of look_ahead.
create or replace function secateur.take_ahead(
  app_id text, active secateur.cancellations[], candidates uuid[], room integer, budget integer,
  out run_ids uuid[], out cancelled integer, out missed uuid, out place uuid
)
  language plpgsql
as $$
declare
  free uuid[];
  hit_runs uuid[];
  hit_rules uuid[];
  slow_runs uuid[];
  slow_rules uuid[];
  held uuid[] := '{}';
begin
  cancelled := 0;
  select coalesce(array_agg(hit.run_id) filter (where hit.cancellation_id is not null), '{}'),
         coalesce(array_agg(hit.cancellation_id) filter (where hit.cancellation_id is not null), '{}'),
         coalesce(array_agg(hit.run_id) filter (where hit.undecided_by is not null), '{}'),
         coalesce(array_agg(hit.undecided_by) filter (where hit.undecided_by is not null), '{}')
    into hit_runs, hit_rules, slow_runs, slow_rules
    from secateur.reached(take_ahead.app_id, active, candidates, quickly => true, budget => '250 ms') as hit;
  free := array(select unnest(candidates) except select unnest(hit_runs || slow_runs) order by 1 limit room);
  -- point: looked ahead
  run_ids := secateur.lock_still_queued(take_ahead.app_id, free);
  if cardinality(run_ids) = room then
    -- What comes after the last of these is for the next claim.
    place := free[room];
  end if;
  if cardinality(slow_runs) > 0 then
    held := secateur.keep_undecided(take_ahead.app_id, slow_runs, slow_rules);
  end if;
  missed := (select one.id from unnest(free || slow_runs) as one (id)
              where one.id <> all (run_ids || held) order by one.id limit 1);
  if budget > 0 and cardinality(hit_runs) > 0 then
    held := secateur.lock_still_queued(take_ahead.app_id, hit_runs[:budget]);
    select coalesce(array_agg(hit.id), '{}'), coalesce(array_agg(hit.rule), '{}') into hit_runs, hit_rules
      from unnest(hit_runs, hit_rules) as hit (id, rule) where hit.id = any (held);
    cancelled := secateur.cancel_backlog(take_ahead.app_id, hit_runs, hit_rules);
  end if;
end
$$;

-- Looks for runs behind those that active cancellations match: reads on from the level's floor without locking, raises the
-- floor past what matched, and returns up to `room` others, locked. Of those that matched it cancels `budget` at most; the
-- sweep does the others. Ends after about 40 ms, with `more`; the next claim goes on where this one ended. Part of a claim.
create or replace function secateur.look_ahead(
  app_id text, function_id text, priority integer, active secateur.cancellations[], room integer, budget integer,
  out run_ids uuid[], out cancelled integer, out more boolean
)
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  deadline constant timestamptz := clock_timestamp() + interval '40 ms';
  -- So many runs are evaluated at a time.
  most constant integer := 2000;
  -- An event that contains one of these, of a run that started before, needs no evaluation: it is matched.
  sure jsonb[];
  sure_before timestamptz;
  place uuid;
  size integer := 500;
  seen uuid[];
  others uuid[];
  taken record;
  missed uuid;
  ended boolean;
  new_floor uuid;
begin
  run_ids := '{}';
  cancelled := 0;
  more := false;
  place := (select level.floor from secateur.levels as level
             where level.app_id = look_ahead.app_id and level.function_id = look_ahead.function_id
               and level.priority = look_ahead.priority);
  select array_agg(document), min(rule.started_before) into sure, sure_before
    from unnest(active) as rule, unnest(rule.requires) as document
   where rule.requires_suffices and rule.started_after is null and rule.run_id is null
     and (rule.function_id is null or rule.function_id = look_ahead.function_id);
  loop
    select array_agg(next.id),
           array_agg(next.id) filter (
             where (next.started_at < sure_before and next.event @> any (sure)) is not true)
      into seen, others
      from (select run.id, run.event, run.started_at from secateur.runs as run
             where run.app_id = look_ahead.app_id
               and run.function_id = look_ahead.function_id
               and run.status = 'queued'
               and run.priority = look_ahead.priority
               and uuid_send(run.id) >= uuid_send(place)
             order by uuid_send(run.id)
             limit size) as next;
    exit when seen is null;
    ended := cardinality(seen) < size;
    place := seen[cardinality(seen)];
    if cardinality(others) > most then
      others := others[:most];
      place := others[most];
      ended := false;
    end if;
    if cardinality(others) > 0 then
      taken := secateur.take_ahead(look_ahead.app_id, active, others, room, budget - cancelled);
      run_ids := run_ids || taken.run_ids;
      room := room - cardinality(taken.run_ids);
      cancelled := cancelled + taken.cancelled;
      missed := coalesce(missed, taken.missed);
      place := coalesce(taken.place, place);
    end if;
    exit when room = 0 or ended;
    more := clock_timestamp() >= deadline;
    exit when more;
    size := least(size * 4, case when sure is null then most else 20000 end);
  end loop;
  new_floor := least(coalesce(missed, place), secateur.floor_lag());
  update secateur.levels as level
     set floor = new_floor
   where level.app_id = look_ahead.app_id and level.function_id = look_ahead.function_id
     and level.priority = look_ahead.priority
     and exists (select from secateur.levels as one
                  where one.app_id = look_ahead.app_id and one.function_id = look_ahead.function_id
                    and one.priority = look_ahead.priority and one.floor < new_floor
                    for update skip locked);
end
$$;
