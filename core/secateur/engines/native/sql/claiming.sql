-- Giving runs to workers.

-- Gives runs to a worker, each in its slot (null is no limit). The caller holds their rows. Part of a claim.
create or replace function secateur.grant_runs(
  app_id text, run_ids uuid[], worker text, lease interval, run_slots integer[]
)
  returns setof secateur.claimed_run
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  moment constant timestamptz := clock_timestamp();
  -- Of one draw, for each draw costs as much as a row: half of it, and a hash of the run's id under the other half. Nobody can tell
  -- from one claim's tokens those of another.
  draw constant bytea := uuid_send(gen_random_uuid());
  head constant bytea := substring(draw from 9);
  seed constant bigint := ('x' || encode(substring(draw for 8), 'hex'))::bit(64)::bigint;
  ids uuid[] := run_ids;
  slots integer[];
begin
  if cardinality(run_ids) = 0 then
    return;
  end if;
  if run_slots is not null then
    -- In the order of the ids, so that a run's slot is found by halving.
    select array_agg(one.id order by one.id), array_agg(one.slot order by one.id) into ids, slots
      from unnest(run_ids, run_slots) as one (id, slot);
  end if;
  return query
  with granted as (
    update secateur.runs as run
       set status = 'running',
           attempt = run.attempt + 1,
           worker = grant_runs.worker,
           claim_token = encode(head || int8send(uuid_hash_extended(run.id, seed)), 'hex')::uuid,
           last_token = null,
           claimed_at = moment,
           lease_expires_at = moment + grant_runs.lease,
           error = null,
           retried_from = null,
           step = null,
           step_at = null,
           slot = slots[width_bucket(run.id, ids)]
     where run.app_id = grant_runs.app_id and run.id = any (ids)
    returning run.*
  ), counted as (
    insert into secateur.depth_deltas (app_id, function_id, queued, running)
    select grant_runs.app_id, granted.function_id, -count(*), count(*) from granted group by granted.function_id
  )
  select granted.id, granted.app_id, granted.function_id, granted.event, granted.attempt,
         (select known.max_attempts from secateur.functions as known
           where known.app_id = grant_runs.app_id and known.function_id = granted.function_id),
         granted.claim_token, granted.started_at, granted.scheduled_for, granted.priority, granted.lease_expires_at,
         false, null::interval,
         exists (select from secateur.steps as kept where kept.app_id = grant_runs.app_id and kept.run_id = granted.id)
    from granted
   order by granted.priority desc, granted.id;
end
$$;

-- Finds the locked runs that a claim must not give out, because active cancellations match them or may match them. It cancels up
-- to `budget` of the `matching` ones, and leaves the undecided ones to decide_slowly. Part of a claim.
create or replace function secateur.hold_back(
  app_id text, active secateur.cancellations[], locked uuid[], budget integer, out run_ids uuid[], out matching integer
)
  language plpgsql
as $$
declare
  hit_runs uuid[];
  hit_rules uuid[];
  slow_runs uuid[];
  slow_rules uuid[];
begin
  select coalesce(array_agg(hit.run_id) filter (where hit.cancellation_id is not null), '{}'),
         coalesce(array_agg(hit.cancellation_id) filter (where hit.cancellation_id is not null), '{}'),
         coalesce(array_agg(hit.run_id) filter (where hit.undecided_by is not null), '{}'),
         coalesce(array_agg(hit.undecided_by) filter (where hit.undecided_by is not null), '{}')
    into hit_runs, hit_rules, slow_runs, slow_rules
    from secateur.reached(app_id, active, locked, quickly => true, budget => '250 ms') as hit;
  -- point: batch checked
  perform secateur.keep_undecided(app_id, slow_runs, slow_rules);
  perform secateur.cancel_backlog(app_id, hit_runs[1:budget], hit_rules[1:budget]);
  run_ids := hit_runs || slow_runs;
  matching := cardinality(hit_runs);
  -- point: matches cancelled
end
$$;

