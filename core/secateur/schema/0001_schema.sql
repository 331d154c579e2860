-- The queue's tables. Everything that touches them from outside goes through the functions in functions.sql,
-- so no role but the owner needs a right on a table; reading is granted by whoever installs.

create table secateur.apps (
  app_id text primary key check (app_id <> ''),
  -- The second integer of the app's advisory lock: never hashed, so that two apps never share one.
  lock_key integer generated always as identity unique,
  created_at timestamptz not null default clock_timestamp()
);

create table secateur.functions (
  app_id text not null references secateur.apps,
  function_id text not null check (function_id <> ''),
  triggers text[] not null default '{}',
  max_attempts integer not null default 4 check (max_attempts >= 1),
  created_at timestamptz not null default clock_timestamp(),
  primary key (app_id, function_id)
);

create index functions_by_trigger on secateur.functions using gin (triggers);

create table secateur.runs (
  id uuid primary key,
  app_id text not null,
  function_id text not null,
  event jsonb not null,
  status text not null
    check (status in ('queued', 'scheduled', 'running', 'completed', 'failed', 'cancelled')),
  -- Larger is claimed first.
  priority integer not null default 0,
  -- Claims so far.
  attempt integer not null default 0,
  -- When the run entered the queue, not when a worker picked it up.
  started_at timestamptz not null,
  scheduled_for timestamptz,
  worker text,
  claim_token uuid,
  claimed_at timestamptz,
  lease_expires_at timestamptz,
  -- The step that was granted last, and when.
  step text,
  step_at timestamptz,
  finished_at timestamptz,
  error text,
  cancellation_id uuid,
  -- The status that a cancellation replaced; everything else of the row is left as it was, so that undo is exact.
  cancelled_from text check (cancelled_from in ('queued', 'scheduled', 'running')),
  -- No foreign key to functions: every enqueue would share-lock the same row, and only enqueue inserts.
  -- A finished run keeps its last token, so that a repeated complete() can be told from somebody else's.
  check (status <> 'running' or (claim_token is not null and lease_expires_at is not null)),
  check ((status in ('completed', 'failed', 'cancelled')) = (finished_at is not null))
);

-- Every claim, complete and cancel rewrites status, so no update is HOT; room in the page buys nothing.
alter table secateur.runs set (
  autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_vacuum_insert_scale_factor = 0.02,
  autovacuum_analyze_scale_factor = 0.05
);

-- The order of claims: one descent per function, no sort.
create index runs_queued on secateur.runs (app_id, function_id, priority desc, id) where status = 'queued';
-- Promotion of what has become due.
create index runs_scheduled on secateur.runs (app_id, function_id, scheduled_for) where status = 'scheduled';
-- Recovery of expired leases.
create index runs_running on secateur.runs (app_id, lease_expires_at) where status = 'running';
-- Depth by an index-only scan, and the sweep's walk through one function's backlog in id order.
create index runs_unfinished on secateur.runs (app_id, function_id, status, id) include (started_at)
  where status in ('queued', 'scheduled', 'running');
-- What left the queue in the last seconds; cancelled runs do not count as drained.
create index runs_drained on secateur.runs (finished_at) include (app_id, function_id)
  where status in ('completed', 'failed');
-- What one cancellation reached: its recount, its report, its undo.
create index runs_cancelled on secateur.runs (cancellation_id, id) where cancellation_id is not null;

create table secateur.cancellations (
  id uuid primary key,
  serial integer generated always as identity unique,
  kind text not null check (kind in ('bulk', 'run')),
  state text not null check (state in ('active', 'complete', 'stopped', 'undone')),
  app_id text not null references secateur.apps,
  function_id text,
  "if" text,
  started_after timestamptz,
  started_before timestamptz not null,
  standing boolean not null,
  condition text,
  parameters jsonb not null,
  compiler integer not null,
  request jsonb not null,
  idempotency_key text unique,
  reason text,
  source text not null check (source in ('tui', 'cli', 'api', 'python')),
  created_at timestamptz not null,
  created_by text not null,
  created_role text not null,
  expected bigint,
  expected_by_function jsonb,
  -- Every transaction that may still insert into the window has an id below this one.
  horizon xid8 not null,
  completed_at timestamptz,
  stopped_at timestamptz,
  stopped_by text,
  foreign key (app_id, function_id) references secateur.functions,
  check ((condition is null) = ("if" is null)),
  check (started_after is null or started_after < started_before)
);

-- What every claim reads: a handful of rows, also when history holds many thousands.
create index cancellations_active on secateur.cancellations (app_id, serial) where state = 'active';

-- Tallies are sums of deltas, one row a batch, so that no row is hot.
create table secateur.cancellation_deltas (
  id bigint generated always as identity primary key,
  -- No foreign key: each claim that meets a match would share-lock the record.
  cancellation_id uuid not null,
  function_id text not null,
  -- Running runs asked to stop; the others say how runs ended.
  requested bigint not null default 0,
  cancelled bigint not null default 0,
  -- How many of `cancelled` had been asked to stop while they ran.
  stopped bigint not null default 0,
  finished_first bigint not null default 0,
  -- Asked to stop, but given up in another way: retried by its worker, another cancellation's, or the cancellation was
  -- stopped.
  withdrawn bigint not null default 0,
  errors bigint not null default 0,
  at timestamptz not null default clock_timestamp()
);

create index cancellation_deltas_by_cancellation on secateur.cancellation_deltas (cancellation_id);

-- A running run that is asked to stop: a row of its own, so that a commit locks no run; and one for each cancellation
-- that asks, so that the run stops also when one of them is stopped itself.
create table secateur.cancel_requests (
  run_id uuid not null,
  claim_token uuid not null,
  cancellation_id uuid not null references secateur.cancellations,
  function_id text not null,
  requested_at timestamptz not null default clock_timestamp(),
  outcome text check (outcome in ('cancelled', 'finished_first', 'withdrawn')),
  primary key (run_id, claim_token, cancellation_id)
);

create index cancel_requests_open on secateur.cancel_requests (cancellation_id, run_id) where outcome is null;

-- What a claim returns: a type of its own, so that a new column of runs cannot change the worker's contract.
create type secateur.claimed_run as (
  id uuid,
  app_id text,
  function_id text,
  event jsonb,
  attempt integer,
  max_attempts integer,
  claim_token uuid,
  started_at timestamptz,
  scheduled_for timestamptz,
  priority integer,
  lease_expires_at timestamptz,
  -- Set on the one row without an id that claim_batch adds when it stopped before the queue's end.
  more boolean
);

create type secateur.sweep_step as (
  state text,
  cancelled integer,
  -- Another process sweeps this cancellation right now.
  busy boolean,
  -- Nothing to do at present, but not complete: an older transaction or a running run is still open.
  idle boolean
);

-- Where the sweep of an active cancellation stands: it walks function by function, status by status, in id order.
create table secateur.sweeps (
  cancellation_id uuid primary key references secateur.cancellations,
  -- Passes begun so far.
  pass integer not null default 0,
  -- The oldest transaction still open when this pass began: the pass sees all that older ones wrote.
  pass_xmin xid8,
  -- Runs cancelled in this pass; a pass of none may complete the cancellation.
  found bigint not null default 0,
  -- A pass found nothing and missed nothing: only running runs are waited for.
  clean boolean not null default false,
  -- The last row looked at in this pass; null at its beginning.
  function_id text,
  status text,
  run_id uuid
);

-- Every token that a stored condition may contain; written by the installer from the compiler's own list.
create table secateur.condition_vocabulary (
  token text primary key
);
