-- Which functions of an app may have something to claim: a list of hints, which saves work and decides nothing. A claim that may
-- take from more functions than its batch needs looks only into those on the list.
--
-- Who writes it. A transaction that queues or schedules runs also notes their function (note_due), but writes nothing if it sees
-- the function noted. There is no key and no row to lock: two transactions that note the same function at once write an entry each.
-- Only a search takes functions off the list. About once a second, one of the claims compares the list with the queue (search_due).
-- It asks every function, at its floors, a thousand of them in one claim, and takes a twentieth of the time at most.
--
-- For example, the function `mail`, while its queue drains:
--   0.0 s  a run is queued: `mail` is noted. More runs come and go for an hour; nothing is written.
--   1 h    the last run is claimed. The next search finds nothing queued, and marks the entry (`empty_since`).
--   +0.5 s a run is queued by somebody who sees the mark: `mail` is noted a second time.
--   +1.0 s the next search takes the marked entry off. The second one stays, so claims still look into `mail`.
--
-- Why nothing is lost. A function that has nothing is first marked. Claims still look into it, but a transaction that queues
-- something now notes it again. The next search, about a second later, takes it off. So only one kind of run can be overlooked: its
-- transaction saw the unmarked entry, and stayed open for longer than that second or had an older snapshot (REPEATABLE READ). The
-- first search after its commit finds it, for a search does not trust the list.
--
-- Why it stays quick while a transaction keeps old versions alive, so that no vacuum helps. Nothing is written while a
-- function has something, however many runs come and go. When more entries have died than live, the search writes the
-- list anew under the next epoch. So a claim never passes more dead entries than about twice the living.

-- Notes that the function has something to claim or, with `due_at`, that something of it falls due then. Writes nothing where
-- that is known. Part of what queues or schedules runs, after it has done so; waits for nobody.
create or replace function secateur.note_due(app_id text, function_id text, due_at timestamptz default null)
  returns void
  language plpgsql
as $$
declare
  moment constant timestamptz := clock_timestamp();
  current bigint := coalesce((select known.epoch from secateur.due_epochs as known where known.app_id = note_due.app_id), 0);
begin
  -- An entry whose time has come is about to be taken off.
  if not exists (select from secateur.due_functions as noted
                  where noted.app_id = note_due.app_id and noted.epoch = current and noted.function_id = note_due.function_id
                    and noted.empty_since is null
                    and (noted.place is not null or (noted.due_at > moment and noted.due_at <= note_due.due_at))) then
    insert into secateur.due_functions (app_id, epoch, function_id, place, due_at)
    values (note_due.app_id, current, note_due.function_id,
            case when note_due.due_at is null then hashtextextended(note_due.function_id, current) end, note_due.due_at);
  end if;
end
$$;

-- Finds the first `most` functions on the list (null means all that are named) that have something to claim; see find_functions.
-- It begins at a random place, so that each gets its turn. `seen` are the functions that it looked into. Part of a claim.
create or replace function secateur.find_due(
  app_id text, function_ids text[], most integer,
  out functions text[], out limited boolean[], out floorless boolean[], out seen text[]
)
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  moment constant timestamptz := clock_timestamp();
  current bigint := coalesce((select known.epoch from secateur.due_epochs as known where known.app_id = find_due.app_id), 0);
  -- Anywhere in the circle of places; and more of them are read than asked, so that it matters less who stands where.
  start constant bigint := hashtextextended(random()::text, 0);
  size constant integer := most + least(most / 2, 20);
  lowest bigint := start;
  highest bigint := 9223372036854775807;
  last bigint;
  entries integer;
  here text[];
  batch record;
