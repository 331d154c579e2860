-- Retries: they queue failed runs again, and cancelled ones if the author wants that. A retry has a record like a cancellation's, of
-- kind `retry`. It is reviewed, committed under a key, audited, swept with a rate, stopped and undone in the same way. But it promises
-- nothing about claims. It only says how far it is.
--
-- A retried run starts over with a fresh count of attempts, and keeps its finished steps. What was replaced is kept in
-- `retried_from` until the run is claimed. Until then an undo makes the run what it was.
--
-- A retry leaves runs alone that must not wait again: those whose idempotency key another run has taken, and those that an
-- active cancellation matches, which would only cancel them again.

-- The runs that a retry queues again, in id order: they failed before it was committed, or were cancelled if it includes those.
-- Part of a retry.
create or replace function secateur.retryable(rule secateur.cancellations, run_ids uuid[])
  returns uuid[]
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set jit = off
as $$
begin
  return array(
    select run.id from secateur.runs as run
     where run.app_id = rule.app_id and run.id = any (run_ids)
       and (run.status || '' = 'failed' or (rule.with_cancelled and run.status || '' = 'cancelled'))
       and run.finished_at < rule.created_at
     order by run.id);
end
$$;

-- Queues runs of a retry again; the caller holds the app's lock, shared, and their keys. Returns those that were queued. The
-- tallies (also of the cancellations that had some of them) and the depth follow. Locks the runs in id order. Part of a retry.
create or replace function secateur.requeue_ended(rule secateur.cancellations, run_ids uuid[])
  returns uuid[]
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  moment constant timestamptz := clock_timestamp();
  back uuid[];
begin
  with retried as (
    update secateur.runs as run
       set status = 'queued',
           attempt = 0,
           interruptions = 0,
           scheduled_for = moment,
           claim_token = null,
           worker = null,
           finished_at = null,
           cancellation_id = null,
           cancelled_from = null,
           handed_over_from = null,
           retry_id = rule.id,
           retried_from = jsonb_build_object(
             'status', run.status, 'attempt', run.attempt, 'interruptions', run.interruptions, 'scheduled_for', run.scheduled_for,
             'claim_token', run.claim_token, 'worker', run.worker, 'finished_at', run.finished_at,
             'cancellation_id', run.cancellation_id, 'cancelled_from', run.cancelled_from,
             'handed_over_from', run.handed_over_from, 'retry_id', run.retry_id, 'past_attempts', run.past_attempts),
           past_attempts = case when run.status || '' = 'failed' then secateur.with_attempt(
             run.past_attempts, run.attempt, 'failed', run.claimed_at, run.finished_at, run.worker, run.error)
             else run.past_attempts end
     where run.app_id = rule.app_id and run.id = any (run_ids)
       and run.status || '' in ('failed', 'cancelled')
    returning run.id, run.function_id, run.retried_from ->> 'status' as status,
              (run.retried_from ->> 'cancellation_id')::uuid as cancellation_id
  ), tallied as (
    insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, retried)
    select rule.app_id, owner.id, retried.function_id, count(*)
      from retried cross join lateral (values (rule.id), (retried.cancellation_id)) as owner (id)
     where owner.id is not null
     group by owner.id, retried.function_id
  ), measured as (
    insert into secateur.depth_deltas (app_id, function_id, queued, failed)
    select rule.app_id, retried.function_id, count(*), - count(*) filter (where retried.status = 'failed')
      from retried group by retried.function_id
  )
  select coalesce(array_agg(retried.id), '{}') into back from retried;
  perform secateur.lower_floors(rule.app_id, back);
  if cardinality(back) > 0 then
    perform secateur.wake(rule.app_id);
  end if;
  return back;
end
$$;

-- The runs that an active cancellation reaches or may reach. Part of a retry.
create or replace function secateur.barred_from_retry(app_id text, run_ids uuid[])
  returns uuid[]
  language plpgsql
as $$
begin
  return array(
    select hit.run_id
      from secateur.reached(barred_from_retry.app_id,
                            array(select active from secateur.cancellations as active
                                   where active.app_id = barred_from_retry.app_id and active.state = 'active'
                                   order by active.serial),
                            run_ids, quickly => true, budget => '500 ms') as hit
     where hit.cancellation_id is not null or hit.undecided_by is not null);
end
$$;

-- Counts, among the runs of a batch, those whose condition could not be evaluated and those that were left alone, in the tallies.
-- Part of a retry.
create or replace function secateur.tally_left_alone(
  rule secateur.cancellations, run_ids uuid[], function_ids text[], failing uuid[], left_alone uuid[]
)
  returns void
  language plpgsql
as $$
begin
  insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, errors, left_alone)
  select rule.app_id, rule.id, one.function_id, count(*) filter (where one.id = any (failing)),
         count(*) filter (where one.id = any (tally_left_alone.left_alone))
    from unnest(run_ids, function_ids) as one (id, function_id)
   where one.id = any (failing || tally_left_alone.left_alone)
   group by one.function_id;
