-- The ledger's tables as they are now: what secateur needs to cancel in any queue, its own or another engine's.
--
-- A new database gets this file. An older one gets the numbered files that it lacks: each of them is a change that has been made
-- here as well. tests/integration/test_parts.py holds the two against each other. Functions and rights are in other files.

-- Each app has a lock. It is an empty table in this schema: see locks.sql.
create schema if not exists secateur_locks;
revoke all on schema secateur_locks from public;

-- The functions of the claim gates of other engines' queues, made anew with each change of the active cancellations.
create schema if not exists secateur_gates;

create table secateur.apps (
  app_id text primary key check (app_id <> ''),
  -- Names the app's lock. Never hashed, so that two apps never share one by chance. With Citus each server gives out its own.
  lock_number bigint not null generated always as identity,
  created_at timestamptz not null default clock_timestamp(),
  paused_at timestamptz,
  paused_by text,
  -- The queue of another engine that the app is of, which calls it `NAME/QUEUE`. Null: secateur's own.
  installation text
);

create table secateur.functions (
  app_id text not null references secateur.apps,
  function_id text not null check (function_id <> ''),
  -- The events by whose names runs of it begin.
  triggers text[] not null default '{}',
  max_attempts integer not null default 4 check (max_attempts >= 1),
  created_at timestamptz not null default clock_timestamp(),
  paused_at timestamptz,
  paused_by text,
  -- How many of its runs may run at once, over all workers. Null: any number.
  concurrency integer check (concurrency >= 1),
  -- What declare_cancel_on made of the declarations: event, if, condition, parameters, compiler, match, timeout.
  cancel_on jsonb not null default '[]',
  installation text,
  primary key (app_id, function_id)
);

-- Which functions an event starts, and which it cancels runs of.
create index functions_by_trigger on secateur.functions using gin (triggers);
create index functions_by_cancel_on on secateur.functions using gin (cancel_on jsonb_path_ops);

-- An app or a function that was there before these limits can be used as before.
create function secateur.refuse_odd_app() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform secateur.require_name('app_id', new.app_id);
  return new;
end
$$;

create function secateur.refuse_odd_function() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'INSERT' then
    perform secateur.require_name('function_id', new.function_id);
  end if;
  if new.concurrency is not null then
    perform secateur.require_number('concurrency', new.concurrency, 1, 10000);
  end if;
  perform secateur.require_number('max_attempts', new.max_attempts, 1, 10000);
  return new;
end
$$;

create trigger refuse_odd_app before insert on secateur.apps
  for each row execute function secateur.refuse_odd_app();
create trigger refuse_odd_function before insert or update of concurrency, max_attempts on secateur.functions
  for each row execute function secateur.refuse_odd_function();

