-- Committing cancellations, and putting pending ones in force. undoing.sql stops them and takes them back.

-- As lock_app, but returns false instead of raising.
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

-- Puts a pending cancellation in force: the caller holds the app's lock exclusive, so every claim that had not seen the record is
-- over, and what it claimed is visible and asked to stop now. Gives way to whoever holds the record, because that transaction may
-- be waiting for the same lock. Returns the record as it is then.
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
    if secateur.home_of(pending.app_id) is null then
      perform secateur.request_running(pending);
    else
      perform secateur.compile_gate_of(pending.app_id);
    end if;
    perform pg_notify('secateur_cancellations', pending.id::text);
  elsif pending.id is null then
    select rule.* into pending from secateur.cancellations as rule
     where rule.app_id = put_in_force.app_id and rule.id = put_in_force.cancellation_id;
  end if;
  return pending;
end
$$;

-- Raises SC409 if the app would have too many active cancellations with `more` of the draft's: each of them makes every claim of
-- the app slower. Cancellations by an event or of a single run are not refused for that.
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

-- Commits a draft for the functions: see commit_cancellations and, for other engines' queues, commit_jobs. The draft has everything
-- that its author gave, and its kind. Its `gated` is null for secateur's own queue.
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
      if draft.gated is null then
        perform secateur.request_running(committed);
      end if;
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

-- Puts a pending cancellation in force if every transaction that had not seen it is over, and makes a pending stop or undo final.
-- Returns true if it is in force, or no longer active and not `ending`. Anybody may call this, as often as they like: sweepers do.
-- Raises SC404. Locks: the record, which keeps a stop waiting for one slice of the lock at most; then the app's, exclusive, tried
-- once. For a stop or undo: see settle_ending.
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
   where pending.app_id = confirm_cancellation.app_id and pending.id = confirm_cancellation.id;
  if not found then
    raise exception using errcode = 'SC404', message = format('there is no cancellation %s', confirm_cancellation.id);
  elsif rule.ending then
    return secateur.settle_ending(rule.app_id, rule.id);
  end if;
  select pending.* into rule
    from secateur.cancellations as pending
   where pending.app_id = confirm_cancellation.app_id and pending.id = confirm_cancellation.id
     for no key update;
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
