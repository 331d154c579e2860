-- Where claims begin to look, and whom to tell when there is something to claim. These are hints: they save work and decide nothing.
--
-- Why floors. A claimed run stays in the index as a dead entry until no transaction can see it. So one long transaction
-- anywhere makes every claim walk past all that was claimed since (70 ms at a hundred thousand), and no vacuum helps.
-- Therefore a level (function and priority) has a floor. No queued run is known below it, and claims seek from there.
--
-- For example, ids 1 to 9 of one level, of which x are claimed:
--   x x x x 5 6 7 8 9    floor 1: a claim passes four dead entries before it finds 5.
--   x x x x 5 6 7 8 9    floor 5: raise_floors has seen that 5 is the smallest that is queued. Claims seek from 5.
--   x 2 x x x x 7 8 9    5 and 6 are claimed; 2 comes back, and lower_floors sets the floor to 2 in the same transaction.
--   x x x x x x 7 8 9    2 is claimed again; some time later the floor is raised to 7.
-- Had the row of the level been locked when 2 came back, the floor would have stayed at 5. Then walk_below finds 2, within about a second.
--
-- Why nothing is lost. A floor is raised only to the smallest queued id that a snapshot shows, or past runs that an active
-- cancellation matches (reset_floors makes them findable when it is stopped or undone). Runs get below it in three
-- ways. They come back to the queue: lower_floors sees to that. They were enqueued by a transaction that took
-- longer than `floor_lag` to commit. Or lower_floors found the row locked. For the last two, and whatever else may have
-- been overlooked, walk_below looks below each floor again and again, at most once a second.
--
-- Why it is cheap. A floor is raised about once in a thousand claimed runs, and sometimes after a slow search. A
-- level is locked only with SKIP LOCKED, so nobody waits for a hint and the row is not hot. While a long transaction keeps
-- the old versions of the row too, there is one of them for a thousand runs.

-- The smallest id that a run can have which was enqueued this long ago.
create or replace function secateur.floor_lag(lag interval default '250 ms')
  returns uuid
  language sql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
  select encode(substring(int8send((extract(epoch from clock_timestamp() - lag) * 1000)::bigint) from 3)
                || decode('70000000000000000000', 'hex'), 'hex')::uuid
$$;

-- Makes sure that the queue has these levels. Beyond 32 of them a function is walked without floors, and no more are kept.
-- Repeatable; writes nothing where there is nothing new.
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

-- Makes sure of the levels of all queued runs of the app, also of those that came past the queue's functions, by COPY say: without its
-- level a run is never claimed. One descent for each function and priority. Part of the depth's self-check.
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

-- Lets claims find runs that came back to the queue, and notes their functions; whoever queues runs again calls this in the same transaction.
-- Locks levels with SKIP LOCKED.
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

-- Lets claims look at every queued run of the app, or of one function of it, again: for when a cancellation no longer
-- matches what they had passed over. The caller holds the app's lock, exclusive, so no claim holds a level.
create or replace function secateur.reset_floors(app_id text, function_id text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if reset_floors.function_id is null then
    update secateur.levels as level
       set floor = '00000000-0000-0000-0000-000000000000'
     where level.app_id = reset_floors.app_id;
  else
    update secateur.levels as level
       set floor = '00000000-0000-0000-0000-000000000000'
     where level.app_id = reset_floors.app_id and level.function_id = reset_floors.function_id;
  end if;
  perform secateur.wake(reset_floors.app_id);
end
$$;

-- Raises the floors of the functions' levels to their smallest queued run, or where there is none, as far as the time that
-- an enqueue may take to commit allows. Part of a claim; skips levels that are locked.
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
        -- Also those that another claim holds right now: it may yet give them back.
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

-- Looks below the floor of one of the functions' levels where that is due, a few hundred entries at a time, and lowers it
-- to a run that should be claimed, that is: one that no active cancellation matches. At most once a second for each level,
-- and so seldom that it costs a twentieth of the time. Part of a claim; skips levels that are locked.
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
  next_walk timestamptz;
begin
  select due.* into level
    from unnest(walk_below.function_ids) as wanted (function_id),
         lateral (select one.* from secateur.levels as one
                   where one.app_id = walk_below.app_id
                     and one.function_id = wanted.function_id
                     and one.walk_at <= begun
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
  next_walk := clock_timestamp() + greatest(interval '1 s', 20 * (clock_timestamp() - begun));
  update secateur.levels as one
     set floor = coalesce(left_over, one.floor),
         walked = case when left_over is null and cardinality(found_below) = most then found_below[most]
                       else '00000000-0000-0000-0000-000000000000' end,
         walk_at = next_walk
   where one.app_id = walk_below.app_id and one.function_id = level.function_id and one.priority = level.priority;
end
$$;

-- Tells idle workers of the app that something may be claimed. Nobody is told as long as claims find something: NOTIFY makes
-- commits wait for each other. Part of what queues runs; locks with SKIP LOCKED.
create or replace function secateur.wake(app_id text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  if (select state.idle from secateur.idle as state where state.app_id = wake.app_id) is not true then
    return;
  end if;
  update secateur.idle as state
     set idle = false
   where state.app_id = wake.app_id
     and exists (select from secateur.idle as waiting
                  where waiting.app_id = wake.app_id and waiting.idle
                    for update skip locked);
  -- Also if it is locked: whoever tells them may take long to commit.
  perform pg_notify('secateur_runs', wake.app_id);
end
$$;

-- Notes that a claim found nothing. Part of a claim; locks with SKIP LOCKED.
create or replace function secateur.fall_idle(app_id text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  update secateur.idle as state
     set idle = true
   where state.app_id = fall_idle.app_id
     and exists (select from secateur.idle as busy
                  where busy.app_id = fall_idle.app_id and not busy.idle
                    for update skip locked);
end
$$;
