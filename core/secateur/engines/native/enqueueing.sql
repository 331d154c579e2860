-- Putting runs into the queue: one call of a SQL function each. The last parameter is the trace that the caller is in, or null: the
-- column `traceparent` takes it from the setting, which ends with the transaction.

-- name: enqueue
select secateur.enqueue($1, $2, $3::jsonb, $4, $5, $6, $7)
  from (select set_config('secateur.traceparent', coalesce($8, ''), true) offset 0) as kept

-- name: enqueue_many
select secateur.enqueue_many($1, $2, $3::jsonb[], $4, $5, $6)
  from (select set_config('secateur.traceparent', coalesce($7, ''), true) offset 0) as kept
