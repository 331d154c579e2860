-- name: depth
-- The sums of totals and of the deltas that nobody has moved yet: as quick whatever the backlog, and exact as of this
-- snapshot unless the drift says otherwise. Rates are of the last ten seconds; of the second in which they began, as much
-- as still counts. The oldest run is the totals' as long as somebody moves the deltas; else it is one descent of
-- each index (see oldest_queued); runs that are due and that nobody has promoted yet can be claimed as well. `lost` are running
-- ones whose lease is over, until a claim takes them back. `cancelling` is an estimate from the tallies, so that it costs nothing per run.
with pending as (
  select delta.app_id, delta.function_id,
         sum(delta.queued) as queued, sum(delta.scheduled) as scheduled, sum(delta.running) as running,
         sum(delta.failed) as failed,
         sum(delta.entered) as ever_entered, sum(delta.drained) as ever_drained,
         sum(delta.failed) filter (where delta.failed > 0 and delta.drained > 0) as ever_failed,
         sum(delta.entered) filter (where delta.at > now() - interval '10 s') as entered,
         sum(delta.drained) filter (where delta.at > now() - interval '10 s') as drained,
         sum(delta.queued + delta.scheduled) filter (where delta.at > now() - interval '10 s') as grown,
         min(delta.at) > now() - interval '5 s' as fresh
    from secateur.depth_deltas as delta
   group by delta.app_id, delta.function_id
), recent as (
  select past.app_id, past.function_id,
         sum(past.entered * least(1, extract(epoch from past.second - now()) + 11)) as entered,
         sum(past.drained * least(1, extract(epoch from past.second - now()) + 11)) as drained,
         sum(past.grown * least(1, extract(epoch from past.second - now()) + 11)) as grown
    from secateur.depth_seconds as past
   where past.second > now() - interval '11 s'
   group by past.app_id, past.function_id
), lost as materialized (
  select one.app_id, over.function_id, over.runs
    from secateur.apps as one
   cross join lateral (
     select run.function_id, count(*) as runs
       from secateur.runs as run
      where run.app_id = one.app_id and run.status = 'running' and run.lease_expires_at < now()
      group by run.function_id
   ) as over
), cancelling as materialized (
  -- Once, whatever the planner expects of tables that were never analyzed; so are those above.
  select one.app_id, one.function_id, one.runs from secateur.cancelling_runs as one
)
select known.app_id,
       known.function_id,
       depth.queued,
       depth.scheduled,
       depth.running,
       least(coalesce(lost.runs, 0), depth.running) as lost,
       depth.failed,
       least(coalesce(cancelling.runs, 0), depth.queued + depth.scheduled + depth.running)::bigint as cancelling,
       oldest.started_at as oldest_started_at,
       oldest.claimable_at as oldest_claimable_at,
       ((coalesce(recent.entered, 0) + coalesce(pending.entered, 0)) / 10)::float8 as in_per_second,
       ((coalesce(recent.drained, 0) + coalesce(pending.drained, 0)) / 10)::float8 as out_per_second,
       ((coalesce(recent.grown, 0) + coalesce(pending.grown, 0)) / 10)::float8 as growth_per_second,
       known.paused_at is not null or app.paused_at is not null as paused,
       app.paused_at is not null as app_paused,
       known.paused_at is not null as function_paused,
       checked.checked_at,
       coalesce(abs(drift.queued) + abs(drift.scheduled) + abs(drift.running) + abs(drift.failed), 0) as drift,
       (coalesce(total.entered, 0) + coalesce(pending.ever_entered, 0))::bigint as ever_entered,
       (coalesce(total.drained, 0) + coalesce(pending.ever_drained, 0))::bigint as ever_left,
       (coalesce(total.ever_failed, 0) + coalesce(pending.ever_failed, 0))::bigint as ever_failed,
       now() as as_of
  from secateur.functions as known
  join secateur.apps as app using (app_id)
  left join secateur.depth_totals as total using (app_id, function_id)
  left join pending using (app_id, function_id)
  left join recent using (app_id, function_id)
  left join cancelling using (app_id, function_id)
  left join lost using (app_id, function_id)
  left join lateral (
    select past.id, past.checked_at from secateur.depth_checks as past
     where past.app_id = known.app_id order by past.id desc limit 1
  ) as checked on true
  left join secateur.depth_drifts as drift
    on drift.app_id = known.app_id and drift.check_id = checked.id and drift.function_id = known.function_id
 cross join lateral (
   select greatest(0, coalesce(total.queued, 0) + coalesce(pending.queued, 0))::bigint as queued,
          greatest(0, coalesce(total.scheduled, 0) + coalesce(pending.scheduled, 0))::bigint as scheduled,
          greatest(0, coalesce(total.running, 0) + coalesce(pending.running, 0))::bigint as running,
          greatest(0, coalesce(total.failed, 0) + coalesce(pending.failed, 0))::bigint as failed,
          case when pending.fresh is not false then total.oldest_started_at end as oldest_started_at,
          case when pending.fresh is not false then total.oldest_claimable_at end as oldest_claimable_at
 ) as depth
  left join lateral (
   select one.started_at, one.claimable_at
     from (
       (select depth.oldest_started_at as started_at, depth.oldest_claimable_at as claimable_at
         where depth.queued > 0 and depth.oldest_started_at is not null)
        union all
       (select first.started_at, first.claimable_at
          from secateur.oldest_queued as first
         where depth.queued > 0 and depth.oldest_started_at is null
           and first.app_id = known.app_id and first.function_id = known.function_id)
        union all
       (select run.started_at, run.scheduled_for
          from secateur.runs as run
         where depth.scheduled > 0
           and run.app_id = known.app_id and run.function_id = known.function_id
           and run.status = 'scheduled' and run.scheduled_for <= now()
         order by run.scheduled_for
         limit 1)
     ) as one
    order by one.claimable_at
    limit 1
 ) as oldest on true
  left join secateur.forgotten_functions as gone on gone.app_id = known.app_id and gone.function_id = known.function_id
 -- What is forgotten is seen only while there is something to see.
 where known.installation is null
   and (gone.function_id is null or depth.queued + depth.scheduled + depth.running > 0)
 order by known.app_id, known.function_id

