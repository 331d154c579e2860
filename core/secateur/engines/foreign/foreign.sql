-- How a queue of others is read, where relation.sql would not be served by its indexes. {runs} has every run, finished ones as
-- well; `run.key` is the bare primary key, and {ids} its type. {unfinished} and {among} are predicates in the engine's words.

-- name: helpers
-- The functions that conditions may call, as far as they are installed and may be called.
select routine.proname::text as name
  from pg_proc as routine
  join pg_namespace as room on room.oid = routine.pronamespace
 where room.nspname = 'secateur_cel'
   and has_schema_privilege(room.oid, 'usage') and has_function_privilege(routine.oid, 'execute')

-- name: run
select {columns} from {runs} as run where {one}

-- name: runs
-- From $4 on, in the order of the key or, where that is no order in time, of the starts. Looks at $5 runs of the scope and status
-- at most; `nth` says how many it had looked at.
select {columns}, run.nth
  from (
    select run.*, row_number() over (order by {ordered}) as nth
      from {runs} as run
     where run.app_id = $1
       and ($2::text[] is null or run.function_id = any ($2))
       and ($3::text is null or run.status = $3)
       and {with_status}
       and ($4::text is null
            or ({position}) {past} (select {page_position} from {runs} as page where {page}))
     order by {ordered}
     limit $5
  ) as run
 where ($6::timestamptz is null or run.started_at > $6)
   and ($7::timestamptz is null or run.started_at < $7)
   and {condition}
 order by run.nth
 limit $8

-- name: runs_reached
-- How many of them that are, and the last.
select count(*) as looked,
       (array_agg(seen.id order by seen.nth desc))[1] as id,
       (array_agg(seen.started_at order by seen.nth desc))[1] as started_at
  from (
    select run.id, run.started_at, row_number() over (order by {ordered}) as nth
      from {runs} as run
     where run.app_id = $1
       and ($2::text[] is null or run.function_id = any ($2))
       and ($3::text is null or run.status = $3)
       and {with_status}
       and ($4::text is null
            or ({position}) {past} (select {page_position} from {runs} as page where {page}))
     order by {ordered}
     limit $5
  ) as seen

-- name: examples
select {columns}
  from {runs} as run
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and {among}
   and ($3::timestamptz is null or run.started_at > $3)
   and ($4::timestamptz is null or run.started_at < $4)
   and ({condition}) is not distinct from $5::boolean
 limit $6

-- name: sample_events
select run.event
  from {runs} as run
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and {unfinished}
 order by random()
 limit $3

-- name: sample_events_of_pages
-- Where drawing from all of them would take long: whatever is on $4 per cent of the table's pages.
select run.event
  from {drawn}
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and {unfinished}
 limit $3

-- name: sample
-- Matches, errors and total of each page in one pass over $5 per cent of the table's pages; offset 0 keeps the condition
-- from being evaluated once per aggregate.
select judged.page,
       judged.function_id,
       judged.status,
       count(*) as total,
       count(*) filter (where judged.verdict) as matched,
       count(*) filter (where judged.verdict is null) as errors
  from (
    select (run.place::text::point)[0]::bigint as page,
           run.function_id,
           run.status,
           case when ($3::timestamptz is null or run.started_at > $3) and ($4::timestamptz is null or run.started_at < $4)
                then {condition} else false end as verdict
      from {drawn}
     where run.app_id = $1
       and ($2::text is null or run.function_id = $2)
       and {unfinished}
    offset 0
  ) as judged
 group by judged.page, judged.function_id, judged.status

-- name: rows_of_sample
-- The same runs, to be evaluated outside of the database.
select {columns}, (run.place::text::point)[0]::bigint as page
  from {drawn}
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and {unfinished}
   and $5::real is not null

-- name: pages
select pg_relation_size(({table})) / current_setting('block_size')::bigint

-- name: arrivals_of_few
-- Where pages cannot be drawn, or hardly one has a run of the scope: of the newest $8 runs in the order of the key.
select {what}
  from (
    select run.* from {runs} as run order by {newest} limit $8
  ) as run
 where run.app_id = $1
   and ($2::text[] is null or run.function_id = any ($2))
   and run.function_id <> all ($3::text[])
   and ($4::timestamptz is null or run.started_at > $4)
   and ($5::timestamptz is null or run.started_at < $5)
   and run.status <> 'cancelled'
   and (not $6::boolean or {unfinished})
   and {which}
 order by random()
 limit $7

-- name: rows_of_count
-- From here on: the runs that the statement of that name is about, to be evaluated outside of the database.
select {columns}
  from {runs} as run
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and {among}
   and ($3::timestamptz is null or run.started_at > $3)
   and ($4::timestamptz is null or run.started_at < $4)

-- name: rows_of_verdicts
select {columns}
  from {runs} as run
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and {among}
   and ($3::timestamptz is null or run.started_at > $3)
   and ($4::timestamptz is null or run.started_at < $4)

-- name: rows_of_examples
select {columns}
  from {runs} as run
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and {among}
   and ($3::timestamptz is null or run.started_at > $3)
   and ($4::timestamptz is null or run.started_at < $4)
   and ($5::boolean is null or $5::boolean is not null)
   and $6::integer > 0

-- name: rows_of_histogram
select {columns}
  from {drawn}
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and {among}
   and ($3::timestamptz is null or run.started_at > $3)
   and ($4::timestamptz is null or run.started_at < $4)
   and $5::integer > 0
   and $6::float8 is not null

-- name: rows_of_arrivals
select {columns}
  from {runs} as run
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and run.started_at > now() - interval '10 s'
   and ($3::timestamptz is null or run.started_at > $3)
   and ($4::timestamptz is null or run.started_at < $4)

-- name: rows_of_runs
select {columns}, run.nth
  from (
    select run.*, row_number() over (order by {ordered}) as nth
      from {runs} as run
     where run.app_id = $1
       and ($2::text[] is null or run.function_id = any ($2))
       and ($3::text is null or run.status = $3)
       and {with_status}
       and ($4::text is null
            or ({position}) {past} (select {page_position} from {runs} as page where {page}))
     order by {ordered}
     limit $5
  ) as run
 where ($6::timestamptz is null or run.started_at > $6)
   and ($7::timestamptz is null or run.started_at < $7)
 order by run.nth
 -- All of them: which are wanted is not known yet.
 limit greatest($5::bigint, $8::bigint)