-- Cancellations, and retries: the same record, of another kind. A retry is `retrying` and never `active` while runs are still being
-- queued, so that nothing that looks for cancellations in force can take it for one.
create table secateur.cancellations (
  id uuid not null,
  serial bigint not null generated always as identity,
  kind text not null check (kind in ('bulk', 'event', 'run', 'retry')),
  state text not null check (state in ('active', 'retrying', 'complete', 'stopped', 'undone')),
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
  idempotency_key text,
  reason text,
  source text not null check (source in ('tui', 'cli', 'api', 'python', 'event', 'watch')),
  created_at timestamptz not null,
  created_by text not null,
  created_role text not null,
  -- How many runs its author was shown. Null: nothing was counted.
  expected bigint,
  expected_by_function jsonb,
  completed_at timestamptz,
  stopped_at timestamptz,
  stopped_by text,
  -- Documents: the event of every run that matches contains one of them. Claims look at these first, and need not evaluate the condition
  -- of most runs. Null: none are known.
  requires jsonb[],
  -- An event that contains one of them is matched: there is nothing left to evaluate.
  requires_suffices boolean not null default false,
  -- When the last transaction that had not seen it was over. Null: it is pending.
  in_force_at timestamptz,
  -- Runs a second that its sweep and its restore may rewrite. Null: any number.
  rate integer check (rate >= 1),
  -- Of kind `run`: which run or, in another engine's queue, which job.
  run_id uuid,
  undone_at timestamptz,
  undone_by text,
  -- The undo also queues the runs again that were stopped while they ran.
  requeue_stopped boolean not null default false,
  -- When all runs were back that could be.
  restored_at timestamptz,
  -- When the last of its runs was deleted.
  pruned_at timestamptz,
  -- Of kind `retry`: cancelled runs are meant as well as failed ones.
  with_cancelled boolean not null default false,
  -- `expected` was counted to the last run.
  expected_exact boolean,
  job_id text check (length(job_id) between 1 and 500),
  -- False: nothing keeps its runs from being claimed, so that what the sweep has not reached may still start.
  gated boolean not null default true,
  -- Stopped or undone, while a transaction that may not have seen that was open: it may still act for the cancellation.
  ending boolean not null default false,
  primary key (app_id, id),
  unique (app_id, serial),
  unique (app_id, idempotency_key),
  foreign key (app_id, function_id) references secateur.functions,
  constraint cancellations_check check ((condition is null) = ("if" is null)),
  constraint cancellations_check1 check (started_after is null or started_after < started_before),
  constraint cancellations_expected_exact check ((expected is null) = (expected_exact is null)),
  constraint cancellations_run check ((kind = 'run') = (num_nonnulls(run_id, job_id) = 1) and num_nonnulls(run_id, job_id) < 2),
  constraint cancellations_undone check ((state = 'undone') = (undone_at is not null)),
  constraint cancellations_retries check (kind = 'retry' or (not with_cancelled and state <> 'retrying')),
  -- The last microsecond of 9999 may end a window: clients write it as `infinity`.
  constraint cancellations_times check (
    (started_after is null
     or started_after between timestamptz '0001-01-01 00:00:00+00' and timestamptz '9999-12-31 23:59:59.999999+00')
    and started_before between timestamptz '0001-01-01 00:00:00+00' and timestamptz '9999-12-31 23:59:59.999999+00'
  ),
  constraint cancellations_bounds check (
    length("if") <= 40000 and length(condition) <= 1100000 and length(reason) <= 2000 and length(created_by) <= 200
    and length(stopped_by) <= 200 and length(undone_by) <= 200 and length(idempotency_key) <= 1000
    and expected between 0 and 9007199254740991 and compiler between 0 and 1000
  ),
  constraint cancellations_forms check (
    jsonb_typeof(request) = 'object' and jsonb_typeof(parameters) = 'object'
    and jsonb_typeof(expected_by_function) = 'object'
  )
);

-- What every claim reads: a handful of rows, also when the history has many thousands.
create index cancellations_active on secateur.cancellations (app_id, serial) where state = 'active';
-- What a sweeper has to do besides.
create index cancellations_restoring on secateur.cancellations (serial) where state = 'undone' and restored_at is null;
-- Which of a long history may reach the runs of a restore's batch.
create index cancellations_by_end on secateur.cancellations (app_id, started_before) where state in ('active', 'complete');
-- From when on an undo has no longer been possible.
create index cancellations_unpruned on secateur.cancellations (greatest(completed_at, stopped_at, restored_at))
  where state <> 'active' and pruned_at is null;
-- The history, newest first; a record by its id alone; and those of a single run.
create index cancellations_by_serial on secateur.cancellations (serial);
create index cancellations_by_id on secateur.cancellations (id);
create index cancellations_of_run on secateur.cancellations (run_id, app_id) where run_id is not null;
create index cancellations_retrying on secateur.cancellations (serial) where state = 'retrying';
create index cancellations_ending on secateur.cancellations (serial) where ending;

-- Tallies are sums of deltas, one row a batch, so that no row is hot.
create table secateur.cancellation_deltas (
  -- No foreign key: each claim that meets a match would share-lock the record.
  cancellation_id uuid not null,
  function_id text not null,
  -- Running runs that were asked to stop. The others say how runs ended.
  requested bigint not null default 0,
  cancelled bigint not null default 0,
  -- How many of `cancelled` had been asked to stop while they ran.
  stopped bigint not null default 0,
  finished_first bigint not null default 0,
  -- Asked to stop, but given up in another way: its worker retries it, it is another cancellation's, or the cancellation was stopped.
  withdrawn bigint not null default 0,
  errors bigint not null default 0,
  at timestamptz not null default clock_timestamp(),
  -- Of `cancelled`: those that came back, those that are another cancellation's now, and those that were pruned.
  restored bigint not null default 0,
  handed_over bigint not null default 0,
  pruned bigint not null default 0,
  app_id text not null,
  -- Of a retry: runs that it queued again. Of a cancellation: those of its `cancelled` that retries took over.
  retried bigint not null default 0,
  -- Of a retry: runs that match and that it left as they were.
  left_alone bigint not null default 0
);

