-- What pruning needs to find its way.
alter table secateur.cancellations
  -- When the last of its runs was deleted.
  add column pruned_at timestamptz;

-- By when the time for an undo began to run.
create index cancellations_unpruned on secateur.cancellations (greatest(completed_at, stopped_at, restored_at))
  where state <> 'active' and pruned_at is null;
-- Runs that were cancelled for other reasons than a cancellation.
create index runs_cancelled_otherwise on secateur.runs (finished_at) where status = 'cancelled' and cancellation_id is null;
