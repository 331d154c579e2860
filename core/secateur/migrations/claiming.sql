-- Giving runs to workers.

-- Takes back up to 1,000 runs whose lease ended: cancelled if they were asked to stop, failed if that was their last
-- attempt, queued again otherwise. Skips locked rows. Part of a claim. (now() and not clock_timestamp(): only a stable
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
begin
  select array_agg(expired.id), array_agg(expired.claim_token), bool_or(expired.slot is not null) into ids, tokens, slotted
    from (
      select run.id, run.claim_token, run.slot
        from secateur.runs as run
       where run.app_id = recover_expired.app_id
         and run.status = 'running'
         and run.lease_expires_at < now()
       order by run.lease_expires_at
       limit 1000
         for update skip locked
    ) as expired;
  if ids is null then
    return;
  end if;
  cancelled := secateur.cancel_requested(recover_expired.app_id, ids, tokens);
  spent := array(select run.id
                   from secateur.runs as run join secateur.functions as known using (app_id, function_id)
                  where run.app_id = recover_expired.app_id and run.id = any (ids)
                    and run.attempt >= known.max_attempts);
  back := array(select unnest(ids) except select unnest(spent || cancelled));
  with failed as (
    update secateur.runs as run
       set status = 'failed',
           finished_at = moment,
           lease_expires_at = null,
           error = 'the lease ended: the worker stopped without saying so'
     where run.app_id = recover_expired.app_id
       and run.id = any (array(select unnest(spent) except select unnest(cancelled)))
    returning run.function_id
  ), requeued as (
    update secateur.runs as run
       set status = 'queued', claim_token = null, lease_expires_at = null, worker = null
     where run.app_id = recover_expired.app_id and run.id = any (back)
    returning run.function_id
  )
  insert into secateur.depth_deltas (app_id, function_id, queued, running, drained)
  select recover_expired.app_id, ended.function_id, sum(ended.queued), -count(*), sum(1 - ended.queued)
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
  ids uuid[] := array(
    select due.id
      from unnest(promote_due.function_ids) as wanted (function_id),
           lateral (
             select waiting.id from secateur.runs as waiting
              where waiting.app_id = promote_due.app_id
                and waiting.function_id = wanted.function_id
                and waiting.status = 'scheduled'
                and waiting.scheduled_for <= now()
              order by waiting.scheduled_for
              limit 1000
                for update skip locked
           ) as due);
begin
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

-- Those of the runs that are still queued, locked, in id order; skips locked rows. Part of a claim.
create or replace function secateur.lock_still_queued(app_id text, run_ids uuid[])
  returns uuid[]
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set jit = off
as $$
begin
  return array(select run.id from secateur.runs as run
                -- In words that no partial index has as its predicate: see apps.sql.
                where run.app_id = lock_still_queued.app_id and run.id = any (run_ids) and run.status || '' = 'queued'
                order by run.id
                  for update skip locked);
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
  hit_runs uuid[];
  hit_rules uuid[];
  mine uuid[];
  locked uuid[];
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
      select coalesce(array_agg(hit.run_id), '{}'), coalesce(array_agg(hit.cancellation_id), '{}')
        into hit_runs, hit_rules
        from secateur.reached(look_ahead.app_id, active, others, quickly => true) as hit where hit.cancellation_id is not null;
      others := array(select unnest(others) except select unnest(hit_runs) order by 1);
      others := others[:room];
      -- point: looked ahead
      locked := secateur.lock_still_queued(look_ahead.app_id, others);
      run_ids := run_ids || locked;
      -- Those that somebody else holds may come back.
      missed := coalesce(missed, (select other.id from unnest(others) as other (id)
                                   where other.id <> all (locked) order by other.id limit 1));
      if cardinality(locked) = room then
        -- What comes after the last of these is for the next claim.
        place := others[room];
      end if;
      room := room - cardinality(locked);
      if cancelled < budget and cardinality(hit_runs) > 0 then
        mine := secateur.lock_still_queued(look_ahead.app_id, hit_runs[:budget - cancelled]);
        select coalesce(array_agg(hit.id), '{}'), coalesce(array_agg(hit.rule), '{}') into hit_runs, hit_rules
          from unnest(hit_runs, hit_rules) as hit (id, rule) where hit.id = any (mine);
        cancelled := cancelled + secateur.cancel_backlog(look_ahead.app_id, hit_runs, hit_rules);
      end if;
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

-- Gives runs to a worker, each in its slot (null is no limit). The caller holds their rows. Part of a claim.
create or replace function secateur.grant_runs(
  app_id text, run_ids uuid[], worker text, lease interval, run_slots integer[]
)
  returns setof secateur.claimed_run
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set jit = off
as $$
declare
  moment constant timestamptz := clock_timestamp();
  tokens uuid[];
begin
  if cardinality(run_ids) = 0 then
    return;
  end if;
  tokens := array(select gen_random_uuid() from generate_series(1, cardinality(run_ids)));
  return query
  with granted as (
    update secateur.runs as run
       set status = 'running',
           attempt = run.attempt + 1,
           worker = grant_runs.worker,
           claim_token = mine.token,
           claimed_at = moment,
           lease_expires_at = moment + grant_runs.lease,
           error = null,
           step = null,
           step_at = null,
           slot = mine.slot
      from unnest(run_ids, tokens, run_slots) as mine (id, token, slot)
     where run.app_id = grant_runs.app_id and run.id = mine.id
    returning run.*
  ), counted as (
    insert into secateur.depth_deltas (app_id, function_id, queued, running)
    select grant_runs.app_id, granted.function_id, -count(*), count(*) from granted group by granted.function_id
  )
  select granted.id, granted.app_id, granted.function_id, granted.event, granted.attempt, known.max_attempts,
         granted.claim_token, granted.started_at, granted.scheduled_for, granted.priority, granted.lease_expires_at,
         false, null::interval
    from granted
    join secateur.functions as known on known.app_id = grant_runs.app_id and known.function_id = granted.function_id
   order by granted.priority desc, granted.id;
end
$$;

-- When the next scheduled run of these functions becomes due; null if none waits. Part of a claim.
create or replace function secateur.next_due(app_id text, function_ids text[])
  returns timestamptz
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
begin
  return (select min(due.scheduled_for)
            from unnest(next_due.function_ids) as wanted (function_id),
                 lateral (select run.scheduled_for from secateur.runs as run
                           where run.app_id = next_due.app_id
                             and run.function_id = wanted.function_id
                             and run.status = 'scheduled'
                           order by run.scheduled_for
                           limit 1) as due);
end
$$;

-- Claims up to `max_runs` runs for `worker` until `lease` from now (heartbeat extends it), by priority and age within each
-- function, the functions sharing the batch; null stands for all of the app. Nothing is claimed of what is paused, and of
-- a function with a limit only as much as it has free slots.
--
-- No run that a committed cancellation matches is returned: the active ones are read under the app's shared lock, in a
-- statement of their own. Matching runs are cancelled on the way, some 200 a call at most, and others passed over. A last
-- row without an id has `more` if the end of the queue was not reached, which tells "ask again" from "empty"; and if
-- nothing was found, in `scheduled_for` and `due_in`, when the next run becomes due.
--
-- Locks: the app's, shared, until the transaction ends (so end it soon); rows with SKIP LOCKED.
create or replace function secateur.claim_batch(
  app_id text, function_ids text[], max_runs integer, worker text, lease interval
)
  returns setof secateur.claimed_run
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  wanted text[];
  floorless boolean[];
  limited boolean[];
  active secateur.cancellations[];
  open integer := claim_batch.max_runs;
  share integer;
  shares integer[];
  budget integer := 200;
  slot_functions text[] := '{}';
  slot_numbers integer[] := '{}';
  begun timestamptz;
  slow boolean := false;
  locked uuid[];
  hit_runs uuid[] := '{}';
  hit_rules uuid[];
  granted uuid[];
  held integer[];
  room integer;
  level record;
  ahead record;
  more boolean := false;
  next_due timestamptz;
begin
  perform secateur.require_read_committed();
  if not (claim_batch.max_runs >= 1 and claim_batch.lease > interval '0') then
    raise exception using errcode = 'SC422', column = 'max_runs', message = 'max_runs and lease must be positive';
  end if;
  -- point: before the lock
  if not secateur.share_app(claim_batch.app_id) then
    return;
  end if;
  -- point: locked
  active := array(select rule from secateur.cancellations as rule
                   where rule.app_id = claim_batch.app_id and rule.state = 'active' order by rule.serial);
  -- point: cancellations read
  select array_agg(known.function_id), array_agg(known.concurrency is not null),
         array_agg((select count(*) from secateur.levels as one
                     where one.app_id = claim_batch.app_id and one.function_id = known.function_id) > 32)
    into wanted, limited, floorless
    from secateur.functions as known
   where known.app_id = claim_batch.app_id
     and known.paused_at is null
     and (claim_batch.function_ids is null or known.function_id = any (claim_batch.function_ids))
     and not exists (select from secateur.apps where apps.app_id = claim_batch.app_id and apps.paused_at is not null);
  -- point: flags read
  perform secateur.recover_expired(claim_batch.app_id);
  if wanted is null then
    perform secateur.fall_idle(claim_batch.app_id);
    return;
  end if;
  perform secateur.promote_due(claim_batch.app_id, wanted);
  perform secateur.walk_below(claim_batch.app_id, wanted, active);
  if true = any (limited) then
    select free.functions, free.slots into slot_functions, slot_numbers
      from secateur.lock_slots(claim_batch.app_id,
             array(select one.id from unnest(wanted, limited) as one (id, limited) where one.limited),
             claim_batch.max_runs) as free;
  end if;
  share := ceil(open::numeric / cardinality(wanted));
  loop
    -- point: before a batch
    if true = any (limited) then
      shares := array(select case when one.limited
                                  then least(share, (select count(*) from unnest(slot_functions) as free (id)
                                                      where free.id = one.id))
                                  else share end
                        from unnest(wanted, limited) with ordinality as one (id, limited, place) order by one.place);
    else
      shares := array_fill(share, array[cardinality(wanted)]);
    end if;
    begun := clock_timestamp();
    locked := secateur.lock_queued(claim_batch.app_id, wanted, shares, floorless);
    slow := slow or clock_timestamp() - begun > interval '2 ms' + cardinality(locked) * interval '30 us';
    exit when cardinality(locked) = 0;
    -- point: batch locked
    if cardinality(active) > 0 then
      select coalesce(array_agg(hit.run_id), '{}'), coalesce(array_agg(hit.cancellation_id), '{}')
        into hit_runs, hit_rules
        from secateur.reached(claim_batch.app_id, active, locked, quickly => true) as hit where hit.cancellation_id is not null;
      -- point: batch checked
      perform secateur.cancel_backlog(claim_batch.app_id, hit_runs[1:budget], hit_rules[1:budget]);
      budget := greatest(0, budget - cardinality(hit_runs));
      -- point: matches cancelled
    end if;
    granted := array(select next.id from unnest(locked) with ordinality as next (id, turn)
                      where not exists (select from unnest(hit_runs) as hit (id) where hit.id = next.id)
                      order by next.turn limit open);
    if cardinality(slot_functions) > 0 then
      held := secateur.hold_slots(claim_batch.app_id, granted, slot_functions, slot_numbers);
    end if;
    return query
    select * from secateur.grant_runs(claim_batch.app_id, granted, claim_batch.worker, claim_batch.lease, held);
    -- point: granted
    open := open - cardinality(granted);
    exit when open = 0 or cardinality(hit_runs) > 0 or share >= open + cardinality(granted);
    -- Some functions had too little for their share: look further into the others.
    share := open;
    if cardinality(slot_functions) > 0 then
      select free.functions, free.slots into slot_functions, slot_numbers
        from secateur.still_free(claim_batch.app_id, slot_functions, slot_numbers) as free;
    end if;
  end loop;
  if cardinality(hit_runs) > 0 and open > 0 then
    more := true;
    for level in
      select distinct run.function_id, run.priority, one.limited
        from unnest(wanted, limited, floorless) as one (id, limited, floorless)
        join secateur.runs as run on run.function_id = one.id
       where run.app_id = claim_batch.app_id and run.id = any (hit_runs) and not one.floorless
       order by run.function_id, run.priority desc
    loop
      room := open;
      if level.limited then
        select free.functions, free.slots into slot_functions, slot_numbers
          from secateur.still_free(claim_batch.app_id, slot_functions, slot_numbers) as free;
        room := least(room, (select count(*) from unnest(slot_functions) as free (id) where free.id = level.function_id));
      end if;
      continue when room = 0;
      ahead := secateur.look_ahead(claim_batch.app_id, level.function_id, level.priority, active, room, budget);
      budget := budget - ahead.cancelled;
      open := open - cardinality(ahead.run_ids);
      if cardinality(slot_functions) > 0 then
        held := secateur.hold_slots(claim_batch.app_id, ahead.run_ids, slot_functions, slot_numbers);
      end if;
      return query
      select * from secateur.grant_runs(claim_batch.app_id, ahead.run_ids, claim_batch.worker, claim_batch.lease, held);
      -- point: granted what was ahead
    end loop;
  end if;
  if random() < greatest((claim_batch.max_runs - open) / 1000.0, case when slow then 0.2 else 0 end) then
    perform secateur.raise_floors(claim_batch.app_id, wanted);
  end if;
  if more and open > 0 then
    return query select (jsonb_populate_record(null::secateur.claimed_run, '{"more": true}')).*;
  elsif open = claim_batch.max_runs then
    -- point: nothing found
    perform secateur.fall_idle(claim_batch.app_id);
    next_due := secateur.next_due(claim_batch.app_id, wanted);
    return query
    select (jsonb_populate_record(null::secateur.claimed_run, jsonb_build_object(
              'more', false, 'scheduled_for', next_due, 'due_in', next_due - clock_timestamp()))).*;
  end if;
end
$$;

-- claim_batch without its last row: what a worker that simply asks again needs.
create or replace function secateur.claim(
  app_id text, function_ids text[], max_runs integer, worker text, lease interval
)
  returns setof secateur.claimed_run
  language sql
  security definer set search_path = pg_catalog, pg_temp
as $$
  select run.* from secateur.claim_batch(app_id, function_ids, max_runs, worker, lease) as run where run.id is not null
$$;
