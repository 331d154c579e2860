-- Putting runs into the queue.

-- Enqueues one run per event and returns their ids in the events' order; creates app and function when they are new.
-- The other arrays are null, or as long as `events`. `started_at` is for imports; by default it is the database's clock.
-- A run scheduled for later is `scheduled`, any other `queued`. Raises SC422 for an event that cannot be kept.
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
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  entered timestamptz;
  entered_us bigint;
  ids uuid[];
begin
  if array_position(events, null) is not null then
    raise exception using errcode = 'SC422', column = 'event', message = 'an event must be JSON, not null';
  end if;
  perform secateur.ensure_function(enqueue_many.app_id, enqueue_many.function_id);
  perform secateur.ensure_levels(enqueue_many.app_id, enqueue_many.function_id, coalesce(priorities, array[0]) || array[0]);
  perform pg_current_xact_id();
  -- point: id taken
  entered := clock_timestamp();
  entered_us := extract(epoch from entered) * 1000000 - 1;
  with entering as (
    insert into secateur.runs (id, app_id, function_id, event, status, priority, started_at, scheduled_for)
    -- As new_run_id makes them, but spelled out here: a function of its own would be called per row.
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
    returning runs.id, runs.status
  ), counted as (
    insert into secateur.depth_deltas (app_id, function_id, queued, scheduled, entered)
    select enqueue_many.app_id, enqueue_many.function_id, count(*) filter (where entering.status = 'queued'),
           count(*) filter (where entering.status = 'scheduled'), count(*)
      from entering
    having count(*) > 0
  )
  select coalesce(array_agg(entering.id), '{}') into ids from entering;
  if enqueue_many.started_at is not null then
    -- Their ids are as old as they say.
    perform secateur.lower_floors(ids);
  end if;
  perform secateur.wake(enqueue_many.app_id);
  return query select unnest(ids);
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
