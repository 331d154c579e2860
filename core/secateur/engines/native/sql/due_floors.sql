-- Where claims begin to look for what falls due: scheduled runs whose time has come, and running ones whose lease has ended.
-- These are hints: they save work and decide nothing.
--
-- Why floors. A run that was promoted or cancelled stays in the index of scheduled runs as a dead entry until no transaction can
-- see it and a vacuum has come by, and so does every lease that was extended or given back. Each claim asks for the first that
-- is due, and would pass all of them: 60 ms at a hundred thousand. So each function has a floor, below which no run that is due
-- is known, and each app has one for its leases. It is the same idea as in levels.sql, in another order.
--
-- For example, the scheduled runs of one function at 12:00, in the order of their time; x were promoted or cancelled:
--   11:58 x  11:59 x  12:30 x  12:40 x  13:00    no floor: a claim passes two dead entries and finds nothing that is due.
--                                                To say when the next one is due, it passes two more.
--   floor 12:00, next 13:00                      It passes none of them, neither time.
--   11:59 comes back by an undo                  lower_due_floors sets the floor to 11:59 in the same transaction.
--
-- Why nothing is lost. A floor is raised only to the first run that a snapshot shows, and never past what is due by now, less
-- the time that an enqueue may take to commit. Whatever is scheduled later is due later, and so lies above it. Runs get below it
-- in two ways. They come back by an undo: lower_due_floors sees to that, unless somebody holds the row. Or their transaction
-- stayed open until after their time. For these, walk_below_due looks below the floor again and again, at most once a second.
--
-- Only `next_at` lies in the future: it says where to begin to look for the next run to fall due, which a claim that finds
-- nothing tells its worker. Whoever schedules a run before it does not change it, and so waits for nobody. It is believed for
-- twenty times as long as it took to find, at least a second. A claim that relied on it has its worker ask again then.
--
-- Why it is cheap. Nothing is written while there are few dead entries, and there are no floors then. Whoever passes many raises
-- them; effort_on tells. Rows are locked with SKIP LOCKED, so nobody waits for a hint.

-- How much of an index this transaction has read: its entries, those of dead rows too, and five for each block. (Entries
-- that are known to be dead to all are passed without a count, and cost little but their block.) A look for one entry takes
-- less than 30. Zero without `track_counts`: then no floor is raised.
create or replace function secateur.effort_on(index regclass)
  returns bigint
  language sql
  as $$
  select pg_stat_get_xact_tuples_returned(index) + 5 * pg_stat_get_xact_blocks_fetched(index)
$$;

-- Where to look from for what is due of a function or, under '', for leases that ended. Part of a claim.
create or replace function secateur.due_floor(app_id text, function_id text)
  returns table (at timestamptz, id uuid)
  language sql
  stable
as $$
  -- A function without its row has no floor.
  select known.floor_at, known.floor_id
    from secateur.due_floors as known
   where known.app_id = due_floor.app_id and known.function_id = due_floor.function_id
  union all
  select '-infinity', '00000000-0000-0000-0000-000000000000'
  limit 1
$$;

-- Where to look from for the first scheduled run of a function, whenever it is due. Part of a claim.
create or replace function secateur.next_floor(app_id text, function_id text)
  returns table (at timestamptz, id uuid)
  language sql
  stable
as $$
  select case when not secateur.is_time(known.next_until, now()) then known.next_at else known.floor_at end,
         case when not secateur.is_time(known.next_until, now()) then known.next_id else known.floor_id end
    from secateur.due_floors as known
   where known.app_id = next_floor.app_id and known.function_id = next_floor.function_id
  union all
  select '-infinity', '00000000-0000-0000-0000-000000000000'
  limit 1
$$;

