-- name: commit
-- O(running runs); see the function's header.
select committed.id
  from secateur.commit_cancellations(
         $1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $10, $11::jsonb, $12, $13, $14, $15, $16, $17::jsonb, $18, $19::jsonb[], $20, $21)
       as committed

-- name: commit_retry
-- O(1); see the function's header.
select committed.id
  from secateur.commit_retries(
         $1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $10, $11::jsonb, $12, $13, $14, $15, $16, $17::jsonb, $18, $19::jsonb[], $20,
         $21) as committed

-- name: cancel_run
select * from secateur.cancel_run($1, $2, $3, $4, $5, $6, $7)

-- name: app_of_run
-- Also of a run that is pruned, for whoever asks for its cancellation again under the same key.
select coalesce(
  (select run.app_id from secateur.runs as run where run.id = $1),
  (select rule.app_id from secateur.cancellations as rule where rule.run_id = $1 and rule.idempotency_key = $2))

-- name: cancelled_singly
-- The cancellation of this run alone: the oldest that has asked it to stop and still waits for that; else the last one that
-- was undone.
select rule.id
  from secateur.cancellations as rule
 where rule.app_id = $1 and rule.run_id = $2
   and (rule.state = 'undone'
        or rule.state = 'active' and exists (
             select from secateur.cancel_requests as open
              where open.app_id = rule.app_id and open.run_id = rule.run_id and open.cancellation_id = rule.id
                and open.outcome is null))
 order by rule.state, case rule.state when 'active' then rule.serial else -rule.serial end
 limit 1

-- name: app_of_cancellation
select rule.app_id from secateur.cancellations as rule where rule.id = $1

-- name: stop
select * from secateur.stop_cancellation($1, $2, $3, $4)

-- name: undo
select * from secateur.undo_cancellation($1, $2, $3, $4, $5)

-- name: sweep
select * from secateur.sweep_cancellation($1, $2, $3)

-- name: decide
select secateur.decide_slowly($1, $2)

-- name: restore
select * from secateur.restore_cancellation($1, $2, $3)

-- name: note_sweep_failure
select secateur.note_sweep_failure($1, $2, $3)

-- name: sweep_problems
-- By the indexes of open cancellations, so that a long history costs nothing.
select rule.id,
       coalesce(place.last_error, 'nobody has swept it: keep a console, server or worker running') as error,
       coalesce(place.failing_since, place.stepped_at, rule.undone_at, rule.created_at) as since
  from secateur.cancellations as rule
  join secateur.sweeps as place on place.app_id = rule.app_id and place.cancellation_id = rule.id
 where (rule.state = 'active' or rule.state = 'retrying' or rule.state = 'undone' and rule.restored_at is null)
   and (place.failures >= 2 or coalesce(place.stepped_at, rule.undone_at, rule.created_at) < now() - interval '1 minute')
 order by rule.serial
 limit 20

-- name: open_cancellations
-- A function, so that a role that may only work can sweep.
select open.app_id, open.id, open.state from secateur.open_cancellations() as open

-- name: unrestored
select * from secateur.unrestored($1, $2, $3)

-- name: cancellations
-- Newest first. As one document each, so that the record's model reads it in one place. Who holds the lock that a pending one
-- waits for is looked up as it is now.
with held as materialized (
  select waiting.app_id, holder.pid, holder.gid
    from (select distinct app_id from secateur.cancellations where state = 'active' and in_force_at is null) as waiting,
         lateral (select one.pid, one.gid from secateur.lock_holders as one where one.app_id = waiting.app_id) as holder
)
select to_jsonb(rule) || to_jsonb(tally) || jsonb_build_object(
         'blocked_by', (select coalesce(jsonb_agg(held.pid order by held.pid), '[]')
                          from held where held.app_id = rule.app_id and held.pid is not null and pending),
         'blocked_by_prepared', (select coalesce(jsonb_agg(held.gid order by held.gid), '[]')
                                   from held where held.app_id = rule.app_id and held.gid is not null and pending),
         'swept', coalesce(place.clean, false),
         'stepped_at', place.stepped_at,
         'unswept_for', case when rule.state in ('active', 'retrying') or rule.state = 'undone' and rule.restored_at is null
           then greatest(0, extract(epoch from now() - coalesce(place.stepped_at, rule.undone_at, rule.created_at))) end,
         'failures', coalesce(place.failures, 0),
         'failing_since', place.failing_since,
         'last_error', place.last_error,
         'last_error_at', place.last_error_at,
         'undecided', slow.undecided,
         'stuck', slow.stuck,
         'undo_until', coalesce(rule.stopped_at, rule.completed_at, rule.undone_at) + retention.cancelled)
  from secateur.cancellations as rule
 cross join lateral (select rule.state = 'active' and rule.in_force_at is null as pending) as guarantee
 cross join secateur.retention
  left join secateur.sweeps as place on place.app_id = rule.app_id and place.cancellation_id = rule.id
  left join lateral (
    select count(*) as undecided, count(*) filter (where pair.attempts > 1) as stuck
      from secateur.slow_verdicts as pair
     where pair.app_id = rule.app_id and pair.cancellation_id = rule.id and pair.verdict is null
       and rule.state = 'active'
  ) as slow on true
  left join lateral (
    select coalesce(sum(one.cancelled), 0) as cancelled,
           coalesce(sum(one.requested), 0) as requested,
           coalesce(sum(one.finished_first), 0) as finished_first,
           coalesce(sum(one.stopping), 0) as stopping,
           coalesce(sum(one.errors), 0) as errors,
           coalesce(sum(one.restored), 0) as restored,
           coalesce(sum(one.handed_over), 0) as handed_over,
           coalesce(sum(one.pruned), 0) as pruned,
           coalesce(sum(one.stopped), 0) as stopped,
           coalesce(sum(one.retried), 0) as retried,
           coalesce(sum(one.left_alone), 0) as left_alone
      from secateur.cancellation_tallies as one
     where one.app_id = rule.app_id and one.cancellation_id = rule.id
  ) as tally on true
 where ($1::uuid is null or rule.id = $1)
   and ($2::uuid is null or rule.serial < (select page.serial from secateur.cancellations as page where page.id = $2))
 order by rule.serial desc
 limit $3

-- name: audit
select to_jsonb(entry) - 'xid' || jsonb_build_object('app_id', nullif(entry.app_id, ''))
  from secateur.audit as entry
 where $2::bigint is null or entry.id < $2
 order by entry.id desc
 limit $1
