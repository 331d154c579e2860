-- What holds up one run of secateur's own queue. Each statement reads rows of this run, or a bounded number of others.

-- name: trace
-- Slots are rows of the function: as many as its limit. Workers are those that hold one of twenty running runs of the app;
-- `listening` are secateur's own, by the names of their connections, whatever they work for.
select now() as as_of,
       known.max_attempts, known.concurrency,
       known.paused_at, known.paused_by, app.paused_at as app_paused_at, app.paused_by as app_paused_by,
       run.interruptions, run.retry_id, run.handed_over_from, run.key_taken_by,
       (select count(*) from secateur.slots as slot
         where slot.app_id = run.app_id and slot.function_id = run.function_id and slot.run_id is not null) as slots_taken,
       (select count(distinct held.worker)
          from (select other.worker from secateur.runs as other
                 where other.app_id = run.app_id and other.status = 'running' and other.lease_expires_at > now()
                 order by other.lease_expires_at
                 limit 20) as held) as workers,
       (select count(distinct session.application_name) from pg_stat_activity as session
         where session.datname = current_database() and session.application_name like 'secateur worker %') as listening
  from secateur.runs as run
  join secateur.functions as known on known.app_id = run.app_id and known.function_id = run.function_id
  join secateur.apps as app on app.app_id = run.app_id
 where run.id = $1

-- name: ahead
-- Queued runs of the function that a claim takes before this one, $5 at most: of a higher priority, or older.
select count(*)
  from (
    (select 1 from secateur.runs as run
      where run.app_id = $1 and run.function_id = $2 and run.status = 'queued' and run.priority > $3
      limit $5)
    union all
    (select 1 from secateur.runs as run
      where run.app_id = $1 and run.function_id = $2 and run.status = 'queued' and run.priority = $3
        and uuid_send(run.id) < uuid_send($4::uuid)
      limit $5)
    limit $5
  ) as ahead

-- name: finished_steps
-- The results of the small ones.
select kept.step, kept.finished_at, pg_column_size(kept.result) as size,
       case when pg_column_size(kept.result) <= 10000 then kept.result end as result
  from secateur.steps as kept
 where kept.run_id = $1 and kept.app_id = $2
 order by kept.finished_at, kept.step
 limit 1000

-- name: undecided
select slow.cancellation_id, slow.attempts, slow.next_at
  from secateur.slow_verdicts as slow
 where slow.run_id = $1 and slow.app_id = $2
   -- Not `is null`: the index of those that are undecided would look small enough to be read whole.
   and coalesce(slow.verdict::text, '') = ''
 order by slow.next_at

-- name: stop_requests
select request.cancellation_id, request.requested_at, request.outcome
  from secateur.cancel_requests as request
 where request.run_id = $1 and request.app_id = $2
 order by request.requested_at
 limit 100
