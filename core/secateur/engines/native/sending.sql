-- name: send
-- A row for each run that the event starts, and for each cancellation that it commits.
select sent.run_id, sent.app_id, sent.function_id, sent.cancellation_id from secateur.send($1::jsonb, $2) as sent
