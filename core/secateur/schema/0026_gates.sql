-- Gates: triggers that keep jobs of queues of others from being claimed, once a cancellation is in force that matches them.

-- Their functions, made anew with each change of the active cancellations, and nothing else.
create schema if not exists secateur_gates;

create table secateur.gates (
  installation text primary key references secateur.installations,
  -- That of the installation's lock; the names of the functions have it.
  lock_number bigint not null unique,
  -- The table that its trigger is on. Null: the trigger is not there yet, and nothing is promised.
  guarded oid,
  -- As the engine was when the gate was made for it.
  version text not null,
  made_at timestamptz not null default clock_timestamp(),
  -- Counts the changes of what it must know. A claim that sees another number than its function has asks the tables.
  generation bigint not null default 0,
  -- Whether there is an active cancellation: else a claim pays for nothing but this look.
  active boolean not null default false,
  -- Claims that it let through because something failed; shown until it is made again.
  failures bigint not null default 0,
  last_error text,
  last_error_at timestamptz
);
