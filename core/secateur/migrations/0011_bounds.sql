-- Every time, number and text has a bound, at the table too: what one row holds must never be more than what reads it can take.

-- Rows that are beyond a bound already are brought to it, so that they can be claimed, cancelled and undone like any other: a
-- time outside of the years 1 to 9999 becomes the first or the last there is, and a run that was to start never still does
-- not. What they had is written to the audit. Nobody writes meanwhile.
lock table secateur.runs, secateur.cancellations, secateur.retention in share row exclusive mode;

do $$
declare
  earliest constant timestamptz := '0001-01-01 00:00:00+00';
  latest constant timestamptz := '9999-12-31 23:59:59.999998+00';
  odd jsonb;
  many bigint;
begin
  with odd as (
    select run.id, run.app_id, run.started_at, run.scheduled_for
      from secateur.runs as run
     where not run.started_at between earliest and latest or not run.scheduled_for between earliest and latest
  ), brought as (
    update secateur.runs as run
       set started_at = least(greatest(run.started_at, earliest), latest),
           scheduled_for = case when run.scheduled_for is not null
                                then least(greatest(run.scheduled_for, earliest), latest) end
      from odd where run.id = odd.id and run.app_id = odd.app_id
    returning 1
  )
  select count(*), (select jsonb_agg(to_jsonb(one)) from (select * from odd order by odd.id limit 100) as one)
    into many, odd
    from brought;
  if many > 0 then
    perform secateur.record_audit('install', '', null, null, null, null, jsonb_build_object(
      'repaired', 'runs with times outside of the years 1 to 9999', 'count', many, 'before', odd));
  end if;

  with odd as (
    select rule.id, rule.app_id, rule.started_after, rule.started_before
      from secateur.cancellations as rule
     where not rule.started_after between earliest and latest
        or not rule.started_before between earliest and latest
  ), brought as (
    update secateur.cancellations as rule
       -- One microsecond apart at least.
       set started_after = case when rule.started_after is not null
                                then least(greatest(rule.started_after, earliest), latest - interval '1 microsecond') end,
           started_before = least(greatest(rule.started_before, earliest + interval '1 microsecond'), latest)
      from odd where rule.id = odd.id and rule.app_id = odd.app_id
    returning 1
  )
  select count(*), (select jsonb_agg(to_jsonb(one)) from (select * from odd order by odd.id limit 100) as one)
    into many, odd
    from brought;
  if many > 0 then
    perform secateur.record_audit('install', '', null, null, null, null, jsonb_build_object(
      'repaired', 'cancellations with times outside of the years 1 to 9999', 'count', many, 'before', odd));
  end if;

  with brought as (
    update secateur.retention as kept
       set finished = least(kept.finished, '100 years'),
           cancelled = least(kept.cancelled, '100 years'),
           standing = least(kept.standing, '100 years')
     where greatest(kept.finished, kept.cancelled, kept.standing) > '100 years'
    returning 1
  )
  select count(*), (select to_jsonb(kept) - 'one' from secateur.retention as kept) into many, odd from brought;
  if many > 0 then
    perform secateur.record_audit('install', '', null, null, null, null, jsonb_build_object(
      'repaired', 'retention of more than 100 years', 'before', odd));
  end if;
end
$$;

-- The last microsecond of 9999 is left to the end of a window: clients write it as `infinity`. Not validated: all rows were
-- looked at above, and a second look would take as long again.
alter table secateur.runs
  add constraint runs_times check (
    started_at between timestamptz '0001-01-01 00:00:00+00' and timestamptz '9999-12-31 23:59:59.999998+00'
    and (scheduled_for is null
         or scheduled_for between timestamptz '0001-01-01 00:00:00+00' and timestamptz '9999-12-31 23:59:59.999998+00')
  ) not valid;

alter table secateur.cancellations
  add constraint cancellations_times check (
    (started_after is null
     or started_after between timestamptz '0001-01-01 00:00:00+00' and timestamptz '9999-12-31 23:59:59.999999+00')
    and started_before between timestamptz '0001-01-01 00:00:00+00' and timestamptz '9999-12-31 23:59:59.999999+00'
  ) not valid;

alter table secateur.retention
  add constraint retention_bounds check (greatest(finished, cancelled, standing) <= '100 years');