end
$$;

-- One batch of a retry, looking at up to `batch` ended runs of its scope behind its place, function by function, in id order. With
-- a rate, a batch queues a quarter of a second of it, and the next one waits. Ends where somebody is taking a run's key at
-- this moment; the next call goes on from there. Part of sweep_batch.
--
-- Its own condition is evaluated before the lock: that may take three seconds. The active cancellations are read under the
-- app's lock, shared, which the batch holds until its rows are visible: a commit comes either before, and is read, or its sweep
-- comes after and finds them. They are evaluated for half a second at most, and so long a commit may have to wait.
--
-- Locks: the gate of the app's sweeps, which the caller has; its place, tried; the app's, shared; then runs and keys,
-- skipping locked ones, and runs in id order.
create or replace function secateur.retry_batch(rule secateur.cancellations, batch integer)
  returns secateur.sweep_step
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
as $$
declare
  app constant text := rule.app_id;
  place secateur.sweeps;
  wanted constant integer := least(retry_batch.batch, ceil(rule.rate / 4.0));
  step secateur.sweep_step := row('retrying', 0, false, false, 0, null, 0);
  walk uuid[];
  functions text[];
  statuses text[];
  matching uuid[];
  failing uuid[];
  barred uuid[];
  free uuid[];
  busy uuid[];
  back uuid[] := '{}';
  seen integer;
begin
  select sweeps.* into place
    from secateur.sweeps where sweeps.app_id = app and sweeps.cancellation_id = rule.id
     for no key update skip locked;
  if not found then
    step.busy := true;
    return step;
  end if;
  if secateur.must_wait(app, rule.id, place.next_at) then
    step.idle := true;
    step.wait := extract(epoch from place.next_at - clock_timestamp());
    return step;
  end if;
  select coalesce(array_agg(next.run_id), '{}'), array_agg(next.function_id), array_agg(next.status)
    into walk, functions, statuses
    from secateur.backlog_after(rule, place, wanted) as next;
  seen := cardinality(walk);
  if seen > 0 then
    select coalesce(array_agg(hit.run_id) filter (where hit.cancellation_id is not null), '{}'),
           coalesce(array_agg(hit.run_id) filter (where hit.cancellation_id is null), '{}')
      into matching, failing
      -- What there is no time for is left alone, as what cannot be evaluated is.
      from secateur.reached(app, array[rule], secateur.retryable(rule, walk), budget => '3 seconds') as hit;
  end if;
  -- point: before the lock
  perform secateur.share_app(app);
  -- point: locked
  if seen > 0 then
    -- Some may have been queued again meanwhile, and have failed again.
    matching := secateur.retryable(rule, matching);
    barred := secateur.barred_from_retry(app, matching);
    -- point: cancellations read
    select reclaimed.free, reclaimed.busy into free, busy
      from secateur.reclaim_keys(app, array(select unnest(matching) except select unnest(barred))) as reclaimed;
    -- point: keys reclaimed
    back := secateur.requeue_ended(rule, free);
    -- point: batch queued
    seen := coalesce((select min(one.place) - 1 from unnest(walk) with ordinality as one (id, place)
                       where one.id = any (busy)), seen);
    perform secateur.tally_left_alone(
      rule, walk[:seen], functions[:seen], failing, array(select unnest(matching) except select unnest(back)));
    if seen > 0 then
      place.function_id := functions[seen];
      place.status := statuses[seen];
      place.run_id := walk[seen];
    end if;
    step.restored := cardinality(back);
    if seen < cardinality(walk) then
      step.wait := 0.1;
    elsif rule.rate is not null then
      step.wait := cardinality(back)::double precision / rule.rate;
    end if;
    step.idle := coalesce(step.wait > 0, false);
    place.next_at := clock_timestamp() + step.wait * interval '1 second';
  end if;
  update secateur.sweeps
     set function_id = place.function_id, status = place.status, run_id = place.run_id, next_at = place.next_at,
         pass = greatest(place.pass, 1)
   where sweeps.app_id = app and sweeps.cancellation_id = rule.id;
  if cardinality(walk) < wanted and seen = cardinality(walk) then
    update secateur.cancellations as swept
       set state = 'complete', completed_at = clock_timestamp()
     where swept.app_id = app and swept.id = rule.id and swept.state = 'retrying';
    step.state := case when found then 'complete' else step.state end;
    step.idle := false;
  end if;
  return step;
end
$$;

-- Makes runs of an undone retry what they were before it, unless they were claimed meanwhile, or cancelled; `busy` are those
-- that a claim holds right now: ask again. A run that a cancellation had is that one's again, whose tallies follow; if that was
-- undone meanwhile, its restore goes on with it. Part of a restore. Locks the runs with SKIP LOCKED.
create or replace function secateur.unretry(rule secateur.cancellations, run_ids uuid[], out back uuid[], out busy uuid[])
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  locked uuid[];
  owners uuid[];
