-- Enqueues any number of runs by COPY, all or none:
--
--   begin;
--   select secateur.begin_bulk();
--   copy pg_temp.secateur_bulk (event) from stdin;
--   select secateur.enqueue_bulk('billing', 'invoices');
--   commit;
--
-- Why a table in between. COPY needs the right to insert. With that right on `runs`, callers could choose what the functions
-- must decide: ids, statuses and times, and with them which cancellations reach a run.
--
-- Why a function creates it. enqueue_bulk reads the table with its owner's rights. A relation of the caller's own could be a
-- view, or have a rule or a column type that calls a function of the caller's, with these rights. A table that belongs to the
-- owner has only what the owner gave it: callers may insert, and may not alter, replace or read it. It is checked again
-- before it is read, because anybody can remove it by DISCARD TEMP and create another relation under its name.

-- Raises unless pg_temp.secateur_bulk is the table that begin_bulk created: SC409 if there is no relation of that name, 42501 if
-- it is another one.
create or replace function secateur.require_bulk()
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  -- A table, a view, an index, or anything else that a caller gave that name.
  named constant oid := to_regclass('pg_temp.secateur_bulk');
begin
  if named is null then
    raise exception using errcode = 'SC409', message = 'this transaction has not begun a bulk',
      hint = 'call secateur.begin_bulk first, in the same transaction';
  end if;
  if not exists (select from pg_class as relation
                  where relation.oid = named
                    and pg_get_userbyid(relation.relowner) = current_user
                    and relation.relkind = 'r'
                    and relation.relpersistence = 't') then
    raise exception using errcode = '42501',
      message = 'pg_temp.secateur_bulk was not made by secateur.begin_bulk, so it is not read',
      hint = 'drop it, then call secateur.begin_bulk again';
  end if;
end
$$;

-- Creates the table pg_temp.secateur_bulk for events to enqueue together. It is empty, the session's role may insert into it, and
-- it is gone at the end of the transaction. Its columns: `event` is required; `scheduled_for`, `priority` and `started_at` are as
-- for enqueue_many. If there is such a table already, it is replaced, and rows in it that were not enqueued are lost. Raises
-- 42501 if the owner of the schema may not create temporary tables, or if another relation has the name.
create or replace function secateur.begin_bulk()
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if not has_database_privilege(current_user, current_database(), 'temporary') then
    raise exception using errcode = '42501',
      message = format('role %I, the owner of schema secateur, may not create temporary tables in database %I',
                       current_user, current_database()),
      hint = format('grant temporary on database %I to %I', current_database(), current_user);
  end if;
  if to_regclass('pg_temp.secateur_bulk') is not null then
    perform secateur.require_bulk();
    drop table pg_temp.secateur_bulk;
  end if;
  create temporary table pg_temp.secateur_bulk (
    event jsonb,
    scheduled_for timestamptz,
    priority integer,
    started_at timestamptz
  ) on commit drop;
  -- Uncompressed. A compressed event would look too small to the trigger that refuses deep nesting, and would be compressed
  -- twice.
  alter table pg_temp.secateur_bulk alter column event set storage external;
  execute format('grant insert on pg_temp.secateur_bulk to %I',
                 case current_setting('role') when 'none' then session_user else current_setting('role') end);
end
$$;

-- Counts and checks what was copied since begin_bulk; `priority` is for rows that have none. Returns the number of rows
-- (`total`), whether any has a `started_at` (`imported`), and all priorities that occur. Part of enqueue_bulk.
-- Raises SC422 for an event that is null or that only the queue sends, and for a time outside of the years 1 to 9999; 42501 for
-- a `started_at` if the caller may not import.
create or replace function secateur.check_bulk(
  priority integer, out total bigint, out imported boolean, out priorities integer[]
)
  language plpgsql
as $$
declare
  given bigint;
  timely bigint;
  reserved boolean;
begin
  select coalesce(sum(level.total), 0), coalesce(sum(level.given), 0), coalesce(sum(level.timely), 0),
         coalesce(bool_or(level.imported), false), array_agg(level.priority),
         bool_or(level.reserved)
    into total, given, timely, imported, priorities, reserved
    from (select coalesce(one.priority, check_bulk.priority, 0) as priority, count(*) as total, count(one.event) as given,
                 count(*) filter (where secateur.is_instant(one.scheduled_for)
                                    and secateur.is_instant(one.started_at)) as timely,
                 count(one.started_at) > 0 as imported,
                 bool_or(one.event ->> 'name' = 'function.cancelled') as reserved
            from only pg_temp.secateur_bulk as one
           group by 1) as level;
  if imported then
    perform secateur.require_importer();
  end if;
  if reserved then
    perform secateur.require_foreign_events(array['{"name": "function.cancelled"}'::jsonb]);
  end if;
  if given < total then
    raise exception using errcode = 'SC422', column = 'event', message = 'event: must be JSON, not null';
  end if;
  if timely < total then
    perform secateur.require_instants('scheduled_for', array(select one.scheduled_for from only pg_temp.secateur_bulk as one));
    perform secateur.require_instants('started_at', array(select one.started_at from only pg_temp.secateur_bulk as one));
  end if;
