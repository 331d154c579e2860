-- Searching for runs in the order of their ids, which the queue's functions make of their starts. Of a status that has an index, each
-- function's next runs are read from that; of any other, the table's. Only ids at first, with the starts that the indexes have.

-- name: by_index
-- In the order of an index, whatever the planner knows of the table: what is not read in order is read to the end.
select set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)

-- name: next_indexed
-- The next $5 of each function between the ids $3 and $4; planned for its values, so that only the part of the status $9 is left. All
-- that is `near` is complete: no function with more than these has one before the last of them.
with head as materialized (
  select next.id, next.started_at, next.nth
    from secateur.functions as known
   cross join lateral (
     select one.id, one.started_at, row_number() over () as nth
       from (
         (select run.id, run.started_at
            from secateur.runs as run
           where $9 in ('queued', 'scheduled', 'running')
             and run.app_id = known.app_id
             and run.status in ('queued', 'scheduled', 'running')
             and (run.function_id, run.status, run.id) > (known.function_id, $9, $3)
             and (run.function_id, run.status, run.id) < (known.function_id, $9, $4)
           order by run.function_id {order}, run.status {order}, run.id {order}
           limit $5)
         union all
         (select run.id, run.started_at
            from secateur.runs as run
           where $9 = 'failed'
             and run.app_id = known.app_id
             and run.status = 'failed'
             and (run.function_id, run.id) > (known.function_id, $3)
             and (run.function_id, run.id) < (known.function_id, $4)
           order by run.function_id {order}, run.id {order}
           limit $5)
         union all
         (select run.id, run.started_at
            from secateur.runs as run
           where $9 = 'cancelled'
             and run.app_id = known.app_id
             and run.status = 'cancelled'
             and (run.function_id, run.id) > (known.function_id, $3)
             and (run.function_id, run.id) < (known.function_id, $4)
           order by run.function_id {order}, run.id {order}
           limit $5)
       ) as one
   ) as next
   where known.app_id = $1 and ($2::text[] is null or known.function_id = any ($2))
), reach as (
  select head.id from head where head.nth = $5 order by head.id {order} limit 1
), near as (
  select head.id, head.started_at
    from head
   where (select reach.id from reach) is null or head.id {until} (select reach.id from reach)
   order by head.id {order}
   limit $6
), last as (
  select near.id, near.started_at from near order by near.id {reverse} limit 1
)
select (select count(*) from head) as read,
       (select count(*) from near) as looked,
       not exists (select from reach) and (select count(*) from head) = (select count(*) from near) as is_all,
       (select last.id from last) as last_id,
       (select last.started_at from last) as last_start,
       array(select near.id from near
              where ($7::timestamptz is null or near.started_at > $7)
                and ($8::timestamptz is null or near.started_at < $8)
              order by near.id {order}) as ids

-- name: next_any
-- The next $6 runs of the table between the ids $3 and $4, whatever their app: completed runs have no index of their functions.
with near as materialized (
  select run.id, run.app_id, run.function_id, run.status, run.started_at
    from secateur.runs as run
   where run.id > $3 and run.id < $4
   order by run.id {order}
   limit $6
), last as (
  select near.id, near.started_at from near order by near.id {reverse} limit 1
)
select (select count(*) from near) as read,
       (select count(*) from near) as looked,
       (select count(*) from near) < $6 as is_all,
       (select last.id from last) as last_id,
       (select last.started_at from last) as last_start,
       array(select near.id from near
              where near.app_id = $1
                and ($2::text[] is null or near.function_id = any ($2))
                and ($9::text is null or near.status = $9)
                and $5::bigint is not null
                and ($7::timestamptz is null or near.started_at > $7)
                and ($8::timestamptz is null or near.started_at < $8)
              order by near.id {order}) as ids

-- name: runs_found
-- Of these runs, the first $4 that the condition is true of; `nth` is their place among them.
select {columns}, run.nth
  from (
    select one.*, wanted.nth
      from unnest($2::uuid[]) with ordinality as wanted (id, nth)
     cross join lateral (
       select found.* from secateur.runs as found where found.app_id = $1 and found.id = wanted.id offset 0
     ) as one
  ) as run
 where ($3::text is null or run.status = $3)
   and {condition}
 order by run.nth
 limit $4
