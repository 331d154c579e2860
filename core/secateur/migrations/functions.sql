-- The queue, as SQL functions: usable from any language, and the only way to write.
--
-- The lock protocol. Every app has one advisory lock (7216, apps.lock_key). claim and begin_step take it shared, commit
-- and stop exclusive; each reads what it decides by in a *later statement*, whose snapshot is therefore newer than
-- whatever the lock waited for. This needs READ COMMITTED, so the functions refuse anything stricter.
-- Row locks come after the app's lock, in id order or with SKIP LOCKED. A commit locks no run.
--
-- Statements that have a run's id ask for nothing that a partial index has as its predicate, but look at the status
-- afterwards: such an index is empty when statistics are taken on a quiet queue, so that reading all of it looks cheaper
-- than the primary key; and then the flood comes. Those that walk an index in its order forbid the planner to sort.
--
-- Lines `-- point: …` name the places between two statements of a deciding function; tests put a pause there.

-- The role that owns the sandbox function; cancelling.sql gives it away when both files have been read.
do $$
begin
  if not exists (select from pg_roles where rolname = 'secateur_sandbox') then
    begin
      create role secateur_sandbox nologin;
    exception when duplicate_object or unique_violation then
      null; -- another database's install was quicker
    end;
  end if;
  -- A superuser needs no membership; and to give and take it would get in the way of an install in another database.
  if not (select rolsuper from pg_roles where rolname = current_user) then
    execute format('grant secateur_sandbox to %I', current_user);
  end if;
  if to_regproc('secateur.evaluate_conditions') is not null then
    execute format('alter function secateur.evaluate_conditions owner to %I', current_user);
  end if;
end
$$;

-- Raises unless each statement of the transaction takes a snapshot of its own.
create or replace function secateur.require_read_committed()
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    raise exception using
      errcode = 'SC412',
      message = format('secateur decides by what is committed now, so it cannot run in a %s transaction',
                       upper(current_setting('transaction_isolation'))),
      hint = 'use READ COMMITTED, the default of Postgres';
  end if;
end
$$;

-- Makes sure that app and function exist. Repeatable; writes nothing when they do.
create or replace function secateur.ensure_function(app_id text, function_id text)
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (select from secateur.functions as known
              where known.app_id = ensure_function.app_id and known.function_id = ensure_function.function_id) then
    return;
  end if;
  if coalesce(ensure_function.app_id, '') = '' or coalesce(ensure_function.function_id, '') = '' then
    raise exception using errcode = 'SC422', column = 'app_id', message = 'app_id and function_id must not be empty';
  end if;
  insert into secateur.apps (app_id) values (ensure_function.app_id) on conflict do nothing;
  insert into secateur.functions (app_id, function_id)
  values (ensure_function.app_id, ensure_function.function_id) on conflict do nothing;
end
$$;

-- Declares a function as its worker knows it. Repeatable: the last declaration stands.
create or replace function secateur.register_function(
  app_id text, function_id text, triggers text[], max_attempts integer
)
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform secateur.ensure_function(register_function.app_id, register_function.function_id);
  update secateur.functions as known
     set triggers = register_function.triggers, max_attempts = register_function.max_attempts
   where known.app_id = register_function.app_id
     and known.function_id = register_function.function_id
     and (known.triggers, known.max_attempts)
         is distinct from (register_function.triggers, register_function.max_attempts);
end
$$;

-- Enqueues one run per event and returns their ids in the events' order; creates app and function when they are new.
-- The other arrays are null, or as long as `events`. `started_at` is for imports; by default it is the database's clock.
-- A run scheduled for later is `scheduled`, any other `queued`.
--
-- Takes its transaction id *before* its time: whatever started before a commit's time then belongs to a transaction
-- older than that commit's horizon.
create or replace function secateur.enqueue_many(
  app_id text,
  function_id text,
  events jsonb[],
  scheduled_for timestamptz[] default null,
  priorities integer[] default null,
  started_at timestamptz[] default null
)
  returns setof uuid
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  entered timestamptz;
  entered_us bigint;
