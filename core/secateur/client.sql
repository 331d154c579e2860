-- Putting runs into the queue: one call of a SQL function each.

-- name: enqueue
select secateur.enqueue($1, $2, $3::jsonb, $4, $5, $6, $7)

-- name: enqueue_many
select secateur.enqueue_many($1, $2, $3::jsonb[], $4, $5, $6)

-- name: enqueue_chunk
-- Counted, so that the ids of a million runs need not be sent and kept. A time for all of them, or none.
select count(*) from secateur.enqueue_many(
  $1, $2, $3::jsonb[],
  case when $4::timestamptz is not null then array_fill($4::timestamptz, array[cardinality($3)]) end,
  case when $5::integer <> 0 then array_fill($5::integer, array[cardinality($3)]) end,
  quietly => true)

-- name: enqueue_nothing
-- Tells idle workers of what was enqueued quietly.
select count(*) from secateur.enqueue_many($1, $2, '{}')
