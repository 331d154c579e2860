-- What a condition says of runs for which it takes too long to be evaluated in a claim: looked at singly, in the background.

create table secateur.slow_verdicts (
  app_id text not null,
  cancellation_id uuid not null,
  run_id uuid not null,
  function_id text not null,
  -- Whether the cancellation matches the run. Null: undecided; then the run is neither claimed nor cancelled.
  verdict boolean,
  -- How often that was tried in vain, and when to try again.
  attempts integer not null default 0,
  next_at timestamptz not null default clock_timestamp(),
  primary key (run_id, cancellation_id, app_id)
);

create index slow_verdicts_undecided on secateur.slow_verdicts (app_id, cancellation_id, next_at) where verdict is null;
create index slow_verdicts_matching on secateur.slow_verdicts (app_id, cancellation_id, run_id) where verdict;

-- Runs that the sweep waits for a verdict on.
alter type secateur.sweep_step add attribute undecided integer;
