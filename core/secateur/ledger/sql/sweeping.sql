-- Rewriting the rows that a committed cancellation matches, in the background.

-- The next `batch` backlog runs, or for a retry ended runs, of a cancellation's scope behind a sweep's place, in the order of its pass.
create or replace function secateur.backlog_after(rule secateur.cancellations, place secateur.sweeps, batch integer)
  returns table (function_id text, status text, run_id uuid)
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
  -- A plan for any status could not use an index that has only some.
  set plan_cache_mode = force_custom_plan set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  part record;
  wanted integer := backlog_after.batch;
  got integer;
begin
  for part in
    select known.function_id, walked.status
      from secateur.functions as known,
           (values ('scheduled', 1, false), ('queued', 2, false), ('cancelled', 1, true), ('failed', 2, true))
             as walked (status, turn, ended)
     where known.app_id = rule.app_id
       and walked.ended = (rule.kind = 'retry')
       and (walked.status <> 'cancelled' or rule.with_cancelled)
       and (rule.function_id is null or known.function_id = rule.function_id)
       and (place.function_id is null or known.function_id > place.function_id
            or (known.function_id = place.function_id
                and (walked.status = place.status or place.status in ('scheduled', 'cancelled'))))
     order by known.function_id, walked.turn
  loop
    return query
    select part.function_id, part.status, run.id
      from secateur.runs as run
     where run.app_id = rule.app_id
       and run.function_id = part.function_id
       and run.status = part.status
       and run.id > case when part.function_id = place.function_id and part.status = place.status
                         then place.run_id else '00000000-0000-0000-0000-000000000000' end
     order by run.id
     limit wanted;
    get diagnostics got = row_count;
    wanted := wanted - got;
    exit when wanted = 0;
  end loop;
end
$$;

-- Takes the gate of the app's sweeps shared for the rest of the transaction; false when a stop or an undo has it, or waits for
-- it: the batch gives way. Part of a sweep.
create or replace function secateur.enter_sweeps(app_id text)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp set lock_timeout = '50ms'
as $$
begin
  return secateur.take_lock(enter_sweeps.app_id, 'sweeps', 'row share');
exception when lock_not_available then
  return false;
end
$$;

-- The parts in which a batch is evaluated, small ones first: it is not known what a condition takes.
create or replace function secateur.chunks(total integer)
  returns table (first integer, size integer)
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  first := 1;
  size := 500;
  while first <= total loop
    return next;
    first := first + size;
    size := least(4 * size, 5000);
  end loop;
end
$$;

-- The active cancellations that come before this one.
create or replace function secateur.older_active(rule secateur.cancellations)
  returns secateur.cancellations[]
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
begin
  return array(select active from secateur.cancellations as active
                where active.app_id = rule.app_id and active.state = 'active' and active.serial < rule.serial
                order by active.serial);
end
$$;

-- Rewrites one batch of the backlog that an active cancellation matches, looking at up to `batch` runs. One transaction a
-- call; whoever calls next, in whichever process, goes on where the last one ended.
--
-- A pending cancellation is only tried to be put in force: a batch would wait for rows that the older claims hold. So each
-- pass begins after those are over.
--
-- A pass walks function by function, `scheduled` before `queued` (a run that is promoted meanwhile is met again), in id
-- order. A pass is clean when it found nothing and saw all that transactions older than the horizon wrote; from then on
-- only requests are settled, unless a run comes back from one. Clean, and no running run still asked to stop: complete.
--
-- A standing cancellation has no horizon before its window has ended; until then claims cancel what arrives, and the
-- pause between two passes is ten times as long as the last one (5 s at least). With a rate, a batch ends with the run
-- that uses up a quarter of a second of it, and the next one waits. (Claims know no rate: the guarantee comes first.)
--
-- A matching run belongs to the oldest active cancellation that matches it, whoever sweeps. Runs on which the condition takes too
-- long are left to decide_slowly, and what it finds to match is cancelled here; it is not complete before.
--
-- Locks: the gate of the app's sweeps, shared, so that a stop or undo waits for the batch, giving way to one that waits; its
-- place, tried, so that one process sweeps it; requests of runs that left their claim; matching rows in id order. Part of a sweep.
create or replace function secateur.sweep_batch(app_id text, id uuid, batch integer)
  returns secateur.sweep_step
  language plpgsql
  set search_path = pg_catalog, pg_temp
  -- For as many as there are: it joins lists.
  set plan_cache_mode = force_custom_plan
as $$
declare
  rule secateur.cancellations;
  place secateur.sweeps;
  wanted integer := sweep_batch.batch;
  quota integer;
  walk uuid[] := '{}';
  functions text[];
  statuses text[];
  requeued bigint;
  paused boolean;
  waiting boolean := false;
  step secateur.sweep_step;
  older secateur.cancellations[];
  hit_runs uuid[] := '{}';
  hit_rules uuid[];
  failing uuid[] := '{}';
  slow uuid[] := '{}';
  begun constant timestamptz := clock_timestamp();
  chunk uuid[];
  seen integer := 0;
  moment timestamptz;
