-- Idempotency keys of runs: which run a key stands for, and what becomes of the key when that run ends.
--
-- For a day, a key is held by a run that waits, runs or has completed. The key of a run that was cancelled or has failed for
-- good is free: the next run that is enqueued under it takes it. The old run remembers its successor (`key_taken_by`), so
-- that an undo or a retry does not make both of them wait. Should the successor be cancelled or fail as well, the old run
-- can come back, and takes the key with it.
--
-- Locks: who enqueues under a key locks the key's row first, then the row of the run that had it. Whoever makes ended runs
-- wait again, or deletes them, holds the runs first, and therefore takes keys with SKIP LOCKED only.

-- Whether a run that was enqueued under a key still holds it: unless it was cancelled or has failed for good. A run that
-- waits and that an active cancellation matches is cancelled here, as by a claim that meets it: its cancellation was committed
-- before this call, and whoever sends again must not be told of a run that will never start. If the run is gone,
-- the answer is yes: it had completed, because other runs take their keys along when they are deleted. Part of enqueue.
-- Locks: nothing in most cases; the key, the app's lock, shared, and the run where it cancels.
create or replace function secateur.holds_key(app_id text, run_id uuid)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  found_as text;
  active secateur.cancellations[];
  owner uuid;
begin
  found_as := (select run.status from secateur.runs as run where run.app_id = holds_key.app_id and run.id = holds_key.run_id);
  if found_as is null or found_as not in ('queued', 'scheduled') then
    return coalesce(found_as not in ('failed', 'cancelled'), true);
  end if;
  -- A snapshot of the transaction's own could be older than a stop.
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    return true;
  end if;
  active := array(select rule from secateur.cancellations as rule
                   where rule.app_id = holds_key.app_id and rule.state = 'active' order by rule.serial);
  if not exists (select from secateur.reached(holds_key.app_id, active, array[holds_key.run_id], quickly => true,
                                               budget => '250 ms') as hit
                  where hit.cancellation_id is not null) then
    return true;
  end if;
  -- point: cancelled by its condition
  -- The key first, as in enqueue_once: another sender may have found the run ended before an undo restored it, and hold the key.
  perform from secateur.enqueue_keys as kept
    where kept.app_id = holds_key.app_id
      and (kept.function_id, kept.key) = (select run.function_id, run.idempotency_key from secateur.runs as run
                                           where run.app_id = holds_key.app_id and run.id = holds_key.run_id)
      for update;
  perform secateur.share_app(holds_key.app_id);
  -- point: locked
  active := array(select rule from secateur.cancellations as rule
                   where rule.app_id = holds_key.app_id and rule.state = 'active' order by rule.serial);
  select hit.cancellation_id into owner
    from secateur.reached(holds_key.app_id, active, array[holds_key.run_id], quickly => true,
                                               budget => '250 ms') as hit
   where hit.cancellation_id is not null;
  if owner is not null then
    perform secateur.cancel_backlog(holds_key.app_id, array[holds_key.run_id], array[owner]);
  end if;
  -- A claim may have been faster, or a sweep.
  return not exists (select from secateur.runs as run
                      where run.app_id = holds_key.app_id and run.id = holds_key.run_id
                        and run.status || '' in ('failed', 'cancelled'));
end
$$;

-- Enqueues one run under a key, unless a run holds it: that is returned then. Raises SC409 if that has another event. Part of
-- enqueue. Waits for a transaction that enqueues under the same key.
create or replace function secateur.enqueue_once(
  app_id text, function_id text, event jsonb, scheduled_for timestamptz, priority integer, started_at timestamptz, key text
)
  returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  hash constant bytea := sha256(convert_to(event::text, 'UTF8'));
  nobody constant uuid := '00000000-0000-0000-0000-000000000000';
  known secateur.enqueue_keys;
  found_as text;
  lapsed boolean;
  mine uuid;
  old record;
