-- name: send
-- Within the trace $3: see enqueueing.sql. A row for each run that the event starts, and for each cancellation that it commits.
select sent.run_id, sent.app_id, sent.function_id, sent.cancellation_id 
  from (select set_config('secateur.traceparent', coalesce($3, ''), true) as trace offset 0) as kept
 cross join lateral secateur.send(case when kept.trace is not null then $1::jsonb end, $2) as sent
