-- Committing cancellations, and putting pending ones in force. undoing.sql stops them and takes them back.

-- lock_app, answering false instead of raising.
create or replace function secateur.try_lock_app(app_id text, patience interval)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform secateur.lock_app(try_lock_app.app_id, patience);
  return true;
exception when sqlstate 'SC423' then
  return false;
end
$$;

-- Puts a pending cancellation in force: the caller holds the app's lock exclusive, so every claim that had not seen the
-- record is over, and what it claimed is visible and asked to stop now. Gives way to whoever holds the record, who may be
-- waiting for the same lock. Returns the record as it is then.
create or replace function secateur.put_in_force(app_id text, cancellation_id uuid)
  returns secateur.cancellations
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  moment constant timestamptz := clock_timestamp();
  pending secateur.cancellations;
begin
  select rule.* into pending from secateur.cancellations as rule
   where rule.app_id = put_in_force.app_id and rule.id = put_in_force.cancellation_id
     for no key update skip locked;
  if pending.state = 'active' and pending.in_force_at is null then
    update secateur.cancellations as rule
       set in_force_at = moment,
           -- A gate may have gone since the commit.
           gated = rule.gated and secateur.obeys(rule.app_id)
     where rule.app_id = put_in_force.app_id and rule.id = pending.id
    returning rule.* into pending;
    -- point: in force
    perform secateur.compile_gate_of(pending.app_id);
    perform secateur.request_running(pending);
    perform pg_notify('secateur_cancellations', pending.id::text);
  elsif pending.id is null then
    select rule.* into pending from secateur.cancellations as rule
     where rule.app_id = put_in_force.app_id and rule.id = put_in_force.cancellation_id;
  end if;
  return pending;
end
$$;

-- Raises SC409 if the app would have too many active cancellations with `more` of the draft's: each of them costs every claim of
-- the app something. What an event or a single run asks for is not refused for that.
create or replace function secateur.require_room(draft secateur.cancellations, more integer)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  if draft.source <> 'event' and more + (
       select count(*) from secateur.cancellations as rule
        where rule.app_id = draft.app_id and rule.state = 'active' and rule.kind = 'bulk' and rule.source <> 'event') > 200 then
    raise exception using errcode = 'SC409', column = 'app_id',
      message = format('app %s would have more than 200 active cancellations; each one slows down every claim',
                       quote_literal(draft.app_id)),
      hint = 'wait until some complete, stop some, or combine several into one with a wider `if`';
  end if;
end
$$;

-- Commits a draft for the functions: see commit_cancellations. The draft has all that its author gave, and its kind.
create or replace function secateur.commit_draft(draft secateur.cancellations, ids uuid[], function_ids text[])
  returns setof secateur.cancellations
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  held boolean;
  moment timestamptz;
  made secateur.cancellations;
  committed secateur.cancellations;
begin
  perform secateur.require_read_committed();
  perform secateur.require_draft(draft, ids, function_ids);
  perform secateur.require_within_budget(draft, function_ids);
  -- point: before the lock
  held := secateur.try_lock_app(draft.app_id, '250 ms');
  -- point: locked
  moment := clock_timestamp();
  draft.state := 'active';
  draft.standing := coalesce(draft.standing, false);
  draft.created_at := moment;
  draft.in_force_at := case when held then moment end;
  committed := secateur.committed_under(draft.app_id, draft.idempotency_key, draft.request);
  if committed.id is null then
    perform secateur.require_window(draft);
    perform secateur.require_free_ids(draft.app_id, ids);
    perform secateur.require_room(draft, cardinality(ids));
    -- point: before the record
    for made in select * from secateur.records_of(draft, ids, function_ids) loop
      committed := secateur.insert_record(made);
      exit when committed.id is null;
      -- point: recorded
      perform secateur.request_running(committed);
      -- point: running runs asked to stop
      perform secateur.announce_commit(
        committed, jsonb_build_object('guarantee', case when not held then 'pending' when committed.gated then 'in_force' else 'swept' end));
      return next committed;
    end loop;
    if committed.id is not null then
      return;
    end if;
  end if;
  for made in select * from secateur.records_of(draft, ids, function_ids) loop
    committed := secateur.committed_under(made.app_id, made.idempotency_key, made.request);
    if held and committed.state = 'active' and committed.in_force_at is null then
      committed := secateur.put_in_force(committed.app_id, committed.id);
    end if;
    return next committed;
  end loop;
end
$$;

