-- The tables of secateur's own queue as they are now. Where there is only the ledger for other engines' queues, they are not there.
--
-- A new database gets this file. An older one gets the numbered files that it lacks: each of them is a change that has been made
-- here as well. tests/integration/test_parts.py holds the two against each other.

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

-- Far below what jsonb can hold, and below where Postgres or Python runs out of stack. Larger things belong elsewhere, and the event
-- says where.
create function secateur.refuse_deep_event() returns trigger language plpgsql as $$
begin
  if pg_column_size(new.event) > 67108864 then
    raise exception using errcode = 'SC422', column = 'event', message = 'an event may have 64 MB at most';
  elsif new.event @? '$.**{500}' then
    raise exception using errcode = 'SC422', column = 'event', message = 'an event may be nested 500 levels deep at most';
  end if;
  return new;
end
$$;

-- Rows may come by COPY: hence the defaults.
create table secateur.runs (
  id uuid not null default secateur.new_run_id(),
  app_id text not null,
  -- No foreign key to functions: every enqueue would share-lock the same row, and only enqueue inserts.
  function_id text not null,
  event jsonb not null,
  status text not null default 'queued',
  -- Larger is claimed first.
  priority integer not null default 0,
  -- Claims so far.
  attempt integer not null default 0,
  -- When the run entered the queue, not when a worker picked it up. The time is taken after the transaction's id, as in enqueue_many.
  started_at timestamptz not null default case when pg_current_xact_id() is not null then clock_timestamp() end,
  scheduled_for timestamptz,
  worker text,
  -- A finished run keeps its last token, so that a repeated complete() can be told from somebody else's.
  claim_token uuid,
  claimed_at timestamptz,
  lease_expires_at timestamptz,
  -- The step that was granted last, and when.
  step text,
  step_at timestamptz,
  finished_at timestamptz,
  error text,
  cancellation_id uuid,
  -- The status that a cancellation replaced. Everything else of the row is left as it was, so that undo is exact.
  cancelled_from text check (cancelled_from in ('queued', 'scheduled', 'running')),
  -- The slot that a running run holds, where its function has a limit.
  slot integer,
  -- The undone cancellation that this run was handed over from: another one matches it too.
  handed_over_from uuid,
  -- The token of a claim whose lease ended, until somebody begins the run again: whoever held it may still say that it ended.
  last_token uuid,
  -- How often a worker that stopped gave it back after it had begun. That costs no attempt, a limited number of times.
  interruptions integer not null default 0,
  -- The key that it was enqueued under, and who took the key after the run was cancelled or had failed for good. A completed run never comes
  -- back, and need not know it.
  idempotency_key text,
  key_taken_by uuid,
  -- The retry that queued this run last.
  retry_id uuid,
  -- What the retry replaced, so that it can be undone. Null as soon as the run is claimed.
  retried_from jsonb,
  -- What became of its earlier attempts. The last one is in the row itself. See attempts.sql.
  past_attempts jsonb,
  -- The trace in which it was sent: W3C's `traceparent`, for the worker that goes on with it. It comes with the sender's transaction, by a
  -- setting, and is no part of the event, which is the user's. What does not have the form is left out.
  traceparent text default
    case when current_setting('secateur.traceparent', true) ~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'
         then current_setting('secateur.traceparent', true) end,
  -- The app comes last in the keys of what is looked up by many ids at once. Were it first, all that an app has would look like few rows to a
  -- planner whose statistics are older than the flood: it would read them instead, and lock them in their order, not in that of the ids.
  -- Each update reads the checks anew, so they are short: a claim is one, and so is a completion.
  constraint runs_states check (
    case when finished_at is null
         then status in ('queued', 'scheduled') or status = 'running' and claim_token is not null and lease_expires_at is not null
         else status in ('completed', 'failed', 'cancelled') end
  ),
  -- Without a schedule, `least` and `greatest` are of the start alone.
  constraint runs_times check (
    least(started_at, scheduled_for) >= timestamptz '0001-01-01 00:00:00+00'
    and greatest(started_at, scheduled_for) <= timestamptz '9999-12-31 23:59:59.999998+00'
  )
) with (
  -- Every claim, complete and cancel rewrites status, so no update is HOT; room in the page buys nothing.
  autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_vacuum_insert_scale_factor = 0.02,
  autovacuum_analyze_scale_factor = 0.05
);