begin
  select active.* into rule
    from secateur.cancellations as active
   where active.app_id = sweep_batch.app_id and active.id = sweep_batch.id;
  if rule.state = 'active' and rule.in_force_at is null then
    return row('active', 0, false, not secateur.confirm_cancellation(rule.app_id, rule.id), 0, null, 0)::secateur.sweep_step;
  end if;
  if rule.id is null then
    raise exception using errcode = 'SC404', message = format('there is no cancellation %s', sweep_batch.id);
  end if;
  -- point: in force
  if not secateur.enter_sweeps(sweep_batch.app_id) then
    return row(rule.state, 0, false, true, 0, 0.05, 0)::secateur.sweep_step;
  end if;
  -- point: in the gate
  select active.* into rule
    from secateur.cancellations as active
   where active.app_id = sweep_batch.app_id and active.id = sweep_batch.id;
  step := row(case when rule.state = 'undone' and rule.restored_at is null then 'restoring' else rule.state end,
              0, false, false, 0, null, 0);
  if rule.state = 'retrying' then
    return secateur.retry_batch(rule, wanted);
  elsif rule.state <> 'active' then
    return step;
  end if;
  select sweeps.* into place
    from secateur.sweeps where sweeps.app_id = sweep_batch.app_id and sweeps.cancellation_id = rule.id
     for no key update skip locked;
  if not found then
    step.busy := true;
    return step;
  end if;
  perform secateur.cancel_abandoned(sweep_batch.app_id, rule.id);
  requeued := secateur.settle_requests(sweep_batch.app_id, rule.id);
  place.clean := place.clean and requeued = 0;
  if place.horizon > pg_snapshot_xmax(pg_current_snapshot()) then
    -- Another server's number: the tables were restored from a dump, or the app was moved. No transaction survives that, but
    -- the pass must begin again to be compared with a number of this one.
    place.horizon := null;
    place.pass_xmin := null;
    place.function_id := null;
    place.status := null;
    place.run_id := null;
    place.clean := false;
  end if;
  if place.horizon is null and rule.started_before <= clock_timestamp() then
    place.horizon := secateur.horizon(sweep_batch.app_id, rule.id);
    place.next_at := null;
  end if;
  paused := coalesce(place.next_at > clock_timestamp(), false);
  if place.function_id is null and not paused then
    -- A pass that found nothing but began too early: walking again is of no use before the old transactions have ended.
    waiting := place.horizon is not null and place.pass > 0 and place.found + requeued = 0 and not place.clean
      and pg_snapshot_xmin(pg_current_snapshot()) < place.horizon;
    if not (place.clean or waiting) then
      place.pass := place.pass + 1;
      place.pass_xmin := pg_snapshot_xmin(pg_current_snapshot());
      place.pass_at := clock_timestamp();
    end if;
    place.found := 0;
  end if;
  place.found := place.found + requeued;
  -- point: pass begun
  if not (place.clean or waiting or paused) then
    wanted := least(wanted, case when rule.rate is not null then greatest(1000, rule.rate) end);
    if rule.run_id is null then
      select coalesce(array_agg(next.run_id), '{}'), array_agg(next.function_id), array_agg(next.status)
        into walk, functions, statuses
        from secateur.backlog_after(rule, place, wanted) as next;
    else
      select coalesce(array_agg(run.id), '{}'), array_agg(run.function_id), array_agg(run.status)
        into walk, functions, statuses
        from secateur.runs as run
       where run.app_id = sweep_batch.app_id and run.id = rule.run_id
         and run.status || '' in ('queued', 'scheduled');
    end if;
  end if;
  -- point: batch read
  if cardinality(walk) > 0 then
    -- For half a second, so that a stop need not wait for long: what is left is for the next call.
    for chunk in select walk[first:first + size - 1] from secateur.chunks(cardinality(walk)) as part (first, size) loop
      exit when seen > 0 and clock_timestamp() > begun + interval '0.5 seconds';
      select hit_runs || coalesce(array_agg(hit.run_id) filter (where hit.cancellation_id is not null), '{}'),
             -- What cannot be evaluated is counted in the first pass.
             failing || coalesce(array_agg(hit.run_id) filter (
               where hit.cancellation_id is null and hit.undecided_by is null), '{}'),
             slow || coalesce(array_agg(hit.run_id) filter (where hit.undecided_by is not null), '{}')
        into hit_runs, failing, slow
        from secateur.reached(sweep_batch.app_id, array[rule], chunk, quickly => place.pass > 1, budget => '500 ms') as hit;
      seen := seen + cardinality(chunk);
    end loop;
    if seen < cardinality(walk) then
      walk := walk[:seen];
      wanted := seen;
    end if;
    -- Who is undecided and cannot be kept in mind has to be met again.
    place.found := place.found + cardinality(slow)
      - cardinality(secateur.keep_undecided(sweep_batch.app_id, slow, array_fill(rule.id, array[cardinality(slow)])));
    quota := ceil(rule.rate / 4.0);
    if cardinality(hit_runs) > quota then
      walk := walk[:(select hit.place
                       from unnest(walk) with ordinality as hit (id, place)
                      where hit.id = any (hit_runs)
                      order by hit.place offset quota - 1 limit 1)];
      hit_runs := array(select unnest(hit_runs) intersect select unnest(walk));
      wanted := cardinality(walk);
    end if;
    hit_rules := array_fill(rule.id, array[cardinality(hit_runs)]);
    -- point: batch evaluated
    -- Nobody stops or undoes one of these before the batch is visible: that takes the gate.
    older := secateur.older_active(rule);
  end if;
  -- point: owners known
  if cardinality(walk) > 0 then
    if place.pass = 1 then
      insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, errors)
      select sweep_batch.app_id, rule.id, run.function_id, count(*)
        from unnest(walk, functions[:cardinality(walk)]) as run (id, function_id)
        join unnest(failing) as failed (id) using (id)
       group by run.function_id;
    end if;
    if cardinality(older) > 0 then
      select coalesce(array_agg(hit.id), '{}'), coalesce(array_agg(coalesce(owner.cancellation_id, hit.rule_id)), '{}')
        into hit_runs, hit_rules
        from unnest(hit_runs, hit_rules) as hit (id, rule_id)
        left join secateur.reached(sweep_batch.app_id, older, hit_runs, quickly => true, budget => '250 ms') as owner
          on owner.run_id = hit.id;
    end if;
    step.cancelled := secateur.cancel_backlog(sweep_batch.app_id, hit_runs, hit_rules);
    -- point: batch cancelled
    place.found := place.found + step.cancelled;
    place.function_id := functions[cardinality(walk)];
    place.status := statuses[cardinality(walk)];
    place.run_id := walk[cardinality(walk)];
    place.next_at := clock_timestamp() + step.cancelled * interval '1 second' / rule.rate;
  end if;
  step.cancelled := step.cancelled + secateur.cancel_decided(rule);
  -- point: decided ones cancelled
  if place.clean or (cardinality(walk) < wanted and not paused) then
    place.clean := place.clean or coalesce(not waiting and place.found = 0 and place.pass_xmin >= place.horizon, false);
    if place.clean
       and not exists (select from secateur.cancel_requests as open
                        where open.app_id = sweep_batch.app_id and open.cancellation_id = rule.id
                          and open.outcome is null)
       and not exists (select from secateur.slow_verdicts as slow
                        where slow.app_id = sweep_batch.app_id and slow.cancellation_id = rule.id
                          and slow.verdict is not false) then
      moment := clock_timestamp();
      update secateur.cancellations as swept
         set state = 'complete', completed_at = moment
       where swept.app_id = sweep_batch.app_id and swept.id = rule.id;
      step.state := 'complete';
    else
      step.idle := place.found = 0;
    end if;
    if place.horizon is null then
      place.next_at := least(
        rule.started_before,
        clock_timestamp() + greatest(interval '5 seconds', 10 * (clock_timestamp() - place.pass_at)));
    end if;
    place.function_id := null;
    place.status := null;
    place.run_id := null;
  end if;
  if place.next_at > clock_timestamp() and step.state = 'active' then
    step.idle := true;
    step.wait := extract(epoch from place.next_at - clock_timestamp());
  end if;
  step.undecided := (select count(*) from (select from secateur.slow_verdicts as due
                                            where due.app_id = sweep_batch.app_id and due.cancellation_id = rule.id
                                              and due.verdict is null and due.next_at <= clock_timestamp()
                                            limit 1000) as due);
  update secateur.sweeps
     set pass = place.pass, pass_xmin = place.pass_xmin, pass_at = place.pass_at, found = place.found, clean = place.clean,
         function_id = place.function_id, status = place.status, run_id = place.run_id, horizon = place.horizon,
         next_at = place.next_at
   where sweeps.app_id = sweep_batch.app_id and sweeps.cancellation_id = rule.id;
  return step;
end
$$;

-- Sweeps one batch: see sweep_batch. Whoever it would have to wait for longer than a second makes it give way, and look again: for
-- so long a stop would wait for the batch as well. Raises SC404, SC422.
--
-- Of one that is undone it says `restoring` as long as restore_cancellation has something to do.
create or replace function secateur.sweep_cancellation(app_id text, id uuid, batch integer default 10000)
  returns secateur.sweep_step
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set lock_timeout = '1s'
as $$
declare
  step secateur.sweep_step;
begin
  perform secateur.require_read_committed();
  perform secateur.require_number('batch', sweep_cancellation.batch, 1, 100000);
  step := secateur.sweep_batch(sweep_cancellation.app_id, sweep_cancellation.id, sweep_cancellation.batch);
  if not step.busy then
    perform secateur.note_step(sweep_cancellation.app_id, sweep_cancellation.id);
  end if;
  return step;
exception when lock_not_available then
  return row('active', 0, false, true, 0, 0.25, 0)::secateur.sweep_step;
end
$$;
