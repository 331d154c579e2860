-- Of one population each: app $1, functions $2 (null is all) but $3, window $4 to $5, only unfinished ones if $6. {which} is the
-- filter, {what} the columns, or how many match. Cancelled runs were a flood before: they are neither this one nor usual.

-- name: arrivals_on_pages
-- How many there are on $7 per cent of the table's pages. `repeatable` draws the same pages each time, so that the next statement
-- finds them in memory.
select count(*) as runs,
       count(*) filter (where {unfinished}) as unfinished
  from {drawn}
 where run.app_id = $1
   and ($2::text[] is null or run.function_id = any ($2))
   and run.function_id <> all ($3::text[])
   and ($4::timestamptz is null or run.started_at > $4)
   and ($5::timestamptz is null or run.started_at < $5)
   and run.status <> 'cancelled'
   and (not $6::boolean or {unfinished})
   and {which}

-- name: arrivals_of_pages
-- Each of these runs with the probability $8, so that they come from all of the pages.
select {what}
  from {drawn}
 where run.app_id = $1
   and ($2::text[] is null or run.function_id = any ($2))
   and run.function_id <> all ($3::text[])
   and ($4::timestamptz is null or run.started_at > $4)
   and ($5::timestamptz is null or run.started_at < $5)
   and run.status <> 'cancelled'
   and (not $6::boolean or {unfinished})
   and {which}
   and random() < $8::float8

-- name: arrival_times_of_pages
select run.started_at
  from {drawn}
 where run.app_id = $1
   and ($2::text[] is null or run.function_id = any ($2))
   and run.function_id <> all ($3::text[])
   and ($4::timestamptz is null or run.started_at > $4)
   and ($5::timestamptz is null or run.started_at < $5)
   and run.status <> 'cancelled'
   and (not $6::boolean or {unfinished})
   and {which}
   and random() < $8::float8