create trigger refuse_deep_event before insert on secateur.runs
  for each row when (pg_column_size(new.event) > 4000) execute function secateur.refuse_deep_event();

-- Among indexes that cost the same, the planner prefers by their age, so their order here matters: it is that in which the numbered files
-- make them.

-- Recovery of expired leases.
create index runs_running on secateur.runs (app_id, lease_expires_at) where status = 'running';
-- Depth by an index-only scan, and the sweep's walk through one function's backlog in the order of ids.
create index runs_unfinished on secateur.runs (app_id, function_id, status, id) include (started_at)
  where status in ('queued', 'scheduled', 'running');
-- What one cancellation reached: its recount, its report, its undo.
create index runs_cancelled on secateur.runs (cancellation_id, id) where cancellation_id is not null;
-- The order of claims: one descent per function, no sort. By the id's bytes, whose order is the same: were it the id itself, the planner
-- could as well take runs_unfinished, which has the ids of all priorities.
create index runs_queued on secateur.runs (app_id, function_id, priority desc, uuid_send(id)) where status = 'queued';
-- What a cancellation has handed over.
create index runs_handed_over on secateur.runs (handed_over_from, id) where handed_over_from is not null;
alter table secateur.runs add primary key (id, app_id);
-- What is to be pruned: what ended by itself, and what was cancelled for other reasons than a cancellation.
create index runs_drained on secateur.runs (app_id, finished_at) where status in ('completed', 'failed');
create index runs_cancelled_otherwise on secateur.runs (app_id, finished_at)
  where status = 'cancelled' and cancellation_id is null;
-- Failed and cancelled runs, for whoever lists, counts or retries them; and what a retry has queued.
create index runs_failed on secateur.runs (app_id, function_id, id) include (started_at) where status = 'failed';
-- Queued runs that once waited for their time: since when they can be claimed, which their start does not tell.
create index runs_promoted on secateur.runs (app_id, function_id, scheduled_for)
  where status = 'queued' and scheduled_for is not null;
create index runs_retried on secateur.runs (retry_id, id) where retry_id is not null;
create index runs_cancelled_of on secateur.runs (app_id, function_id, id) include (started_at) where status = 'cancelled';
-- Promotion of what has become due. With the id, so that a floor can lie between runs of the same time.
create index runs_scheduled on secateur.runs (app_id, function_id, scheduled_for, id) where status = 'scheduled';

-- A running run that is asked to stop. It is a row of its own, so that a commit locks no run; and there is one for each cancellation that asks,
-- so that the run also stops when one of them is stopped itself.
create table secateur.cancel_requests (
  run_id uuid not null,
  claim_token uuid not null,
  cancellation_id uuid not null,
  function_id text not null,
  requested_at timestamptz not null default clock_timestamp(),
  outcome text check (outcome in ('cancelled', 'finished_first', 'withdrawn')),
  app_id text not null,
  foreign key (app_id, cancellation_id) references secateur.cancellations
);

create index cancel_requests_open on secateur.cancel_requests (cancellation_id, run_id) where outcome is null;
alter table secateur.cancel_requests add primary key (run_id, claim_token, cancellation_id, app_id);

-- What a condition says of runs on which it takes too long for a claim. They are looked at singly, in the background.
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

-- What a claim returns: a type of its own, so that a new column of runs cannot change the worker's contract.
create type secateur.claimed_run as (
  id uuid,
  app_id text,
  function_id text,
  event jsonb,
  attempt integer,
  max_attempts integer,
  claim_token uuid,
  started_at timestamptz,
  scheduled_for timestamptz,
  priority integer,
  lease_expires_at timestamptz,
  -- Set on the one row without an id that claim_batch adds when it stopped before the queue's end.
  more boolean,
  -- How far ahead the next run is due, by the database's clock, which only the function has.
  due_in interval,
  -- Steps of an earlier attempt are kept: whoever claims the run asks finished_steps for them.
  resumes boolean
);