-- Raises the floors of those of the functions whose dead entries are many, to the first run that is due, or to where an enqueue
-- may still commit. Part of a claim; skips rows that are locked.
create or replace function secateur.raise_due_floors(app_id text, function_ids text[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  newest constant timestamptz := clock_timestamp() - interval '250 ms';
  function text;
  known secateur.due_floors;
  effort bigint;
  first record;
begin
  foreach function in array function_ids loop
    select one.* into known
      from secateur.due_floors as one
     where one.app_id = raise_due_floors.app_id and one.function_id = function and one.floor_at < newest
       for update skip locked;
    continue when not found;
    effort := secateur.effort_on('secateur.runs_scheduled');
    -- In a snapshot that is younger than the lock. Also those that another claim holds right now: it may yet give them back.
    select run.scheduled_for as at, run.id into first
      from secateur.runs as run
     where run.app_id = raise_due_floors.app_id and run.function_id = function and run.status = 'scheduled'
       and (run.scheduled_for, run.id) >= (known.floor_at, known.floor_id) and run.scheduled_for < newest
     order by run.scheduled_for, run.id
     limit 1;
    continue when secateur.effort_on('secateur.runs_scheduled') - effort <= 30;
    update secateur.due_floors as one
       set floor_at = coalesce(first.at, newest),
           floor_id = coalesce(first.id, '00000000-0000-0000-0000-000000000000'),
           walk_at = greatest(one.walk_at, newest + interval '1.25 s')
     where one.app_id = raise_due_floors.app_id and one.function_id = function;
  end loop;
end
$$;

-- The same of the app's leases. Part of a claim; skips the row if it is locked.
create or replace function secateur.raise_lease_floor(app_id text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  newest constant timestamptz := clock_timestamp() - interval '250 ms';
  known secateur.due_floors;
  first timestamptz;
begin
  select one.* into known
    from secateur.due_floors as one
   where one.app_id = raise_lease_floor.app_id and one.function_id = '' and one.floor_at < newest
     for update skip locked;
  if not found then
    return;
  end if;
  first := (select run.lease_expires_at from secateur.runs as run
             where run.app_id = raise_lease_floor.app_id and run.status = 'running'
               and run.lease_expires_at >= known.floor_at and run.lease_expires_at < newest
             order by run.lease_expires_at
             limit 1);
  update secateur.due_floors as one
     set floor_at = coalesce(first, newest), walk_at = greatest(one.walk_at, newest + interval '1.25 s')
   where one.app_id = raise_lease_floor.app_id and one.function_id = '';
end
$$;

-- Looks below one of these floors where that is due, and lowers it to what it finds; takes it away where there are few dead
-- entries any more. At most once a second for each, and so seldom that it costs a twentieth of the time. The name '' stands for
-- the app's leases. Part of a claim; skips rows that are locked.
create or replace function secateur.walk_below_due(app_id text, function_ids text[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  begun constant timestamptz := clock_timestamp();
  known secateur.due_floors;
  index regclass;
  effort bigint;
  first_at timestamptz;
  first_id uuid;
begin
  select due.* into known
    from unnest(walk_below_due.function_ids) as wanted (function_id),
         lateral (select one.* from secateur.due_floors as one
                   where one.app_id = walk_below_due.app_id and one.function_id = wanted.function_id
                     and secateur.is_time(one.walk_at, begun) and one.floor_at > '-infinity'
                   limit 1
                     for update skip locked) as due
   limit 1;
  if not found then
    return;
  end if;
  index := case when known.function_id = '' then 'secateur.runs_running' else 'secateur.runs_scheduled' end;
  effort := secateur.effort_on(index);
  if known.function_id = '' then
    select run.lease_expires_at, known.floor_id into first_at, first_id
      from secateur.runs as run
     where run.app_id = walk_below_due.app_id and run.status = 'running' and run.lease_expires_at < known.floor_at
     order by run.lease_expires_at
     limit 1;
  else
    select run.scheduled_for, run.id into first_at, first_id
      from secateur.runs as run
     where run.app_id = walk_below_due.app_id and run.function_id = known.function_id and run.status = 'scheduled'
       and (run.scheduled_for, run.id) < (known.floor_at, known.floor_id)
     order by run.scheduled_for, run.id
     limit 1;
  end if;
  if secateur.effort_on(index) - effort <= 500 then
    first_at := '-infinity';
    first_id := '00000000-0000-0000-0000-000000000000';
  end if;
  update secateur.due_floors as one
     set floor_at = coalesce(first_at, one.floor_at),
         floor_id = coalesce(first_id, one.floor_id),
         walk_at = secateur.look_again_at(begun)
   where one.app_id = walk_below_due.app_id and one.function_id = known.function_id;
end
$$;

-- Lets claims find scheduled runs that came back. Part of lower_floors; locks rows with SKIP LOCKED.
create or replace function secateur.lower_due_floors(app_id text, run_ids uuid[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  back record;
begin
  for back in
    select distinct on (run.function_id) run.function_id, run.scheduled_for, run.id
      from secateur.runs as run
     where run.app_id = lower_due_floors.app_id and run.id = any (run_ids) and run.status || '' = 'scheduled'
     order by run.function_id, run.scheduled_for, run.id
  loop
    update secateur.due_floors as one
       set floor_at = least(one.floor_at, back.scheduled_for),
           floor_id = case when one.floor_at < back.scheduled_for then one.floor_id
                           when one.floor_at = back.scheduled_for then least(one.floor_id, back.id) else back.id end,
           next_until = '-infinity'
     where one.app_id = lower_due_floors.app_id and one.function_id = back.function_id
       and exists (select from secateur.due_floors as above
                    where above.app_id = lower_due_floors.app_id and above.function_id = back.function_id
                      and ((above.floor_at, above.floor_id) > (back.scheduled_for, back.id)
                           or (above.next_at, above.next_id) > (back.scheduled_for, back.id))
                      for update skip locked);
  end loop;
end
$$;

-- When the next scheduled run of these functions becomes due; null if none waits. Part of a claim.
create or replace function secateur.next_due(app_id text, function_ids text[])
  returns timestamptz
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  effort constant bigint := secateur.effort_on('secateur.runs_scheduled');
  first timestamptz;
begin
  first := (select min(due.scheduled_for)
              from unnest(next_due.function_ids) as wanted (function_id),
                   lateral secateur.next_floor(next_due.app_id, wanted.function_id) as floor,
                   lateral (select run.scheduled_for from secateur.runs as run
                             where run.app_id = next_due.app_id
                               and run.function_id = wanted.function_id
                               and run.status = 'scheduled'
                               and (run.scheduled_for, run.id) >= (floor.at, floor.id)
                             order by run.scheduled_for, run.id
                             limit 1) as due);
  if secateur.effort_on('secateur.runs_scheduled') - effort > 500 + 30 * cardinality(next_due.function_ids) then
    perform secateur.keep_next(next_due.app_id, next_due.function_ids);
  end if;
  return first;
end
$$;

-- Keeps for those of the functions whose dead entries are many where their first scheduled run is. Part of a claim; skips rows
-- that are locked.
create or replace function secateur.keep_next(app_id text, function_ids text[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  function text;
  known secateur.due_floors;
  begun timestamptz;
  effort bigint;
  first record;
begin
  foreach function in array function_ids loop
    select one.* into known
      from secateur.due_floors as one
     where one.app_id = keep_next.app_id and one.function_id = function
       and secateur.is_time(one.next_until, now())
       for update skip locked;
    continue when not found;
    begun := clock_timestamp();
    effort := secateur.effort_on('secateur.runs_scheduled');
    select run.scheduled_for as at, run.id into first
      from secateur.runs as run
     where run.app_id = keep_next.app_id and run.function_id = function and run.status = 'scheduled'
       and (run.scheduled_for, run.id) >= (known.floor_at, known.floor_id)
     order by run.scheduled_for, run.id
     limit 1;
    continue when secateur.effort_on('secateur.runs_scheduled') - effort <= 30;
    update secateur.due_floors as one
       set next_at = coalesce(first.at, 'infinity'),
           next_id = coalesce(first.id, '00000000-0000-0000-0000-000000000000'),
           next_until = secateur.look_again_at(begun)
     where one.app_id = keep_next.app_id and one.function_id = function;
  end loop;
end
$$;

-- When next_due should be asked again, because it began to look where somebody had found the first; null if it need not. Part of
-- a claim.
create or replace function secateur.next_believed_until(app_id text, function_ids text[])
  returns timestamptz
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  return (select min(known.next_until) from secateur.due_floors as known
           where known.app_id = next_believed_until.app_id
             and known.function_id = any (next_believed_until.function_ids) and not secateur.is_time(known.next_until, now()));
end
$$;
