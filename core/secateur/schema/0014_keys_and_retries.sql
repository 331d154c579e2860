-- The key that a run was enqueued under, and who took it after the run was cancelled or had failed for good.
alter table secateur.runs
  add column idempotency_key text,
  add column key_taken_by uuid;

-- A completed run keeps its key, and never comes back: it need not know it.
update secateur.runs as run
   set idempotency_key = kept.key
  from secateur.enqueue_keys as kept
 where kept.app_id = run.app_id and kept.run_id = run.id and run.status <> 'completed';

-- Where a restore goes back to when it has come to its end: it passed over runs whose keys somebody was taking.
alter table secateur.restores add column again_from uuid;

-- Failed runs are counted, like those that are not finished, by what each writing function did.
alter table secateur.depth_deltas add column failed bigint not null default 0;
alter table secateur.depth_totals add column failed bigint not null default 0;
alter table secateur.depth_drifts add column failed bigint not null default 0;

insert into secateur.depth_deltas (app_id, function_id, failed)
select run.app_id, run.function_id, count(*)
  from secateur.runs as run where run.status = 'failed' group by run.app_id, run.function_id;

-- Failed runs, for whoever lists, counts or retries them.
create index runs_failed on secateur.runs (app_id, function_id, id) include (started_at) where status = 'failed';
-- Queued runs that once waited for their time: since when they can be claimed, which their start does not tell.
create index runs_promoted on secateur.runs (app_id, function_id, scheduled_for)
  where status = 'queued' and scheduled_for is not null;

-- Retries: the same record as a cancellation's, of another kind. Its state is `retrying`, and never `active`, while runs are
-- still being queued: nothing that looks for cancellations in force can take it for one.
alter table secateur.cancellations
  drop constraint cancellations_kind_check,
  drop constraint cancellations_state_check,
  add constraint cancellations_kind_check check (kind in ('bulk', 'event', 'run', 'retry')),
  add constraint cancellations_state_check check (state in ('active', 'retrying', 'complete', 'stopped', 'undone')),
  -- Of kind `retry`: cancelled runs are meant as well as failed ones.
  add column with_cancelled boolean not null default false,
  add constraint cancellations_retries check (kind = 'retry' or (not with_cancelled and state <> 'retrying'));

create index cancellations_retrying on secateur.cancellations (serial) where state = 'retrying';

alter table secateur.cancellation_deltas
  -- Of a retry: runs that it queued again. Of a cancellation: those of its `cancelled` that retries took over.
  add column retried bigint not null default 0,
  -- Of a retry: runs that match and that it left as they were.
  add column left_alone bigint not null default 0;

alter table secateur.runs
  -- The retry that queued this run last.
  add column retry_id uuid,
  -- What the retry replaced, so that it can be undone; null as soon as the run is claimed.
  add column retried_from jsonb;

create index runs_retried on secateur.runs (retry_id, id) where retry_id is not null;
-- Cancelled runs, for a retry that is to queue these again too.
create index runs_cancelled_of on secateur.runs (app_id, function_id, id) include (started_at) where status = 'cancelled';
