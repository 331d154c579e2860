-- The depth of secateur's own queue, as its tables are now. They are small and change all the time: they are vacuumed by how much has changed,
-- and not by how large they are.

-- What each writing function did to the depth, one row a batch and function, in the same transaction. Depth is the sum of
-- all rows, whatever the backlog's size. Statement triggers would cost a fifth of the throughput. No index: rows are only added, and moved
-- into the totals within seconds.
create table secateur.depth_deltas (
  app_id text not null,
  function_id text not null,
  -- Changes of the runs that have this status.
  queued bigint not null default 0,
  scheduled bigint not null default 0,
  running bigint not null default 0,
  -- For the rates: runs that came in, runs that completed or failed.
  entered bigint not null default 0,
  drained bigint not null default 0,
  at timestamptz not null default clock_timestamp(),
  -- As `queued`.
  failed bigint not null default 0
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- What was moved out of the deltas. Depth is totals and deltas together, in one snapshot.
create table secateur.depth_totals (
  app_id text not null,
  function_id text not null,
  queued bigint not null,
  scheduled bigint not null,
  running bigint not null,
  -- The oldest queued run's when the totals were last moved. Null when there was none, or nobody has looked.
  oldest_started_at timestamptz,
  moved_at timestamptz not null,
  failed bigint not null default 0,
  -- Runs that ever came in, and that ever completed or failed. What happened between two samples is the difference.
  entered bigint not null default 0,
  drained bigint not null default 0,
  -- Since when the oldest could be claimed, which is another time if it had to wait for its own.
  oldest_claimable_at timestamptz,
  -- Runs that ever failed for good: `failed` falls again when they are pruned or retried.
  ever_failed bigint not null default 0,
  primary key (app_id, function_id)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);

-- The rates of the deltas that were moved, second by second. They are kept as long as a rate needs them.
create table secateur.depth_seconds (
  app_id text not null,
  function_id text not null,
  second timestamptz not null,
  entered bigint not null,
  drained bigint not null,
  -- By how much the backlog itself changed: runs that a cancellation takes come in and never go out.
  grown bigint not null default 0,
  primary key (app_id, function_id, second)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- Each comparison of an app's sums with its rows.
create table secateur.depth_checks (
  id bigint not null generated always as identity,
  checked_at timestamptz not null default clock_timestamp(),
  -- How many unfinished runs were counted, and how many the sums were off, without regard to the sign.
  counted bigint not null,
  drift bigint not null,
  app_id text not null,
  primary key (app_id, id)
);

-- How far off a function's sums were: what had to be added.
create table secateur.depth_drifts (
  check_id bigint not null,
  app_id text not null,
  function_id text not null,
  queued bigint not null,
  scheduled bigint not null,
  running bigint not null,
  failed bigint not null default 0,
  primary key (app_id, check_id, function_id),
  foreign key (app_id, check_id) references secateur.depth_checks on delete cascade
);

-- How the depth was: a sample of each app about once a second, written by whoever sums up the depth. See history.sql.
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
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
