-- Of one population: app $1, functions $2 (null means all) except $3, window $4 to $5, only unfinished runs if $6. {which} is the
-- filter, {what} what is selected. Cancelled runs were an earlier flood: they are neither this one nor usual.

-- name: arrivals_on_pages
-- On $7 per cent of the table's pages, each run with the probability $8, so that the runs come from all of these pages. The same
-- pages are drawn each time: the first statement counts the runs on them, and the next one finds them in memory. Nothing is pulled
-- out of the inner select, so that an event that dozens of conditions read is decompressed once.
select {what}
  from (
    select {drawn_columns}
      from {drawn}
     where run.app_id = $1
       and ($2::text[] is null or run.function_id = any ($2))
       and run.function_id <> all ($3::text[])
       and ($4::timestamptz is null or run.started_at > $4)
       and ($5::timestamptz is null or run.started_at < $5)
       and run.status <> 'cancelled'
       and (not $6::boolean or {unfinished})
       and random() < $8::float8
    offset 0
  ) as run
 where {which}