begin
  perform secateur.ensure_function(enqueue_once.app_id, enqueue_once.function_id);
  perform secateur.require_key(key);
  if event is null then
    raise exception using errcode = 'SC422', column = 'event', message = 'event: must be JSON, not null';
  end if;
  loop
    insert into secateur.enqueue_keys (app_id, function_id, key, run_id, event_hash)
    -- Nobody sees the row before it has the run's id.
    values (enqueue_once.app_id, enqueue_once.function_id, enqueue_once.key, nobody, hash)
    on conflict do nothing;
    if found then
      known := null;
      exit;
    end if;
    -- point: key known
    select kept.* into known from secateur.enqueue_keys as kept
     where kept.app_id = enqueue_once.app_id and kept.function_id = enqueue_once.function_id
       and kept.key = enqueue_once.key;
    -- Its day was over, and somebody has deleted it.
    continue when not found;
    lapsed := known.at < clock_timestamp() - interval '1 day';
    if not lapsed and secateur.holds_key(enqueue_once.app_id, known.run_id) then
      if known.event_hash <> hash then
        raise exception using errcode = 'SC409', column = 'idempotency_key',
          message = format('idempotency key %s was already used for another event', quote_literal(enqueue_once.key));
      end if;
      return known.run_id;
    end if;
    -- point: key free
    perform from secateur.enqueue_keys as kept
      where kept.app_id = enqueue_once.app_id and kept.function_id = enqueue_once.function_id
        and kept.key = enqueue_once.key and kept.run_id = known.run_id
        for update;
    -- Somebody else was faster.
    continue when not found;
    -- point: key locked
    select run.status into found_as
      from secateur.runs as run where run.app_id = enqueue_once.app_id and run.id = known.run_id for update;
    -- An undo or a retry was.
    exit when lapsed or coalesce(found_as in ('failed', 'cancelled'), true);
  end loop;
  -- point: key taken
  mine := (select secateur.enqueue_many(
             app_id, function_id, array[event], array[scheduled_for], array[priority], array[started_at]));
  update secateur.runs as run set idempotency_key = enqueue_once.key where run.app_id = enqueue_once.app_id and run.id = mine;
  update secateur.enqueue_keys as kept set run_id = mine, event_hash = hash, at = clock_timestamp()
   where kept.app_id = enqueue_once.app_id and kept.function_id = enqueue_once.function_id and kept.key = enqueue_once.key;
  if found_as in ('failed', 'cancelled') then
    update secateur.runs as run set key_taken_by = mine
     where run.app_id = enqueue_once.app_id and run.id = known.run_id;
  end if;
  for old in
    select past.function_id, past.key, past.at from secateur.enqueue_keys as past
     where past.app_id = enqueue_once.app_id and past.at < now() - interval '1 day'
     order by past.at limit 10 for update skip locked
  loop
    -- By the key or by the time: either finds the one row.
    delete from secateur.enqueue_keys as kept
     where kept.app_id = enqueue_once.app_id and kept.function_id = old.function_id and kept.key = old.key
       and kept.at = old.at;
  end loop;
  return mine;
end
$$;

-- Takes back the key of an ended run, which the caller holds, from the last of those that took it one after the other.
-- False: that one waits, runs or has completed, or is gone; or it is one of `back`, which are about to wait again. Null:
-- somebody is at the key, or at that run, right now. Part of reclaim_keys.
create or replace function secateur.reclaim_key(app_id text, run_id uuid, back uuid[])
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  mine secateur.runs;
  heir uuid;
  holder uuid;
