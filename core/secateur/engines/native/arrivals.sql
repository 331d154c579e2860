-- name: arrivals_on_pages
-- How many runs of the scope arrived, in the window, on $6 per cent of the table's pages. `repeatable` draws the same pages each time,
-- so that the next statement finds them in memory. Cancelled runs were a flood before: they are neither this one nor usual.
select count(*) as runs,
       count(*) filter (where run.status in ('queued', 'scheduled', 'running')) as unfinished
  from secateur.runs as run tablesample system ($6::real) repeatable (0)
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and ($3::text is null or run.function_id <> $3)
   and ($4::timestamptz is null or run.started_at > $4)
   and ($5::timestamptz is null or run.started_at < $5)
   and run.status <> 'cancelled'

-- name: arrivals_of_pages
-- Each of these runs with the probability $7, so that they come from all of the pages.
select run.event, run.function_id, run.started_at, run.status in ('queued', 'scheduled', 'running') as unfinished
  from secateur.runs as run tablesample system ($6::real) repeatable (0)
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and ($3::text is null or run.function_id <> $3)
   and ($4::timestamptz is null or run.started_at > $4)
   and ($5::timestamptz is null or run.started_at < $5)
   and run.status <> 'cancelled'
   and random() < $7::float8

-- name: arrival_times_of_pages
select run.started_at
  from secateur.runs as run tablesample system ($6::real) repeatable (0)
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and ($3::text is null or run.function_id <> $3)
   and ($4::timestamptz is null or run.started_at > $4)
   and ($5::timestamptz is null or run.started_at < $5)
   and run.status <> 'cancelled'
   and random() < $7::float8

-- name: arrivals_of_few
-- For a scope that is a small part of the table, of which hardly a page has a run: of those that wait, from the index of these;
-- of those that have ended, the last ones of the app. Each part is bounded, whatever the table holds.
with found as (
  (select waiting.app_id, waiting.id
     from secateur.runs as waiting
    where waiting.app_id = $1
      and ($2::text is null or waiting.function_id = $2)
      and ($3::text is null or waiting.function_id <> $3)
      and waiting.status in ('queued', 'scheduled', 'running')
      and ($4::timestamptz is null or waiting.started_at > $4)
      and ($5::timestamptz is null or waiting.started_at < $5)
    order by random()
    limit $6)
  union all
  (select ended.app_id, ended.id
     from (
       select past.app_id, past.id, past.function_id, past.started_at
         from secateur.runs as past
        where past.app_id = $1
          and past.status in ('completed', 'failed')
          and ($4::timestamptz is null or past.finished_at > $4)
        order by past.finished_at desc
        limit $7
     ) as ended
    where ($2::text is null or ended.function_id = $2)
      and ($3::text is null or ended.function_id <> $3)
      and ($4::timestamptz is null or ended.started_at > $4)
      and ($5::timestamptz is null or ended.started_at < $5)
    order by random()
    limit $6)
)
select run.event, run.function_id, run.started_at, run.status in ('queued', 'scheduled', 'running') as unfinished
  from secateur.runs as run
 where (run.app_id, run.id) in (select found.app_id, found.id from found)

-- name: pages
select pg_relation_size('secateur.runs') / current_setting('block_size')::bigint as pages
