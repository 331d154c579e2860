-- Sending events. An event starts a run of each function that it triggers, and cancels runs of those that name it in cancel_on.

-- Returns the cancellation that a declaration of cancel_on means for an event, as commit_cancellation would record it. In its
-- condition `async` is the event; its window ends at `moment`. Null if the event lacks the field of `match`: then no run can
-- match. `declared` is an element of functions.cancel_on (`event`, `match`, `if`, `timeout`, and the compiled `condition`,
-- `parameters` and `compiler`). Part of send.
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
    -- Not for a number: it may equal one that is written differently, and containment would tell them apart.
    if jsonb_typeof(value) in ('string', 'boolean', 'null') then
      foreach key in array (select array_agg(keys[k] order by k desc) from generate_subscripts(keys, 1) as k) loop
        value := jsonb_build_object(key, value);
      end loop;
      rule.requires := array[value];
    end if;
  end if;
  rule.request := jsonb_build_object(
    'app_id', rule.app_id, 'function_id', rule.function_id, 'if', rule."if",
    -- Of a large event only the name and the like are kept: each page of the history reads the record.
    'event', case when pg_column_size(event) <= 1000000 then event else event - array['data', 'user'] end);
  return rule;
end
$$;

-- Says whether a cancellation can match an unfinished run; false only if it plainly cannot. So an event that concerns no run
-- leaves no trace. Looks at 1,000 runs at most: if there are more, the answer is true. Takes no lock. Part of send.
--
-- A run of a transaction that is still open cannot be seen yet, but is meant as well. That transaction has held a lock on the
-- table since it wrote the run. Most last for milliseconds, so this waits for them, up to ten times 2 ms; after that the answer
-- is true.
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

-- Commits a cancellation for each declaration of cancel_on in the app that the event fits, as of `moment`. `key` identifies an
-- event that has no id. Returns what was committed, now or by an earlier call with the same event. Part of send.
-- Raises SC412 above READ COMMITTED, SC422 for an event that is nested too deeply.
create or replace function secateur.cancel_by_event(app_id text, event jsonb, key text, moment timestamptz)
  returns table (cancellation_id uuid, function_id text)
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  -- A GIN index, which finds the functions that an event concerns, is only read by a bitmap scan.
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
      -- By id or by time: the index on either finds the one row.
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

-- Returns the apps that an event concerns, by a trigger or by cancel_on, in the order in which send takes their locks.
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

-- Sends an event to one app: see send, also for what it raises and locks. `moment` is when the event was sent, by default now.
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

-- Sends an event to all apps, in one transaction. First it commits a cancellation for each declaration of cancel_on that the event
-- fits. Then it starts a run of each function that the event's name triggers, unless the function is forgotten. Returns a row for
-- each run, and a row with `cancellation_id` for each cancellation. These cancellations end at the moment of the call, so they
-- do not reach the runs that it starts.
--
-- What is repeatable, for a day: the cancellations, if the event has an `id`; everything, with an `idempotency_key`, which
-- counts for each triggered function as in enqueue. Without a key, each call starts runs.
--
-- Raises SC422 for the event or the key, SC409 for another event under the same key and, where it cancels, SC412 above READ
-- COMMITTED; then nothing has changed. It does not fail because of a transaction that stays open after a claim: the cancellation
-- is then pending, like any that is committed meanwhile.
--
-- Locks, where it cancels: the lock of each app concerned, as commit_cancellation does, in the order of apps.lock_number, until
-- the transaction ends. So end it soon, and do not send in a transaction that has claimed.
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
  -- Even if the event concerns no app.
  perform secateur.require_foreign_events(array[send.event]);
  foreach app in array secateur.apps_of_event(send.event) loop
    return query
    select sent.run_id, app, sent.function_id, sent.cancellation_id
      from secateur.send_to(app, send.event, send.idempotency_key, moment) as sent;
  end loop;
end
$$;

-- Enqueues a run of each function, of any app, that `function.cancelled` triggers, for each of these runs of the app, which this
-- transaction cancelled. It passes over runs that such an event started, so that nothing goes round in circles. Costs one look
-- at an index if no function asks for it, else one insert per function. Takes no lock. Where apps are spread over several
-- servers, only functions on the run's own server are told.
create or replace function secateur.announce_cancelled(app_id text, run_ids uuid[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  -- A GIN index, which finds the functions that an event concerns, is only read by a bitmap scan.
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
               -- It is two levels deeper here: an event that was just deep enough to be accepted must not be refused.
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
    -- This server cannot enqueue a run of an app that is on another.
    if exists (select from secateur.apps where apps.app_id = told_apps[i] and pg_backend_pid() = here) then
      perform secateur.enter_runs(told_apps[i], told_functions[i], announced);
    end if;
  end loop;
end
$$;
