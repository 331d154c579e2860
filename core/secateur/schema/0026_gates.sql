-- Gates: triggers that keep jobs of queues of others from being claimed, once a cancellation is in force that matches them.

-- Their functions, made anew with each change of the active cancellations, and nothing else.
create schema if not exists secateur_gates;

create table secateur.gates (
  installation text primary key,
  -- That of the installation's lock; the names of the functions have it.
  lock_number bigint not null unique,
  -- The table that its trigger is on. Null: the trigger is not there yet, and nothing is promised.
  guarded regclass,
  -- As the engine was when the gate was made for it.
  version text not null,
  made_at timestamptz not null default clock_timestamp(),
  -- Counts the changes of what it must know. A claim that sees another number than its function has asks the tables.
  generation bigint not null default 0,
  -- Whether there is an active cancellation: else a claim pays for nothing but this look.
  active boolean not null default false
);

-- Claims that a gate let through because something failed, one a second at most; kept until it is made again. Only appended to, so
-- that a claim which fails holds up no other one.
create table secateur.gate_failures (
  id bigint generated always as identity primary key,
  installation text not null,
  at timestamptz not null default clock_timestamp(),
  error text not null
);

create index gate_failures_by_time on secateur.gate_failures (installation, at);