-- The last row of a claim that found nothing else. It says when the next run becomes due, and when to ask again at the latest; and
-- unless it is `sure` that there is nothing, `more` is null. Part of a claim.
create or replace function secateur.nothing_before(next_due timestamptz, ask_again_at timestamptz, sure boolean)
  returns secateur.claimed_run
  language plpgsql
as $$
begin
  -- What is due never is nothing to wait for.
  next_due := case when isfinite(next_due) then next_due end;
  return jsonb_populate_record(null::secateur.claimed_run, jsonb_build_object(
           'more', case when sure then false end, 'scheduled_for', next_due, 'due_in', least(next_due, ask_again_at) - clock_timestamp()));
end
$$;

-- Completes the runs that the worker has ended (see complete_runs; none: two empty arrays), then claims up to `max_runs` runs for
-- `worker` until `lease` from now (heartbeat extends it), by priority and age within each
-- function, the functions sharing the batch; null stands for all of the app. With more than ten, it looks into
-- those on the list of functions that may have something (see due.sql); if many are on it, into some, chosen at random.
-- Nothing is claimed of what is paused, and of a function with a limit only as much as it has free slots. A run that
-- `resumes` has steps of an earlier attempt: finished_steps gives them.
--
-- No run that a committed cancellation matches is returned: the active ones are read under the app's shared lock, in a
-- statement of their own. Matching runs are cancelled on the way, some 200 a call at most, and others passed over, as are those
-- on which a condition takes too long: these are left to the background (see decide_slowly).
--
-- Rows without an id come besides the runs. First one for each token in `claim_tokens` that is no longer the worker's: that run was not
-- completed. Last, without a token, one that has `more` if the end of the queue was not reached, which tells "ask again" from "empty".
-- If nothing else was found than these runs, two at most, it has in `scheduled_for` and `due_in` when the next run becomes due. `more`
-- is then false: whoever queues something from now on notifies the app's workers. Or it is null: a transaction is open that may have
-- queued something and notifies nobody, so ask again soon. Without such a row, ask again at once.
--
-- Without `durable`, the call does not wait for the disk, and commits behind it need not wait for the disk either (a transaction
-- holds the app's lock until it has been flushed). Then do not act upon its result before `flush` has confirmed the claim. This
-- applies to the whole transaction, so do nothing else in it. claim_and_flush does both.
--
-- Repeatable, except that each call claims anew. It is longer than others, because its parts share counters: functions,
-- free slots, what is still open.
--
-- Locks: the app's, shared, until the transaction ends (so end it soon); the ended runs, by id; rows with SKIP LOCKED. It waits for
-- nobody any more once it holds a run that it claims.
create or replace function secateur.complete_and_claim(
  app_id text, run_ids uuid[], claim_tokens uuid[], function_ids text[], max_runs integer, worker text, lease interval,
  durable boolean default true
)
  returns setof secateur.claimed_run
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  app constant text := app_id;
  -- At most this many functions have their runs locked: enough for a batch.
  most integer := least(greatest(max_runs, 1), 10000);
  candidates text[] := function_ids;
  -- From so many it takes without the list of those that may have something (see due.sql).
  few constant integer := 10;
  many boolean;
  known boolean;
  refused uuid[];
  state record;
  looked record;
  wanted text[];
  limited boolean[];
  floorless boolean[];
  cut boolean := false;
  active secateur.cancellations[];
  open integer := max_runs;
  share integer;
  shares integer[];
  budget integer := 200;
  slot_functions text[] := '{}';
  slot_numbers integer[] := '{}';
  begun timestamptz;
  slow boolean := false;
  slow_to_find boolean := false;
  locked uuid[];
  held_back record;
  -- Those of the last batch that a cancellation matches, or may match.
  passed uuid[] := '{}';
  granted uuid[];
  held integer[];
  room integer;
  level record;
  ahead record;
  more boolean := false;
  -- Whether whoever queues something from now on says so; null as long as the app has not fallen idle.
  told boolean;
begin
  -- Looked at here first, because each call would cost as much as a row.
  if current_setting('transaction_isolation') <> 'read committed' then
    perform secateur.require_read_committed();
  end if;
  if (max_runs between 1 and 10000 and lease between '1 millisecond' and '1 day') is not true then
    perform secateur.require_number('max_runs', max_runs, 1, 10000);
    perform secateur.require_interval('lease', lease, '1 millisecond', '1 day');
  end if;
  if not (length(worker) between 1 and 200 and secateur.is_plain(worker)) then
    perform secateur.require_name('worker', worker);
  end if;
  if not durable then
    perform set_config('synchronous_commit', 'off', true);
  end if;
  -- point: before the lock
  known := secateur.share_app(app);
  -- point: locked
  if cardinality(run_ids) > 0 or cardinality(claim_tokens) > 0 then
    -- Before anything is claimed: it may wait for others, and slots become free.
    refused := array(select ended.claim_token from secateur.complete_runs(app, run_ids, claim_tokens) as ended where not ended.done);
    -- point: ended ones completed
    if cardinality(refused) > 0 then
      return query
      select (jsonb_populate_record(null::secateur.claimed_run, jsonb_build_object('claim_token', one.token))).*
        from unnest(refused) as one (token);
    end if;
  end if;
  if not known then
    return;
  end if;
  if candidates is null then
    -- One more tells that there are many.
    candidates := array(select one.function_id from secateur.functions as one
                         where one.app_id = app limit few + 1);
  end if;
  many := cardinality(candidates) > few;
  -- point: before the survey
  state := secateur.survey(app, case when many then '{}' else candidates end);
  -- point: surveyed
  active := state.active;
  wanted := state.wanted;
  limited := state.limited;
  floorless := state.floorless;
  if cardinality(active) > 0 then
    -- Some of what they have may be passed over.
    most := ceil(most * 1.1);
  end if;
  if state.forgotten and function_ids is not null then
    -- Somebody works for it.
    perform secateur.recall_functions(app, function_ids);
  end if;
  if state.ended then
    perform secateur.recover_expired(app);
  end if;
  if state.paused or (not many and wanted is null) then
    perform secateur.mark_idle(app);
    return;
  end if;
  if not many then
    candidates := wanted;
    if state.below then
      perform secateur.walk_below(app, wanted, active);
      perform secateur.walk_below_due(app, wanted);
    end if;
    if state.due or state.below then
      -- What became due, and what a floor hid that is lowered now.
      perform secateur.promote_due(app, wanted);
    end if;
  end if;
  loop
    if share is null then
      if many then
        looked := secateur.search_functions(app, function_ids, most, active);
        wanted := looked.functions;
        limited := looked.limited;
        floorless := looked.floorless;
        candidates := looked.seen;
        slow_to_find := looked.slow;
        cut := cardinality(wanted) = most;
        perform secateur.promote_due(app, wanted);
      end if;
      if true = any (limited) then
        select free.functions, free.slots into slot_functions, slot_numbers
          from secateur.lock_slots(app,
                 array(select one.id from unnest(wanted, limited) as one (id, limited) where one.limited),
                 max_runs) as free;
      end if;
      share := ceil(open::numeric / greatest(1, cardinality(wanted)));
    end if;
    -- point: before a batch
    shares := case when true = any (limited) then secateur.shares_of(wanted, limited, share, slot_functions)
                   else array_fill(share, array[cardinality(wanted)]) end;
    begun := clock_timestamp();
    locked := secateur.lock_queued(app, wanted, shares, floorless);
    slow := slow or clock_timestamp() - begun > interval '2 ms' + cardinality(locked) * interval '30 us';
    if cardinality(locked) > 0 then
      -- point: batch locked
      if cardinality(active) > 0 then
        held_back := secateur.hold_back(app, active, locked, budget);
        passed := held_back.run_ids;
        budget := greatest(0, budget - held_back.matching);
      end if;
      if cardinality(passed) = 0 then
        granted := locked[:open];
      else
        granted := array(select next.id from unnest(locked) with ordinality as next (id, turn)
                          where not exists (select from unnest(passed) as hit (id) where hit.id = next.id)
                          order by next.turn limit open);
      end if;
      -- Not those of the batch before.
      held := case when cardinality(slot_functions) > 0
                   then secateur.hold_slots(app, granted, slot_functions, slot_numbers) end;
      return query select * from secateur.grant_runs(app, granted, worker, lease, held);
      -- point: granted
      open := open - cardinality(granted);
      exit when open = 0 or cardinality(passed) > 0;
      if share < open + cardinality(granted) then
        -- Some functions had too little for their share: look further into the others.
        share := open;
        if cardinality(slot_functions) > 0 then
          select free.functions, free.slots into slot_functions, slot_numbers
            from secateur.still_free(app, slot_functions, slot_numbers) as free;
        end if;
        continue;
      end if;
    end if;
    -- Nothing else is there. A claim that has brought more than a few does not say so: the next one will find something, and
    -- notifications make commits wait for each other.
    exit when cut or told is not null or max_runs - open > case when many then 0 else 2 end;
    -- point: nothing found
    told := secateur.mark_idle(app);
    -- What was committed before that is looked for once more; what is committed later is told.
    -- point: marked idle
    share := null;
  end loop;
  if cardinality(passed) > 0 and open > 0 then
    more := true;
    for level in
      select distinct run.function_id, run.priority, one.limited
        from unnest(wanted, limited, floorless) as one (id, limited, floorless)
        join secateur.runs as run on run.function_id = one.id
       where run.app_id = app and run.id = any (passed) and not one.floorless
       order by run.function_id, run.priority desc
    loop
      room := open;
      if level.limited then
        select free.functions, free.slots into slot_functions, slot_numbers
          from secateur.still_free(app, slot_functions, slot_numbers) as free;
        room := least(room, (select count(*) from unnest(slot_functions) as free (id) where free.id = level.function_id));
      end if;
      continue when room = 0;
      ahead := secateur.look_ahead(app, level.function_id, level.priority, active, room, budget);
      budget := budget - ahead.cancelled;
      open := open - cardinality(ahead.run_ids);
      held := case when cardinality(slot_functions) > 0
                   then secateur.hold_slots(app, ahead.run_ids, slot_functions, slot_numbers) end;
      return query select * from secateur.grant_runs(app, ahead.run_ids, worker, lease, held);
      -- point: granted what was ahead
    end loop;
  end if;
  if random() < greatest((max_runs - open) / 1000.0, case when slow or slow_to_find then 0.2 else 0 end) then
    perform secateur.raise_floors(app, case when slow_to_find then candidates else wanted end);
  end if;
  if (more or cut) and open > 0 then
    return query select (jsonb_populate_record(null::secateur.claimed_run, '{"more": true}')).*;
  elsif told is not null and open > 0 then
    return query
    select last.* from secateur.nothing_before(
      case when many then secateur.next_noted(app, function_ids, candidates)
           else secateur.next_due(app, candidates) end,
      secateur.next_believed_until(app, candidates), sure => told) as last;
  end if;
end
$$;

-- Claims only; see complete_and_claim.
create or replace function secateur.claim_batch(
  app_id text, function_ids text[], max_runs integer, worker text, lease interval
)
  returns setof secateur.claimed_run
  language sql
  security definer set search_path = pg_catalog, pg_temp
as $$
  select * from secateur.complete_and_claim(app_id, '{}', '{}', function_ids, max_runs, worker, lease)
$$;

-- Claims only, without the last row: what a worker that simply asks again needs.
create or replace function secateur.claim(
  app_id text, function_ids text[], max_runs integer, worker text, lease interval
)
  returns setof secateur.claimed_run
  language sql
  security definer set search_path = pg_catalog, pg_temp
as $$
  select run.* from secateur.complete_and_claim(app_id, '{}', '{}', function_ids, max_runs, worker, lease) as run
   where run.id is not null
$$;
