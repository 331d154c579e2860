-- Sending events: each starts runs of the functions that it triggers, and cancels those that declare it in cancel_on.

-- The cancellation that a declaration means for an event, as commit_cancellation would record it: `async` is the event, the
-- window ends at `moment`. Null if the event lacks the field of `match`, so that no run can match. Part of send.
create or replace function secateur.declared_cancellation(
  app_id text, function_id text, declared jsonb, event jsonb, moment timestamptz
)
  returns secateur.cancellations
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  rule secateur.cancellations;
  keys constant text[] := string_to_array(declared ->> 'match', '.');
  value jsonb := event;
  key text;
begin
  rule.id := gen_random_uuid();
  rule.kind := 'event';
  rule.standing := false;
  rule.app_id := declared_cancellation.app_id;
  rule.function_id := declared_cancellation.function_id;
  rule.started_after := moment - (declared ->> 'timeout')::interval;
  rule.started_before := moment;
  rule."if" := declared ->> 'if';
  rule.condition := declared ->> 'condition';
  rule.compiler := declared ->> 'compiler';
  rule.parameters := (declared -> 'parameters')
    || jsonb_build_object('now', secateur.in_utc(moment));
  if position('$async' in rule.condition) > 0 then
    rule.parameters := rule.parameters || jsonb_build_object('async', event::text);
  end if;
  if keys is not null then
    foreach key in array keys loop
      value := value -> key;
    end loop;
    if value is null then
      return null;
    end if;
    rule.reason := format('%s is %s', declared ->> 'match', left(value::text, 200));
    -- A number may be equal to others that are written differently, which containment would tell apart.
    if jsonb_typeof(value) in ('string', 'boolean', 'null') then
      foreach key in array (select array_agg(keys[k] order by k desc) from generate_subscripts(keys, 1) as k) loop
        value := jsonb_build_object(key, value);
      end loop;
      rule.requires := array[value];
    end if;
  end if;
  rule.request := jsonb_build_object(
    'app_id', rule.app_id, 'function_id', rule.function_id, 'if', rule."if",
    -- A large one is known by its name: the record is read with each page of the history.
    'event', case when pg_column_size(event) <= 1000000 then event else event - array['data', 'user'] end);
  return rule;
end
$$;

-- Whether a cancellation can match a run that is not finished: false only if it plainly cannot, so that events which
-- concern nobody leave no trace. Looks at 1,000 runs at most, and at nothing that waits for a lock. Part of send.
--
-- A run whose transaction is still open cannot be seen yet, but is meant too. Such a transaction holds a lock on the table
-- since it wrote the run; most last for milliseconds, and are waited for as long.
create or replace function secateur.may_match(rule secateur.cancellations)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off
as $$
declare
  writers text[];
  waited integer := 0;
  ids uuid[];
begin
  loop
    writers := array(select held.virtualtransaction from pg_locks as held
                      where held.relation = 'secateur.runs'::regclass and held.mode = 'RowExclusiveLock'
                        and held.database = (select oid from pg_database where datname = current_database())
                        and held.pid is distinct from pg_backend_pid()
                        and (waited = 0 or held.virtualtransaction = any (writers)));
    exit when cardinality(writers) = 0;
    if waited = 10 then
      return true;
    end if;
    waited := waited + 1;
    perform pg_sleep(0.002);
  end loop;
  -- point: writers gone
  ids := array(select run.id from secateur.runs as run
                where run.app_id = rule.app_id
                  and run.function_id = rule.function_id
                  and run.status in ('queued', 'scheduled', 'running')
                  and run.started_at < rule.started_before
                  and (rule.started_after is null or run.started_at > rule.started_after)
                limit 1001);
  return cardinality(ids) > 1000
    or exists (select from secateur.reached(rule.app_id, array[rule], ids, quickly => true, budget => '250 ms') as hit
                where hit.cancellation_id is not null or hit.undecided_by is not null);
end
$$;

-- Commits a cancellation for every declaration of the app's functions that the event fits, as of `moment`; `key` stands in for
-- the id of an event without one. Part of send.
create or replace function secateur.cancel_by_event(app_id text, event jsonb, key text, moment timestamptz)
  returns table (cancellation_id uuid, function_id text)
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  -- An index that knows what an event concerns can only be read for a bitmap.
  set enable_seqscan = off set enable_bitmapscan = on set jit = off
as $$
declare
  named constant jsonb := jsonb_build_array(jsonb_build_object('event', event ->> 'name'));
  seen text;
  again boolean := false;
  old record;
  one record;
  rule secateur.cancellations;
