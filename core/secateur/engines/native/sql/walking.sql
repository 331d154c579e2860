-- A sweep's walk over the backlog, one batch at a time: it reads runs, evaluates them, and cancels those that match.

-- Returns the next runs of a cancellation's scope after `place`, at most `batch`, in the order of a pass: by function, status
-- and id. A cancellation walks over scheduled, then queued runs; a retry over cancelled runs, if it includes them, then failed
-- ones. Part of a sweep.
create or replace function secateur.backlog_after(rule secateur.cancellations, place secateur.sweeps, batch integer)
  returns table (function_id text, status text, run_id uuid)
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
  -- A generic plan, for any status, could not use an index that holds only some.
  set plan_cache_mode = force_custom_plan set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  part record;
  wanted integer := backlog_after.batch;
  got integer;
begin
  for part in
    select known.function_id, walked.status
      from secateur.functions as known,
           (values ('scheduled', 1, false), ('queued', 2, false), ('cancelled', 1, true), ('failed', 2, true))
             as walked (status, turn, ended)
     where known.app_id = rule.app_id
       and walked.ended = (rule.kind = 'retry')
       and (walked.status <> 'cancelled' or rule.with_cancelled)
       and (rule.function_id is null or known.function_id = rule.function_id)
       and (place.function_id is null or known.function_id > place.function_id
            or (known.function_id = place.function_id
                and (walked.status = place.status or place.status in ('scheduled', 'cancelled'))))
     order by known.function_id, walked.turn
  loop
    return query
    select part.function_id, part.status, run.id
      from secateur.runs as run
     where run.app_id = rule.app_id
       and run.function_id = part.function_id
       and run.status = part.status
       and run.id > case when part.function_id = place.function_id and part.status = place.status
                         then place.run_id else '00000000-0000-0000-0000-000000000000' end
     order by run.id
     limit wanted;
    get diagnostics got = row_count;
    wanted := wanted - got;
    exit when wanted = 0;
  end loop;
end
$$;

-- Divides a batch of `total` runs into chunks: of 500, then 2,000, then 5,000 runs. They begin small because nobody knows how
-- long the condition takes. `first` counts from 1; the last chunk may reach beyond the batch.
create or replace function secateur.chunks(total integer)
  returns table (first integer, size integer)
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  first := 1;
  size := 500;
  while first <= total loop
    return next;
    first := first + size;
    size := least(4 * size, 5000);
  end loop;
end
$$;

-- Returns the app's active cancellations that were committed before this one, oldest first.
create or replace function secateur.older_active(rule secateur.cancellations)
  returns secateur.cancellations[]
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
begin
  return array(select active from secateur.cancellations as active
                where active.app_id = rule.app_id and active.state = 'active' and active.serial < rule.serial
                order by active.serial);
end
$$;

-- Returns the next runs of a pass, at most `wanted`, with their functions and statuses, in arrays of one length. A cancellation
-- of one run has only that run, while it waits. Part of a sweep.
create or replace function secateur.next_to_sweep(
  rule secateur.cancellations, place secateur.sweeps, wanted integer,
  out run_ids uuid[], out function_ids text[], out statuses text[]
)
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
as $$
begin
  if rule.run_id is null then
    select coalesce(array_agg(next.run_id), '{}'), array_agg(next.function_id), array_agg(next.status)
      into run_ids, function_ids, statuses
      from secateur.backlog_after(rule, place, wanted) as next;
  else
    select coalesce(array_agg(run.id), '{}'), array_agg(run.function_id), array_agg(run.status)
      into run_ids, function_ids, statuses
      from secateur.runs as run
     where run.app_id = rule.app_id and run.id = rule.run_id
       and run.status || '' in ('queued', 'scheduled');
  end if;
end
$$;

-- Evaluates the cancellation's condition on the first `seen` of these runs, and returns which of them match, which it fails on,
-- and which it is too slow for. It stops after half a second, so that a stop need not wait for long; the next batch continues.
-- Only the first pass looks for failures. Part of a sweep.
create or replace function secateur.evaluate_in_time(
  rule secateur.cancellations, run_ids uuid[], first_pass boolean,
  out seen integer, out matching uuid[], out failing uuid[], out slow uuid[]
)
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
as $$
declare
  begun constant timestamptz := clock_timestamp();
  chunk uuid[];
