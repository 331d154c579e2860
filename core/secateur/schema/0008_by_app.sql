-- Every key has the app in it, and every function is told the app: so all that belongs to an app can lie together on a server
-- of its own, and be found there.

-- Most functions have a new parameter, and would otherwise be there twice: all but those that a table uses are made anew.
do $$
declare
  old record;
begin
  drop view if exists secateur.cancellation_tallies;
  for old in
    select routine.oid::regprocedure as signature
      from pg_proc as routine
     where routine.pronamespace = 'secateur'::regnamespace
       and routine.proname not in ('new_run_id', 'refuse_deep_event')
       -- Those of others' (the audit's, the sandbox's) keep their parameters.
       and routine.proname not in ('record_audit', 'evaluate_conditions')
  loop
    execute format('drop function %s', old.signature);
  end loop;
end
$$;

-- What belongs to a run or a cancellation learns its app from there, as long as the old keys can be used to look.
alter table secateur.steps add column app_id text;
update secateur.steps as kept set app_id = run.app_id from secateur.runs as run where run.id = kept.run_id;

-- Of what somebody deleted past the queue's functions there is nobody to ask for the rest.
delete from secateur.steps as kept where kept.app_id is null;

alter table secateur.cancel_requests add column app_id text;
update secateur.cancel_requests as request
   set app_id = rule.app_id from secateur.cancellations as rule where rule.id = request.cancellation_id;

alter table secateur.cancellation_deltas add column app_id text;
update secateur.cancellation_deltas as delta
   set app_id = rule.app_id from secateur.cancellations as rule where rule.id = delta.cancellation_id;
delete from secateur.cancellation_deltas as delta where delta.app_id is null;

alter table secateur.sweeps add column app_id text;
update secateur.sweeps as place
   set app_id = rule.app_id from secateur.cancellations as rule where rule.id = place.cancellation_id;

alter table secateur.restores add column app_id text;
update secateur.restores as place
   set app_id = rule.app_id from secateur.cancellations as rule where rule.id = place.cancellation_id;

alter table secateur.cancel_requests drop constraint cancel_requests_cancellation_id_fkey;
alter table secateur.sweeps drop constraint sweeps_cancellation_id_fkey;
alter table secateur.restores drop constraint restores_cancellation_id_fkey;

-- The app comes last in the keys of what is looked up by many ids at once: were it first, all that an app has would look like
-- few rows to a planner whose statistics are older than the flood, and it would read them instead; and lock them in their
-- order, not in that of the ids.
alter table secateur.runs
  drop constraint runs_pkey,
  add primary key (id, app_id);

-- Made anew, and not altered: a column that was dropped once is part of the row's type for good, but not of the copies that
-- Citus makes of a table, so that rows of the one would not be rows of the other.
alter table secateur.cancellations rename to old_cancellations;
create table secateur.cancellations (like secateur.old_cancellations including defaults including constraints);
alter table secateur.cancellations alter column serial type bigint;
insert into secateur.cancellations select old.* from secateur.old_cancellations as old;
drop table secateur.old_cancellations;

alter table secateur.cancellations
  add primary key (app_id, id),
  alter column serial add generated always as identity,
  add unique (app_id, serial),
  add unique (app_id, idempotency_key),
  add foreign key (app_id) references secateur.apps,
  add foreign key (app_id, function_id) references secateur.functions;

select setval(pg_get_serial_sequence('secateur.cancellations', 'serial'), 1 + coalesce(max(rule.serial), 0), false)
  from secateur.cancellations as rule;

create index cancellations_active on secateur.cancellations (app_id, serial) where state = 'active';
create index cancellations_restoring on secateur.cancellations (serial) where state = 'undone' and restored_at is null;
create index cancellations_by_end on secateur.cancellations (app_id, started_before) where state in ('active', 'complete');
create index cancellations_unpruned on secateur.cancellations (greatest(completed_at, stopped_at, restored_at))
  where state <> 'active' and pruned_at is null;

-- The history, newest first, and a record by its id alone.
create index cancellations_by_serial on secateur.cancellations (serial);
create index cancellations_by_id on secateur.cancellations (id);

-- The numbers that advisory locks are known by. Each server gives out its own, so they are as large as that takes, and of each
-- as much is used as a lock's key can hold.
alter table secateur.apps
  drop constraint apps_lock_key_key,
  alter column lock_key type bigint;

alter table secateur.steps
  drop constraint steps_pkey,
  add primary key (run_id, step, app_id);

alter table secateur.cancel_requests
  drop constraint cancel_requests_pkey,
  add primary key (run_id, claim_token, cancellation_id, app_id),
  add foreign key (app_id, cancellation_id) references secateur.cancellations;

-- Sums need no key.
alter table secateur.cancellation_deltas
  drop column id,
  alter column app_id set not null;

drop index secateur.cancellation_deltas_by_cancellation;
create index cancellation_deltas_by_cancellation on secateur.cancellation_deltas (app_id, cancellation_id);

alter table secateur.sweeps
  drop constraint sweeps_pkey,
  add primary key (app_id, cancellation_id),
  add foreign key (app_id, cancellation_id) references secateur.cancellations;

alter table secateur.restores
  drop constraint restores_pkey,
  add primary key (app_id, cancellation_id),
  add foreign key (app_id, cancellation_id) references secateur.cancellations;

-- Pruning and checking are done app by app. Checks of all of them together say nothing of one.
drop index secateur.runs_drained;
create index runs_drained on secateur.runs (app_id, finished_at) where status in ('completed', 'failed');
drop index secateur.runs_cancelled_otherwise;
create index runs_cancelled_otherwise on secateur.runs (app_id, finished_at)
  where status = 'cancelled' and cancellation_id is null;

truncate secateur.depth_checks, secateur.depth_drifts;
alter table secateur.depth_drifts drop constraint depth_drifts_check_id_fkey, drop constraint depth_drifts_pkey;
alter table secateur.depth_checks
  drop constraint depth_checks_pkey,
  add column app_id text not null,
  add primary key (app_id, id);
alter table secateur.depth_drifts
  add primary key (app_id, check_id, function_id),
  add foreign key (app_id, check_id) references secateur.depth_checks on delete cascade;

-- An event is seen by each app that it concerns.
alter table secateur.seen_events drop constraint seen_events_pkey, add column app_id text;
insert into secateur.seen_events (app_id, id, at)
select apps.app_id, seen.id, seen.at from secateur.seen_events as seen cross join secateur.apps;
delete from secateur.seen_events as seen where seen.app_id is null;
alter table secateur.seen_events add primary key (app_id, id);

drop index secateur.seen_events_by_age;
create index seen_events_by_age on secateur.seen_events (app_id, at);
drop index secateur.enqueue_keys_by_age;
create index enqueue_keys_by_age on secateur.enqueue_keys (app_id, at);

-- What concerns no app, or all of them, is kept under an empty one. The table may be the audit's by now.
do $$
begin
  if not pg_has_role(current_user, (select relation.relowner from pg_class as relation
                                     where relation.oid = 'secateur.audit'::regclass), 'usage') then
    execute format('grant secateur_audit to %I', current_user);
  end if;
end
$$;
alter table secateur.audit alter column app_id set default '';
update secateur.audit as entry set app_id = '' where entry.app_id is null;
alter table secateur.audit
  drop constraint audit_pkey,
  add primary key (app_id, id);
create index audit_by_id on secateur.audit (id);

-- How far ahead the next run is due: by the database's clock, which only the function has.
alter type secateur.claimed_run add attribute due_in interval;