begin
  if array_position(events, null) is not null then
    raise exception using errcode = 'SC422', column = 'event', message = 'an event must be JSON, not null';
  end if;
  -- Far below where Postgres or Python runs out of stack; only an event of some size can be nested so deeply.
  if exists (select from unnest(events) as one (event)
              where pg_column_size(one.event) > 4000 and one.event @? '$.**{500}') then
    raise exception using errcode = 'SC422', column = 'event', message = 'an event may be nested 500 levels deep at most';
  end if;
  perform secateur.ensure_function(enqueue_many.app_id, enqueue_many.function_id);
  perform pg_current_xact_id();
  -- point: id taken
  entered := clock_timestamp();
  entered_us := extract(epoch from entered) * 1000000 - 1;
  return query
  insert into secateur.runs (id, app_id, function_id, event, status, priority, started_at, scheduled_for)
  -- A version 7 UUID: milliseconds, then microseconds in the twelve bits of rand_a, then chance. Spelled out here, for a
  -- function of its own would be called per row.
  select encode(substring(int8send(moment.us / 1000) from 3)
                  || int2send((28672 + (moment.us % 1000) * 4096 / 1000)::int2)
                  || substring(uuid_send(gen_random_uuid()) from 9), 'hex')::uuid,
         enqueue_many.app_id,
         enqueue_many.function_id,
         one.event,
         case when one.scheduled_for > entered then 'scheduled' else 'queued' end,
         coalesce(one.priority, 0),
         coalesce(one.started_at, entered),
         one.scheduled_for
    from unnest(enqueue_many.events, enqueue_many.scheduled_for, enqueue_many.priorities, enqueue_many.started_at)
         with ordinality as one (event, scheduled_for, priority, started_at, place),
         lateral (
           -- The events of one call keep their order, a microsecond apart.
           select greatest(0, coalesce((extract(epoch from one.started_at) * 1000000)::bigint, entered_us + one.place)) as us
         ) as moment
   where one.place <= cardinality(enqueue_many.events)
   order by one.place
  returning id;
end
$$;

-- Enqueues one run; see enqueue_many.
create or replace function secateur.enqueue(
  app_id text,
  function_id text,
  event jsonb,
  scheduled_for timestamptz default null,
  priority integer default 0,
  started_at timestamptz default null
)
  returns uuid
  language sql
  security definer set search_path = pg_catalog, pg_temp
as $$
  select secateur.enqueue_many(
    app_id, function_id, array[event], array[scheduled_for], array[priority], array[started_at])
$$;

-- Enqueues one run of every function, of any app, that the event's name triggers.
create or replace function secateur.send(event jsonb)
  returns table (run_id uuid, app_id text, function_id text)
  language sql
  security definer set search_path = pg_catalog, pg_temp
as $$
  select secateur.enqueue(triggered.app_id, triggered.function_id, send.event), triggered.app_id, triggered.function_id
    from secateur.functions as triggered
   where triggered.triggers @> array[send.event ->> 'name']
   order by triggered.app_id, triggered.function_id
$$;

-- Takes the app's lock exclusive for the rest of the transaction, in slices of 50 ms, so that an open claim never holds
-- up the other claims for longer. Raises SC423 with the blocking processes when `patience` is over.
create or replace function secateur.lock_app(app_id text, patience interval default '5 seconds')
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  key constant integer := (select apps.lock_key from secateur.apps where apps.app_id = lock_app.app_id);
  before constant text := current_setting('lock_timeout');
  deadline constant timestamptz := clock_timestamp() + patience;
