-- The worker's half of the queue: one call of a SQL function each.

-- name: register
-- Both in one transaction: nobody sees half of a declaration.
select secateur.register_function($1, $2, $3, $4, $5), secateur.declare_cancel_on($1, $2, $6::jsonb)

-- name: claim
-- With the last row that says "ask again", so that a queue full of cancelled runs is not taken for an empty one, or when
-- the next run becomes due: by the database's clock, so how far ahead that is.
select claimed.*, case when claimed.id is null then claimed.scheduled_for - clock_timestamp() end as due_in
  from secateur.claim_batch($1, $2, $3, $4, $5) as claimed

-- name: begin_step
select secateur.begin_step($1, $2, $3)

-- name: echo
select pg_notify($1, '')

-- name: finish_steps
select secateur.finish_steps($1, $2, $3, $4::jsonb[])

-- name: finished_steps
select * from secateur.finished_steps($1, $2)

-- name: complete
select * from secateur.complete_runs($1, $2)

-- name: fail
select secateur.fail($1, $2, $3)

-- name: heartbeat
select * from secateur.heartbeat($1, $2, $3)

-- name: release
select secateur.release($1, $2)
