-- Where claims begin to look, and whom to tell when there is something to claim. These are hints: they save work and decide
-- nothing.
--
-- Why there are floors. A claimed run stays in the index as a dead entry until no transaction can see it. So one long
-- transaction anywhere makes every claim walk past all that was claimed since it began (70 ms for a hundred thousand runs),
-- and no vacuum helps. Therefore each level, a function and a priority, has a floor. No queued run is known below the floor,
-- so claims seek from there.
--
-- For example, ids 1 to 9 of one level, of which x are claimed:
--   x x x x 5 6 7 8 9    floor 1: a claim passes four dead entries before it finds 5.
--   x x x x 5 6 7 8 9    floor 5: raise_floors has seen that 5 is the smallest queued id. Claims seek from 5.
--   x 2 x x x x 7 8 9    5 and 6 are claimed; 2 comes back, and lower_floors sets the floor to 2 in the same transaction.
--   x x x x x x 7 8 9    2 is claimed again; some time later the floor is raised to 7.
-- If the level's row had been locked when 2 came back, the floor would have stayed at 5. Within about a second, walk_below
-- would have found 2.
--
-- Why nothing is lost. A floor is raised only to the smallest queued id that a snapshot shows, or past runs that an active
-- cancellation matches (reset_floors makes them findable when it is stopped or undone). A run gets below a floor in three
-- ways. It comes back to the queue: lower_floors lowers the floor. The transaction that enqueued it took longer than
-- `floor_lag` to commit. Or lower_floors found the level's row locked. For the last two, and for anything overlooked,
-- walk_below looks below each floor again and again, at most once a second.
--
-- Why it is cheap. A floor is raised about once in a thousand claimed runs, and sometimes after a slow search. Levels are
-- locked only with SKIP LOCKED, so nobody waits for a hint, and the row is not hot. A long transaction also keeps the old
-- versions of that row, but only one for each thousand runs.

-- Returns the smallest id that a run can have if it was enqueued `lag` ago.
create or replace function secateur.floor_lag(lag interval default '250 ms')
  returns uuid
  language sql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
  select encode(substring(int8send((extract(epoch from clock_timestamp() - lag) * 1000)::bigint) from 3)
                || decode('70000000000000000000', 'hex'), 'hex')::uuid
$$;

-- Whether to look again now at what was put off until `due`. Nothing here is put off by more than half a minute: what is further away
-- was put off before the clock was set back, and would keep new runs hidden for as long as that.
create or replace function secateur.is_time(due timestamptz, moment timestamptz)
  returns boolean
  language sql
  stable
as $$
  select due <= moment or due > moment + interval '1 minute'
$$;

-- Until when to put off the next look, after one that began at `begun`: it takes a twentieth of the time at most.
create or replace function secateur.look_again_at(begun timestamptz)
  returns timestamptz
  language sql
  volatile
as $$
  select clock_timestamp() + least(interval '30 s', greatest(interval '1 s', 20 * (clock_timestamp() - begun)))
$$;

