-- Decides which runs cancellations reach, and remembers the pairs for which there was no time to decide.

-- Sorts runs without evaluating a condition. `sure_ids` are certainly reached; `sure_nth` has the place of the oldest rule in
-- `rules` that reaches each. For `ids`, conditions must still be evaluated; `asking` says which: bit n - 1 is for the n-th of
-- `rules`. A run that no rule can reach is in neither. The other arrays hold what conditions read of the runs in `ids`; all arrays
-- are null if they would be empty. Part of reached.
create or replace function secateur.sift(
  app_id text, rules secateur.cancellations[], run_ids uuid[], quickly boolean,
  out sure_ids uuid[], out sure_nth integer[], out ids uuid[], out asking bigint[],
  out function_ids text[], out events jsonb[], out started_at timestamptz[], out priorities integer[]
)
  language plpgsql
as $$
declare
  -- What a run must contain one of to be worth a closer look; null where that is not known.
  documents jsonb[];
begin
  if quickly then
    select case when bool_and(rule.requires is not null) then array_agg(document) end into documents
      from unnest(rules) as rule left join unnest(rule.requires) as document on true;
  end if;
  with rule as materialized (
    select one.ordinality::integer as nth, one.function_id, one.run_id, one.started_after, one.started_before,
           one.requires, one.condition is null or one.requires_suffices is true as suffices
      from unnest(rules) with ordinality as one
  ), tested as (
    select run.id, run.function_id, run.event, run.started_at, run.priority, fulfilled.sure,
           fulfilled.asking & ((1::bigint << coalesce(fulfilled.sure, cardinality(rules) + 1) - 1) - 1) as asking
      from secateur.runs as run,
           lateral (
             select min(applied.nth) filter (where applied.suffices and applied.fulfils) as sure,
                    coalesce(bit_or(1::bigint << applied.nth - 1) filter (
                      where case when applied.fulfils then not applied.suffices else not quickly end), 0) as asking
               from (select rule.nth, rule.suffices, rule.requires is null or run.event @> any (rule.requires) as fulfils
                       from rule
                      where (rule.function_id is null or run.function_id = rule.function_id)
                        and (rule.run_id is null or run.id = rule.run_id)
                        and (rule.started_after is null or run.started_at > rule.started_after)
                        and run.started_at < rule.started_before
                     offset 0) as applied
           ) as fulfilled
     where run.app_id = sift.app_id and run.id = any (run_ids)
       and (documents is null or run.event @> any (documents))
  )
  select array_agg(tested.id) filter (where tested.sure is not null),
         array_agg(tested.sure) filter (where tested.sure is not null),
         array_agg(tested.id) filter (where tested.asking <> 0),
         array_agg(tested.asking) filter (where tested.asking <> 0),
         array_agg(tested.function_id) filter (where tested.asking <> 0),
         array_agg(tested.event) filter (where tested.asking <> 0),
         array_agg(tested.started_at) filter (where tested.asking <> 0),
         array_agg(tested.priority) filter (where tested.asking <> 0)
    into sure_ids, sure_nth, ids, asking, function_ids, events, started_at, priorities
    from tested
   where tested.sure is not null or tested.asking <> 0;
end
$$;

-- The new or stored verdicts of `rules` on the runs that sift has left over: a row for each run and rule, except for some whose
-- verdict is false. The verdict is null if the condition could not be evaluated, or if the pair is `undecided`. Part of reached.
create or replace function secateur.ask_conditions(
  app_id text, rules secateur.cancellations[], ids uuid[], asking bigint[],
  function_ids text[], events jsonb[], started_at timestamptz[], priorities integer[], budget interval
)
  returns table (run_id uuid, nth integer, verdict boolean, undecided boolean)
  language plpgsql
as $$
declare
  deadline constant timestamptz := clock_timestamp() + ask_conditions.budget;
  -- Whether some pair was too slow before.
  known constant boolean := exists (select from secateur.slow_verdicts as slow
                                     where slow.app_id = ask_conditions.app_id and slow.run_id = any (ids));
  together constant integer[] := array(select n from generate_series(1, cardinality(rules)) as n
                                        where asking[1] & (1::bigint << n - 1) <> 0);
  known_ids uuid[];
  known_verdicts boolean[];
  -- What the n-th of them is asked about.
  asked_ids uuid[];
  asked_functions text[];
  asked_events jsonb[];
  asked_times timestamptz[];
  asked_priorities integer[];
