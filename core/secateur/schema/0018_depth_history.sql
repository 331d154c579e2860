-- How the depth was: a sample of each app about once a second, written by whoever sums up the depth. See history.sql.

-- Runs that ever came in, and that ever completed or failed. What happened between two samples is the difference, however many
-- samples lie between them.
alter table secateur.depth_totals
  add column entered bigint not null default 0,
  add column drained bigint not null default 0;

create table secateur.depth_samples (
  app_id text not null,
  -- The first of its ten seconds: kept for 48 hours; the others are kept for 15 minutes.
  coarse boolean not null,
  at timestamptz not null,
  -- Functions with unfinished runs, or with a change since the sample before; in a coarse one, also those with failed runs. The
  -- name '' stands for the whole app. Null if there are none: the queue was empty, and nothing happened.
  function_ids text[],
  -- One element for each of these names. As in depth_totals:
  queued bigint[],
  scheduled bigint[],
  running bigint[],
  failed bigint[],
  entered bigint[],
  drained bigint[],
  -- As in cancelling_runs. Null in samples that are not coarse.
  cancelling bigint[],
  -- There were more functions than a sample has room for: of those that are not listed, nothing is known.
  cut boolean not null default false,
  primary key (app_id, coarse, at)
);

alter table secateur.depth_samples set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
                                        autovacuum_vacuum_cost_delay = 0);
