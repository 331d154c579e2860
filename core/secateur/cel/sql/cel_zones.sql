-- The parts of a timestamp in a time zone, and of a duration. cel_boxes.sql says what holds for all of them.

-- The zone's offset at a time: seconds east of Greenwich, for seconds since 1970. The compiler makes the zone's table: its last
-- year (0 if the last offset holds for ever), then alternating starts and offsets. A year after the last one is looked up as
-- the latest of the last 40 years that has the same calendar.
create or replace function secateur_cel.zone_offset_v1 (seconds bigint, zone jsonb)
  returns bigint language plpgsql immutable strict parallel safe
as $$
declare
  last_year integer := (zone ->> 0)::integer;
  actual integer;
  first_day date;
  alike date;
  low integer := 0;
  high integer := jsonb_array_length(zone) / 2;
  middle integer;
begin
  if last_year > 0 and seconds >= (make_date(last_year + 1, 1, 1) - '1970-01-01'::date) * 86400::bigint then
    actual := extract(year from '1970-01-01'::date + floor(seconds / 86400.0)::integer);
    first_day := make_date(actual, 1, 1);
    for year in reverse last_year .. last_year - 39 loop
      alike := make_date(year, 1, 1);
      exit when (first_day - alike) % 7 = 0
        and make_date(year + 1, 1, 1) - alike = make_date(actual + 1, 1, 1) - first_day;
    end loop;
    seconds := seconds - (first_day - alike) * 86400::bigint;
  end if;
  while high - low > 1 loop
    middle := (low + high) / 2;
    if (zone ->> (2 * middle + 1))::bigint <= seconds then
      low := middle;
    else
      high := middle;
    end if;
  end loop;
  return (zone ->> (2 * low + 2))::bigint;
end
$$;

-- getHours() and so on, for a timestamp in a zone (an empty zone is UTC), or for a duration (without a zone). The zone is jsonb,
-- so that it is parsed once per statement: parsing it for each run took twenty times as long as everything else.
create or replace function secateur_cel.part_v2 (given jsonb, part text, zone jsonb)
  returns numeric language plpgsql immutable strict parallel safe
as $$
declare
  nanoseconds numeric;
  seconds bigint;
  day date;
begin
  given := secateur_cel.open_v1(given);
  if given ->> 0 = 'duration' and zone = '[]' then
    nanoseconds := (given ->> 1)::numeric;
    return case part
      when 'Hours' then div(nanoseconds, 3600000000000)
      when 'Minutes' then div(nanoseconds, 60000000000)
      when 'Seconds' then div(nanoseconds, 1000000000)
      when 'Milliseconds' then div(mod(nanoseconds, 1000000000), 1000000)
    end;
  elsif given ->> 0 <> 'timestamp' then
    return null;
  end if;
  nanoseconds := (given ->> 1)::numeric;
  seconds := floor(nanoseconds / 1000000000);
  if zone <> '[]' then
    seconds := seconds + secateur_cel.zone_offset_v1(seconds, zone);
  end if;
  day := '1970-01-01'::date + floor(seconds / 86400.0)::integer;
  return case part
    when 'FullYear' then extract(year from day) + case when day < '0001-01-01'::date then 1 else 0 end
    when 'Month' then extract(month from day) - 1
    when 'Date' then extract(day from day)
    when 'DayOfMonth' then extract(day from day) - 1
    when 'DayOfWeek' then extract(dow from day)
    when 'DayOfYear' then extract(doy from day) - 1
    when 'Hours' then mod(mod(seconds, 86400) + 86400, 86400) / 3600
    when 'Minutes' then mod(mod(seconds, 3600) + 3600, 3600) / 60
    when 'Seconds' then mod(mod(seconds, 60) + 60, 60)
    when 'Milliseconds' then div(mod(mod(nanoseconds, 1000000000) + 1000000000, 1000000000), 1000000)
  end;
end
$$;

-- The same with the zone as text.
create or replace function secateur_cel.part_v1 (given jsonb, part text, zone text)
  returns numeric language plpgsql immutable strict parallel safe
as $$
begin
  return secateur_cel.part_v2(given, part, case zone when '' then '[]' else zone::jsonb end);
end
$$;
