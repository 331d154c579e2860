-- The view of reporting.sql, with what secateur's own queue adds: its runs on which conditions take long.
create or replace view secateur.undecided as
select slow.app_id, slow.cancellation_id, slow.attempts
  from secateur.slow_jobs as slow
 where slow.verdict is null
union all
select slow.app_id, slow.cancellation_id, slow.attempts
  from secateur.slow_verdicts as slow
 where slow.verdict is null;
