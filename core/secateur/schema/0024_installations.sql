-- Queues of others whose jobs may be cancelled, and what an undo needs to put these back.

-- A row makes it possible to cancel in that queue. What its name is made of is in engines/foreign/installation.py.
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

-- Null: of secateur's own queue. An installation's apps are called `NAME/QUEUE`.
alter table secateur.apps add column installation text;
alter table secateur.functions add column installation text;

alter table secateur.cancellations
  -- Of kind `run`, in a queue of others: which job.
  add column job_id text check (length(job_id) between 1 and 500),
  -- False: nothing keeps its runs from being claimed, so that what the sweep has not reached may still start.
  add column gated boolean not null default true,
  drop constraint cancellations_run,
  add constraint cancellations_run check ((kind = 'run') = (num_nonnulls(run_id, job_id) = 1) and num_nonnulls(run_id, job_id) < 2);

-- The jobs that a cancellation has met in a queue of others.
create table secateur.preimages (
  app_id text not null,
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
  serial bigint generated always as identity,
  -- Null: it is cancelled; or, if it ran, it has not ended yet. What became of one that ran: `stopped`, `finished_first` or, since
  -- nobody waits for it any more, `withdrawn`. What an undo did: `restored`, `handed_over` to another cancellation, `left`.
  outcome text check (outcome in ('stopped', 'finished_first', 'withdrawn', 'restored', 'handed_over', 'left')),
  -- Why it was left, or to which cancellation it was handed over, in words.
  told text,
  primary key (app_id, cancellation_id, job_id),
  foreign key (app_id, cancellation_id) references secateur.cancellations
);

create index preimages_open on secateur.preimages (app_id, cancellation_id, serial) where outcome is null;
create index preimages_by_job on secateur.preimages (app_id, job_id);
