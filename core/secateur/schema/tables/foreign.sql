-- Tables of the ledger for other engines' queues, as they are now.

-- The queues whose jobs may be cancelled. What a name is made of is in engines/foreign/installation.py.
create table secateur.installations (
  -- What `--engine` takes.
  name text primary key check (length(name) between 1 and 200 and position('/' in name) = 0),
  engine text not null check (engine <> ''),
  schema text not null,
  prefix text not null default '',
  -- As it was when somebody installed it last.
  version text not null,
  installed_at timestamptz not null default clock_timestamp(),
  -- All of its apps have this number, and so share one lock: see locks.sql.
  lock_number bigint not null default nextval(pg_get_serial_sequence('secateur.apps', 'lock_number')),
  -- Counts the changes of its active cancellations, for a gate that keeps them in another form.
  generation bigint not null default 0
);

-- The jobs that a cancellation has met in another engine's queue.
create table secateur.preimages (
  app_id text not null,
  -- No foreign key: to check it row by row took as long as all cancels of a batch. take_jobs and end_job_restore look for the cancellation
  -- once a batch, and no cancellation is ever deleted.
  cancellation_id uuid not null,
  -- As the engine's SQL file writes it.
  job_id text not null,
  function_id text not null,
  -- The whole row, or rows, as they were. Null: it ran, and nothing was written to it.
  pre jsonb,
  was_running boolean not null,
  taken_by text not null check (taken_by in ('sweep', 'gate')),
  taken_at timestamptz not null default clock_timestamp(),
  -- An undo puts them back in this order.
  serial bigint not null generated always as identity,
  -- Null: it is cancelled; or, if it ran, it has not ended yet. What became of one that ran: `stopped`, `finished_first` or, since
  -- nobody waits for it any more, `withdrawn`. What an undo did: `restored`, `handed_over` to another cancellation, `left`.
  outcome text check (outcome in ('stopped', 'finished_first', 'withdrawn', 'restored', 'handed_over', 'left')),
  -- Why it was left, or to which cancellation it was handed over, in words.
  told text,
  primary key (app_id, cancellation_id, job_id)
);

create index preimages_open on secateur.preimages (app_id, cancellation_id, serial) where outcome is null;
-- The running ones that a cancellation waits for: each batch asks for them.
create index preimages_running on secateur.preimages (app_id, cancellation_id, job_id) where was_running and outcome is null;

-- What a cancellation's condition says of jobs on which it takes too long for a claim or a batch.
create table secateur.slow_jobs (
  app_id text not null,
  cancellation_id uuid not null,
  job_id text not null,
  -- Whether the cancellation matches the job. Null: undecided; then a gate lets nobody claim it, and no sweep cancels it.
  verdict boolean,
  -- How often that was tried in vain, and when to try again.
  attempts integer not null default 0,
  next_at timestamptz not null default clock_timestamp(),
  primary key (app_id, cancellation_id, job_id)
);

-- Gates: triggers that keep jobs from being claimed that a cancellation in force matches.
create table secateur.gates (
  installation text primary key,
  -- That of the installation's lock. The names of the functions have it.
  lock_number bigint not null unique,
  -- The table that its trigger is on. Null: the trigger is not there yet, and nothing is promised.
  guarded regclass,
  -- As the engine was when the gate was made for it.
  version text not null,
  made_at timestamptz not null default clock_timestamp(),
  -- Counts the changes of what it must know. A claim that sees another number than its function has asks the tables.
  generation bigint not null default 0
);

-- Claims that a gate let through because something failed, one a second at most. They are kept until the gate is made again. Rows are only
-- added, so that a claim which fails holds up no other one.
create table secateur.gate_failures (
  id bigint generated always as identity primary key,
  installation text not null,
  at timestamptz not null default clock_timestamp(),
  error text not null
);

create index gate_failures_by_time on secateur.gate_failures (installation, at);