begin
  loop
    begin
      perform set_config('lock_timeout', '50ms', true);
      perform pg_advisory_xact_lock(7216, key);
      perform set_config('lock_timeout', before, true);
      return;
    exception when lock_not_available then
      if clock_timestamp() >= deadline then
        raise exception using
          errcode = 'SC423',
          message = format('nothing was changed: an open transaction holds the lock of app %s (process %s)',
                           lock_app.app_id,
                           (select string_agg(distinct held.pid::text, ', ') from pg_locks as held
                             where held.locktype = 'advisory' and held.classid = 7216 and held.objid = key
                               and held.objsubid = 2 and held.granted
                               and held.database = (select oid from pg_database where datname = current_database()))),
          hint = 'a worker must not keep the transaction open in which it claimed; try again, or end that process';
      end if;
      perform pg_sleep(0.005);
    end;
  end loop;
end
$$;

-- What stored conditions say of runs: a row for every pair whose verdict is true, or null (could not be evaluated).
-- Runs with no right on any table (its owner has none) and an empty search path. That is the second wall: the first is
-- check_condition, without which nothing is stored.
--
-- A condition's `$k` stands for element k of its parameters; every parameter is text and cast where it is used.
create or replace function secateur.evaluate_conditions(
  conditions text[],
  parameters jsonb,
  app_id text,
  function_ids text[],
  ids uuid[],
  events jsonb[],
  started_at timestamptz[],
  priorities integer[]
)
  returns table (place bigint, nth integer, verdict boolean)
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  verdicts text := '';
begin
  for i in 1 .. cardinality(conditions) loop
    verdicts := verdicts || format('%s(%s, (%s))', case when i > 1 then ', ' end, i,
      regexp_replace(conditions[i], '\$(\w+)', format('($1 -> %s ->> ''\1'')', i - 1), 'g'));
  end loop;
  return query execute
    'select run.place, said.nth, said.verdict
       from (select $2 as app_id, one.*
               from unnest($3, $4, $5, $6, $7)
                    with ordinality as one (function_id, id, event, started_at, priority, place)) as run,
            lateral (values ' || verdicts || ') as said (nth, verdict)
      where said.verdict is distinct from false'
    using parameters, evaluate_conditions.app_id, function_ids, ids, events, evaluate_conditions.started_at, priorities;
end
$$;

-- evaluate_conditions, made total: should a condition raise all the same, the runs are evaluated singly, and a pair
-- that raises has the verdict null, like any other that cannot be evaluated.
create or replace function secateur.verdicts(
  conditions text[],
  parameters jsonb,
  app_id text,
  function_ids text[],
  ids uuid[],
  events jsonb[],
  started_at timestamptz[],
  priorities integer[]
)
  returns table (place bigint, nth integer, verdict boolean)
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  return query select * from secateur.evaluate_conditions(
    conditions, parameters, verdicts.app_id, function_ids, ids, events, verdicts.started_at, priorities);
exception when others then
  for p in 1 .. cardinality(ids) loop
    for c in 1 .. cardinality(conditions) loop
      begin
        return query
        select p::bigint, c, said.verdict from secateur.evaluate_conditions(
          array[conditions[c]], jsonb_build_array(parameters -> (c - 1)), verdicts.app_id, array[function_ids[p]],
          array[ids[p]], array[events[p]], array[verdicts.started_at[p]], array[priorities[p]]) as said;
      exception when others then
        place := p;
        nth := c;
        verdict := null;
        return next;
      end;
    end loop;
  end loop;
end
$$;

-- Which of the runs the cancellations reach: for each reached run the oldest of them; for a run that none reaches but that
-- some could not be evaluated on, a row without a cancellation. Scope and window are decided here, not by the stored
-- condition; status is the caller's business, and what is read here of a run never changes.
create or replace function secateur.reached(rules secateur.cancellations[], run_ids uuid[])
  returns table (run_id uuid, cancellation_id uuid)
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
  -- By the primary key: ten thousand ids look to the planner like a reason to read a table of a million rows.
  set enable_seqscan = off
as $$
declare
  function_ids text[];
  ids uuid[];
  events jsonb[];
  started_at timestamptz[];
  priorities integer[];
