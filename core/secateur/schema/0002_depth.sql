-- The functions were in other files before, and some change their parameters: they are all made anew after this.
do $$
declare
  old record;
begin
  drop view if exists secateur.cancellation_tallies;
  for old in
    select routine.oid::regprocedure as signature
      from pg_proc as routine where routine.pronamespace = 'secateur'::regnamespace
  loop
    execute format('drop function %s', old.signature);
  end loop;
end
$$;

-- What each writing function did to the depth, one row a batch and function, in the same transaction: depth is the sum
-- of all rows, whatever the backlog's size. Statement triggers would cost a fifth of the throughput. No index: rows are
-- only appended, and within seconds moved into the totals.
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
  at timestamptz not null default clock_timestamp()
);

-- What was moved out of the deltas. Depth is totals and deltas together, in one snapshot.
create table secateur.depth_totals (
  app_id text not null,
  function_id text not null,
  queued bigint not null,
  scheduled bigint not null,
  running bigint not null,
  -- The oldest queued run's when the totals were last moved; null when there was none, or nobody has looked.
  oldest_started_at timestamptz,
  moved_at timestamptz not null,
  primary key (app_id, function_id)
) with (fillfactor = 50);

-- The rates of the deltas that were moved, second by second; kept as long as a rate needs them.
create table secateur.depth_seconds (
  app_id text not null,
  function_id text not null,
  second timestamptz not null,
  entered bigint not null,
  drained bigint not null,
  primary key (app_id, function_id, second)
) with (fillfactor = 50);

-- Each comparison of the sums with the rows.
create table secateur.depth_checks (
  id bigint generated always as identity primary key,
  checked_at timestamptz not null default clock_timestamp(),
  -- How many unfinished runs were counted, and how many the sums were off, without regard to the sign.
  counted bigint not null,
  drift bigint not null
);

-- How far off a function's sums were: what had to be added.
create table secateur.depth_drifts (
  check_id bigint not null references secateur.depth_checks on delete cascade,
  app_id text not null,
  function_id text not null,
  queued bigint not null,
  scheduled bigint not null,
  running bigint not null,
  primary key (check_id, app_id, function_id)
);

-- Small tables that change all the time: cleaned by what changed, not by how large they are.
alter table secateur.depth_deltas set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
                                       autovacuum_vacuum_cost_delay = 0);
alter table secateur.depth_totals set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
                                       autovacuum_vacuum_cost_delay = 0);
alter table secateur.depth_seconds set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
                                        autovacuum_vacuum_cost_delay = 0);

-- An existing queue is counted once. Nobody may write meanwhile; what an old function was about to write comes after the
-- count without a delta, which the next self-check finds.
lock table secateur.runs in share mode;

insert into secateur.depth_totals (app_id, function_id, queued, scheduled, running, moved_at)
select run.app_id, run.function_id,
       count(*) filter (where run.status = 'queued'),
       count(*) filter (where run.status = 'scheduled'),
       count(*) filter (where run.status = 'running'),
       clock_timestamp()
  from secateur.runs as run
 where run.status in ('queued', 'scheduled', 'running')
 group by run.app_id, run.function_id;
