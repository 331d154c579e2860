-- Pausing: of a whole app, or of one function.
alter table secateur.apps
  add paused_at timestamptz,
  add paused_by text;

alter table secateur.functions
  add paused_at timestamptz,
  add paused_by text,
  -- How many of its runs may run at once, over all workers; null is unlimited.
  add concurrency integer check (concurrency >= 1);

-- A function with a limit has a row for each run that it may have at once: a run takes a free one to start, and gives it
-- back when it ends. So the limit holds without anybody counting.
create table secateur.slots (
  app_id text not null,
  function_id text not null,
  slot integer not null,
  -- Who holds it; null is free.
  run_id uuid,
  -- The limit shrank while it was held: it goes when it becomes free.
  surplus boolean not null default false,
  primary key (app_id, function_id, slot)
) with (fillfactor = 50);

-- The slot that a running run holds, where its function has a limit.
alter table secateur.runs add slot integer;

-- The order of claims. By the id's bytes, whose order is the same: were it the id itself, the planner could as well take
-- runs_unfinished, which has the ids of all priorities.
drop index secateur.runs_queued;
create index runs_queued on secateur.runs (app_id, function_id, priority desc, uuid_send(id)) where status = 'queued';

-- Where the queue of one function and priority begins: no queued run is known below the floor. Claims seek from there, for
-- what they took remains in the index as long as any transaction might see it. A hint, never a truth: each claim's other
-- statements do not trust it, and a walk below it finds what came there unnoticed. Only HOT updates.
create table secateur.levels (
  app_id text not null,
  function_id text not null,
  priority integer not null,
  floor uuid not null default '00000000-0000-0000-0000-000000000000',
  -- Where the walk below the floor goes on, and when.
  walked uuid not null default '00000000-0000-0000-0000-000000000000',
  walk_at timestamptz not null default clock_timestamp(),
  primary key (app_id, function_id, priority)
) with (fillfactor = 20);

-- Whether a claim found nothing since anything was put in. Who puts something in notifies only then.
create table secateur.idle (
  app_id text primary key,
  idle boolean not null
) with (fillfactor = 20);

-- What a finished step returned, for the attempts after it.
create table secateur.steps (
  run_id uuid not null,
  step text not null,
  result jsonb not null,
  finished_at timestamptz not null default clock_timestamp(),
  primary key (run_id, step)
);

-- Documents of which the event of every run that the cancellation matches contains one; null where no such are known.
-- Claims look at these first, and need not evaluate the condition of most runs at all.
alter table secateur.cancellations
  add requires jsonb[],
  -- An event that contains one is matched by the condition: there is nothing left to evaluate.
  add requires_suffices boolean not null default false;

-- A version 7 UUID: milliseconds, then microseconds in the twelve bits of rand_a, then chance.
create function secateur.new_run_id() returns uuid language plpgsql as $$
declare
  us constant bigint := extract(epoch from clock_timestamp()) * 1000000;
begin
  return encode(substring(int8send(us / 1000) from 3)
                  || int2send((28672 + (us % 1000) * 4096 / 1000)::int2)
                  || substring(uuid_send(gen_random_uuid()) from 9), 'hex')::uuid;
end
$$;

-- Far below where Postgres or Python runs out of stack; only an event of some size can be nested so deeply.
create function secateur.refuse_deep_event() returns trigger language plpgsql as $$
begin
  if new.event @? '$.**{500}' then
    raise exception using errcode = 'SC422', column = 'event', message = 'an event may be nested 500 levels deep at most';
  end if;
  return new;
end
$$;

-- Rows may come by COPY. The time is taken after the transaction's id, as in enqueue_many, whoever copies.
alter table secateur.runs
  alter id set default secateur.new_run_id(),
  alter status set default 'queued',
  alter started_at set default case when pg_current_xact_id() is not null then clock_timestamp() end;

create trigger refuse_deep_event before insert on secateur.runs
  for each row when (pg_column_size(new.event) > 4000) execute function secateur.refuse_deep_event();

-- What is there already: the levels of what waits, up to the number that is kept of a function.
insert into secateur.idle (app_id, idle) select apps.app_id, true from secateur.apps;

insert into secateur.levels (app_id, function_id, priority)
select found.app_id, found.function_id, found.priority
  from (select known.*, row_number() over (partition by known.app_id, known.function_id order by known.priority) as nth
          from (select distinct run.app_id, run.function_id, run.priority
                  from secateur.runs as run where run.status in ('queued', 'scheduled', 'running')) as known) as found
 where found.nth <= 33;