begin
  functions := '{}';
  limited := '{}';
  floorless := '{}';
  -- Those whose time has come since the last search.
  seen := array(select distinct due.function_id
                  from (select noted.function_id from secateur.due_functions as noted
                         where noted.app_id = find_due.app_id and noted.epoch = current and noted.due_at <= moment
                           and (find_due.function_ids is null
                                or (noted.function_id in (select unnest(find_due.function_ids))) is true)
                        offset 0) as due);
  here := seen;
  loop
    select found_here.* into batch
      from secateur.find_functions(find_due.app_id, here, most - cardinality(functions)) as found_here;
    functions := functions || batch.functions;
    limited := limited || batch.limited;
    floorless := floorless || batch.floorless;
    exit when cardinality(functions) >= most;
    if entries < size or last = highest then
      -- The rest of the circle, from its beginning.
      exit when highest < start;
      exit when start = -9223372036854775808;
      lowest := -9223372036854775808;
      highest := start - 1;
    elsif last is not null then
      lowest := last + 1;
    end if;
    select coalesce(array_agg(distinct next.function_id)
                      filter (where find_due.function_ids is null
                                 or (next.function_id in (select unnest(find_due.function_ids))) is true), '{}'),
           max(next.place), count(*)
      into here, last, entries
      from (select noted.function_id, noted.place from secateur.due_functions as noted
             where noted.app_id = find_due.app_id and noted.epoch = current
               and noted.place >= lowest and noted.place <= highest
             order by noted.place
             limit size) as next;
    here := array(select one.id from unnest(here) as one (id) where (one.id in (select unnest(seen))) is not true order by random());
    seen := seen || here;
  end loop;
end
$$;

-- When the next scheduled run of these functions (null: of all) becomes due, as far as the list knows; null if none waits,
-- or only of what is paused. `seen` are functions that are on the list as having something: they are asked. Part of a claim.
create or replace function secateur.next_noted(app_id text, function_ids text[], seen text[])
  returns timestamptz
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  current bigint := coalesce((select known.epoch from secateur.due_epochs as known where known.app_id = next_noted.app_id), 0);
begin
  return least(
    (select noted.due_at
       from secateur.due_functions as noted
      where noted.app_id = next_noted.app_id and noted.epoch = current and noted.due_at > now()
        and (next_noted.function_ids is null or (noted.function_id in (select unnest(next_noted.function_ids))) is true)
        and (select known.paused_at from secateur.functions as known
              where known.app_id = next_noted.app_id and known.function_id = noted.function_id) is null
      order by noted.due_at
      limit 1),
    secateur.next_due(next_noted.app_id, array(
      select one.id from unnest(seen) as one (id)
       where (select known.paused_at from secateur.functions as known
               where known.app_id = next_noted.app_id and known.function_id = one.id) is null)));
end
$$;

-- Returns those of these functions that have scheduled runs, without those in `but`, and when the first run of each falls due, in
-- arrays of one length. Part of a search.
create or replace function secateur.find_scheduled(
  app_id text, function_ids text[], but text[], out ids text[], out due_at timestamptz[]
)
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
begin
  select coalesce(array_agg(waiting.id), '{}'), coalesce(array_agg(waiting.first_at), '{}') into ids, due_at
    from (select known.id,
                 (select run.scheduled_for from secateur.runs as run
                   where run.app_id = find_scheduled.app_id and run.function_id = known.id and run.status = 'scheduled'
                     and (run.scheduled_for, run.id) >= (floor.at, floor.id)
                   order by run.scheduled_for, run.id limit 1) as first_at
            from unnest(function_ids) as known (id),
                 lateral secateur.next_floor(find_scheduled.app_id, known.id) as floor
           where (known.id in (select unnest(but))) is not true
          offset 0) as waiting
   where waiting.first_at is not null;
end
$$;