begin
  if cardinality(rules) = 0 or cardinality(run_ids) = 0 then
    return;
  end if;
  select array_agg(run.function_id), array_agg(run.id), array_agg(run.event), array_agg(run.started_at),
         array_agg(run.priority)
    into function_ids, ids, events, started_at, priorities
    from secateur.runs as run
   where run.id = any (run_ids) and run.app_id = rules[1].app_id;
  if ids is null then
    return;
  end if;
  return query
  select distinct on (said.place) run.id, case when said.verdict then rule.id end
    from secateur.verdicts(
           array(select coalesce(one.condition, 'true') from unnest(rules) with ordinality as one order by one.ordinality),
           (select jsonb_agg(one.parameters order by one.ordinality) from unnest(rules) with ordinality as one),
           rules[1].app_id, function_ids, ids, events, started_at, priorities) as said
    join unnest(rules) with ordinality as rule on rule.ordinality = said.nth
    join unnest(ids, function_ids, started_at) with ordinality as run (id, function_id, started_at, place)
      on run.place = said.place
   where (rule.function_id is null or run.function_id = rule.function_id)
     and (rule.started_after is null or run.started_at > rule.started_after)
     and run.started_at < rule.started_before
   order by said.place, said.verdict nulls last, rule.serial;
end
$$;

-- Cancels backlog runs: `run_ids[i]` by `cancellation_ids[i]`, unless it has left the backlog meanwhile.
-- Locks the rows in id order. Returns how many; the tallies follow in the same transaction.
create or replace function secateur.cancel_backlog(run_ids uuid[], cancellation_ids uuid[])
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
declare
  changed integer;
begin
  if cardinality(run_ids) = 0 then
    return 0;
  end if;
  with locked as (
    select run.id, run.status from secateur.runs as run
     where run.id = any (run_ids)
     order by run.id
       for update
  ), cancelled as (
    update secateur.runs as run
       set status = 'cancelled',
           cancelled_from = locked.status,
           cancellation_id = reached.cancellation_id,
           finished_at = clock_timestamp()
      from locked
      join unnest(run_ids, cancellation_ids) as reached (run_id, cancellation_id) on reached.run_id = locked.id
     where run.id = locked.id and locked.status in ('queued', 'scheduled')
    returning run.function_id, run.cancellation_id
  ), tallied as (
    insert into secateur.cancellation_deltas (cancellation_id, function_id, cancelled)
    select cancelled.cancellation_id, cancelled.function_id, count(*) from cancelled group by 1, 2
    returning cancellation_deltas.cancelled
  )
  select coalesce(sum(tallied.cancelled), 0) into changed from tallied;
  return changed;
end
$$;

-- Closes the open requests of running runs: the oldest commit's has the outcome, any other that asked for the same run is
-- withdrawn; the tallies follow. Returns the oldest ones. The caller holds the runs' rows; locks the requests in the
-- order of runs.
create or replace function secateur.close_requests(run_ids uuid[], claim_tokens uuid[], outcome text)
  returns table (run_id uuid, cancellation_id uuid)
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
  if not exists (select from unnest(run_ids, claim_tokens) as held (run_id, claim_token)
                   join secateur.cancel_requests as open using (run_id, claim_token)
                  where open.outcome is null) then
    return;
  end if;
  return query
  with open as (
    select request.run_id, request.claim_token, request.cancellation_id, rule.serial
      from unnest(run_ids, claim_tokens) as held (run_id, claim_token)
      join secateur.cancel_requests as request using (run_id, claim_token)
      join secateur.cancellations as rule on rule.id = request.cancellation_id
     where request.outcome is null
     order by request.run_id, rule.serial
       for update of request
  ), turn as (
    select open.*,
           row_number() over (partition by open.run_id, open.claim_token order by open.serial) = 1
             and not exists (select from secateur.cancel_requests as other
                              where other.run_id = open.run_id and other.claim_token = open.claim_token
                                and other.outcome in ('cancelled', 'finished_first')) as owns
      from open
  ), closed as (
    update secateur.cancel_requests as request
       set outcome = case when turn.owns then close_requests.outcome else 'withdrawn' end
      from turn
     where request.run_id = turn.run_id
       and request.claim_token = turn.claim_token
       and request.cancellation_id = turn.cancellation_id
    returning request.run_id, request.cancellation_id, request.function_id, request.outcome
  ), tallied as (
    insert into secateur.cancellation_deltas (
      cancellation_id, function_id, cancelled, stopped, finished_first, withdrawn)
    select closed.cancellation_id, closed.function_id,
           count(*) filter (where closed.outcome = 'cancelled'),
           count(*) filter (where closed.outcome = 'cancelled'),
           count(*) filter (where closed.outcome = 'finished_first'),
           count(*) filter (where closed.outcome = 'withdrawn')
      from closed group by 1, 2
  )
  select closed.run_id, closed.cancellation_id from closed where closed.outcome <> 'withdrawn';
