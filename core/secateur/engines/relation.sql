-- How any queue is read whose runs are one relation, {runs}, with canonical columns: see relation.py. An engine's own file may
-- have a statement of the same name that its indexes serve better.

-- name: clock
-- Every time that people see or compare is the database's.
select clock_timestamp()

-- name: replayed
-- To which moment a replica has followed: the last commit that it repeated or, where it has all that it was sent, the time
-- of the primary's last message, as far as the role may see it. The clock, where it is no replica.
select case when not pg_is_in_recovery() then clock_timestamp() else coalesce(
  greatest(pg_last_xact_replay_timestamp(),
           (select link.last_msg_send_time from pg_stat_wal_receiver as link
             where link.status = 'streaming' and pg_last_wal_replay_lsn() >= link.latest_end_lsn)),
  (select past.checkpoint_time from pg_control_checkpoint() as past)) end

-- name: plan_for_values
-- Compiling a plan takes longer than most of these take.
select set_config('plan_cache_mode', 'force_custom_plan', true), set_config('jit', 'off', true)

-- name: count
-- The cheaper form of the condition, where only *true* matters, in the WHERE clause: an index on the events serves it.
select run.function_id, run.status, count(*) as matched
  from {runs} as run
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and {among}
   and ($3::timestamptz is null or run.started_at > $3)
   and ($4::timestamptz is null or run.started_at < $4)
   and {condition}
 group by run.function_id, run.status

-- name: indexes_there
-- Which indexes of these names a plan can use.
select own.relname::text as name
  from pg_class as own
  join pg_index as about on about.indexrelid = own.oid and about.indisvalid and about.indisready
 where own.relname = any ($1::text[])

-- name: verdicts
-- Takes the exact form: null is an error. Grouped by the verdict, for two aggregates that filter by it would evaluate it twice.
select judged.function_id, judged.status,
       coalesce(sum(judged.runs) filter (where judged.verdict), 0)::bigint as matched,
       coalesce(sum(judged.runs) filter (where judged.verdict is null), 0)::bigint as errors
  from (
    select run.function_id, run.status, {condition} as verdict, count(*) as runs
      from {runs} as run
     where run.app_id = $1
       and ($2::text is null or run.function_id = $2)
       and {among}
       and ($3::timestamptz is null or run.started_at > $3)
       and ($4::timestamptz is null or run.started_at < $4)
     group by run.function_id, run.status, verdict
  ) as judged
 group by judged.function_id, judged.status

-- name: total
-- The scope's unfinished runs, from the index alone.
select count(*) as total
  from {runs} as run
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and {among}

-- name: histogram
-- Of the runs of scope and window, by start in $5 equal parts of the time from the first to the last: all, matches and errors.
-- $6 per cent of them are looked at, where a sample is drawn. offset 0 keeps the condition from being evaluated per aggregate.
-- Another engine's queue may have runs of any time, and those outside the years 1 to 9999 have no place between the others.
with judged as (
  select run.started_at, {condition} as verdict
    from {drawn}
   where run.app_id = $1
     and ($2::text is null or run.function_id = $2)
     and {among}
     and ($3::timestamptz is null or run.started_at > $3)
     and ($4::timestamptz is null or run.started_at < $4)
  offset 0
), ends as materialized (
  select min(started_at) as first, max(started_at) as last from judged where judged.started_at between timestamptz '0001-01-01 00:00:00+00' and timestamptz '9999-12-31 23:59:59.999998+00'
)
select least($5::int, 1 + floor($5::int * extract(epoch from judged.started_at - ends.first)
                                / greatest(extract(epoch from ends.last - ends.first), 0.000001))::int) as part,
       min(ends.first) as first,
       max(ends.last) as last,
       count(*) as total,
       count(*) filter (where judged.verdict) as matched,
       count(*) filter (where judged.verdict is null) as errors
  from judged
 cross join ends
 where $6::float8 is not null and judged.started_at between timestamptz '0001-01-01 00:00:00+00' and timestamptz '9999-12-31 23:59:59.999998+00'
 group by part
 order by part

-- name: examples
-- Ordered as an index of a function's runs is, so that a common verdict is found at once.
select {columns}
  from {runs} as run
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and {among}
   and ($3::timestamptz is null or run.started_at > $3)
   and ($4::timestamptz is null or run.started_at < $4)
   and ({condition}) is not distinct from $5::boolean
 order by run.app_id, run.function_id, run.status, run.id
 limit $6

-- name: arrivals
-- Matching runs that entered in the last ten seconds, whatever has become of them since.
select count(*) as arrived
  from {runs} as run
 where run.started_at > now() - interval '10 s'
   and run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and ($3::timestamptz is null or run.started_at > $3)
   and ($4::timestamptz is null or run.started_at < $4)
   and {condition}

-- name: exported
-- The runs of scope and window that match, as they come: an order would have to sort all of them before the first.
select {columns}
  from {runs} as run
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and {among}
   and ($3::timestamptz is null or run.started_at > $3)
   and ($4::timestamptz is null or run.started_at < $4)
   and {condition}

-- name: sample_events
select run.event
  from {runs} as run
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and {unfinished}
 order by random()
 limit $3

-- name: run
select {columns} from {runs} as run where {one}

-- name: runs
-- Runs after $4, ordered by key or, where keys are not in the order of time, by start. It looks at no more than $5 runs of the scope and
-- status. `nth` is the number of runs that it had looked at.
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
 order by {ordered}
 limit $8

-- name: runs_reached
-- How many runs that statement looks at, and which is the last.
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

-- name: is_known
select exists (select from {runs} as run where run.app_id = $1 and ($2::text is null or run.function_id = $2))
