-- Timestamps and durations from text, and conversions between types. cel_boxes.sql says what holds for all of them.

-- RFC 3339 with an offset, to the microsecond. Of what the pattern accepts, the cast raises only for days that the month does
-- not have, for the year 0, and for offsets of 16 hours and more, which Postgres does not support.
create or replace function secateur_cel.parse_timestamp_v1 (given text)
  returns timestamptz language plpgsql immutable strict parallel safe
as $$
declare
  years integer;
  shift interval;
begin
  if given !~ (
    '^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]'
    '(?:[.](?:[0-9]{1,6}|[0-9]{6}0{1,3}))?(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$'
  ) or left(given, 4) = '0000' then
    return null;
  end if;
  if substr(given, 9, 2) > '28' then
    years := left(given, 4);
    if substr(given, 9, 2)::integer > (case substr(given, 6, 2)
         when '02' then case when years % 4 = 0 and years % 100 <> 0 or years % 400 = 0 then 29 else 28 end
         when '04' then 30
         when '06' then 30
         when '09' then 30
         when '11' then 30
         else 31
       end) then
      return null;
    end if;
  end if;
  if given ~ '(?:1[6-9]|2[0-3]):[0-9]{2}$' and given !~ '[Zz]$' then
    shift := make_interval(hours => left(right(given, 5), 2)::integer, mins => right(given, 2)::integer);
    return secateur_cel.checked_time_v1(
      concat(left(given, -6), 'Z')::timestamptz + case left(right(given, 6), 1) when '+' then -shift else shift end);
  end if;
  return secateur_cel.checked_time_v1(given::timestamptz);
end
$$;

-- NULL outside the years 1 to 9999.
create or replace function secateur_cel.checked_time_v1 (given timestamptz)
  returns timestamptz language plpgsql immutable strict parallel safe
as $$
begin
  return case
    when given >= '0001-01-01T00:00:00Z'::timestamptz and given < '10000-01-01T00:00:00Z'::timestamptz then given
  end;
end
$$;

-- timestamp(int): seconds since 1970.
create or replace function secateur_cel.seconds_v1 (given numeric)
  returns timestamptz language plpgsql immutable strict parallel safe
as $$
begin
  return case when given between -62135596800 and 253402300799 then to_timestamp(given::float8) end;
end
$$;

-- timestamp(…) for a string, an int (seconds since 1970), or a timestamp.
create or replace function secateur_cel.to_timestamp_v1 (given jsonb)
  returns timestamptz language plpgsql immutable strict parallel safe
as $$
begin
  given := secateur_cel.open_v1(given);
  case given ->> 0
    when 'string' then
      return secateur_cel.parse_timestamp_v1(given ->> 1);
    when 'int' then
      return secateur_cel.seconds_v1((given ->> 1)::numeric);
    when 'timestamp' then
      return secateur_cel.shift_v1('epoch'::timestamptz, (given ->> 1)::numeric);
    else
      return null;
  end case;
end
$$;

create or replace function secateur_cel.json_timestamp_v1 (given jsonb)
  returns timestamptz language plpgsql immutable strict parallel safe
