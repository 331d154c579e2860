-- Giving runs to workers.

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
  with failed as (
    update secateur.runs as run
       set status = 'failed',
           finished_at = clock_timestamp(),
           lease_expires_at = null,
           error = 'the lease ended: the worker stopped without saying so'
     where run.id = any (array(select unnest(spent) except select unnest(cancelled)))
    returning run.function_id
  ), requeued as (
    update secateur.runs as run
       set status = 'queued', claim_token = null, lease_expires_at = null, worker = null
     where run.id = any (array(select unnest(ids) except select unnest(spent || cancelled)))
    returning run.function_id
  )
  insert into secateur.depth_deltas (app_id, function_id, queued, running, drained)
  select recover_expired.app_id, ended.function_id, sum(ended.queued), -count(*), sum(1 - ended.queued)
    from (select failed.function_id, 0 as queued from failed
          union all
          select requeued.function_id, 1 from requeued) as ended
   group by ended.function_id;
end
$$;

-- Makes up to 1,000 runs per function that have become due claimable. Skips locked rows. Part of a claim.
create or replace function secateur.promote_due(app_id text, function_ids text[])
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off
as $$
  with promoted as (
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
    returning run.function_id
  )
  insert into secateur.depth_deltas (app_id, function_id, queued, scheduled)
  select promote_due.app_id, promoted.function_id, count(*), -count(*) from promoted group by promoted.function_id
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
  ), counted as (
    insert into secateur.depth_deltas (app_id, function_id, queued, running)
    select granted.app_id, granted.function_id, -count(*), count(*) from granted group by 1, 2
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