end
$$;

-- Enqueues one run for each event that was copied since begin_bulk, and returns how many. Creates the app and the function if
-- they are new. `scheduled_for` and `priority` are for rows that have none of their own. All runs start at the moment of this
-- call; their ids keep the order of the rows, a microsecond apart. Otherwise it does what enqueue_many does. It removes the
-- table, so the same transaction may begin another bulk.
-- Raises SC409 without a table, 42501 if the table is not begin_bulk's, SC422 for an event that cannot be kept or that only the
-- queue sends, and all that check_bulk raises.
create or replace function secateur.enqueue_bulk(
  app_id text, function_id text, scheduled_for timestamptz default null, priority integer default 0
)
  returns bigint
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
  -- The last eight bytes of a random UUID, with a bit cleared to leave room for counting. Each run adds its position, so ids
  -- differ even between imports that start at the same moment. A random number for each row would take a tenth of the time.
  chance constant bigint :=
    ('x' || encode(substring(uuid_send(gen_random_uuid()), 9), 'hex'))::bit(64)::bigint & ~(1::bigint << 61);
  checked record;
  entered timestamptz;
  entered_us bigint;
  lowest uuid[];
  -- When the first of the runs can be claimed; null means now.
  due_at timestamptz;
begin
  perform secateur.require_bulk();
  perform secateur.require_instant('scheduled_for', enqueue_bulk.scheduled_for);
  checked := secateur.check_bulk(enqueue_bulk.priority);
  perform secateur.ensure_function(enqueue_bulk.app_id, enqueue_bulk.function_id);
  perform secateur.ensure_levels(enqueue_bulk.app_id, enqueue_bulk.function_id, checked.priorities || array[0]);
  -- As in enqueue_many. The transaction has had its id since it created the table.
  perform pg_current_xact_id();
  -- point: id taken
  entered := clock_timestamp();
  entered_us := extract(epoch from entered) * 1000000 - 1;
  with entering as (
    insert into secateur.runs (id, app_id, function_id, event, status, priority, started_at, scheduled_for)
    select secateur.run_id_at(moment.us, int8send(chance + copied.place)),
           enqueue_bulk.app_id,
           enqueue_bulk.function_id,
           copied.event,
           case when copied.scheduled_for > entered then 'scheduled' else 'queued' end,
           copied.priority,
           coalesce(copied.started_at, entered),
           copied.scheduled_for
      from (
             -- In the order of the table's pages, which is the order of the rows: within one transaction COPY appends to a new
             -- table without looking for room in earlier pages. The table has no triggers, and nothing is deleted from it.
             select one.event,
                    coalesce(one.scheduled_for, enqueue_bulk.scheduled_for) as scheduled_for,
                    coalesce(one.priority, enqueue_bulk.priority, 0) as priority,
                    one.started_at,
                    row_number() over () as place
               from only pg_temp.secateur_bulk as one
           ) as copied,
           lateral (
             select greatest(0, coalesce((extract(epoch from copied.started_at) * 1000000)::bigint, entered_us + copied.place))
                      as us
           ) as moment
    returning runs.id, runs.status, runs.priority, runs.scheduled_for
  ), counted as (
    insert into secateur.depth_deltas (app_id, function_id, queued, scheduled, entered)
    select enqueue_bulk.app_id, enqueue_bulk.function_id, count(*) filter (where entering.status = 'queued'),
           count(*) filter (where entering.status = 'scheduled'), count(*)
      from entering
    having count(*) > 0
  )
  select array(select distinct on (entering.priority) entering.id from entering
                where checked.imported order by entering.priority, entering.id),
         (select case when bool_and(entering.status = 'scheduled') then min(entering.scheduled_for) end from entering)
    into lowest, due_at;
  if checked.imported then
    perform secateur.lower_floors(enqueue_bulk.app_id, lowest);
  end if;
  drop table pg_temp.secateur_bulk;
  if checked.total > 0 then
    perform secateur.note_due(enqueue_bulk.app_id, enqueue_bulk.function_id, due_at);
  end if;
  perform secateur.wake(enqueue_bulk.app_id);
  return checked.total;
end
$$;
