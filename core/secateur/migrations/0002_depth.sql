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
-- of all rows, whatever the backlog's size. Statement triggers would cost a fifth of the throughput.
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
