-- What claims find out before they take anything: what is cancelled, paused or limited, and what must be done first.

-- Finds all of that in one statement, which the caller executes after it has the app's lock. (As separate statements, each part
-- would cost as much as the claim's own work, and mostly there is nothing to do.) For up to ten functions, `wanted` are those that
-- are not paused, in random order; `limited` says which have a limit, `floorless` which have more levels than are kept. For more
-- functions, or if all are paused, these three are null. `ended`: leases may have ended; `due`: scheduled runs may have become due;
-- `below`: it is time to look below a floor. `forgotten`: functions were. Raises the floors of due runs and leases if it took long
-- to look. Part of a claim.
create or replace function secateur.survey(
  app_id text, function_ids text[],
  out active secateur.cancellations[], out paused boolean, out forgotten boolean, out ended boolean, out due boolean, out below boolean,
  out wanted text[], out limited boolean[], out floorless boolean[]
)
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  moment constant timestamptz := clock_timestamp();
  scheduled constant bigint := secateur.effort_on('secateur.runs_scheduled');
  running constant bigint := secateur.effort_on('secateur.runs_running');
begin
  select array(select rule from secateur.cancellations as rule
                where rule.app_id = survey.app_id and rule.state = 'active' order by rule.serial),
         exists (select from secateur.apps where apps.app_id = survey.app_id and apps.paused_at is not null),
         exists (select from secateur.forgotten_functions as gone where gone.app_id = survey.app_id),
         exists (select from secateur.due_floor(survey.app_id, '') as floor,
                             lateral (select from secateur.runs as run
                                       where run.app_id = survey.app_id
                                         and run.status = 'running'
                                         and run.lease_expires_at >= floor.at
                                         and run.lease_expires_at < now()
                                       limit 1) as run
                 offset 0)
           or exists (select from secateur.due_floors as one
                       where one.app_id = survey.app_id and one.function_id = ''
                         and secateur.is_time(one.walk_at, moment) and one.floor_at > '-infinity'),
         queue.*
    into active, paused, forgotten, ended, due, below, wanted, limited, floorless
    from (select bool_or(known.due), bool_or(known.below),
                 array_agg(known.function_id), array_agg(known.limited), array_agg(known.levels > 32)
            from (select one.function_id, one.concurrency is not null as limited, level.levels,
                         exists (select from secateur.due_floor(survey.app_id, one.function_id) as floor,
                                             lateral (select from secateur.runs as run
                                                       where run.app_id = survey.app_id
                                                         and run.function_id = one.function_id
                                                         and run.status = 'scheduled'
                                                         and (run.scheduled_for, run.id) >= (floor.at, floor.id)
                                                         and run.scheduled_for <= now()
                                                       limit 1) as run
                                 offset 0) as due,
                         level.below
                           or exists (select from secateur.due_floors as floor
                                       where floor.app_id = survey.app_id and floor.function_id = one.function_id
                                         and secateur.is_time(floor.walk_at, moment) and floor.floor_at > '-infinity'
                                      offset 0) as below
                    from (select distinct given.id from unnest(function_ids) as given (id)) as named,
                         lateral (select * from secateur.functions as known
                                   where known.app_id = survey.app_id and known.function_id = named.id offset 0) as one,
                         lateral (select count(*) as levels,
                                         bool_or(secateur.is_time(kept.walk_at, moment)
                                                 and kept.floor > '00000000-0000-0000-0000-000000000000') as below
                                    from secateur.levels as kept
                                   where kept.app_id = survey.app_id and kept.function_id = one.function_id) as level
                   where one.paused_at is null
                   order by random()) as known) as queue;
  -- Where many dead entries were passed. (Those that are dead to all are passed more cheaply a second time.)
  if secateur.effort_on('secateur.runs_running') - running > 500 then
    perform secateur.raise_lease_floor(survey.app_id);
  end if;
  if secateur.effort_on('secateur.runs_scheduled') - scheduled > 500 + 30 * cardinality(function_ids) then
    perform secateur.raise_due_floors(survey.app_id, function_ids);
  end if;
end
$$;

-- For an app with many functions: the first `most` on the list (see due.sql) that may have something to claim, in the form of
-- find_functions, and in `seen` all that it looked into. `slow`: functions that have nothing have so many dead entries above their
-- floors that these floors should be raised, too. Part of a claim.
create or replace function secateur.search_functions(
  app_id text, function_ids text[], most integer, active secateur.cancellations[],
  out functions text[], out limited boolean[], out floorless boolean[], out seen text[], out slow boolean
)
  language plpgsql
as $$
declare
  begun timestamptz;
  effort bigint;
begin
  perform secateur.search_due(app_id, active);
  begun := clock_timestamp();
  effort := secateur.effort_on('secateur.runs_scheduled');
  select due.functions, due.limited, due.floorless, due.seen into functions, limited, floorless, seen
    from secateur.find_due(app_id, function_ids, most) as due;
  slow := clock_timestamp() - begun > interval '10 ms' + cardinality(seen) * interval '20 us';
  if secateur.effort_on('secateur.runs_scheduled') - effort > 500 + 30 * cardinality(seen) then
    perform secateur.raise_due_floors(app_id, seen);
  end if;
  -- What it finds is for the next claim, where it is of a function that had nothing.
  perform secateur.walk_below(app_id, seen, active);
  perform secateur.walk_below_due(app_id, seen);
end
$$;

-- How many runs a claim takes of each function where some have a limit: `share`, but not more than the free slots. Part of a claim.
create or replace function secateur.shares_of(functions text[], limited boolean[], share integer, slot_functions text[])
  returns integer[]
  language plpgsql
as $$
begin
  -- Paired by grouping: a join would go through the slots for each function.
  return array(select case when bool_or(one.limited) then least(share, count(*) filter (where one.place is null))
                           else share end
                 from (select wants.id, wants.limited, wants.place
                         from unnest(functions, limited) with ordinality as wants (id, limited, place)
                       union all
                       select free.id, null, null from unnest(slot_functions) as free (id)) as one
                group by one.id
                order by max(one.place));
end
$$;
