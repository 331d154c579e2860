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

  -- A record is shown with each page of the history. What it executes stays as it is.
  with odd as (
    select rule.id, rule.app_id,
           jsonb_strip_nulls(jsonb_build_object(
             'if', length(rule."if"), 'reason', length(rule.reason), 'created_by', length(rule.created_by),
             'stopped_by', length(rule.stopped_by), 'undone_by', length(rule.undone_by),
             'idempotency_key', length(rule.idempotency_key))) as lengths,
           rule.expected, rule.compiler, left(rule.expected_by_function::text, 1000) as expected_by_function,
           left(rule.request::text, 1000) as request, jsonb_typeof(rule.parameters) as parameters
      from secateur.cancellations as rule
     where length(rule."if") > 40000 or length(rule.reason) > 2000 or length(rule.created_by) > 200
        or length(rule.stopped_by) > 200 or length(rule.undone_by) > 200 or length(rule.idempotency_key) > 1000
        or not rule.expected between 0 and 9007199254740991 or not rule.compiler between 0 and 1000
        or jsonb_typeof(rule.request) <> 'object' or jsonb_typeof(rule.parameters) <> 'object'
        or jsonb_typeof(rule.expected_by_function) <> 'object'
  ), brought as (
    update secateur.cancellations as rule
       set "if" = left(rule."if", 40000),
           reason = left(rule.reason, 2000),
           created_by = left(rule.created_by, 200),
           stopped_by = left(rule.stopped_by, 200),
           undone_by = left(rule.undone_by, 200),
           -- Still one of a kind.
           idempotency_key = case
             when length(rule.idempotency_key) <= 1000 then rule.idempotency_key
             else left(rule.idempotency_key, 900) || encode(sha256(convert_to(rule.idempotency_key, 'UTF8')), 'hex') end,
           expected = case when rule.expected between 0 and 9007199254740991 then rule.expected end,
           compiler = least(greatest(rule.compiler, 0), 1000),
           request = case when jsonb_typeof(rule.request) = 'object' then rule.request
                          else jsonb_build_object('request', rule.request) end,
           parameters = case when jsonb_typeof(rule.parameters) = 'object' then rule.parameters else '{}' end,
           expected_by_function = case when jsonb_typeof(rule.expected_by_function) = 'object'
                                       then rule.expected_by_function end
      from odd where rule.id = odd.id and rule.app_id = odd.app_id
    returning 1
  )
  select count(*), (select jsonb_agg(to_jsonb(one)) from (select * from odd order by odd.id limit 100) as one)
    into many, odd
    from brought;
  if many > 0 then
    perform secateur.record_audit('install', '', null, null, null, null, jsonb_build_object(
      'repaired', 'cancellations that were longer than may be, or not of the form that they have', 'count', many,
      'before', odd));
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

alter table secateur.cancellations
  add constraint cancellations_bounds check (
    length("if") <= 40000 and length(condition) <= 1100000 and length(reason) <= 2000 and length(created_by) <= 200
    and length(stopped_by) <= 200 and length(undone_by) <= 200 and length(idempotency_key) <= 1000
    and expected between 0 and 9007199254740991 and compiler between 0 and 1000
  ) not valid,
  add constraint cancellations_forms check (
    jsonb_typeof(request) = 'object' and jsonb_typeof(parameters) = 'object'
    and jsonb_typeof(expected_by_function) = 'object'
  ) not valid;

alter table secateur.retention
  add constraint retention_bounds check (greatest(finished, cancelled, standing) <= '100 years');

-- Functions that there are already may have longer names and higher limits, and can be used as before: these look at what is
-- new only. What they call comes with the functions.
create function secateur.refuse_odd_app() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform secateur.require_name('app_id', new.app_id);
  return new;
end
$$;

create function secateur.refuse_odd_function() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'INSERT' then
    perform secateur.require_name('function_id', new.function_id);
  end if;
  if new.concurrency is not null then
    perform secateur.require_number('concurrency', new.concurrency, 1, 10000);
  end if;
  perform secateur.require_number('max_attempts', new.max_attempts, 1, 10000);
  return new;
end
$$;

create trigger refuse_odd_app before insert on secateur.apps
  for each row execute function secateur.refuse_odd_app();
create trigger refuse_odd_function before insert or update of concurrency, max_attempts on secateur.functions
  for each row execute function secateur.refuse_odd_function();

-- Far below what jsonb can hold; larger things belong elsewhere, and the event says where.
create or replace function secateur.refuse_deep_event() returns trigger language plpgsql as $$
begin
  if pg_column_size(new.event) > 67108864 then
    raise exception using errcode = 'SC422', column = 'event', message = 'an event may have 64 MB at most';
  elsif new.event @? '$.**{500}' then
    raise exception using errcode = 'SC422', column = 'event', message = 'an event may be nested 500 levels deep at most';
  end if;
  return new;
end
$$;