as $$
begin
  if jsonb_typeof(given) = 'string' then
    return secateur_cel.parse_timestamp_v1(given #>> '{}');
  end if;
  return secateur_cel.to_timestamp_v1(jsonb_build_array('json', given));
end
$$;

-- The time that many nanoseconds later, to the microsecond; NULL outside the years 1 to 9999.
create or replace function secateur_cel.shift_v1 (given timestamptz, nanoseconds numeric)
  returns timestamptz language plpgsql immutable strict parallel safe
as $$
declare
  microseconds numeric;
begin
  if not isfinite(given) or mod(nanoseconds, 1000) <> 0 then
    return null;
  end if;
  microseconds := extract(epoch from given) * 1000000 + nanoseconds / 1000;
  if microseconds not between -62135596800000000 and 253402300799999999 then
    return null;
  end if;
  return to_timestamp(floor(microseconds / 1000000)::float8)
         + interval '1 microsecond' * mod(mod(microseconds, 1000000) + 1000000, 1000000)::float8;
end
$$;

-- duration(…) for a string such as 1h30m, or a duration; to the microsecond.
create or replace function secateur_cel.to_duration_v1 (given jsonb)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
declare
  content text;
  part text[];
  total numeric := 0;
begin
  given := secateur_cel.open_v1(given);
  if given ->> 0 = 'duration' then
    return given;
  elsif given ->> 0 <> 'string' or length(given ->> 1) > 200 then
    return null;
  end if;
  content := given ->> 1;
  if content !~ '^[+-]?(?:0|(?:(?:[0-9]+[.]?[0-9]*|[.][0-9]+)(?:h|ms|m|s|us|µs|μs|ns))+)$' then
    return null;
  end if;
  for part in select regexp_matches(content, '([0-9]+[.]?[0-9]*|[.][0-9]+)(h|ms|m|s|us|µs|μs|ns)', 'g') loop
    total := total + rtrim(part[1], '.')::numeric * case part[2]
      when 'h' then 3600000000000
      when 'm' then 60000000000
      when 's' then 1000000000
      when 'ms' then 1000000
      when 'ns' then 1
      else 1000
    end;
  end loop;
  if mod(total, 1000) <> 0 then
    return null;
  end if;
  return secateur_cel.box_duration_v1(case when left(content, 1) = '-' then -total else total end);
end
$$;

-- int(…), uint(…) and so on. NULL if the value cannot be converted.
create or replace function secateur_cel.to_int_v1 (given jsonb)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
declare
  rounded float8;
begin
  given := secateur_cel.open_v1(given);
  case given ->> 0
    when 'int', 'uint' then
      return secateur_cel.box_number_v1((given ->> 1)::numeric);
    when 'double' then
      rounded := (given ->> 1)::float8;
      return case
        when rounded > -9223372036854775808::float8 and rounded < 9223372036854775808::float8
        then secateur_cel.box_number_v1(trunc(rounded)::bigint)
      end;
    when 'timestamp' then
      return secateur_cel.box_number_v1(floor((given ->> 1)::numeric / 1000000000));
    when 'string' then
      return case
        when given ->> 1 ~ '^[+-]?[0-9]{1,100}$' then secateur_cel.box_number_v1((given ->> 1)::numeric)
      end;
    else
      return null;
  end case;
end
$$;

create or replace function secateur_cel.to_uint_v1 (given jsonb)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
declare
  rounded float8;
begin
  given := secateur_cel.open_v1(given);
  case given ->> 0
    when 'int', 'uint' then
      return secateur_cel.box_uint_v1((given ->> 1)::numeric);
    when 'double' then
      rounded := trunc((given ->> 1)::float8);
      if not ((given ->> 1)::float8 >= 0 and rounded < 18446744073709551616::float8) then
        return null;
      elsif rounded < 9223372036854775808::float8 then
        return secateur_cel.box_uint_v1(rounded::bigint);
      end if;
      return secateur_cel.box_uint_v1(
        (rounded - 9223372036854775808::float8)::bigint + 9223372036854775808);
    when 'string' then
      return case
        when given ->> 1 ~ '^[+]?[0-9]{1,100}$' then secateur_cel.box_uint_v1((given ->> 1)::numeric)
      end;
    else
      return null;
  end case;
end
$$;

create or replace function secateur_cel.to_double_v1 (given jsonb)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
declare
  content text := secateur_cel.text_v1(given);
  parts text[];
  exponent integer;
  rounded float8;
begin
  if content is null then
    return secateur_cel.box_double_v1(secateur_cel.as_double_v1(secateur_cel.open_v1(given)));
  elsif length(content) > 400 then
    return null;
  elsif lower(content) ~ '^[+-]?(?:inf|infinity)$' then
    return secateur_cel.box_double_v1(case left(content, 1) when '-' then '-Infinity'::float8 else 'Infinity' end);
  elsif lower(content) ~ '^[+-]?nan$' then
    return '["double", "NaN"]';
  end if;
  parts := regexp_match(content, '^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)(?:[eE]([+-]?[0-9]{1,9}))?$');
  if parts is null then
    return null;
  end if;
  exponent := coalesce(parts[2], '0');
  rounded := case
    when parts[1] !~ '[1-9]' or exponent < -4000 then 0
    when exponent > 4000 then 'Infinity'
    else secateur_cel.double_v1(concat(trim(trailing '.' from parts[1]), 'e', exponent)::numeric)
  end;
  return secateur_cel.box_double_v1(case left(content, 1) when '-' then -rounded else rounded end);
end
$$;

-- The shortest digits that read back as the same double, in the layout of C's %g.
create or replace function secateur_cel.format_double_v1 (given float8)
  returns text language plpgsql immutable strict parallel safe
as $$
declare
  parts text[] := regexp_match(given::text, '^(-?)([0-9]+)(?:[.]([0-9]+))?(?:e([+-][0-9]+))?$');
  digits text;
  exponent integer;
begin
  if parts is null then
    return case given when 'NaN' then 'nan' when 'Infinity' then 'inf' else '-inf' end;
  elsif given = 0 then
    return concat(parts[1], '0');
  end if;
  digits := ltrim(concat(parts[2], parts[3]), '0');
  exponent := length(parts[2]) - 1 + coalesce(parts[4], '0')::integer
              - (length(concat(parts[2], parts[3])) - length(digits));
  digits := rtrim(digits, '0');
  if exponent < -4 or exponent >= 6 then
    return concat(parts[1], left(digits, 1), case when length(digits) > 1 then '.' end, substr(digits, 2),
                  'e', case when exponent < 0 then '-' else '+' end,
                  lpad(abs(exponent)::text, greatest(2, length(abs(exponent)::text)), '0'));
  elsif exponent < 0 then
    return concat(parts[1], '0.', repeat('0', -exponent - 1), digits);
  end if;
  return concat(parts[1], rpad(left(digits, exponent + 1), exponent + 1, '0'),
                case when length(digits) > exponent + 1 then '.' end, substr(digits, exponent + 2));
end
$$;

-- The fraction of a second with no, three, six or nine digits, from nanoseconds.
create or replace function secateur_cel.format_fraction_v1 (nanoseconds numeric)
  returns text language plpgsql immutable strict parallel safe
as $$
declare
  digits text := lpad(trunc(nanoseconds)::text, 9, '0');
begin
  return case
    when digits = '000000000' then ''
    else concat('.', regexp_replace(digits, '(?:000){1,2}$', ''))
  end;
end
$$;

create or replace function secateur_cel.to_string_v1 (given jsonb)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
declare
  nanoseconds numeric;
  seconds numeric;
begin
  given := secateur_cel.open_v1(given);
  case given ->> 0
    when 'string' then
      return given;
    when 'int', 'uint', 'bool' then
      return jsonb_build_array('string', given ->> 1);
    when 'double' then
      return jsonb_build_array('string', secateur_cel.format_double_v1((given ->> 1)::float8));
    when 'timestamp' then
      nanoseconds := given ->> 1;
      seconds := floor(nanoseconds / 1000000000);
      return jsonb_build_array('string', concat(
        to_char(to_timestamp(seconds::float8) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS'),
        secateur_cel.format_fraction_v1(nanoseconds - seconds * 1000000000), 'Z'));
    when 'duration' then
      nanoseconds := given ->> 1;
      return jsonb_build_array('string', concat(
        case when nanoseconds < 0 then '-' end, div(abs(nanoseconds), 1000000000),
        secateur_cel.format_fraction_v1(mod(abs(nanoseconds), 1000000000)), 's'));
    when 'bytes' then
      -- Valid UTF-8, in hexadecimal, without a zero byte: Postgres cannot store one in a text.
      return case
        when given ->> 1 ~ (
          '^(?:0[1-9a-f]|[1-7][0-9a-f]|c[2-9a-f][89ab][0-9a-f]|d[0-9a-f][89ab][0-9a-f]'
          '|e0[ab][0-9a-f][89ab][0-9a-f]|e[1-9abcef](?:[89ab][0-9a-f]){2}|ed[89][0-9a-f][89ab][0-9a-f]'
          '|f0[9ab][0-9a-f](?:[89ab][0-9a-f]){2}|f[123](?:[89ab][0-9a-f]){3}|f48[0-9a-f](?:[89ab][0-9a-f]){2})*$')
        then jsonb_build_array('string', convert_from(decode(given ->> 1, 'hex'), 'UTF8'))
      end;
    else
      return null;
  end case;
end
$$;

create or replace function secateur_cel.to_bytes_v1 (given jsonb)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
begin
  given := secateur_cel.open_v1(given);
  case given ->> 0
    when 'bytes' then return given;
    when 'string' then
      return jsonb_build_array('bytes', encode(convert_to(given ->> 1, 'UTF8'), 'hex'));
    else return null;
  end case;
end
$$;

create or replace function secateur_cel.to_bool_v1 (given jsonb)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
begin
  given := secateur_cel.open_v1(given);
  if given ->> 0 = 'bool' then
    return given;
  elsif given ->> 0 = 'string' and given ->> 1 in ('1', 't', 'true', 'TRUE', 'True') then
    return '["bool", true]';
  elsif given ->> 0 = 'string' and given ->> 1 in ('0', 'f', 'false', 'FALSE', 'False') then
    return '["bool", false]';
  end if;
  return null;
end
$$;

create or replace function secateur_cel.to_type_v1 (given jsonb)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
declare
  name text := secateur_cel.open_v1(given) ->> 0;
begin
  return jsonb_build_array('type', case name
    when 'null' then 'null_type'
    when 'timestamp' then 'google.protobuf.Timestamp'
    when 'duration' then 'google.protobuf.Duration'
    else name
  end);
end
$$;