begin
  if not known and cardinality(together) > 1 and asking = array_fill(asking[1], array[cardinality(asking)]) then
    -- All of them about the same runs: together, unless that raises or takes too long.
    begin
      return query
      select ids[said.place], together[said.nth], said.verdict, false
        from secateur.verdicts_of_all(
               array(select rules[one.n] from unnest(together) with ordinality as one (n, turn) order by one.turn),
               ask_conditions.app_id, function_ids, ids, events, ask_conditions.started_at, priorities, budget) as said;
      return;
    exception when others then
      null;
    end;
  end if;
  for n in 1 .. cardinality(rules) loop
    known_ids := '{}';
    if known then
      select coalesce(array_agg(slow.run_id), '{}'), array_agg(slow.verdict) into known_ids, known_verdicts
        from unnest(ids, asking) as asked (id, mask),
             lateral (select one.run_id, one.verdict from secateur.slow_verdicts as one
                       where one.app_id = ask_conditions.app_id and one.run_id = asked.id and one.cancellation_id = rules[n].id
                         and (one.verdict is not null or budget is not null)
                      offset 0) as slow
       where asked.mask & (1::bigint << n - 1) <> 0;
      return query
      select slow.id, n, slow.verdict, slow.verdict is null from unnest(known_ids, known_verdicts) as slow (id, verdict);
    end if;
    select array_agg(asked.id), array_agg(asked.function_id), array_agg(asked.event), array_agg(asked.started_at),
           array_agg(asked.priority)
      into asked_ids, asked_functions, asked_events, asked_times, asked_priorities
      from unnest(asking, ids, function_ids, events, ask_conditions.started_at, priorities)
           as asked (mask, id, function_id, event, started_at, priority)
     where asked.mask & (1::bigint << n - 1) <> 0 and (asked.id in (select unnest(known_ids))) is not true;
    continue when asked_ids is null;
    return query
    select asked_ids[said.place], n, said.verdict, said.undecided
      from secateur.verdicts(
             rules[n].condition, rules[n].parameters, ask_conditions.app_id, asked_functions, asked_ids, asked_events,
             asked_times, asked_priorities,
             -- What is left of it, but for each a little.
             greatest(budget / 20, least(deadline - clock_timestamp(), budget / 2))) as said;
  end loop;
end
$$;

-- Which of the app's runs its cancellations reach. A reached run has a row with the oldest cancellation that reaches it. If none
-- reaches a run, but the budget left some undecided, a row names the oldest of these in `undecided_by`. If only errors occurred on
-- a run, its row has no cancellation. `rules` come oldest first. Scope and window are decided here, not by the stored condition;
-- status is the caller's business, and what is read here of a run never changes.
--
-- If an event contains what suffices for a condition, the run is reached without evaluating it. `quickly` leaves out rows that only
-- report errors. Then a condition is evaluated only on runs that meet its requirement, if that is known; so a claim that nothing
-- matches mostly evaluates no condition.
--
-- A condition is evaluated only on runs of its scope, and each has its own part of the budget, however long the others take. So a
-- cancellation of one function cannot hold up another's runs. A condition that was too slow on a run before is not evaluated on it
-- again.
create or replace function secateur.reached(
  app_id text, rules secateur.cancellations[], run_ids uuid[], quickly boolean default false, budget interval default null
)
  returns table (run_id uuid, cancellation_id uuid, undecided_by uuid)
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  -- By the primary key: ten thousand ids look to the planner like a reason to read a table of a million rows.
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  -- As many as `asking` has bits for.
  most constant integer := 60;
  sifted record;
begin
  if cardinality(rules) = 0 or cardinality(run_ids) = 0 then
    return;
  end if;
  if cardinality(rules) > most then
    return query
    select distinct on (part.run_id) part.run_id, part.cancellation_id, part.undecided_by
      from (select 1 as turn, first.*
              from secateur.reached(reached.app_id, rules[:most], run_ids, quickly, budget / 2) as first
            union all
            select 2, other.*
              from secateur.reached(reached.app_id, rules[most + 1:], run_ids, quickly, budget / 2) as other) as part
     order by part.run_id, part.cancellation_id is null, part.undecided_by is null, part.turn;
    return;
  end if;
  sifted := secateur.sift(reached.app_id, rules, run_ids, quickly);
  if sifted.ids is null then
    return query
    select mine.id, rules[mine.nth].id, null::uuid from unnest(sifted.sure_ids, sifted.sure_nth) as mine (id, nth);
    return;
  end if;
  return query
  select distinct on (said.run_id) said.run_id, case when said.verdict then rules[said.nth].id end,
         case when said.undecided then rules[said.nth].id end
    from (select mine.id as run_id, mine.nth, true as verdict, false as undecided
            from unnest(sifted.sure_ids, sifted.sure_nth) as mine (id, nth)
          union all
          select other.run_id, other.nth, other.verdict, other.undecided
            from secateur.ask_conditions(
                   reached.app_id, rules, sifted.ids, sifted.asking, sifted.function_ids, sifted.events, sifted.started_at,
                   sifted.priorities, budget) as other
           where other.verdict is distinct from false) as said
   order by said.run_id, said.verdict nulls last, said.undecided desc, said.nth;
end
$$;

