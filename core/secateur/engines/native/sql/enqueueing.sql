-- Putting runs into the queue.

-- The id of a run that starts at this microsecond: a version 7 UUID whose last eight bytes are `chance`. It sets no search
-- path, so that Postgres inlines it: a call for each row would cost more than the rest of the statement.
create or replace function secateur.run_id_at(us bigint, chance bytea)
  returns uuid
  language sql
  immutable
return encode(substring(int8send(us / 1000), 3)
                || int2send((28672 + (us % 1000) * 4096 / 1000)::int2)
                || chance, 'hex')::uuid;

-- Raises unless the session may choose a run's start.
create or replace function secateur.require_importer()
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if not (pg_has_role(session_user, 'secateur_importer', 'member') or pg_has_role(session_user, current_user, 'member')) then
    raise exception using errcode = '42501', message = 'started_at: only an importer may set it',
      hint = format('grant secateur_importer to %I', session_user);
  end if;
end
$$;

-- Part of enqueue_many and announce_cancelled. Events may have any name here.
--
-- Takes its transaction id *before* its time: whatever started before a commit's time then belongs to a transaction
-- older than that commit's horizon.
create or replace function secateur.enter_runs(
  app_id text,
  function_id text,
  events jsonb[],
  scheduled_for timestamptz[] default null,
  priorities integer[] default null,
  started_at timestamptz[] default null
)
  returns uuid[]
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  entered timestamptz;
  entered_us bigint;
  ids uuid[];
  -- When the first of them can be claimed: null is now.
  due_at timestamptz;
  imported constant boolean := exists (select from unnest(enter_runs.started_at) as given where given is not null);
begin
  if imported then
    perform secateur.require_importer();
  end if;
  if events is null then
    raise exception using errcode = 'SC422', column = 'events', message = 'events: must be a list of events, not null';
  end if;
  perform secateur.require_same_length('scheduled_for', cardinality(events), array[cardinality(enter_runs.scheduled_for)]);
  perform secateur.require_same_length('priorities', cardinality(events), array[cardinality(enter_runs.priorities)]);
  perform secateur.require_same_length('started_at', cardinality(events), array[cardinality(enter_runs.started_at)]);
  perform secateur.require_instants('scheduled_for', enter_runs.scheduled_for);
  perform secateur.require_instants('started_at', enter_runs.started_at);
  if exists (select from unnest(events) as given (event) where given.event is null) then
    raise exception using errcode = 'SC422', column = 'event',
      message = format('event[%s]: must be JSON, not null', array_position(events, null));
  end if;
  perform secateur.ensure_function(enter_runs.app_id, enter_runs.function_id);
  perform secateur.ensure_levels(enter_runs.app_id, enter_runs.function_id, 
                                 array(select distinct coalesce(given, 0) from unnest(priorities) as given) || 0);
  perform pg_current_xact_id();
  -- point: id taken
  entered := clock_timestamp();
  entered_us := extract(epoch from entered) * 1000000 - 1;
  with entering as (
    insert into secateur.runs (id, app_id, function_id, event, status, priority, started_at, scheduled_for)
    select secateur.run_id_at(moment.us, substring(uuid_send(gen_random_uuid()), 9)),
           enter_runs.app_id,
           enter_runs.function_id,
           one.event,
           case when one.scheduled_for > entered then 'scheduled' else 'queued' end,
           coalesce(one.priority, 0),
           coalesce(one.started_at, entered),
           one.scheduled_for
      from unnest(enter_runs.events, enter_runs.scheduled_for, enter_runs.priorities, enter_runs.started_at)
           with ordinality as one (event, scheduled_for, priority, started_at, place),
           lateral (
             -- The events of one call keep their order, a microsecond apart.
             select greatest(0, coalesce((extract(epoch from one.started_at) * 1000000)::bigint, entered_us + one.place)) as us
           ) as moment
     where one.place <= cardinality(enter_runs.events)
     order by one.place
    returning runs.id, runs.status, runs.scheduled_for
  ), counted as (
    insert into secateur.depth_deltas (app_id, function_id, queued, scheduled, entered)
    select enter_runs.app_id, enter_runs.function_id, count(*) filter (where entering.status = 'queued'),
           count(*) filter (where entering.status = 'scheduled'), count(*)
      from entering
    having count(*) > 0
  )
  select coalesce(array_agg(entering.id), '{}'),
         case when bool_and(entering.status = 'scheduled') then min(entering.scheduled_for) end
    into ids, due_at
    from entering;
  if imported then
    -- Their ids carry the start that the caller gave.
    perform secateur.lower_floors(enter_runs.app_id, ids);
  end if;
  if cardinality(ids) > 0 then
    perform secateur.note_due(enter_runs.app_id, enter_runs.function_id, due_at);
  end if;
  perform secateur.wake(enter_runs.app_id);
  return ids;
end
$$;

-- Enqueues one run per event and returns their ids in the events' order; creates app and function when they are new.
-- The other arrays are null, or as long as `events`. `started_at` is for imports and needs the role secateur_importer, because a
-- back-dated run may be older than a cancellation that is complete. By default it is the database's clock.
-- A run scheduled for later is `scheduled`, any other `queued`. Raises SC422 for an event that cannot be kept
-- or that only the queue sends, and for times outside of the years 1 to 9999.
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
begin
  perform secateur.require_foreign_events(events);
  return query select unnest(secateur.enter_runs(app_id, function_id, events, scheduled_for, priorities, started_at));
end
$$;

-- Enqueues one run; see enqueue_many. Repeatable with an `idempotency_key`: for a day, the same key for the same function
-- returns the run that waits, runs or has completed under it, and enqueues nothing; schedule and priority stay as they were
-- given first. After a run was cancelled or has finally failed, its key is free again (see keys.sql). Raises SC409 for
-- another event under a key that is held.
create or replace function secateur.enqueue(
  app_id text,
  function_id text,
  event jsonb,
  scheduled_for timestamptz default null,
  priority integer default 0,
  started_at timestamptz default null,
  idempotency_key text default null
)
  returns uuid
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if idempotency_key is not null then
    return secateur.enqueue_once(app_id, function_id, event, scheduled_for, priority, started_at, idempotency_key);
  end if;
  return (select secateur.enqueue_many(
            app_id, function_id, array[event], array[scheduled_for], array[priority], array[started_at]));
end
$$;