begin
  seen := 0;
  matching := '{}';
  failing := '{}';
  slow := '{}';
  for chunk in select run_ids[first:first + size - 1] from secateur.chunks(cardinality(run_ids)) as part (first, size) loop
    exit when seen > 0 and clock_timestamp() > begun + interval '0.5 seconds';
    select matching || coalesce(array_agg(hit.run_id) filter (where hit.cancellation_id is not null), '{}'),
           failing || coalesce(array_agg(hit.run_id) filter (
             where hit.cancellation_id is null and hit.undecided_by is null), '{}'),
           slow || coalesce(array_agg(hit.run_id) filter (where hit.undecided_by is not null), '{}')
      into matching, failing, slow
      from secateur.reached(rule.app_id, array[rule], chunk, quickly => not first_pass, budget => '500 ms') as hit;
    seen := seen + cardinality(chunk);
  end loop;
end
$$;

-- Walks on from `place` over at most `wanted` runs, and cancels those that match, each for the oldest active cancellation that
-- matches it. A cancellation with a rate (runs per second) cancels at most a quarter of it in one batch.
-- Moves `place` to the last of these runs. `cancelled` counts; `ended` says whether the pass has no more runs.
-- Part of a sweep, which holds the gate.
create or replace function secateur.walk_backlog(
  rule secateur.cancellations, inout place secateur.sweeps, wanted integer, out cancelled integer, out ended boolean
)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  -- Plans for the lists as long as they are: it joins them.
  set plan_cache_mode = force_custom_plan
as $$
declare
  app constant text := rule.app_id;
  quota constant integer := ceil(rule.rate / 4.0);
  read record;
  said record;
  walk uuid[];
  hit_runs uuid[];
  hit_rules uuid[];
  older secateur.cancellations[];
begin
  wanted := least(wanted, case when rule.rate is not null then greatest(1000, rule.rate) end);
  cancelled := 0;
  read := secateur.next_to_sweep(rule, place, wanted);
  ended := cardinality(read.run_ids) < wanted;
  -- point: batch read
  if cardinality(read.run_ids) = 0 then
    return;
  end if;
  said := secateur.evaluate_in_time(rule, read.run_ids, place.pass = 1);
  walk := read.run_ids[:said.seen];
  hit_runs := said.matching;
  -- An undecided run that cannot be noted has to be met again, in another pass.
  place.found := place.found + cardinality(said.slow)
    - cardinality(secateur.keep_undecided(app, said.slow, array_fill(rule.id, array[cardinality(said.slow)])));
  if cardinality(hit_runs) > quota then
    walk := walk[:(select hit.place
                     from unnest(walk) with ordinality as hit (id, place)
                    where hit.id = any (hit_runs)
                    order by hit.place offset quota - 1 limit 1)];
    hit_runs := array(select unnest(hit_runs) intersect select unnest(walk));
  end if;
  ended := ended and cardinality(walk) = cardinality(read.run_ids);
  hit_rules := array_fill(rule.id, array[cardinality(hit_runs)]);
  -- point: batch evaluated
  -- None of these is stopped or undone before the batch is visible: that takes the gate.
  older := secateur.older_active(rule);
  -- point: owners known
  if place.pass = 1 then
    insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, errors)
    select app, rule.id, run.function_id, count(*)
      from unnest(walk, read.function_ids[:cardinality(walk)]) as run (id, function_id)
      join unnest(said.failing) as failed (id) using (id)
     group by run.function_id;
  end if;
  if cardinality(older) > 0 then
    select coalesce(array_agg(hit.id), '{}'), coalesce(array_agg(coalesce(owner.cancellation_id, hit.rule_id)), '{}')
      into hit_runs, hit_rules
      from unnest(hit_runs, hit_rules) as hit (id, rule_id)
      left join secateur.reached(app, older, hit_runs, quickly => true, budget => '250 ms') as owner on owner.run_id = hit.id;
  end if;
  cancelled := secateur.cancel_backlog(app, hit_runs, hit_rules);
  -- point: batch cancelled
  place.found := place.found + cancelled;
  place.function_id := read.function_ids[cardinality(walk)];
  place.status := read.statuses[cardinality(walk)];
  place.run_id := walk[cardinality(walk)];
  place.next_at := clock_timestamp() + cancelled * interval '1 second' / rule.rate;
end
$$;
