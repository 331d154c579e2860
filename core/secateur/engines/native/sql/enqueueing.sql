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

-- What enter_runs gets: an event for each run, and lists of as many places or null. Returns whether a start is given.
-- Raises SC422, and 42501 if the session may not choose it.
create or replace function secateur.require_lists(
  events jsonb[], scheduled_for timestamptz[], priorities integer[], started_at timestamptz[]
)
  returns boolean
  language plpgsql
as $$
declare
  imported constant boolean := exists (select from unnest(require_lists.started_at) as given where given is not null);
begin
  if imported then
    perform secateur.require_importer();
  end if;
  if events is null then
    raise exception using errcode = 'SC422', column = 'events', message = 'events: must be a list of events, not null';
  end if;
  perform secateur.require_same_length('scheduled_for', cardinality(events), array[cardinality(require_lists.scheduled_for)]);
  perform secateur.require_same_length('priorities', cardinality(events), array[cardinality(priorities)]);
  perform secateur.require_same_length('started_at', cardinality(events), array[cardinality(require_lists.started_at)]);
  perform secateur.require_instants('scheduled_for', require_lists.scheduled_for);
  perform secateur.require_instants('started_at', require_lists.started_at);
  if exists (select from unnest(events) as given (event) where given.event is null) then
    raise exception using errcode = 'SC422', column = 'event',
      message = format('event[%s]: must be JSON, not null', array_position(array(select unnest(events)), null));
  end if;
  return imported;
end
$$;

-- Part of enqueue, enqueue_many and announce_cancelled. Events may have any name here.
--
-- Takes its transaction id *before* its time: whatever started before a commit's time then belongs to a transaction
-- older than that commit's horizon.
--
-- Of one run each call of a function and each statement costs a tenth of the whole. So it calls those that check, make and tell
-- something only where there may be something to refuse, to make or to tell.
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
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  here constant integer := pg_backend_pid();
  wanted integer[] := '{0}';
  known boolean;
  entered timestamptz;
  entered_us bigint;
  ids uuid[];
  -- When the first of them can be claimed: null is now.
  due_at timestamptz;
  imported boolean := false;
begin
  if (enter_runs.scheduled_for is null and priorities is null and enter_runs.started_at is null
      and array_ndims(events) = 1 and array_position(events, null) is null) is not true then
    imported := secateur.require_lists(events, enter_runs.scheduled_for, priorities, enter_runs.started_at);
    wanted := wanted || array(select distinct given from unnest(priorities) as given where given <> 0);
  end if;
  select not exists (select from secateur.forgotten_functions as gone
                      where gone.app_id = enter_runs.app_id and gone.function_id = enter_runs.function_id)
         and not exists (select from unnest(wanted) as one (priority)
                          where not exists (select from secateur.levels as level
                                             where level.app_id = enter_runs.app_id and level.function_id = enter_runs.function_id
                                               and level.priority = one.priority))
    into known
    from secateur.functions as known
   where known.app_id = enter_runs.app_id and known.function_id = enter_runs.function_id and known.installation is null
     and pg_backend_pid() = here;
  if known is not true then
    perform secateur.ensure_function(enter_runs.app_id, enter_runs.function_id);
    perform secateur.ensure_levels(enter_runs.app_id, enter_runs.function_id, wanted);
  end if;
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
  if event ->> 'name' = 'function.cancelled' then
    perform secateur.require_foreign_events(array[event]);
  end if;
  return (secateur.enter_runs(
            app_id, function_id, array[event],
            case when scheduled_for is not null then array[scheduled_for] end,
            case when priority <> 0 then array[priority] end,
            case when started_at is not null then array[started_at] end))[1];
end
$$;
