-- A function's limit. It has a slot, a row, for each run that it may run at once. A run takes a free slot when it starts, and
-- gives it back when it ends. Slots that runs hold beyond a lowered limit are `surplus`: they are deleted when given back.

-- Sets how many runs of a function may run at once; null removes the limit. Running runs go on, and hold slots even beyond a
-- lowered limit; no other run of the function starts until fewer are running than it allows. Repeatable.
-- Locks, in this order: the app's lock, exclusive, so that no claim comes between; the running runs that have no slot yet, by
-- id; the function's slots, by number. Raises SC421 and SC423, as lock_app does.
create or replace function secateur.limit_function(app_id text, function_id text, concurrency integer)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  running uuid[];
  held integer;
  free integer;
  highest integer;
begin
  perform secateur.lock_app(limit_function.app_id);
  -- point: locked
  update secateur.functions as known
     set concurrency = limit_function.concurrency
   where known.app_id = limit_function.app_id
     and known.function_id = limit_function.function_id
     and known.concurrency is distinct from limit_function.concurrency;
  if not found then
    return;
  end if;
  running := array(select run.id
                     from secateur.runs as run
                    where run.app_id = limit_function.app_id
                      and run.function_id = limit_function.function_id
                      and run.status = 'running'
                      and not exists (select from secateur.slots as slot
                                       where slot.app_id = limit_function.app_id and slot.function_id = run.function_id
                                         and slot.slot = run.slot and slot.run_id = run.id)
                    order by run.id
                      for update of run);
  -- point: running runs locked
  perform from secateur.slots as slot
    where slot.app_id = limit_function.app_id and slot.function_id = limit_function.function_id
    order by slot.slot
      for update;
  -- point: slots locked
  select coalesce(max(slot.slot), 0), count(slot.run_id) into highest, held
    from secateur.slots as slot
   where slot.app_id = limit_function.app_id and slot.function_id = limit_function.function_id;
  if limit_function.concurrency is not null then
    -- Runs that started while there was no limit count as well.
    with taken as (
      insert into secateur.slots (app_id, function_id, slot, run_id)
      select limit_function.app_id, limit_function.function_id, highest + one.place, one.id
        from unnest(running) with ordinality as one (id, place)
      returning slots.slot, slots.run_id
    )
    update secateur.runs as run
       set slot = taken.slot
      from taken
     where run.app_id = limit_function.app_id and run.id = any (running) and run.id = taken.run_id;
    highest := highest + cardinality(running);
    held := held + cardinality(running);
  end if;
  update secateur.slots as slot
     set surplus = ranked.rank > coalesce(limit_function.concurrency, 0)
    from (select one.slot, row_number() over (order by one.slot) as rank
            from secateur.slots as one
           where one.app_id = limit_function.app_id and one.function_id = limit_function.function_id
             and one.run_id is not null) as ranked
   where slot.app_id = limit_function.app_id and slot.function_id = limit_function.function_id
     and slot.slot = ranked.slot;
  free := greatest(0, coalesce(limit_function.concurrency, 0) - held);
  delete from secateur.slots as slot
   where slot.app_id = limit_function.app_id
     and slot.function_id = limit_function.function_id
     and slot.run_id is null
     and slot.slot not in (select kept.slot from secateur.slots as kept
                            where kept.app_id = limit_function.app_id and kept.function_id = limit_function.function_id
                              and kept.run_id is null
                            order by kept.slot limit free);
  insert into secateur.slots (app_id, function_id, slot)
  select limit_function.app_id, limit_function.function_id, highest + n
    from generate_series(1, free - (select count(*)::integer from secateur.slots as slot
                                     where slot.app_id = limit_function.app_id
                                       and slot.function_id = limit_function.function_id
                                       and slot.run_id is null)) as n;
  perform secateur.wake(limit_function.app_id);
end
$$;

-- Locks free slots of those of these functions that have a limit, and returns them: at most `most` of each function, and no
-- more than may start now. While runs hold surplus slots, as many free ones are left alone. Skips slots that are locked.
-- Returns arrays of one length: slot `slots[i]` belongs to `functions[i]`. Part of a claim.
create or replace function secateur.lock_slots(
  app_id text, function_ids text[], most integer, out functions text[], out slots integer[]
)
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  select coalesce(array_agg(free.function_id), '{}'), coalesce(array_agg(free.slot), '{}')
    into functions, slots
    from unnest(lock_slots.function_ids) as wanted (function_id),
         lateral (select count(*) as slots from secateur.slots as held
                   where held.app_id = lock_slots.app_id and held.function_id = wanted.function_id
                     and held.surplus) as surplus,
         lateral (
           select locked.function_id, locked.slot, row_number() over () as place
             from (select slot.function_id, slot.slot from secateur.slots as slot
                    where slot.app_id = lock_slots.app_id and slot.function_id = wanted.function_id
                      and slot.run_id is null and not slot.surplus
                    order by slot.slot
                    limit lock_slots.most + surplus.slots
                      for update skip locked) as locked
         ) as free
   where free.place > surplus.slots;