-- Remembers that these runs are undecided. From then on only the background tries them, where each has more time. It skips runs
-- that have ended or that somebody else holds. Returns the others, and holds them.
create or replace function secateur.keep_undecided(app_id text, run_ids uuid[], cancellation_ids uuid[])
  returns uuid[]
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  held uuid[];
begin
  if cardinality(run_ids) = 0 then
    return '{}';
  end if;
  held := array(select run.id from secateur.runs as run
                 where run.app_id = keep_undecided.app_id and run.id = any (run_ids)
                   and run.status || '' in ('queued', 'scheduled', 'running')
                 order by run.id
                   for update skip locked);
  insert into secateur.slow_verdicts (app_id, cancellation_id, run_id, function_id)
  select keep_undecided.app_id, pair.cancellation_id, run.id, run.function_id
    from unnest(run_ids, cancellation_ids) as pair (run_id, cancellation_id),
         lateral (select one.id, one.function_id from secateur.runs as one
                   where one.app_id = keep_undecided.app_id and one.id = pair.run_id
                  offset 0) as run
   where (pair.run_id in (select unnest(held))) is true
  on conflict do nothing;
  return held;
end
$$;

-- Decides some of the runs that an active cancellation is undecided about, by evaluating its condition with more time: first all of
-- them within two seconds, then each by itself within five, and then again, less and less often. The sweep cancels those that
-- match; the others can be claimed again. Returns how many it decided. Anybody may call this, as often as they like: sweepers do.
-- Holds no lock that a claim, commit or stop waits for. Raises SC404.
create or replace function secateur.decide_slowly(app_id text, id uuid, batch integer default 200)
  returns integer
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  rule secateur.cancellations;
  waiting uuid[];
  again boolean;
  ids uuid[];
  function_ids text[];
  events jsonb[];
  started_at timestamptz[];
  priorities integer[];
  matching uuid[];
  undecided uuid[];
  released uuid[];
begin
  perform secateur.require_number('batch', decide_slowly.batch, 1, 100000);
  perform secateur.require_read_committed();
  select active.* into rule from secateur.cancellations as active
   where active.app_id = decide_slowly.app_id and active.id = decide_slowly.id;
  if not found then
    raise exception using errcode = 'SC404', message = format('there is no cancellation %s', decide_slowly.id);
  end if;
  -- point: known
  if rule.state <> 'active' then
    delete from secateur.slow_verdicts as slow
     where slow.app_id = rule.app_id and slow.cancellation_id = rule.id and slow.verdict is null;
    return 0;
  end if;
  select array_agg(next.run_id), bool_or(next.attempts > 0) into waiting, again
    from (select slow.run_id, slow.attempts from secateur.slow_verdicts as slow
           where slow.app_id = rule.app_id and slow.cancellation_id = rule.id and slow.verdict is null
             and slow.next_at <= clock_timestamp()
           order by slow.next_at
           limit decide_slowly.batch
             for update skip locked) as next;
  if waiting is null then
    return 0;
  end if;
  if again then
    -- What took long before must not use up the time of the others.
    waiting := waiting[:1];
  end if;
  -- point: pairs locked
  -- What has left the queue meanwhile needs no verdict.
  delete from secateur.slow_verdicts as slow
   where slow.app_id = rule.app_id and slow.cancellation_id = rule.id and slow.run_id = any (waiting)
     and not exists (select from secateur.runs as run
                      where run.app_id = rule.app_id and run.id = slow.run_id
                        and run.status || '' in ('queued', 'scheduled', 'running'));
  select array_agg(run.id), array_agg(run.function_id), array_agg(run.event), array_agg(run.started_at), array_agg(run.priority)
    into ids, function_ids, events, started_at, priorities
    from secateur.runs as run where run.app_id = rule.app_id and run.id = any (waiting);
  if ids is null then
    return 0;
  end if;
  select coalesce(array_agg(ids[said.place]) filter (where said.verdict), '{}'),
         coalesce(array_agg(ids[said.place]) filter (where said.undecided), '{}')
    into matching, undecided
    from secateur.verdicts(rule.condition, rule.parameters, rule.app_id, function_ids, ids, events, started_at, priorities,
                           case when again then interval '10 seconds' else interval '2 seconds' end) as said;
  -- point: evaluated
  update secateur.slow_verdicts as slow
     set verdict = case when slow.run_id <> all (undecided) then slow.run_id = any (matching) end,
         attempts = slow.attempts + (slow.run_id = any (undecided))::integer,
         next_at = clock_timestamp() + least(60, slow.attempts * slow.attempts) * interval '1 second'
   where slow.app_id = rule.app_id and slow.cancellation_id = rule.id and slow.run_id = any (ids);
  released := array(select unnest(ids) except select unnest(matching || undecided));
  -- point: decided
  if cardinality(released) > 0 then
    perform secateur.lower_floors(rule.app_id, released);
    perform secateur.wake(rule.app_id);
  end if;
  return cardinality(ids) - cardinality(undecided);
end
$$;