begin
  locked := array(
    select run.id from secateur.runs as run
     where run.app_id = rule.app_id and run.id = any (run_ids)
       and run.retry_id = rule.id and run.retried_from is not null and run.status || '' = 'queued'
     order by run.id
       for update skip locked);
  -- point: runs locked
  busy := array(
    select run.id from secateur.runs as run
     where run.app_id = rule.app_id and run.id = any (run_ids) and run.id <> all (locked)
       and run.retry_id = rule.id and run.retried_from is not null and run.status || '' = 'queued');
  with undone as (
    update secateur.runs as run
       set status = run.retried_from ->> 'status',
           attempt = (run.retried_from ->> 'attempt')::integer,
           interruptions = (run.retried_from ->> 'interruptions')::integer,
           scheduled_for = (run.retried_from ->> 'scheduled_for')::timestamptz,
           claim_token = (run.retried_from ->> 'claim_token')::uuid,
           worker = run.retried_from ->> 'worker',
           finished_at = (run.retried_from ->> 'finished_at')::timestamptz,
           cancellation_id = (run.retried_from ->> 'cancellation_id')::uuid,
           cancelled_from = run.retried_from ->> 'cancelled_from',
           handed_over_from = (run.retried_from ->> 'handed_over_from')::uuid,
           retry_id = (run.retried_from ->> 'retry_id')::uuid,
           -- A retry of before this column was there has not kept it, and added nothing.
           past_attempts = case when run.retried_from ? 'past_attempts'
                                then nullif(run.retried_from -> 'past_attempts', 'null') else run.past_attempts end,
           retried_from = null
     where run.app_id = rule.app_id and run.id = any (locked)
    returning run.id, run.function_id, run.status, run.cancellation_id
  ), tallied as (
    insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, restored)
    select rule.app_id, rule.id, undone.function_id, count(*) from undone group by undone.function_id
  ), measured as (
    insert into secateur.depth_deltas (app_id, function_id, queued, failed)
    select rule.app_id, undone.function_id, -count(*), count(*) filter (where undone.status = 'failed')
      from undone group by undone.function_id
  ), returned as (
    insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, retried)
    select rule.app_id, undone.cancellation_id, undone.function_id, -count(*)
      from undone where undone.cancellation_id is not null group by undone.cancellation_id, undone.function_id
  )
  select coalesce(array_agg(undone.id), '{}'), array_agg(distinct undone.cancellation_id) filter (
           where undone.cancellation_id is not null)
    into back, owners
    from undone;
  if owners is not null then
    update secateur.cancellations as owner
       set pruned_at = null, restored_at = case when owner.state <> 'undone' then owner.restored_at end
     where owner.app_id = rule.app_id and owner.id = any (owners);
    update secateur.restores as place set run_id = null
     where place.app_id = rule.app_id and place.cancellation_id = any (owners);
  end if;
end
$$;

-- Up to `limit` runs that a retry means and left as they were, and why. Looks at 20,000 runs of its scope at most.
create or replace function secateur.left_alone(rule secateur.cancellations, "limit" integer)
  returns table (run_id uuid, reason text)
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
as $$
declare
  place secateur.sweeps;
  batch record;
  hits uuid[];
  found_here integer;
  wanted integer := left_alone."limit";
begin
  for turn in 1 .. 20 loop
    select coalesce(array_agg(next.run_id), '{}') as ids, (array_agg(next.function_id))[count(*)] as function_id,
           (array_agg(next.status))[count(*)] as status, (array_agg(next.run_id))[count(*)] as run_id
      into batch
      from secateur.backlog_after(rule, place, 1000) as next;
    exit when cardinality(batch.ids) = 0 or wanted <= 0;
    hits := array(
      select hit.run_id
        from secateur.reached(rule.app_id, array[rule], secateur.retryable(rule, batch.ids), quickly => true) as hit
       where hit.cancellation_id is not null);
    return query
    select run.id,
           case when run.key_taken_by is not null
             then format('its idempotency key %L is taken by run %s', run.idempotency_key, run.key_taken_by)
             else coalesce('cancellation ' || barring.cancellation_id || ' is active and would cancel it again',
                           'the retry has not reached it yet, or left it when it could not wait again') end
      from secateur.runs as run
      left join secateur.reached(rule.app_id, array(select active from secateur.cancellations as active
                                                     where active.app_id = rule.app_id and active.state = 'active'
                                                     order by active.serial),
                                 hits, quickly => true) as barring
        on barring.run_id = run.id and barring.cancellation_id is not null
     where run.app_id = rule.app_id and run.id = any (hits)
     order by run.id
     limit wanted;
    get diagnostics found_here = row_count;
    wanted := wanted - found_here;
    place.function_id := batch.function_id;
    place.status := batch.status;
    place.run_id := batch.run_id;
  end loop;
end
$$;
