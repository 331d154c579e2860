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
