alter table secateur.functions
  -- What declare_cancel_on made of the declarations: event, if, condition, parameters, compiler, match, timeout.
  add column cancel_on jsonb not null default '[]';

-- Which functions an event concerns.
create index functions_by_cancel_on on secateur.functions using gin (cancel_on jsonb_path_ops);

alter table secateur.cancellations
  drop constraint cancellations_kind_check,
  drop constraint cancellations_source_check,
  add constraint cancellations_kind_check check (kind in ('bulk', 'event', 'run')),
  add constraint cancellations_source_check check (source in ('tui', 'cli', 'api', 'python', 'event'));

-- The ids of events that were sent and that some function declares: what is delivered twice cancels once. Kept for a day.
create table secateur.seen_events (
  id text primary key,
  at timestamptz not null default clock_timestamp()
);

create index seen_events_by_age on secateur.seen_events (at);
