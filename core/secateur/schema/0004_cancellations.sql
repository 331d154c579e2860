-- How long things are kept and may lie ahead; one row.
create table secateur.retention (
  one boolean primary key default true check (one),
  -- Completed and failed runs, after they ended.
  finished interval not null default '7 days' check (finished >= '0'),
  -- A cancellation's runs, after it ended: as long as it can be undone.
  cancelled interval not null default '30 days' check (cancelled >= '0'),
  -- How far ahead a standing cancellation's window may end.
  standing interval not null default '7 days' check (standing >= '0')
);

insert into secateur.retention default values;

alter table secateur.cancellations
  -- When the last transaction that had not seen it was over; null: pending.
  add column in_force_at timestamptz,
  -- Runs a second that its sweep and its restore may rewrite; null is as fast as it goes.
  add column rate integer check (rate >= 1),
  -- Of kind `run`: which one.
  add column run_id uuid,
  add column undone_at timestamptz,
  add column undone_by text,
  -- Whether the undo also queues the runs again that were stopped while they ran.
  add column requeue_stopped boolean not null default false,
  -- When all runs were back that could be.
  add column restored_at timestamptz;

update secateur.cancellations set in_force_at = created_at;

alter table secateur.cancellations
  add constraint cancellations_run check ((kind = 'run') = (run_id is not null)),
  add constraint cancellations_undone check ((state = 'undone') = (undone_at is not null));

-- What a sweeper has to do besides the active ones.
create index cancellations_restoring on secateur.cancellations (serial) where state = 'undone' and restored_at is null;
-- Which of a long history may reach the runs of a restore's batch.
create index cancellations_by_end on secateur.cancellations (app_id, started_before) where state in ('active', 'complete');

-- Every transaction that may still insert into the window has an id below the horizon; null as long as the window of a
-- standing cancellation is open.
alter table secateur.sweeps
  add column horizon xid8,
  -- When this pass began.
  add column pass_at timestamptz,
  -- Nothing is to be done before: its rate, or the pause between two passes of a standing one.
  add column next_at timestamptz;

update secateur.sweeps as place
   set horizon = rule.horizon from secateur.cancellations as rule where rule.id = place.cancellation_id;

alter table secateur.cancellations drop column horizon;

-- Where the restore of an undone cancellation stands: it walks the runs that the cancellation has, in id order.
create table secateur.restores (
  cancellation_id uuid primary key references secateur.cancellations,
  -- The last run looked at; null at the beginning.
  run_id uuid,
  next_at timestamptz
);

-- The undone cancellation that this run was handed over from: another one matches it too.
alter table secateur.runs add column handed_over_from uuid;

create index runs_handed_over on secateur.runs (handed_over_from, id) where handed_over_from is not null;

alter table secateur.cancellation_deltas
  -- Of `cancelled`: those that came back, those that are another cancellation's now, and those that were pruned.
  add column restored bigint not null default 0,
  add column handed_over bigint not null default 0,
  add column pruned bigint not null default 0;

-- How many runs the batch put back, in a restore; and in how many seconds there is something to do again, if that is known.
alter type secateur.sweep_step add attribute restored integer, add attribute wait double precision;

-- Who did what, when and from where. Appended to by record_audit alone, whose owner nobody can log in as.
create table secateur.audit (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  action text not null
    check (action in ('install', 'commit', 'stop', 'undo', 'restore', 'pause', 'resume', 'retention')),
  app_id text,
  function_id text,
  cancellation_id uuid,
  -- The database role that logged in.
  role text not null default session_user,
  -- As given by the client.
  author text,
  -- Null is a local connection.
  address inet default inet_client_addr(),
  application_name text default current_setting('application_name'),
  source text,
  xid xid8 not null default pg_current_xact_id(),
  details jsonb not null default '{}'
);