begin
  select run.* into mine from secateur.runs as run where run.app_id = reclaim_key.app_id and run.id = reclaim_key.run_id;
  if mine.key_taken_by is null then
    return true;
  end if;
  select kept.run_id into holder from secateur.enqueue_keys as kept
   where kept.app_id = reclaim_key.app_id and kept.function_id = mine.function_id and kept.key = mine.idempotency_key
     for update skip locked;
  if not found and exists (
       select from secateur.enqueue_keys as kept
        where kept.app_id = reclaim_key.app_id and kept.function_id = mine.function_id and kept.key = mine.idempotency_key) then
    return null;
  end if;
  -- point: key locked
  with recursive line as (
    select run.id, run.key_taken_by from secateur.runs as run
     where run.app_id = reclaim_key.app_id and run.id = mine.key_taken_by
    union all
    select next.id, next.key_taken_by
      from line,
           lateral (select run.id, run.key_taken_by from secateur.runs as run
                     where run.app_id = reclaim_key.app_id and run.id = line.key_taken_by offset 0) as next
  )
  select line.id into heir from line where line.key_taken_by is null;
  if heir is null or heir = any (back) or not exists (
       select from secateur.runs as run where run.app_id = reclaim_key.app_id and run.id = heir
          and run.status || '' in ('failed', 'cancelled')) then
    return false;
  end if;
  perform from secateur.runs as run
    where run.app_id = reclaim_key.app_id and run.id = heir and run.status || '' in ('failed', 'cancelled')
      and run.key_taken_by is null
      for update skip locked;
  if not found then
    return null;
  end if;
  -- After its day, somebody who need not know of these may have the key.
  if holder <> heir and secateur.holds_key(reclaim_key.app_id, holder) then
    return false;
  end if;
  update secateur.runs as run set key_taken_by = case run.id when heir then reclaim_key.run_id end
   where run.app_id = reclaim_key.app_id and run.id = any (array[heir, reclaim_key.run_id]);
  update secateur.enqueue_keys as kept set run_id = reclaim_key.run_id, event_hash = sha256(convert_to(mine.event::text, 'UTF8'))
   where kept.app_id = reclaim_key.app_id and kept.function_id = mine.function_id and kept.key = mine.idempotency_key;
  return true;
end
$$;

-- Which of these ended runs may wait again, as far as their keys go (`free`), and at whose keys somebody is right now
-- (`busy`): ask again for those. The keys of all others are taken. Of several that had the same key the first may. The caller
-- makes those that are free wait in the same transaction. Part of a restore and of a retry.
-- Locks: runs that have a key, and their successors, and keys; all with SKIP LOCKED.
create or replace function secateur.reclaim_keys(app_id text, run_ids uuid[], out free uuid[], out busy uuid[])
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  keyed uuid[];
  locked uuid[];
  one uuid;
  reclaimed boolean;
begin
  keyed := array(select run.id from secateur.runs as run
                  where run.app_id = reclaim_keys.app_id and run.id = any (run_ids) and run.idempotency_key is not null);
  if cardinality(keyed) = 0 then
    free := run_ids;
    busy := '{}';
    return;
  end if;
  locked := array(select run.id from secateur.runs as run
                   where run.app_id = reclaim_keys.app_id and run.id = any (keyed)
                     and run.status || '' in ('failed', 'cancelled')
                   order by run.id
                     for update skip locked);
  -- point: runs locked
  free := array(select unnest(run_ids) except select unnest(keyed));
  busy := array(select unnest(keyed) except select unnest(locked));
  foreach one in array locked loop
    reclaimed := secateur.reclaim_key(reclaim_keys.app_id, one, free);
    if reclaimed then
      free := free || one;
    elsif reclaimed is null then
      busy := busy || one;
    end if;
  end loop;
end
$$;

-- Lets go of the keys of runs that failed or were cancelled and are about to be deleted. Part of a prune.
-- Locks: keys, skipping locked ones: whoever holds one is taking it.
create or replace function secateur.drop_keys(app_id text, run_ids uuid[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  old record;
begin
  for old in
    select kept.function_id, kept.key, kept.at
      from secateur.runs as run,
           lateral (select one.function_id, one.key, one.at from secateur.enqueue_keys as one
                     where one.app_id = drop_keys.app_id and one.function_id = run.function_id
                       and one.key = run.idempotency_key and one.run_id = run.id
                    offset 0
                       for update skip locked) as kept
     where run.app_id = drop_keys.app_id and run.id = any (run_ids) and run.idempotency_key is not null
       and run.status || '' in ('failed', 'cancelled')
  loop
    -- By the key or by the time: either finds the one row.
    delete from secateur.enqueue_keys as kept
     where kept.app_id = drop_keys.app_id and kept.function_id = old.function_id and kept.key = old.key
       and kept.at = old.at;
  end loop;
end
$$;
