-- What the tests add to a database with the schema: a ledger of every decision, and the places to pause at.

create schema secateur_test;

-- Written by the deciding transaction itself; with pg_xact_commit_timestamp(xid) the database says in which order the
-- transactions committed. No client's clock is involved.
create table secateur_test.decisions (
  id bigint generated always as identity primary key,
  kind text not null check (kind in ('claim', 'step', 'cancel', 'commit', 'stop', 'complete')),
  run_id uuid,
  cancellation_id uuid,
  xid xid8 not null default pg_current_xact_id()
);

create index on secateur_test.decisions (kind, run_id);

create function secateur_test.note_run() returns trigger language plpgsql as $$
begin
  if new.status = 'running' and new.claim_token is distinct from old.claim_token then
    insert into secateur_test.decisions (kind, run_id) values ('claim', new.id);
  elsif new.status = 'cancelled' then
    insert into secateur_test.decisions (kind, run_id, cancellation_id) values ('cancel', new.id, new.cancellation_id);
  elsif new.step_at is distinct from old.step_at and new.step_at is not null then
    insert into secateur_test.decisions (kind, run_id) values ('step', new.id);
  end if;
  return null;
end
$$;

create trigger note_run after update on secateur.runs for each row execute function secateur_test.note_run();

create function secateur_test.note_cancellation() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into secateur_test.decisions (kind, cancellation_id) values ('commit', new.id);
  elsif new.state in ('stopped', 'complete') and new.state <> old.state then
    insert into secateur_test.decisions (kind, cancellation_id)
    values (case new.state when 'stopped' then 'stop' else 'complete' end, new.id);
  end if;
  return null;
end
$$;

create trigger note_cancellation after insert or update on secateur.cancellations
  for each row execute function secateur_test.note_cancellation();

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
     and (rule.started_after is null or run.started_at > rule.started_after)
     and run.started_at < rule.started_before
     and (rule."if" is null
          or run.event #>> '{data,vendor_id}' = substring(rule."if" from '== ''([^'']*)''$'))
$$;

-- Every way in which the guarantee was broken, in words. Empty when it held.
create function secateur_test.broken(of_app text) returns setof text
  language sql as $$
  with decided as (
    select d.*, pg_xact_commit_timestamp(d.xid::text::xid) as at from secateur_test.decisions as d
  ), rule as (
    select c as record, c.id, c.state, c.serial, placed.at, stopped.at as stopped_at
      from secateur.cancellations as c
      join decided as placed on placed.kind = 'commit' and placed.cancellation_id = c.id
      left join decided as stopped on stopped.kind = 'stop' and stopped.cancellation_id = c.id
     where c.app_id = of_app
  )
  select format('%s of run %s after commit %s', decided.kind, run.id, rule.id)
    from rule
    join secateur.runs as run on run.app_id = of_app and secateur_test.means(rule.record, run)
    join decided on decided.run_id = run.id and decided.kind in ('claim', 'step') and decided.at > rule.at
   where rule.stopped_at is null or decided.at < rule.stopped_at
  union all
  select format('run %s was cancelled by %s, which does not mean it', run.id, rule.id)
    from secateur.runs as run join rule on rule.id = run.cancellation_id
   where not secateur_test.means(rule.record, run)
  union all
  select format('run %s was cancelled by %s, but belongs to the older %s', run.id, rule.id, older.id)
    from decided
    join rule on rule.id = decided.cancellation_id
    join secateur.runs as run on run.id = decided.run_id
    join rule as older on older.serial < rule.serial and secateur_test.means(older.record, run)
   where decided.kind = 'cancel' and (older.stopped_at is null or older.stopped_at > decided.at)
  union all
  select format('run %s was asked to stop by %s, which does not mean it', run.id, rule.id)
    from secateur.cancel_requests as asked
    join secateur.runs as run on run.id = asked.run_id
    join rule on rule.id = asked.cancellation_id
   where not secateur_test.means(rule.record, run)
  union all
  select format('run %s was cancelled by %s after its stop', decided.run_id, rule.id)
    from decided join rule on rule.id = decided.cancellation_id
   where decided.kind = 'cancel' and decided.at > rule.stopped_at
  union all
  select format('%s is complete, but run %s is %s', rule.id, run.id, run.status)
    from rule join secateur.runs as run on run.app_id = of_app and secateur_test.means(rule.record, run)
   where rule.state = 'complete' and run.status in ('queued', 'scheduled', 'running')
  union all
  select format('%s is complete, but %s requests are open', rule.id, count(*))
    from rule join secateur.cancel_requests as asked on asked.cancellation_id = rule.id and asked.outcome is null
   where rule.state in ('complete', 'stopped')
   group by rule.id
  union all
  select format('%s: tallied %s, counted %s', rule.id, tallied, counted)
    from rule,
         lateral (select jsonb_build_object(
                    'cancelled', coalesce(sum(t.cancelled), 0), 'requested', coalesce(sum(t.requested), 0),
                    'finished_first', coalesce(sum(t.finished_first), 0), 'stopping', coalesce(sum(t.stopping), 0)) as tallied
                    from secateur.cancellation_tallies as t where t.cancellation_id = rule.id) as t,
         lateral (select jsonb_build_object(
                    'cancelled', (select count(*) from secateur.runs as run where run.cancellation_id = rule.id),
                    'requested', count(*), 'finished_first', count(*) filter (where asked.outcome = 'finished_first'),
                    'stopping', count(*) filter (where asked.outcome is null)) as counted
                    from secateur.cancel_requests as asked where asked.cancellation_id = rule.id) as c
   where tallied <> counted
$$;