end
$$;

-- Ends those of the running runs that were asked to stop: the run becomes cancelled, its request is closed, the tallies
-- follow. Returns which. The caller holds the runs' rows.
create or replace function secateur.cancel_requested(run_ids uuid[], claim_tokens uuid[])
  returns uuid[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  stopped uuid[];
  owners uuid[];
begin
  select coalesce(array_agg(closed.run_id), '{}'), array_agg(closed.cancellation_id) into stopped, owners
    from secateur.close_requests(run_ids, claim_tokens, 'cancelled') as closed;
  if cardinality(stopped) > 0 then
    update secateur.runs as run
       set status = 'cancelled',
           cancelled_from = 'running',
           cancellation_id = closed.cancellation_id,
           finished_at = clock_timestamp(),
           lease_expires_at = null
      from unnest(stopped, owners) as closed (run_id, cancellation_id)
     where run.id = closed.run_id;
  end if;
  return stopped;
end
$$;

-- Takes back up to 1,000 runs whose lease ended: cancelled if they were asked to stop, failed if that was their last
-- attempt, queued again otherwise. Skips locked rows. Part of a claim. (now() and not clock_timestamp(): only a stable
-- function can bound an index scan.)
create or replace function secateur.recover_expired(app_id text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off
as $$
declare
  ids uuid[];
  tokens uuid[];
  cancelled uuid[];
  spent uuid[];
begin
  select array_agg(expired.id), array_agg(expired.claim_token) into ids, tokens
    from (
      select run.id, run.claim_token
        from secateur.runs as run
       where run.app_id = recover_expired.app_id
         and run.status = 'running'
         and run.lease_expires_at < now()
       order by run.lease_expires_at
       limit 1000
         for update skip locked
    ) as expired;
  if ids is null then
    return;
  end if;
  cancelled := secateur.cancel_requested(ids, tokens);
  spent := array(select run.id
                   from secateur.runs as run join secateur.functions as known using (app_id, function_id)
                  where run.id = any (ids) and run.attempt >= known.max_attempts);
  update secateur.runs as run
     set status = 'failed',
         finished_at = clock_timestamp(),
         lease_expires_at = null,
         error = 'the lease ended: the worker stopped without saying so'
   where run.id = any (array(select unnest(spent) except select unnest(cancelled)));
  update secateur.runs as run
     set status = 'queued', claim_token = null, lease_expires_at = null, worker = null
   where run.id = any (array(select unnest(ids) except select unnest(spent || cancelled)));
end
$$;

-- Makes up to 1,000 runs per function that have become due claimable. Skips locked rows. Part of a claim.
create or replace function secateur.promote_due(app_id text, function_ids text[])
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off
as $$
  update secateur.runs as run
     set status = 'queued'
   where run.id = any (array(
     select due.id
       from unnest(promote_due.function_ids) as wanted (function_id),
            lateral (
              select waiting.id from secateur.runs as waiting
               where waiting.app_id = promote_due.app_id
                 and waiting.function_id = wanted.function_id
                 and waiting.status = 'scheduled'
                 and waiting.scheduled_for <= now()
               order by waiting.scheduled_for
               limit 1000
                 for update skip locked
            ) as due))
$$;

-- Locks the next runs of each function's queue, `share` at most of each, and returns their ids, the functions taking
-- turns. One descent per function: a single ORDER BY over several functions could not follow the index. Part of a claim.
create or replace function secateur.lock_queued(app_id text, function_ids text[], share integer)
  returns uuid[]
  language sql
  set search_path = pg_catalog, pg_temp
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off
as $$
  select coalesce(array_agg(next.id order by next.turn, random()), '{}')
    from unnest(lock_queued.function_ids) as wanted (function_id),
         lateral (
           select locked.id, row_number() over () as turn
             from (
               select run.id from secateur.runs as run
                where run.app_id = lock_queued.app_id
                  and run.function_id = wanted.function_id
                  and run.status = 'queued'
                order by run.priority desc, run.id
                limit lock_queued.share
                  for update skip locked
             ) as locked
         ) as next
$$;

-- Gives runs to a worker. The caller holds their rows. Part of a claim.
create or replace function secateur.grant_runs(run_ids uuid[], worker text, lease interval)
  returns setof secateur.claimed_run
  language sql
  set search_path = pg_catalog, pg_temp
as $$
  with granted as (
    update secateur.runs as run
       set status = 'running',
           attempt = run.attempt + 1,
           worker = grant_runs.worker,
           claim_token = gen_random_uuid(),
           claimed_at = clock_timestamp(),
           lease_expires_at = clock_timestamp() + grant_runs.lease,
           error = null,
           step = null,
           step_at = null
     where run.id = any (run_ids)
    returning run.*
  )
  select granted.id, granted.app_id, granted.function_id, granted.event, granted.attempt, known.max_attempts,
         granted.claim_token, granted.started_at, granted.scheduled_for, granted.priority, granted.lease_expires_at,
         false
    from granted
    join secateur.functions as known using (app_id, function_id)
   order by granted.priority desc, granted.id
$$;

-- Claims up to `max_runs` runs for `worker` until `lease` from now (heartbeat extends it), by priority and age within each
-- function, the functions sharing the batch; null stands for all of the app.
--
-- No run that a committed cancellation matches is returned: the active ones are read under the app's shared lock, in a
-- statement of their own, and matching runs are cancelled on the way, some 5,000 a call at most; if that was used up, a
-- last row without an id has `more`, which tells "ask again" from "empty".
--
-- Locks: the app's, shared, until the transaction ends (so end it soon); rows with SKIP LOCKED.
create or replace function secateur.claim_batch(
  app_id text, function_ids text[], max_runs integer, worker text, lease interval
)
  returns setof secateur.claimed_run
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  key integer;
  wanted text[];
  active secateur.cancellations[];
  open integer := claim_batch.max_runs;
  share integer;
  budget integer := 5000;
  locked uuid[];
  hit_runs uuid[] := '{}';
  hit_rules uuid[];
  granted uuid[];
begin
  perform secateur.require_read_committed();
  if not (claim_batch.max_runs >= 1 and claim_batch.lease > interval '0') then
    raise exception using errcode = 'SC422', column = 'max_runs', message = 'max_runs and lease must be positive';
  end if;
  select apps.lock_key into key from secateur.apps where apps.app_id = claim_batch.app_id;
  if not found then
    return;
  end if;
  -- point: before the lock
  perform pg_advisory_xact_lock_shared(7216, key);
  -- point: locked
  active := array(select rule from secateur.cancellations as rule
                   where rule.app_id = claim_batch.app_id and rule.state = 'active' order by rule.serial);
  -- point: cancellations read
  perform secateur.recover_expired(claim_batch.app_id);
  wanted := array(select known.function_id from secateur.functions as known
                   where known.app_id = claim_batch.app_id
                     and (claim_batch.function_ids is null or known.function_id = any (claim_batch.function_ids)));
  perform secateur.promote_due(claim_batch.app_id, wanted);
  share := ceil(open::numeric / greatest(1, cardinality(wanted)));
  loop
    -- point: before a batch
    locked := secateur.lock_queued(claim_batch.app_id, wanted, share);
    exit when cardinality(locked) = 0;
    -- point: batch locked
    if cardinality(active) > 0 then
      select coalesce(array_agg(hit.run_id), '{}'), coalesce(array_agg(hit.cancellation_id), '{}')
        into hit_runs, hit_rules
        from secateur.reached(active, locked) as hit where hit.cancellation_id is not null;
      -- point: batch checked
      perform secateur.cancel_backlog(hit_runs, hit_rules);
      -- point: matches cancelled
    end if;
    granted := array(select next.id from unnest(locked) with ordinality as next (id, turn)
                      where not exists (select from unnest(hit_runs) as hit (id) where hit.id = next.id)
                      order by next.turn limit open);
    return query select * from secateur.grant_runs(granted, claim_batch.worker, claim_batch.lease);
    -- point: granted
    open := open - cardinality(granted);
    budget := budget - cardinality(hit_runs);
    -- Every queue was asked for all that was open and nothing was cancelled on the way: they hold no more.
    exit when open = 0 or budget <= 0 or (cardinality(hit_runs) = 0 and share >= open + cardinality(granted));
    -- Some functions had too little for their share, or much was cancelled: look further ahead.
    share := case when cardinality(hit_runs) = 0 then open else least(1000, greatest(open, share * 4, 100)) end;
  end loop;
  if budget <= 0 and open > 0 then
    return query select (jsonb_populate_record(null::secateur.claimed_run, '{"more": true}')).*;
  end if;
end
$$;

-- claim_batch without its last row: what a worker that simply asks again needs.
create or replace function secateur.claim(
  app_id text, function_ids text[], max_runs integer, worker text, lease interval
)
  returns setof secateur.claimed_run
  language sql
  security definer set search_path = pg_catalog, pg_temp
as $$
  select run.* from secateur.claim_batch(app_id, function_ids, max_runs, worker, lease) as run where run.id is not null
$$;

-- Asks whether the next step of a run may begin; it has begun when this returned true. False: stop, the run is
-- cancelled (this call records it) or the claim is no longer yours.
-- Locks: the app's, shared, so that no commit comes between the question and the answer; then the run's row.
create or replace function secateur.begin_step(run_id uuid, claim_token uuid, step text)
  returns boolean
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  key integer;
  held text;
begin
  perform secateur.require_read_committed();
  select apps.lock_key into key
    from secateur.runs as run join secateur.apps using (app_id) where run.id = begin_step.run_id;
  if not found then
    return false;
  end if;
  -- point: before the lock
  perform pg_advisory_xact_lock_shared(7216, key);
  -- point: locked
  select run.status into held
    from secateur.runs as run where run.id = begin_step.run_id and run.claim_token = begin_step.claim_token for update;
  if held is distinct from 'running' then
    return false;
  end if;
  -- point: run locked
  if cardinality(secateur.cancel_requested(array[begin_step.run_id], array[begin_step.claim_token])) > 0 then
    return false;
  end if;
  -- point: not cancelled
  update secateur.runs as run set step = begin_step.step, step_at = clock_timestamp() where run.id = begin_step.run_id;
  return true;
end
$$;

-- Ends a run well. True also when repeated with the same token; false when the claim is no longer yours.
-- A run that was asked to stop and got here first counts as finished first.
create or replace function secateur.complete(run_id uuid, claim_token uuid)
  returns boolean
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  held text;
begin
  select run.status into held
    from secateur.runs as run where run.id = complete.run_id and run.claim_token = complete.claim_token for update;
  if held is distinct from 'running' then
    return held is not distinct from 'completed';
  end if;
  -- point: run locked
  update secateur.runs as run
     set status = 'completed', finished_at = clock_timestamp(), lease_expires_at = null
   where run.id = complete.run_id;
  -- point: completed
  perform secateur.close_requests(array[complete.run_id], array[complete.claim_token], 'finished_first');
  return true;
end
$$;

-- Ends an attempt badly. Returns the run's status after it: `scheduled` (retried after a back-off of 1 s, 2 s, 4 s … at
-- most an hour, a quarter more or less), `failed` (no attempts left), `cancelled` (it was asked to stop); null when the
-- claim is no longer yours.
create or replace function secateur.fail(run_id uuid, claim_token uuid, error text)
  returns text
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  held text;
  attempts integer;
  allowed integer;
begin
  select run.status, run.attempt, known.max_attempts into held, attempts, allowed
    from secateur.runs as run join secateur.functions as known using (app_id, function_id)
   where run.id = fail.run_id and run.claim_token = fail.claim_token
     for update of run;
  if held is distinct from 'running' then
    return null;
  end if;
  -- point: run locked
  if attempts >= allowed then
    update secateur.runs as run
       set status = 'failed', finished_at = clock_timestamp(), lease_expires_at = null, error = fail.error
     where run.id = fail.run_id;
    perform secateur.close_requests(array[fail.run_id], array[fail.claim_token], 'finished_first');
    return 'failed';
  end if;
  if cardinality(secateur.cancel_requested(array[fail.run_id], array[fail.claim_token])) > 0 then
    update secateur.runs as run set error = fail.error where run.id = fail.run_id;
    return 'cancelled';
  end if;
  -- point: not cancelled
  update secateur.runs as run
     set status = 'scheduled',
         scheduled_for = clock_timestamp()
           + least(3600, 2 ^ least(attempts - 1, 12)) * (0.75 + random() / 2) * interval '1 second',
         claim_token = null,
         lease_expires_at = null,
         worker = null,
         error = fail.error
   where run.id = fail.run_id;
  return 'scheduled';
end
$$;

-- Extends the leases of the caller's running runs to `lease` from now. Returns only the runs that must stop, and why:
-- `cancelled` (asked to stop; the lease is extended all the same, the run ends at its next step) or `lost` (not the
-- caller's any more). Locks the rows in id order.
create or replace function secateur.heartbeat(run_ids uuid[], claim_tokens uuid[], lease interval)
  returns table (run_id uuid, reason text)
  language sql
  security definer set search_path = pg_catalog, pg_temp
as $$
  with mine as (
    select * from unnest(run_ids, claim_tokens) as held (run_id, claim_token)
  ), locked as (
    select run.id, run.status
      from secateur.runs as run join mine on run.id = mine.run_id and run.claim_token = mine.claim_token
     order by run.id
       for update of run
  ), extended as (
    update secateur.runs as run
       set lease_expires_at = clock_timestamp() + heartbeat.lease
      from locked
     where run.id = locked.id and locked.status = 'running'
    returning run.id
  )
  select mine.run_id, case when extended.id is null then 'lost' else 'cancelled' end
    from mine
    left join extended on extended.id = mine.run_id
   where extended.id is null
      or exists (select from secateur.cancel_requests as open
                  where open.run_id = mine.run_id and open.claim_token = mine.claim_token and open.outcome is null)
$$;

-- Gives claimed runs back without having begun them, as a worker does when it stops; the attempt does not count. A run
-- that was asked to stop is cancelled. Returns how many were the caller's. Locks the rows in id order.
create or replace function secateur.release(run_ids uuid[], claim_tokens uuid[])
  returns integer
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  ids uuid[];
  tokens uuid[];
  cancelled uuid[];
begin
  with held as (
    select run.id, run.claim_token, run.status
      from secateur.runs as run
      join unnest(run_ids, claim_tokens) as mine (run_id, claim_token)
        on run.id = mine.run_id and run.claim_token = mine.claim_token
     order by run.id
       for update of run
  )
  select array_agg(held.id), array_agg(held.claim_token) into ids, tokens from held where held.status = 'running';
  if ids is null then
    return 0;
  end if;
  cancelled := secateur.cancel_requested(ids, tokens);
  update secateur.runs as run
     set status = 'queued', attempt = run.attempt - 1, claim_token = null, lease_expires_at = null, worker = null
   where run.id = any (array(select unnest(ids) except select unnest(cancelled)));
  return cardinality(ids);
end
$$;
