-- The worker's half of the queue: one call of a SQL function each.

-- name: register
select secateur.register_function($1, $2, $3, $4)

-- name: claim
-- With the last row that says "ask again", so that a queue full of cancelled runs is not taken for an empty one.
select * from secateur.claim_batch($1, $2, $3, $4, $5)

-- name: begin_step
select secateur.begin_step($1, $2, $3)

-- name: complete
select * from secateur.complete_runs($1, $2)

-- name: fail
select secateur.fail($1, $2, $3)

-- name: heartbeat
select * from secateur.heartbeat($1, $2, $3)

-- name: release
select secateur.release($1, $2)
