-- Of one population each: app $1, functions $2 (null is all) but $3, window $4 to $5, only unfinished ones if $6. {which} is the
-- filter, {what} the columns, or how many match. Cancelled runs were a flood before: they are neither this one nor usual.

-- name: by_index
-- What is read in the order of an index ends with its limit, whatever the planner knows of the table.
select set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)

-- name: arrivals_of_few
-- For a scope that is a small part of the table, of which hardly a page has a run. Of the unfinished ones, the newest between the
-- ids $10 and $11, in equal parts of each function and $9 in all; of those that have ended, the last $8 of the app. So each part is
-- bounded, whatever the table holds.
with found as (
  (select run.app_id, run.id
     from secateur.functions as known
    cross join (values ('queued'), ('scheduled'), ('running')) as stage (status)
    cross join lateral (
      select one.*
        from secateur.runs as one
       where one.app_id = known.app_id
         and one.status in ('queued', 'scheduled', 'running')
         and (one.function_id, one.status, one.id) > (known.function_id, stage.status, $10)
         and (one.function_id, one.status, one.id) < (known.function_id, stage.status, $11)
       order by one.function_id desc, one.status desc, one.id desc
       limit greatest(100, $9 / (select count(*) from secateur.functions as each
                                  where each.app_id = $1 and ($2::text[] is null or each.function_id = any ($2))))
    ) as run
    where known.app_id = $1
      and ($2::text[] is null or known.function_id = any ($2))
      and known.function_id <> all ($3::text[])
      and ($4::timestamptz is null or run.started_at > $4)
      and ($5::timestamptz is null or run.started_at < $5)
      and {which}
    order by random()
    limit $7)
  union all
  (select run.app_id, run.id
     from (
       select past.*
         from secateur.runs as past
        where past.app_id = $1
          and not $6::boolean
          and past.status in ('completed', 'failed')
          and ($4::timestamptz is null or past.finished_at > $4)
        order by past.finished_at desc
        limit $8
     ) as run
    where ($2::text[] is null or run.function_id = any ($2))
      and run.function_id <> all ($3::text[])
      and ($4::timestamptz is null or run.started_at > $4)
      and ($5::timestamptz is null or run.started_at < $5)
      and {which}
    order by random()
    limit $7)
)
select {what}
  from secateur.runs as run
 where (run.app_id, run.id) in (select found.app_id, found.id from found)

-- name: pages
select pg_relation_size('secateur.runs') / current_setting('block_size')::bigint as pages