-- What a finished step returned, for the attempts after it.
create table secateur.steps (
  run_id uuid not null,
  step text not null,
  result jsonb not null,
  finished_at timestamptz not null default clock_timestamp(),
  app_id text not null,
  primary key (run_id, step, app_id)
);

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

-- Where claims begin to look for what falls due. A hint, never a truth: see due_floors.sql. Only HOT updates.
create table secateur.due_floors (
  app_id text not null,
  -- The name '' stands for the app's leases; the others are for the scheduled runs of a function.
  function_id text not null,
  -- No run that is due is known before this place in the order of (scheduled_for, id). Of leases, only the time counts.
  floor_at timestamptz not null default '-infinity',
  floor_id uuid not null default '00000000-0000-0000-0000-000000000000',
  -- When to look below it next.
  walk_at timestamptz not null default clock_timestamp(),
  -- The place of the first scheduled run, as somebody found it, and how long that is believed.
  next_at timestamptz not null default '-infinity',
  next_id uuid not null default '00000000-0000-0000-0000-000000000000',
  next_until timestamptz not null default '-infinity',
  primary key (app_id, function_id)
) with (fillfactor = 20);

-- Which functions may have something to claim. A hint, so that a claim need not ask all that there are: see due.sql.
create table secateur.due_functions (
  app_id text not null,
  -- The list is written anew now and then, under the next number.
  epoch bigint not null,
  function_id text not null,
  -- Its place in this epoch's order, which is by chance; null where nothing is known but what is scheduled for later.
  place bigint,
  -- When the first of that falls due.
  due_at timestamptz,
  -- Since when it is known to have nothing, though it is on the list.
  empty_since timestamptz,
  constraint due_functions_check check ((place is null) <> (due_at is null))
) with (fillfactor = 50);

-- No key: two transactions that note the same function must not wait for each other.
create index due_functions_by_function on secateur.due_functions (app_id, epoch, function_id);
create index due_functions_by_place on secateur.due_functions (app_id, epoch, place);
create index due_functions_by_time on secateur.due_functions (app_id, epoch, due_at);

-- Each app's epoch. Apart from `searches`, for whoever queues runs reads it, and it is seldom written.
create table secateur.due_epochs (
  app_id text primary key,
  epoch bigint not null default 0
) with (fillfactor = 20);

-- When an app's list is compared with its queue next. Only HOT updates.
create table secateur.searches (
  app_id text primary key,
  next_at timestamptz not null default clock_timestamp(),
  -- Where it goes on: behind this function.
  after text not null default '',
  -- How many entries of the epoch are dead by now.
  dead bigint not null default 0
) with (fillfactor = 20);

-- Functions that are no more. The row of the function stays, for history refers to it. The mark is a row of its own: an enqueue
-- takes it away in a transaction that may stay open, and a lock of the function's row would then hold up pause and register.
create table secateur.forgotten_functions (
  app_id text not null,
  function_id text not null,
  forgotten_at timestamptz not null default clock_timestamp(),
  primary key (app_id, function_id),
  foreign key (app_id, function_id) references secateur.functions
);

-- The ids of events that were sent and that some function declares: what is delivered twice cancels once. An event is seen by each app that it
-- concerns. Kept for a day.
create table secateur.seen_events (
  id text not null,
  at timestamptz not null default clock_timestamp(),
  app_id text not null,
  primary key (app_id, id)
);

create index seen_events_by_age on secateur.seen_events (app_id, at);

-- What was enqueued under an idempotency key: asking again gives the same run. Kept for a day.
create table secateur.enqueue_keys (
  app_id text not null,
  function_id text not null,
  key text not null,
  run_id uuid not null,
  -- SHA-256 of the event, to tell a repeated call from another one under the same key.
  event_hash bytea not null,
  at timestamptz not null default clock_timestamp(),
  primary key (app_id, function_id, key)
);

create index enqueue_keys_by_age on secateur.enqueue_keys (app_id, at);

-- What one process at a time does for an app: a row to lock for each.
create table secateur.upkeep (
  app_id text not null,
  task text not null check (task in ('compact', 'check', 'prune')),
  primary key (app_id, task)
);