begin
  if not exists (select from (select known.app_id from secateur.functions as known
                               where known.cancel_on @> named offset 0) as concerned
                  where concerned.app_id = cancel_by_event.app_id) then
    return;
  end if;
  perform secateur.require_read_committed();
  if pg_column_size(event) > 4000 and event @? '$.**{500}' then
    raise exception using errcode = 'SC422', column = 'event',
      message = 'event: must not be nested more than 500 levels deep';
  end if;
  seen := coalesce(event ->> 'id', encode(sha256(convert_to('key:' || cancel_by_event.key, 'UTF8')), 'hex'));
  if length(seen) > 200 then
    seen := encode(sha256(convert_to(seen, 'UTF8')), 'hex');
  end if;
  if seen is not null then
    -- point: before the id
    insert into secateur.seen_events (app_id, id) values (cancel_by_event.app_id, seen) on conflict do nothing;
    again := not found;
    for old in
      select past.id, past.at from secateur.seen_events as past
       where past.app_id = cancel_by_event.app_id and past.at < now() - interval '1 day'
       order by past.at limit 10 for update skip locked
    loop
      -- By the key or by the time: either finds the one row.
      delete from secateur.seen_events as seen
       where seen.app_id = cancel_by_event.app_id and seen.id = old.id and seen.at = old.at;
    end loop;
  end if;
  for one in
    select known.function_id, declared.value as declared,
           case when length(place.key) <= 900 then place.key
                else 'event:' || encode(sha256(convert_to(place.key, 'UTF8')), 'hex') end as key
      from (select concerned.* from secateur.functions as concerned where concerned.cancel_on @> named offset 0) as known,
           lateral jsonb_array_elements(known.cancel_on) with ordinality as declared (value, place),
           lateral (values (format('event:%s:%s:%s:%s', seen, known.app_id, known.function_id, declared.place)))
             as place (key)
     where known.app_id = cancel_by_event.app_id and declared.value -> 'event' = event -> 'name'
     order by known.function_id, declared.place
  loop
    if seen is not null then
      return query
      select done.id, one.function_id
        from secateur.cancellations as done
       where done.app_id = cancel_by_event.app_id and done.idempotency_key = one.key;
      continue when found or again;
    end if;
    rule := secateur.declared_cancellation(cancel_by_event.app_id, one.function_id, one.declared, event, moment);
    continue when rule.id is null or not secateur.may_match(rule);
    -- point: before a commit
    rule.source := 'event';
    rule.idempotency_key := case when seen is not null then one.key end;
    rule.created_by := event ->> 'name';
    perform secateur.commit_draft(rule, array[rule.id], array[rule.function_id]);
    return query select rule.id, one.function_id;
  end loop;
end
$$;

-- The apps that an event concerns, by a trigger or by cancel_on, in the order in which send takes their locks.
create or replace function secateur.apps_of_event(event jsonb)
  returns text[]
  language plpgsql
  stable
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = on set jit = off
as $$
begin
  return array(
    select apps.app_id
      from (select known.app_id from secateur.functions as known where known.triggers @> array[event ->> 'name']
               and not exists (select from secateur.forgotten_functions as gone
                                where gone.app_id = known.app_id and gone.function_id = known.function_id offset 0)
            union
            select known.app_id from secateur.functions as known
             where known.cancel_on @> jsonb_build_array(jsonb_build_object('event', event ->> 'name'))) as concerned,
           lateral (select one.app_id, one.lock_number from secateur.apps as one
                     where one.app_id = concerned.app_id offset 0) as apps
     order by apps.lock_number);
end
$$;

-- Sends an event to one app; see send. `moment` is when the event was sent, by default now.
create or replace function secateur.send_to(
  app_id text, event jsonb, idempotency_key text default null, moment timestamptz default clock_timestamp()
)
  returns table (run_id uuid, function_id text, cancellation_id uuid)
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = on set jit = off
as $$
declare
  function text;
begin
  perform secateur.require_event(send_to.event);
  perform secateur.require_key(send_to.idempotency_key);
  perform secateur.require_instant('moment', send_to.moment);
  perform secateur.require_foreign_events(array[send_to.event]);
  return query
  select null::uuid, cancelling.function_id, cancelling.cancellation_id
    from secateur.cancel_by_event(send_to.app_id, send_to.event, send_to.idempotency_key, moment) as cancelling;
  -- point: cancelled
  for function in
    select triggered.function_id
      from (select known.app_id, known.function_id from secateur.functions as known
             where known.triggers @> array[send_to.event ->> 'name'] offset 0) as triggered
     where triggered.app_id = send_to.app_id
       and not exists (select from secateur.forgotten_functions as gone
                        where gone.app_id = triggered.app_id and gone.function_id = triggered.function_id offset 0)
     order by triggered.function_id
  loop
    return query
    select secateur.enqueue(send_to.app_id, function, send_to.event, idempotency_key => send_to.idempotency_key),
           function, null::uuid;
  end loop;