-- Compares the app's list with its queue, up to 1,000 functions at a time, unless somebody does so now or it is too early; see
-- above. Before that it looks below their floors for a few milliseconds, for runs that are hidden there (see walk_below). Part
-- of a claim; skips what is locked.
create or replace function secateur.search_due(app_id text, active secateur.cancellations[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  begun constant timestamptz := clock_timestamp();
  most constant integer := 1000;
  search secateur.searches;
  current bigint;
  functions text[];
  turn text[];
  place integer := 1;
  -- All of the functions on the list up to this one are compared; null: up to the last.
  last text;
  ready text[];
  later text[];
  later_at timestamptz[];
  touched bigint;
  effort bigint;
begin
  select one.* into search
    from secateur.searches as one
   where one.app_id = search_due.app_id and secateur.is_time(one.next_at, begun)
     for update skip locked;
  if not found then
    return;
  end if;
  current := (select known.epoch from secateur.due_epochs as known where known.app_id = search_due.app_id);
  functions := array(select known.function_id from secateur.functions as known
                      where known.app_id = search_due.app_id and known.function_id > search.after
                      order by known.function_id limit most);
  last := functions[most];
  turn := array(select one.id from unnest(functions) as one (id) order by random());
  while place <= cardinality(turn) and clock_timestamp() < begun + interval '5 ms' loop
    perform secateur.walk_below(search_due.app_id, turn[place:place + 19], active);
    perform secateur.walk_below_due(search_due.app_id, turn[place:place + 19]);
    place := place + 20;
  end loop;
  -- point: searching
  effort := secateur.effort_on('secateur.runs_scheduled');
  ready := (select found.functions
              from secateur.find_functions(search_due.app_id, functions, most, claimable => false) as found);
  select waiting.ids, waiting.due_at into later, later_at
    from secateur.find_scheduled(search_due.app_id, functions, but => ready) as waiting;
  if secateur.effort_on('secateur.runs_scheduled') - effort > 500 + 60 * cardinality(functions) then
    perform secateur.raise_due_floors(search_due.app_id, functions);
    perform secateur.keep_next(search_due.app_id, functions);
  end if;
  -- point: searched
  -- Those that a search has marked before, and those whose time has come: nobody has relied on them for about a second.
  delete from secateur.due_functions as noted
   where noted.app_id = search_due.app_id and noted.epoch = current
     and noted.function_id > search.after and (noted.function_id <= last or last is null)
     and (noted.empty_since < begun - interval '900 ms' or noted.due_at < begun - interval '900 ms');
  get diagnostics touched = row_count;
  search.dead := search.dead + touched;
  update secateur.due_functions as noted
     set empty_since = clock_timestamp()
   where noted.app_id = search_due.app_id and noted.epoch = current
     and noted.function_id > search.after and (noted.function_id <= last or last is null)
     and noted.place is not null and noted.empty_since is null
     and (noted.function_id in (select unnest(ready))) is not true;
  get diagnostics touched = row_count;
  search.dead := search.dead + touched;
  -- point: marked
  perform secateur.note_due(search_due.app_id, missing.id, missing.due_at)
    from (select one.id, null::timestamptz as due_at from unnest(ready) as one (id)
          union all
          select one.id, one.due_at from unnest(later, later_at) as one (id, due_at)) as missing
   where not exists (select from secateur.due_functions as noted
                      where noted.app_id = search_due.app_id and noted.epoch = current and noted.function_id = missing.id
                        and noted.empty_since is null and (noted.place is not null or noted.due_at <= missing.due_at)
                     offset 0);
  if last is null
     and search.dead > 100 + (select count(*) from secateur.due_functions as noted
                               where noted.app_id = search_due.app_id and noted.epoch = current) then
    perform secateur.renew_list(search_due.app_id, current);
    search.dead := 0;
  end if;
  update secateur.searches as one
     set after = coalesce(last, ''), dead = search.dead,
         next_at = case when last is null then secateur.look_again_at(begun)
                        else clock_timestamp() + least(interval '30 s', 20 * (clock_timestamp() - begun)) end
   where one.app_id = search_due.app_id;
end
$$;

-- Rewrites the list under the next epoch, and so in another order. If a transaction notes a function under the old epoch at this
-- very moment, the note is overlooked until the next search. Part of a search.
create or replace function secateur.renew_list(app_id text, old bigint)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
begin
  update secateur.due_epochs as known set epoch = old + 1 where known.app_id = renew_list.app_id;
  insert into secateur.due_functions (app_id, epoch, function_id, place, due_at)
  select distinct renew_list.app_id, old + 1, noted.function_id,
         case when noted.place is not null then hashtextextended(noted.function_id, old + 1) end, noted.due_at
    from secateur.due_functions as noted
   where noted.app_id = renew_list.app_id and noted.epoch = old;
  delete from secateur.due_functions as noted
   where noted.app_id = renew_list.app_id and noted.epoch >= old - 1 and noted.epoch <= old;
end
$$;
