-- Putting runs into the queue: one call of a SQL function each.

-- name: enqueue
select secateur.enqueue($1, $2, $3::jsonb, $4, $5, $6, $7)

-- name: enqueue_many
select secateur.enqueue_many($1, $2, $3::jsonb[], $4, $5, $6)