-- name: size
-- The scope's unfinished runs as depth has them, and the table's pages: what a sample is sized by and scaled up to.
select coalesce(sum(part.queued + part.scheduled + part.running), 0)::bigint as total,
       pg_relation_size('secateur.runs') / current_setting('block_size')::bigint as pages
  from (
    select app_id, function_id, queued, scheduled, running from secateur.depth_totals
     union all
    select app_id, function_id, queued, scheduled, running from secateur.depth_deltas
  ) as part
 where part.app_id = $1
   and ($2::text is null or part.function_id = $2)

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
    select (run.ctid::text::point)[0]::bigint as page,
           run.function_id,
           run.status,
           case when ($3::timestamptz is null or run.started_at > $3) and ($4::timestamptz is null or run.started_at < $4)
                then {condition} else false end as verdict
      from {drawn}
     where run.app_id = $1
       and ($2::text is null or run.function_id = $2)
       and run.status in ('queued', 'scheduled', 'running')
    offset 0
  ) as judged
 group by judged.page, judged.function_id, judged.status

-- name: sample_events
-- Ids from the index alone, then only the rows that were drawn.
select run.event
  from secateur.runs as run
 where (run.app_id, run.id) in (
   select drawn.app_id, drawn.id
     from secateur.runs as drawn
    where drawn.app_id = $1
      and ($2::text is null or drawn.function_id = $2)
      and drawn.status in ('queued', 'scheduled', 'running')
    order by random()
    limit $3)

-- name: sample_events_of_pages
-- Where drawing from all ids would take long: whatever is on $4 per cent of the table's pages.
select run.event
  from {drawn}
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and run.status in ('queued', 'scheduled', 'running')
 limit $3

-- name: arrivals
-- Matching runs that entered in the last ten seconds, whatever has become of them since.
select count(*) as arrived
  from secateur.runs as run
 where run.id >= rpad(lpad(to_hex(floor(extract(epoch from now() - interval '10 s') * 1000)::bigint), 12, '0'), 32, '0')::uuid
   and run.started_at > now() - interval '10 s'
   and run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and ($3::timestamptz is null or run.started_at > $3)
   and ($4::timestamptz is null or run.started_at < $4)
   and {condition}

-- name: run
select run.*, run.status = 'running' and run.lease_expires_at < now() as lost from secateur.runs as run where run.id = $1

-- name: is_known
select exists (select from secateur.functions as known
                where known.installation is null and known.app_id = $1 and ($2::text is null or known.function_id = $2))
