-- What the tests add to a database with the schema: a ledger of every decision, and the places to pause at.

create schema secateur_test;

-- Written by the deciding transaction itself; with pg_xact_commit_timestamp(xid) the database says in which order the
-- transactions committed. No client's clock is involved.
create table secateur_test.decisions (
  id bigint generated always as identity primary key,
  kind text not null check (kind in (
    'claim', 'step', 'return', 'cancel', 'restore', 'hand over', 'prune', 'commit', 'in force', 'ending', 'stop', 'undo',
    'restored',
    'complete', 'pause', 'resume')),
  app_id text not null,
  -- Of a pause or a resume; null is the whole app.
  function_id text,
  run_id uuid,
  cancellation_id uuid,
  -- Of a return, a run that is not running any more and did not end: whose claim it was, and whether its lease had ended.
  claim_token uuid,
  lapsed boolean,
  -- The run: as it was before it was cancelled or pruned, and as it is after it was restored.
  was jsonb,
  xid xid8 not null default pg_current_xact_id()
);

create index on secateur_test.decisions (app_id, kind, run_id);
create index on secateur_test.decisions (run_id, id) where kind = 'cancel';

-- The requests that pruning deleted.
create table secateur_test.pruned_requests as select * from secateur.cancel_requests limit 0;
create index on secateur_test.pruned_requests (cancellation_id);

create function secateur_test.note_run() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' then
    insert into secateur_test.decisions (kind, app_id, run_id, cancellation_id, was)
    values ('prune', old.app_id, old.id, old.cancellation_id, to_jsonb(old));
  elsif new.status = 'running' and new.claim_token is distinct from old.claim_token then
    insert into secateur_test.decisions (kind, app_id, run_id) values ('claim', new.app_id, new.id);
  elsif new.status = 'cancelled' and old.status <> 'cancelled' then
    insert into secateur_test.decisions (kind, app_id, run_id, cancellation_id, was)
    values ('cancel', new.app_id, new.id, new.cancellation_id, to_jsonb(old));
  elsif new.status = 'cancelled' and new.cancellation_id <> old.cancellation_id then
    insert into secateur_test.decisions (kind, app_id, run_id, cancellation_id)
    values ('hand over', new.app_id, new.id, new.cancellation_id);
  elsif old.status = 'cancelled' and new.status <> 'cancelled' then
    insert into secateur_test.decisions (kind, app_id, run_id, cancellation_id, was)
    values ('restore', new.app_id, new.id, old.cancellation_id, to_jsonb(new));
  elsif old.status = 'running' and new.status in ('queued', 'scheduled') then
    insert into secateur_test.decisions (kind, app_id, run_id, claim_token, lapsed)
    values ('return', new.app_id, new.id, old.claim_token, old.lease_expires_at < clock_timestamp());
  elsif old.status = 'failed' and new.status = 'queued' then
    insert into secateur_test.decisions (kind, app_id, run_id) values ('return', new.app_id, new.id);
  elsif new.step_at is distinct from old.step_at and new.step_at is not null then
    insert into secateur_test.decisions (kind, app_id, run_id) values ('step', new.app_id, new.id);
  end if;
  return null;
end
$$;

create trigger note_run after update or delete on secateur.runs for each row execute function secateur_test.note_run();

create function secateur_test.note_request() returns trigger language plpgsql as $$
begin
  insert into secateur_test.pruned_requests select old.*;
  return null;
end
$$;

create trigger note_request after delete on secateur.cancel_requests
  for each row execute function secateur_test.note_request();

create function secateur_test.note_cancellation() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into secateur_test.decisions (kind, app_id, cancellation_id) values ('commit', new.app_id, new.id);
  end if;
  if new.in_force_at is not null and (tg_op = 'INSERT' or old.in_force_at is null) then
    insert into secateur_test.decisions (kind, app_id, cancellation_id) values ('in force', new.app_id, new.id);
  end if;
  -- A stop or undo is `ending` at first, until it is final. An undo may be asked for again, with the runs that were stopped while they
  -- ran.
  if tg_op = 'UPDATE' and new.ending and (not old.ending or new.state <> old.state) then
    insert into secateur_test.decisions (kind, app_id, cancellation_id) values ('ending', new.app_id, new.id);
  elsif tg_op = 'UPDATE' and not new.ending and (old.ending or new.state <> old.state) then
    insert into secateur_test.decisions (kind, app_id, cancellation_id)
    values (case new.state when 'stopped' then 'stop' when 'undone' then 'undo' else 'complete' end, new.app_id, new.id);
  end if;
  if tg_op = 'UPDATE' and new.restored_at is not null and old.restored_at is null then
    insert into secateur_test.decisions (kind, app_id, cancellation_id) values ('restored', new.app_id, new.id);
  end if;
  return null;
