-- What a cancellation's condition says of jobs of others on which it takes too long for a claim or a batch. See 0010_slow_verdicts.sql.

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