end
$$;

-- Sends an event: cancels the runs that functions declare in cancel_on, then starts a run of every function, of any app, that
-- the event's name triggers and that is not forgotten; all in one transaction. Returns a row for every run, and one with its id for every
-- cancellation. The runs that it starts are not reached by its own cancellations, which end at the moment of the call.
--
-- Repeatable for a day: as far as it cancels, if the event has an `id`; and altogether with an `idempotency_key`, which
-- stands for each function that is triggered as in enqueue. Otherwise runs are started each time. Raises SC422 (event), SC409
-- (another event under the key), SC412 (isolation) where it cancels; then nothing was changed. A transaction that stays open after it claimed does not make
-- it fail: the cancellation is then pending for as long, as any that is committed meanwhile.
--
-- Locks, where it cancels: as commit_cancellation, the exclusive lock of each app whose runs are concerned, in the order of
-- apps.lock_number, until the transaction ends: so end it soon, and do not send in a transaction that claimed.
create or replace function secateur.send(event jsonb, idempotency_key text default null)
  returns table (run_id uuid, app_id text, function_id text, cancellation_id uuid)
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  moment constant timestamptz := clock_timestamp();
  app text;
begin
  perform secateur.require_event(send.event);
  perform secateur.require_key(send.idempotency_key);
  -- Also where no app is concerned.
  perform secateur.require_foreign_events(array[send.event]);
  foreach app in array secateur.apps_of_event(send.event) loop
    return query
    select sent.run_id, app, sent.function_id, sent.cancellation_id
      from secateur.send_to(app, send.event, send.idempotency_key, moment) as sent;
  end loop;
end
$$;

-- Enqueues one run of every function, of any app, that `function.cancelled` triggers, for each of these runs of the app; they
-- were cancelled in this transaction. A run that such an event triggered is passed over, so that nothing goes round in circles.
-- Costs one look at an index while no function asks for it, and one insert per function otherwise. Takes no lock. Where
-- the apps are spread over several servers, only functions of the run's own server are told.
create or replace function secateur.announce_cancelled(app_id text, run_ids uuid[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  -- An index that knows what an event concerns can only be read for a bitmap.
  set enable_seqscan = off set enable_bitmapscan = on set jit = off
as $$
declare
  here constant integer := pg_backend_pid();
  told_apps text[];
  told_functions text[];
  announced jsonb[];
  moment bigint;
begin
  if cardinality(run_ids) = 0 then
    return;
  end if;
  select array_agg(triggered.app_id), array_agg(triggered.function_id) into told_apps, told_functions
    from secateur.functions as triggered
   where triggered.triggers @> array['function.cancelled']
     and not exists (select from secateur.forgotten_functions as gone
                      where gone.app_id = triggered.app_id and gone.function_id = triggered.function_id offset 0);
  if told_apps is null then
    return;
  end if;
  moment := extract(epoch from clock_timestamp()) * 1000;
  select array_agg(
           jsonb_build_object(
             'name', 'function.cancelled',
             'ts', moment,
             'data', jsonb_build_object(
               'run_id', run.id,
               'app_id', run.app_id,
               'function_id', run.function_id,
               'cause', (select case rule.kind when 'bulk' then 'cancellation' else rule.kind end
                           from secateur.cancellations as rule
                          where rule.app_id = announce_cancelled.app_id and rule.id = run.cancellation_id),
               'cancellation_id', run.cancellation_id,
               -- Two levels further down: what just passed as an event must not be refused here.
               'event', case when not (pg_column_size(run.event) > 3000 and run.event @? '$.**{498}') then run.event end))
           order by run.id)
    into announced
    from secateur.runs as run
   where run.app_id = announce_cancelled.app_id
     and run.id = any (announce_cancelled.run_ids)
     and run.event ->> 'name' is distinct from 'function.cancelled';
  if announced is null then
    return;
  end if;
  for i in 1 .. cardinality(told_apps) loop
    -- A run of an app that another server has cannot be enqueued from here.
    if exists (select from secateur.apps where apps.app_id = told_apps[i] and pg_backend_pid() = here) then
      perform secateur.enter_runs(told_apps[i], told_functions[i], announced);
    end if;
  end loop;
end
$$;