-- Creates those of these levels that the function does not have. It keeps 33 at most: with more than 32 priorities, a function
-- is searched without floors. Repeatable; writes nothing if there is nothing new.
create or replace function secateur.ensure_levels(app_id text, function_id text, priorities integer[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  missing integer[];
  room integer;
begin
  if not exists (select from unnest(priorities) as wanted (priority)
                  where not exists (select from secateur.levels as level
                                     where level.app_id = ensure_levels.app_id
                                       and level.function_id = ensure_levels.function_id
                                       and level.priority = wanted.priority)) then
    return;
  end if;
  missing := array(select distinct wanted.priority from unnest(priorities) as wanted (priority)
                    where not exists (select from secateur.levels as level
                                       where level.app_id = ensure_levels.app_id
                                         and level.function_id = ensure_levels.function_id
                                         and level.priority = wanted.priority));
  room := (select greatest(0, 33 - count(*)) from secateur.levels as level
            where level.app_id = ensure_levels.app_id and level.function_id = ensure_levels.function_id);
  insert into secateur.levels (app_id, function_id, priority)
  select ensure_levels.app_id, ensure_levels.function_id, one.priority
    from unnest(missing) as one (priority)
   order by one.priority
   limit room
  on conflict do nothing;
end
$$;

-- Creates the missing levels of all queued runs of the app. Runs that bypassed the queue's functions, by COPY for example, may
-- lack theirs, and a run without its level is never claimed. Costs one descent of the index for each function and priority.
-- Part of the depth's self-check.
create or replace function secateur.find_levels(app_id text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  function text;
  priorities integer[];
begin
  for function in select known.function_id from secateur.functions as known where known.app_id = find_levels.app_id loop
    priorities := array(
      with recursive level as (
        (select run.priority, 1 as nth from secateur.runs as run
          where run.app_id = find_levels.app_id and run.function_id = function and run.status = 'queued'
          order by run.priority desc limit 1)
        union all
        select next.priority, level.nth + 1
          from level,
               lateral (select run.priority from secateur.runs as run
                         where run.app_id = find_levels.app_id and run.function_id = function
                           and run.status = 'queued' and run.priority < level.priority
                         order by run.priority desc limit 1) as next
         where level.nth < 33)
      select level.priority from level);
    perform secateur.ensure_levels(find_levels.app_id, function, priorities);
  end loop;
end
$$;

-- Lets claims find these runs, which came back to the queue, and notes their functions as due. Whoever queues runs again calls
-- this in the same transaction. Skips levels that are locked.
create or replace function secateur.lower_floors(app_id text, run_ids uuid[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  back record;
begin
  for back in
    select run.function_id, run.priority, (array_agg(run.id order by run.id))[1] as lowest
      from secateur.runs as run
     where run.app_id = lower_floors.app_id and run.id = any (run_ids)
     group by run.function_id, run.priority
  loop
    update secateur.levels as level
       set floor = back.lowest
     where level.app_id = lower_floors.app_id and level.function_id = back.function_id and level.priority = back.priority
       and exists (select from secateur.levels as above
                    where above.app_id = lower_floors.app_id and above.function_id = back.function_id
                      and above.priority = back.priority and above.floor > back.lowest
                      for update skip locked);
    perform secateur.note_due(lower_floors.app_id, back.function_id);
  end loop;
  perform secateur.lower_due_floors(lower_floors.app_id, run_ids);
end
$$;

-- Lets claims look again at every queued run of the function, or of the app where `function_id` is null. For when a
-- cancellation no longer matches runs that claims have passed over. Leaves out levels that are locked: of those, walk_below finds
-- the runs.
create or replace function secateur.reset_floors(app_id text, function_id text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  free secateur.levels[];
  level secateur.levels;
begin
  if reset_floors.function_id is null then
    free := array(select one from secateur.levels as one
                   where one.app_id = reset_floors.app_id
                     for update skip locked);
  else
    free := array(select one from secateur.levels as one
                   where one.app_id = reset_floors.app_id and one.function_id = reset_floors.function_id
                     for update skip locked);
  end if;
  foreach level in array free loop
    update secateur.levels as one
       set floor = '00000000-0000-0000-0000-000000000000'
     where one.app_id = level.app_id and one.function_id = level.function_id and one.priority = level.priority;
  end loop;
  perform secateur.wake(reset_floors.app_id);
end
$$;

-- Raises the floors of the functions' levels to the smallest queued run. The limit is floor_lag, the time that an enqueue may
-- take to commit; a level without queued runs is raised to it. Skips levels that are locked. Part of a claim.
create or replace function secateur.raise_floors(app_id text, function_ids text[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  newest constant uuid := secateur.floor_lag();
  raised record;
begin
  for raised in
    select level.function_id, level.priority,
           least(coalesce(lowest.id, newest), newest) as floor
      from unnest(raise_floors.function_ids) as wanted (function_id)
     cross join lateral (
        select one.function_id, one.priority, one.floor
          from secateur.levels as one
         where one.app_id = raise_floors.app_id
           and one.function_id = wanted.function_id
           and one.floor < newest
        offset 0
           for update skip locked
      ) as level
      left join lateral (
        -- Including runs that another claim holds just now: it may yet give them back.
        select run.id from secateur.runs as run
         where run.app_id = raise_floors.app_id
           and run.function_id = level.function_id
           and run.status = 'queued'
           and run.priority = level.priority
           and uuid_send(run.id) >= uuid_send(level.floor)
         order by uuid_send(run.id)
         limit 1
      ) as lowest on true
  loop
    update secateur.levels as level
       set floor = raised.floor
     where level.app_id = raise_floors.app_id
       and level.function_id = raised.function_id
       and level.priority = raised.priority
       and level.floor < raised.floor;
  end loop;
end
$$;

-- Looks below the floor of one level of these functions that is due, at up to 500 entries. If it finds a run that should be
-- claimed, because none of the `active` cancellations matches it, it lowers the floor to that run. A level is due once a
-- second, or less often where looking is slow: it takes a twentieth of the time at most. Skips levels that are locked.
-- Part of a claim.
create or replace function secateur.walk_below(app_id text, function_ids text[], active secateur.cancellations[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  begun constant timestamptz := clock_timestamp();
  most constant integer := 500;
  level secateur.levels;
  found_below uuid[];
  passed uuid[];
  left_over uuid;
begin
  select due.* into level
    from unnest(walk_below.function_ids) as wanted (function_id),
         lateral (select one.* from secateur.levels as one
                   where one.app_id = walk_below.app_id
                     and one.function_id = wanted.function_id
                     and secateur.is_time(one.walk_at, begun)
                     and one.floor > '00000000-0000-0000-0000-000000000000'
                   limit 1
                     for update skip locked) as due
   limit 1;
  if not found then
    return;
  end if;
  found_below := array(
    select run.id from secateur.runs as run
     where run.app_id = walk_below.app_id
       and run.function_id = level.function_id
       and run.status = 'queued'
       and run.priority = level.priority
       and uuid_send(run.id) > uuid_send(level.walked)
       and uuid_send(run.id) < uuid_send(level.floor)
     order by uuid_send(run.id)
     limit most);
  passed := array(select hit.run_id
                    from secateur.reached(walk_below.app_id, walk_below.active, found_below, quickly => true, budget => '100 ms') as hit
                   where hit.cancellation_id is not null or hit.undecided_by is not null);
  left_over := (select next.id from unnest(found_below) with ordinality as next (id, place)
                 where (next.id in (select unnest(passed))) is not true
                 order by next.place limit 1);
  update secateur.levels as one
     set floor = coalesce(left_over, one.floor),
         walked = case when left_over is null and cardinality(found_below) = most then found_below[most]
                       else '00000000-0000-0000-0000-000000000000' end,
         walk_at = secateur.look_again_at(begun)
   where one.app_id = walk_below.app_id and one.function_id = level.function_id and one.priority = level.priority;
end
$$;

-- Tells the app's idle workers that there may be something to claim. While claims find something nobody is told, because
-- NOTIFY makes commits wait for each other. Skips a locked row. Part of whatever queues runs, after it has done so.
--
-- Nobody is overlooked, however long the transaction stays open: it holds an advisory lock, shared, before it reads whether the
-- app is idle; and a claim that finds nothing tries to get that lock alone before it looks a last time (see mark_idle).
--   This transaction was first: the claim does not get the lock, and its worker looks again soon, until this one has ended.
--   The claim was first, and is still open: this transaction does not get the lock, and tells the workers.
--   The claim was first, and has ended: this transaction sees that the app is idle, and tells the workers.
-- Any login can take such a lock. It makes workers look more often, or notifies them in vain; nobody ever waits for it.
create or replace function secateur.wake(app_id text)
  returns void
  language plpgsql
as $$
declare
  -- Else it may have an older snapshot, which does not show that the app has fallen idle since.
  current constant boolean := current_setting('transaction_isolation') in ('read committed', 'read uncommitted');
  known boolean;
begin
  known := pg_try_advisory_xact_lock_shared(1396917317, hashtext(wake.app_id));
  -- point: known to mark_idle
  if current and known then
    if (select state.idle from secateur.idle as state where state.app_id = wake.app_id) is not true then
      return;
    end if;
    update secateur.idle as state
       set idle = false
     where state.app_id = wake.app_id
       and exists (select from secateur.idle as waiting
                    where waiting.app_id = wake.app_id and waiting.idle
                      for update skip locked);
  end if;
  -- Even if the row is locked: whoever holds it may take long to commit what it tells them.
  perform pg_notify('secateur_runs', wake.app_id);
end
$$;

-- Notes that a claim finds nothing: from now on, whoever queues something tells the workers. Returns whether all of them do: false
-- if an open transaction may have queued something without telling (see wake). The claim looks once more, in a later statement.
-- Skips a locked row and waits for nobody. Part of a claim.
create or replace function secateur.mark_idle(app_id text)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  alone constant boolean := pg_try_advisory_xact_lock(1396917317, hashtext(mark_idle.app_id));
begin
  -- point: before the mark
  update secateur.idle as state
     set idle = true
   where state.app_id = mark_idle.app_id
     and exists (select from secateur.idle as busy
                  where busy.app_id = mark_idle.app_id and not busy.idle
                    for update skip locked);
  return alone;
end
$$;
