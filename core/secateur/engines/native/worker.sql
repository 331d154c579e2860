-- The worker's half of the queue: one call of a SQL function each.

-- name: register
-- Both in one transaction: nobody sees half of a declaration.
select secateur.register_function($1, $2, $3, $4, $5), secateur.declare_cancel_on($1, $2, $6::jsonb)

-- name: claim_and_flush
call secateur.claim_and_flush($1, $2, $3, $4, $5, $6, $7, null, null, null, null, null, null, null, null, null, null)

-- name: traces
select run_id, traceparent from secateur.traces_of($1, $2)

-- name: begin_step
select secateur.begin_step($1, $2, $3, $4, durable => false)

-- name: echo
select pg_notify($1, '')

-- name: finish_steps
select secateur.finish_steps($1, $2, $3, $4, $5::jsonb[])

-- name: finished_steps
select * from secateur.finished_steps($1, $2, $3)

-- name: complete
select * from secateur.complete_runs($1, $2, $3)

-- name: fail
select secateur.fail($1, $2, $3, $4, $5, $6)

-- name: interrupt
select secateur.interrupt($1, $2, $3, $4)

-- name: heartbeat
select * from secateur.heartbeat($1, $2, $3, $4)

-- name: release
select secateur.release($1, $2, $3)