-- Commits a cancellation of one app's functions (`function_ids` null: of all of them together), one for each function, all
-- or nothing; `ids` are theirs. The draft has what they share: see draft_of. Returns their records in the order of the functions.
--
-- O(running runs), whatever the backlog: it inserts the record, and a cancel request for each matching running run.
-- Repeatable under its idempotency key: the same request gives the same records, another one raises SC409. (The first
-- function's record has the key itself. The others' keys are made of it.)
-- Raises SC404, SC422 with the field (app or functions unknown, window, rate), SC400 (condition), SC403 (the app's budget: see
-- proposing.sql).
--
-- In force: the commit holds the app's lock, exclusive, until its transaction ends. From then on no matching run is claimed, and no
-- further step of one begins.
--
-- Pending: an open transaction that claimed has held the lock for longer than 250 ms. The record is inserted all the same.
-- * Promised: the record is durable. Every claim that begins after this transaction has ended honours it, since a claim reads the
--   records after taking the lock. All matching runs that were seen running are asked to stop.
-- * Not promised yet: runs that an open claim has taken, which read the records before. They become visible when that claim ends, and can
--   then begin steps, until put_in_force asks them to stop. That needs the exclusive lock, which is free when all those claims
--   have ended. No sweep begins before, so nothing can become complete.
--
-- Locks: the app's, exclusive, until the transaction ends; no run. Its time is taken after the lock or the attempt; then the
-- horizon: see insert_record.
create or replace function secateur.commit_cancellations(ids uuid[], function_ids text[], draft jsonb)
  returns setof secateur.cancellations
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  given secateur.cancellations := secateur.draft_of(draft);
begin
  given.kind := 'bulk';
  return query select committed.* from secateur.commit_draft(given, ids, function_ids) as committed;
end
$$;

-- commit_cancellations of one function, or of all of an app together, for people and programs that write SQL by hand.
create or replace function secateur.commit_cancellation(
  id uuid,
  app_id text,
  function_id text,
  "if" text,
  started_after timestamptz,
  started_before timestamptz,
  standing boolean,
  condition text,
  parameters jsonb,
  compiler integer,
  request jsonb,
  idempotency_key text,
  reason text,
  source text,
  created_by text,
  expected bigint,
  expected_by_function jsonb,
  rate integer default null,
  requires jsonb[] default null,
  requires_suffices boolean default false,
  expected_exact boolean default true
)
  returns secateur.cancellations
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  draft secateur.cancellations;
  committed secateur.cancellations;
begin
  draft.kind := 'bulk';
  draft.standing := standing;
  draft.app_id := app_id;
  draft."if" := "if";
  draft.started_after := started_after;
  draft.started_before := started_before;
  draft.condition := condition;
  draft.parameters := parameters;
  draft.compiler := compiler;
  draft.request := request;
  draft.idempotency_key := idempotency_key;
  draft.reason := reason;
  draft.source := source;
  draft.created_by := created_by;
  draft.expected := expected;
  draft.expected_exact := expected_exact;
  draft.expected_by_function := expected_by_function;
  draft.rate := rate;
  draft.requires := requires;
  draft.requires_suffices := requires_suffices;
  select made.* into committed
    from secateur.commit_draft(draft, array[id], case when function_id is not null then array[function_id] end) as made;
  return committed;
end
$$;

-- Puts a pending cancellation in force if every transaction that had not seen it is over; true when it is in force, or
-- active no more. Anybody may call this, as often as they like: sweepers do. Raises SC404.
-- Locks: the record, which keeps a stop waiting for one slice of the lock at most; then the app's, exclusive, tried once.
create or replace function secateur.confirm_cancellation(app_id text, id uuid)
  returns boolean
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  rule secateur.cancellations;
begin
  perform secateur.require_read_committed();
  select pending.* into rule
    from secateur.cancellations as pending
   where pending.app_id = confirm_cancellation.app_id and pending.id = confirm_cancellation.id
     for no key update;
  if not found then
    raise exception using errcode = 'SC404', message = format('there is no cancellation %s', confirm_cancellation.id);
  end if;
  if rule.state <> 'active' or rule.in_force_at is not null then
    return true;
  end if;
  -- point: before the lock
  if not secateur.try_lock_app(rule.app_id, '50 ms') then
    return false;
  end if;
  -- point: locked
  perform secateur.put_in_force(rule.app_id, rule.id);
  return true;
end
$$;

-- Commits a retry of one app's functions; parameters, keys and records are as for commit_cancellations, and so is what it
-- raises. The runs that it means are those that had failed, or had been cancelled if `with_cancelled`, before this moment.
-- O(1), and takes no lock.
create or replace function secateur.commit_retries(ids uuid[], function_ids text[], draft jsonb)
  returns setof secateur.cancellations
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  given secateur.cancellations := secateur.draft_of(draft);
  made secateur.cancellations;
  committed secateur.cancellations;
begin
  given.kind := 'retry';
  given.state := 'retrying';
  given.standing := false;
  perform secateur.require_read_committed();
  perform secateur.require_draft(given, ids, function_ids);
  given.created_at := clock_timestamp();
  given.in_force_at := given.created_at;
  perform secateur.require_window(given);
  committed := secateur.committed_under(given.app_id, given.idempotency_key, given.request);
  if committed.id is null then
    perform secateur.require_free_ids(given.app_id, ids);
  end if;
  for made in select * from secateur.records_of(given, ids, function_ids) loop
    committed := secateur.insert_record(made);
    if committed.id is null then
      committed := secateur.committed_under(made.app_id, made.idempotency_key, made.request);
    else
      -- point: recorded
      perform secateur.announce_commit(committed, '{"kind": "retry"}');
    end if;
    return next committed;
  end loop;
end
$$;
