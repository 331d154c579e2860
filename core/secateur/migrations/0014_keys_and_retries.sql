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