end
$$;

-- Returns those of the slots (`mine_slots[i]` of `mine_functions[i]`) that no run holds yet. The caller has locked all of
-- them. Returns arrays as lock_slots does. Part of a claim.
create or replace function secateur.still_free(
  app_id text, mine_functions text[], mine_slots integer[], out functions text[], out slots integer[]
)
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  select coalesce(array_agg(slot.function_id), '{}'), coalesce(array_agg(slot.slot), '{}')
    into functions, slots
    from unnest(mine_functions, mine_slots) as mine (function_id, slot),
         lateral (select one.function_id, one.slot from secateur.slots as one
                   where one.app_id = still_free.app_id and one.function_id = mine.function_id and one.slot = mine.slot
                     and one.run_id is null
                  offset 0) as slot;
end
$$;

-- Gives each run of a limited function one of these free slots (`slots[i]` of `functions[i]`), which the caller has locked.
-- Returns each run's slot, in the order of `run_ids`; null where the run's function has no limit. Part of a claim.
create or replace function secateur.hold_slots(app_id text, run_ids uuid[], functions text[], slots integer[])
  returns integer[]
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  functions_of_runs text[];
  held integer[];
  taken record;
begin
  -- The n-th run of a function gets its n-th slot. Grouping pairs them; a join would scan the slots once for each run.
  select array_agg(paired.function_id order by paired.place), coalesce(array_agg(paired.slot order by paired.place), '{}')
    into functions_of_runs, held
    from (select one.function_id, max(one.place) as place, max(one.slot) as slot
            from (select run.function_id, row_number() over (partition by run.function_id order by wanting.place) as nth,
                         wanting.place, null::integer as slot
                    from unnest(run_ids) with ordinality as wanting (id, place),
                         lateral (select one.function_id from secateur.runs as one
                                   where one.app_id = hold_slots.app_id and one.id = wanting.id
                                  offset 0) as run
                  union all
                  select open.function_id, row_number() over (partition by open.function_id order by open.slot),
                         null, open.slot
                    from unnest(functions, slots) as open (function_id, slot)) as one
           group by one.function_id, one.nth) as paired
   where paired.place is not null;
  for taken in
    select mine.function_id, array_agg(mine.id order by mine.slot) as ids, array_agg(mine.slot order by mine.slot) as slots
      from unnest(run_ids, functions_of_runs, held) as mine (id, function_id, slot)
     where mine.slot is not null
     group by mine.function_id
  loop
    update secateur.slots as slot
       set run_id = taken.ids[width_bucket(slot.slot, taken.slots)]
     where slot.app_id = hold_slots.app_id and slot.function_id = taken.function_id and slot.slot = any (taken.slots);
  end loop;
  return held;
end
$$;

-- Gives back the slots that these runs hold, and wakes idle workers. Whatever ends a run, or takes it from its worker, calls
-- this after it has locked the run's row. Runs without a slot are ignored. Locks the slots, by function and number.
create or replace function secateur.free_slots(app_id text, run_ids uuid[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  held record;
  mine integer[];
  freed integer := 0;
begin
  for held in
    select run.function_id, array_agg(run.id) as ids, array_agg(run.slot) as slots
      from secateur.runs as run
     where run.app_id = free_slots.app_id and run.id = any (run_ids) and run.slot is not null
     group by run.function_id
     order by run.function_id
  loop
    mine := array(
      select slot.slot
        from secateur.slots as slot
       where slot.app_id = free_slots.app_id and slot.function_id = held.function_id and slot.slot = any (held.slots)
         and ((slot.slot, slot.run_id) in (select * from unnest(held.slots, held.ids))) is true
       order by slot.slot
         for update);
    delete from secateur.slots as slot
     where slot.app_id = free_slots.app_id and slot.function_id = held.function_id and slot.slot = any (mine)
       and slot.surplus;
    update secateur.slots as slot
       set run_id = null
     where slot.app_id = free_slots.app_id and slot.function_id = held.function_id and slot.slot = any (mine)
       and not slot.surplus;
    freed := freed + cardinality(mine);
  end loop;
  if freed > 0 then
    perform secateur.wake(free_slots.app_id);
  end if;
end
$$;