end
$$;

create trigger note_cancellation after insert or update on secateur.cancellations
  for each row execute function secateur_test.note_cancellation();

create function secateur_test.note_pause() returns trigger language plpgsql as $$
begin
  insert into secateur_test.decisions (kind, app_id, function_id)
  values (case when new.paused_at is null then 'resume' else 'pause' end, new.app_id, to_jsonb(new) ->> 'function_id');
  return null;
end
$$;

create trigger note_pause after update on secateur.apps
  for each row when ((new.paused_at is null) <> (old.paused_at is null)) execute function secateur_test.note_pause();
create trigger note_pause after update on secateur.functions
  for each row when ((new.paused_at is null) <> (old.paused_at is null)) execute function secateur_test.note_pause();

-- Waits here if this session was told to. The waiting is on an advisory lock of the tests' own (class 99001), and the
-- statement that calls this ends with it: no snapshot and no lock of the protocol is held any longer or shorter.
create function secateur_test.reach(place text) returns void language plpgsql as $$
begin
  if current_setting('secateur_test.pause_at', true) = place then
    perform pg_advisory_lock(99001, pg_backend_pid());
    perform pg_advisory_unlock(99001, pg_backend_pid());
  end if;
end
$$;

-- The tests' own idea of which runs a cancellation means: by its words, not by its stored condition.
create function secateur_test.means(rule secateur.cancellations, run secateur.runs) returns boolean
  language sql immutable as $$
  select run.app_id = rule.app_id
     and (rule.function_id is null or run.function_id = rule.function_id)
     and (rule.run_id is null or run.id = rule.run_id)
     and (rule.started_after is null or run.started_at > rule.started_after)
     and run.started_at < rule.started_before
     and (rule."if" is null
          or run.event #>> '{data,vendor_id}' = substring(rule."if" from '== ''([^'']*)''$'))
$$;

-- Every way in which the guarantee was broken, in words. Empty when it held.
create function secateur_test.broken(of_app text) returns setof text
  language sql as $$
  with decided as (
    select d.*, pg_xact_commit_timestamp(d.xid::text::xid) as at
      from secateur_test.decisions as d where d.app_id = of_app
  ), rule as (
    select c as record, c.id, c.state, c.serial, c.restored_at, c.requeue_stopped, c.pruned_at, placed.at,
           ending.at as ending_at, ended.at as ended_at, undone.at as undone_at
      from secateur.cancellations as c
      -- Null as long as it is pending.
      left join decided as placed on placed.kind = 'in force' and placed.cancellation_id = c.id
      left join lateral (select min(one.at) as at from decided as one
                          where one.kind = 'undo' and one.cancellation_id = c.id) as undone on true
      -- Whoever begins from then on need not obey it any more.
      left join lateral (select min(written.at) as at from decided as written
                          where written.kind = 'ending' and written.cancellation_id = c.id) as ending on true
      left join lateral (select min(stopped.at) as at from decided as stopped
                          where stopped.kind in ('stop', 'undo') and stopped.cancellation_id = c.id) as ended on true
     -- A retry has a record as well, and forbids nothing.
     where c.app_id = of_app and c.kind <> 'retry'
  )
  select format('%s of run %s after commit %s', decided.kind, run.id, rule.id)
    from rule
    join secateur.runs as run on run.app_id = of_app and secateur_test.means(rule.record, run)
    join decided on decided.run_id = run.id and decided.kind in ('claim', 'step') and decided.at > rule.at
   where rule.ending_at is null or decided.at < rule.ending_at
  union all
  select format('run %s was cancelled by %s, which does not mean it', run.id, rule.id)
    from secateur.runs as run join rule on rule.id = run.cancellation_id
   where run.app_id = of_app and not secateur_test.means(rule.record, run)
  union all
  select format('run %s was cancelled by %s, but belongs to the older %s', run.id, rule.id, older.id)
    from decided
    join rule on rule.id = decided.cancellation_id
    join secateur.runs as run on run.app_id = of_app and run.id = decided.run_id
    join rule as older on older.serial < rule.serial and secateur_test.means(older.record, run)
   where decided.kind in ('cancel', 'hand over') and decided.at > older.at
     and (older.ending_at is null or older.ending_at > decided.at)
  union all
  select format('run %s was asked to stop by %s, which does not mean it', run.id, rule.id)
    from secateur.cancel_requests as asked
    join secateur.runs as run on run.app_id = of_app and run.id = asked.run_id
    join rule on rule.id = asked.cancellation_id
   where asked.app_id = of_app and not secateur_test.means(rule.record, run)
  union all
  select format('run %s was cancelled by %s after its stop or undo', decided.run_id, rule.id)
    from decided join rule on rule.id = decided.cancellation_id
   where decided.kind = 'cancel' and decided.at > rule.ended_at
  union all
  select format('run %s was restored although %s was not undone', decided.run_id, rule.id)
    from decided join rule on rule.id = decided.cancellation_id
   where decided.kind = 'restore' and (rule.undone_at is null or decided.at < rule.undone_at)
  union all
  select format('run %s was restored although %s, which was not undone, means it too', decided.run_id, other.id)
    from decided
    join rule on rule.id = decided.cancellation_id
    join secateur.runs as run on run.app_id = of_app and run.id = decided.run_id
    join rule as other on other.id <> rule.id and secateur_test.means(other.record, run)
   where decided.kind = 'restore' and decided.at > other.at and (other.ending_at is null or decided.at < other.ending_at)
  union all
  select format('run %s was restored as %s, but had been %s', decided.run_id, decided.was, cancelled.was)
    from decided
    cross join lateral (select earlier.was from decided as earlier
                         where earlier.kind = 'cancel' and earlier.run_id = decided.run_id and earlier.id < decided.id
                         order by earlier.id desc limit 1) as cancelled
   where decided.kind = 'restore' and cancelled.was ->> 'status' <> 'running' and decided.was <> cancelled.was
  union all
  select format('%s was undone and all restored, but run %s is still cancelled by it', rule.id, run.id)
    from rule join secateur.runs as run on run.app_id = of_app and run.cancellation_id = rule.id
   where rule.state = 'undone' and rule.restored_at is not null
     and (run.cancelled_from <> 'running' or rule.requeue_stopped)
  union all
  select format('run %s was handed over to %s, which ended before', decided.run_id, rule.id)
    from decided join rule on rule.id = decided.cancellation_id
   where decided.kind = 'hand over' and decided.at > rule.ended_at
  union all
  select format('run %s was pruned, which was %s', decided.run_id, decided.was ->> 'status')
    from decided where decided.kind = 'prune' and decided.was ->> 'status' in ('queued', 'scheduled', 'running')
  union all
  select format('run %s was pruned, and %s had not ended, or had yet to be restored', decided.run_id, rule.id)
    from decided join rule on rule.id = decided.cancellation_id
   where decided.kind = 'prune'
     and coalesce((select before.kind from decided as before
                    where before.cancellation_id = rule.id and before.kind in ('stop', 'undo', 'restored', 'complete')
                      and before.at < decided.at
                    order by before.at desc, before.id desc limit 1), 'undo') = 'undo'
  union all
  select format('%s was undone after its run %s was pruned', rule.id, decided.run_id)
    from decided join rule on rule.id = decided.cancellation_id
   where decided.kind = 'prune' and decided.at < rule.undone_at
  union all
  select format('run %s was pruned before its request of %s was closed', asked.run_id, asked.cancellation_id)
    from secateur_test.pruned_requests as asked join rule on rule.id = asked.cancellation_id
   where asked.outcome is null
  union all
  select format('%s says that nothing is left of it to prune, but run %s is', rule.id, run.id)
    from rule join secateur.runs as run on run.app_id = of_app and run.cancellation_id = rule.id
   where rule.pruned_at is not null
  union all
  select format('run %s of %s was claimed while that was paused', run.id, run.function_id)
    from decided as claimed
    join secateur.runs as run on run.app_id = of_app and run.id = claimed.run_id
    join lateral (select before.function_id, max(before.at) filter (where before.kind = 'pause') as paused_at,
                         max(before.at) filter (where before.kind = 'resume') as resumed_at
                    from decided as before
                   where before.kind in ('pause', 'resume') and before.at < claimed.at
                     and coalesce(before.function_id, run.function_id) = run.function_id
                   group by before.function_id) as flag on true
   where claimed.kind = 'claim' and flag.paused_at > coalesce(flag.resumed_at, '-infinity')
  union all
  select format('%s runs of %s run at once, which may be %s', running, known.function_id, known.concurrency)
    from secateur.functions as known,
         lateral (select count(*) as running from secateur.runs as run
                   where run.app_id = of_app and run.function_id = known.function_id and run.status = 'running') as run,
         lateral (select count(*) as surplus from secateur.slots as slot
                   where slot.app_id = of_app and slot.function_id = known.function_id and slot.surplus) as slot
   where known.app_id = of_app and running > known.concurrency + surplus
  union all
  select format('run %s was claimed again without having come back', claimed.run_id)
    from (select decided.run_id, decided.kind,
                 lag(decided.kind) over (partition by decided.run_id order by decided.at, decided.id) as before
            from decided where decided.kind in ('claim', 'return', 'restore')) as claimed
   where claimed.kind = 'claim' and claimed.before = 'claim'
  union all
  select format('%s is complete, but run %s is %s', rule.id, run.id, run.status)
    from rule join secateur.runs as run on run.app_id = of_app and secateur_test.means(rule.record, run)
   where rule.state = 'complete' and run.status in ('queued', 'scheduled', 'running')
  union all
  select format('%s is complete, but %s requests are open', rule.id, count(*))
    from rule
    join secateur.cancel_requests as asked
      on asked.app_id = of_app and asked.cancellation_id = rule.id and asked.outcome is null
   where rule.state in ('complete', 'stopped', 'undone') and not (rule.record).ending
   group by rule.id
  union all
  select format('%s: tallied %s, counted %s', rule.id, tallied, counted)
    from rule,
         lateral (select jsonb_build_object(
                    'cancelled', coalesce(sum(t.cancelled - t.restored - t.handed_over - t.pruned), 0),
                    'requested', coalesce(sum(t.requested), 0), 'finished_first', coalesce(sum(t.finished_first), 0),
                    'stopping', coalesce(sum(t.requested - t.stopped - t.finished_first - t.withdrawn), 0)) as tallied
                    from secateur.cancellation_deltas as t where t.app_id = of_app and t.cancellation_id = rule.id) as t,
         lateral (select jsonb_build_object(
                    'cancelled', (select count(*) from secateur.runs as run
                                   where run.app_id = of_app and run.cancellation_id = rule.id),
                    'requested', count(*), 'finished_first', count(*) filter (where asked.outcome = 'finished_first'),
                    'stopping', count(*) filter (where asked.outcome is null)) as counted
                    from (select * from secateur.cancel_requests union all select * from secateur_test.pruned_requests)
                         as asked
                   where asked.app_id = of_app and asked.cancellation_id = rule.id) as c
   where tallied <> counted
$$;

-- Every function whose depth, by the sums of what each change said of it, is not what a count of the runs gives.
create function secateur_test.wrong_depth() returns setof text language sql as $$
  with summed as (
    select app_id, function_id, queued, scheduled, running from secateur.depth_deltas
    union all
    select app_id, function_id, queued, scheduled, running from secateur.depth_totals
    union all
    select app_id, function_id, -count(*) filter (where status = 'queued'), -count(*) filter (where status = 'scheduled'),
           -count(*) filter (where status = 'running')
      from secateur.runs where status in ('queued', 'scheduled', 'running') group by 1, 2
  )
  select format('the depth of %s / %s is off by %s queued, %s scheduled, %s running',
                app_id, function_id, sum(queued), sum(scheduled), sum(running))
    from summed group by app_id, function_id having (sum(queued), sum(scheduled), sum(running)) <> (0, 0, 0)
$$;
