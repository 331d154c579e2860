-- What goes before and after the COPY of many events, in the same transaction.

-- name: begin_bulk
select secateur.begin_bulk() from (select set_config('secateur.traceparent', coalesce($1, ''), true) offset 0) as kept

-- name: enqueue_bulk
select secateur.enqueue_bulk($1, $2, $3, $4)
