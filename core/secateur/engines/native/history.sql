-- name: samples
-- One function's ($2), or the app's as a whole (''): the last sample of each step. Two descents of the index for each, however
-- long ago it was; of the arrays no more than one element is read.
select sample.at,
       sample.cut,
       listed.place is not null as listed,
       sample.queued[listed.place] as queued,
       sample.scheduled[listed.place] as scheduled,
       sample.running[listed.place] as running,
       sample.failed[listed.place] as failed,
       sample.cancelling[listed.place] as cancelling,
       sample.entered[listed.place] as entered,
       sample.drained[listed.place] as drained
  from unnest($3::timestamptz[], $4::timestamptz[], $5::interval[]) as wanted (since, until, length)
 cross join lateral generate_series(wanted.since, wanted.until - wanted.length, wanted.length) as step (since)
 cross join lateral (
   select one.*
     from ((select past.* from secateur.depth_samples as past
             where past.app_id = $1 and past.coarse
               and past.at > step.since and past.at <= step.since + wanted.length
             order by past.at desc limit 1)
           union all
           (select past.* from secateur.depth_samples as past
             where past.app_id = $1 and not past.coarse
               and past.at > step.since and past.at <= step.since + wanted.length
             order by past.at desc limit 1)) as one
    order by one.at desc
    limit 1
 ) as sample
 cross join lateral array_position(sample.function_ids, $2::text) as listed (place)
 order by sample.at

-- name: samples_of_functions
-- The same of every app, with all functions that are listed. Only coarse samples: nobody looks at all of them second by second.
select app.app_id, sample.at, sample.cut, sample.function_ids,
       sample.queued, sample.scheduled, sample.running, sample.failed, sample.cancelling, sample.entered, sample.drained
  from secateur.apps as app
 cross join unnest($1::timestamptz[], $2::timestamptz[], $3::interval[]) as wanted (since, until, length)
 cross join lateral generate_series(wanted.since, wanted.until - wanted.length, wanted.length) as step (since)
 cross join lateral (
   select past.* from secateur.depth_samples as past
    where past.app_id = app.app_id and past.coarse
      and past.at > step.since and past.at <= step.since + wanted.length
    order by past.at desc
    limit 1
 ) as sample
 where $4::text[] is null or app.app_id = any ($4)
 order by app.app_id, sample.at

-- name: gaps
-- Where samples are further apart than $4, also before the first and after the last one. There is a coarse one every ten seconds.
select greatest(pair.since, $2) as since, least(pair.until, $3) as until
  from (select lag(moment.at, 1, $2::timestamptz - $4::interval) over (order by moment.at) as since, moment.at as until
          from (select past.at from secateur.depth_samples as past
                 where past.app_id = $1 and past.coarse and past.at > $2::timestamptz - $4::interval and past.at <= $3
                union all
                select $3::timestamptz) as moment (at)) as pair
 where pair.until - pair.since > $4::interval and pair.until > $2
 order by pair.since

-- name: marks
-- What was done to the scope, of the newest thousand entries of the audit.
select entry.at, entry.action, entry.function_id, entry.cancellation_id::text as cancellation_id, entry.author
  from (select one.* from secateur.audit as one order by one.id desc limit 1000) as entry
 where entry.app_id = $1
   and ($2::text is null or entry.function_id is null or entry.function_id = $2)
   and entry.at > $3 and entry.at <= $4
 order by entry.id desc
 limit $5