create index cancellation_deltas_by_cancellation on secateur.cancellation_deltas (app_id, cancellation_id);

-- Where the sweep of an active cancellation stands. In secateur's own queue it walks function by function, status by status, in the order of
-- ids. Also how the sweep fares, or the restore of an undone one: one that fails, or that nobody makes, is seen in its record.
create table secateur.sweeps (
  cancellation_id uuid not null,
  -- Passes begun so far.
  pass integer not null default 0,
  -- The oldest transaction still open when this pass began: the pass sees all that older ones wrote.
  pass_xmin xid8,
  -- Runs cancelled in this pass. A pass of none may complete the cancellation.
  found bigint not null default 0,
  -- A pass found nothing and missed nothing: only running runs are waited for.
  clean boolean not null default false,
  -- The last row looked at in this pass. Null at its beginning.
  function_id text,
  status text,
  run_id uuid,
  -- Every transaction that may still insert into the window has an id below it. Null as long as the window of a standing one is open.
  horizon xid8,
  -- When this pass began.
  pass_at timestamptz,
  -- Nothing is to be done before: its rate, or the pause between two passes of a standing one.
  next_at timestamptz,
  app_id text not null,
  -- When a batch was last through. Null before the first.
  stepped_at timestamptz,
  -- Since the last batch that was through: how many failed, since when, and why the last one did.
  failures integer not null default 0,
  failing_since timestamptz,
  last_error text check (length(last_error) <= 2000),
  last_error_at timestamptz,
  -- In another engine's queue: the virtual ids of the transactions that were open when the horizon was taken. They may insert jobs that seem
  -- to have entered before: many engines take the time from the beginning of the transaction, which has no id before it writes. Null:
  -- all of them have ended, or none matters.
  open_transactions text[],
  primary key (app_id, cancellation_id),
  foreign key (app_id, cancellation_id) references secateur.cancellations
);

-- What a batch of a sweep or of a restore answers.
create type secateur.sweep_step as (
  state text,
  cancelled integer,
  -- Another process sweeps this cancellation right now.
  busy boolean,
  -- Nothing to do at present, but not complete: an older transaction or a running run is still open.
  idle boolean,
  restored integer,
  -- In how many seconds there is something to do again, if that is known.
  wait double precision,
  -- Runs that the sweep waits for a verdict on.
  undecided integer
);

-- Where the restore of an undone cancellation stands: it walks the runs that the cancellation has, in the order of ids.
create table secateur.restores (
  cancellation_id uuid not null,
  -- The last run looked at. Null at the beginning.
  run_id uuid,
  next_at timestamptz,
  app_id text not null,
  -- Where it goes back to at its end: it passed over runs whose keys somebody was taking.
  again_from uuid,
  primary key (app_id, cancellation_id),
  foreign key (app_id, cancellation_id) references secateur.cancellations
);

-- How long things are kept and may lie ahead; one row.
create table secateur.retention (
  one boolean primary key default true check (one),
  -- Completed and failed runs, after they ended.
  finished interval not null default '7 days' check (finished >= '0'),
  -- A cancellation's runs, after it ended: as long as it can be undone.
  cancelled interval not null default '30 days' check (cancelled >= '0'),
  -- How far ahead a standing cancellation's window may end.
  standing interval not null default '7 days' check (standing >= '0'),
  constraint retention_bounds check (greatest(finished, cancelled, standing) <= '100 years')
);

insert into secateur.retention default values;

-- Every token that a stored condition may contain, from the compiler's own list.
create table secateur.condition_vocabulary (
  token text primary key
);

-- Who did what, when and from where. Only record_audit writes it, whose owner nobody can log in as.
create table secateur.audit (
  id bigint not null generated always as identity,
  at timestamptz not null default clock_timestamp(),
  action text not null check (action ~ '^[a-z][a-z_]{0,39}$'),
  -- Empty for what concerns no app, or all of them.
  app_id text not null default '',
  function_id text,
  cancellation_id uuid,
  -- The database role that logged in.
  role text not null default session_user,
  -- As the client gave it.
  author text,
  -- Null: a local connection.
  address inet default inet_client_addr(),
  application_name text default current_setting('application_name'),
  source text,
  xid xid8 not null default pg_current_xact_id(),
  details jsonb not null default '{}',
  primary key (app_id, id)
);

create index audit_by_id on secateur.audit (id);
