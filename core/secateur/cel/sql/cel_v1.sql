-- The language's operators and functions, where Postgres has no operator with the same meaning.
--
-- Every function reads no table, never raises except for the deadline, and returns NULL for an error of the language. Stored
-- conditions call these functions by name. So the meaning of a function never changes, and no function is dropped: a new
-- meaning gets a new function, ending in _v2. A box is a value with its type, such as ["int", 1]; the compiler's boxes.py
-- lists all of them. ["json", …] holds a part of the payload unchanged, which is opened when it is first looked into.

create schema if not exists secateur_cel;
grant usage on schema secateur_cel to public;

-- The only function that raises. Callers that evaluate conditions set `secateur.deadline`, in seconds since 1970, and handle
-- SC408.
create or replace function secateur_cel.out_of_time_v1 ()
  returns boolean language plpgsql volatile parallel safe
as $$
begin
  raise exception using errcode = 'SC408', message = 'the condition takes too long to be evaluated';
end
$$;

-- True. Raises SC408 if a deadline is set and has passed. It is called for each element of a loop, so it is short enough for
-- Postgres to inline it. The argument makes Postgres call it for each element instead of once.
create or replace function secateur_cel.in_time_v1 (given jsonb)
  returns boolean language sql volatile parallel safe
as $$
select case
         when date_part('epoch', clock_timestamp()) > nullif(current_setting('secateur.deadline', true), '')::float8
         then secateur_cel.out_of_time_v1()
         else true
       end
$$;

-- Checks the deadline if the text is so long that working on it takes noticeable time.
create or replace function secateur_cel.text_in_time_v1 (given text)
  returns void language plpgsql volatile parallel safe
as $$
begin
  if octet_length(given) > 10000 then
    perform secateur_cel.in_time_v1(null);
  end if;
end
$$;

-- The nearest double: infinity beyond the largest double, zero below half of the smallest. (A cast would raise for both.)
create or replace function secateur_cel.double_v1 (given numeric)
  returns float8 language plpgsql immutable strict parallel safe
as $$
declare
  magnitude numeric := abs(given);
begin
  if magnitude >= (
      '179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017'
      '977587207096330286416692887910946555547851940402630657488671505820681908902000708383676273'
      '854845817711531764475730270069855571366959622842914819860834936475292719074168444365510704'
      '342711559699508093042880177904174497792'
  )::numeric then
    return sign(given) * 'Infinity'::float8;
  elsif magnitude <= (
      '247032822920623272088284396434110686182529901307162382212792841250337753635104375932649918'
      '180817996189898282347722858865463328355177969898199387398005390939063150356595155702263922'
      '908583924491051844359318028499365361525003193704576782492193656236698636584807570015857692'
      '699037063119282795585513329278343384093519780155312465972635795746227664652728272200563740'
      '064854999770965994704540208281662262378573934507363390079677619305775067401763246736009689'
      '513405355374585166611342237666786041621596804619144672918403005300575308490487653917113865'
      '916462395249126236538818796362393732804238910186723484976682350898633885879256283027559956'
      '575244555072551893136908362547791869486679949683240497058210285131854513962138377228261454'
      '37693412532098591327667236328125e-1075'
  )::numeric then
    return 0;
  end if;
  return given::float8;
end
$$;

-- A double in a box. The number is text, which preserves infinities, NaN and the sign of zero.
create or replace function secateur_cel.box_double_v1 (given float8)
  returns jsonb language sql immutable strict parallel safe
as $$ select jsonb_insert('["double"]', '{1}', ('"' || given::text || '"')::jsonb) $$;

-- An int in a box; NULL if it does not fit into 64 bits.
create or replace function secateur_cel.box_number_v1 (given numeric)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
begin
  return case
    when given between -9223372036854775808 and 9223372036854775807 then jsonb_build_array('int', trunc(given))
  end;
end
$$;

-- A uint in a box; NULL if it does not fit into 64 unsigned bits.
create or replace function secateur_cel.box_uint_v1 (given numeric)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
begin
  return case
    when given between 0 and 18446744073709551615 then jsonb_build_array('uint', trunc(given))
  end;
end
$$;

-- A point in time, in nanoseconds; NULL outside the years 1 to 9999.
create or replace function secateur_cel.box_nanoseconds_v1 (given numeric)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
begin
  return case
    when given between -62135596800000000000 and 253402300799999999999
    then jsonb_build_array('timestamp', trunc(given))
  end;
end
$$;

-- A duration, in nanoseconds; NULL beyond about 10,000 years.
create or replace function secateur_cel.box_duration_v1 (given numeric)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
begin
  return case
    when abs(given) < 315576000001000000000 then jsonb_build_array('duration', trunc(given))
  end;
end
$$;

create or replace function secateur_cel.box_json_v1 (given jsonb)
  returns jsonb language plpgsql immutable strict parallel safe
as $$ begin return jsonb_build_array('json', given); end $$;

create or replace function secateur_cel.box_bool_v1 (given boolean)
  returns jsonb language plpgsql immutable strict parallel safe
as $$ begin return jsonb_build_array('bool', given); end $$;

create or replace function secateur_cel.box_text_v1 (given text)
  returns jsonb language plpgsql immutable strict parallel safe
as $$ begin return jsonb_build_array('string', given); end $$;

create or replace function secateur_cel.box_time_v1 (given timestamptz)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
begin
  if not isfinite(given) then
    return null;
  end if;
  return secateur_cel.box_nanoseconds_v1(extract(epoch from given) * 1000000000);
end
$$;

-- A number from a payload in a box. With a fraction it is a double; without, an int, a uint, or a double if it fits neither.
create or replace function secateur_cel.box_payload_number_v1 (given numeric)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
begin
  if scale(given) = 0 and given between -9223372036854775808 and 9223372036854775807 then
    return jsonb_build_array('int', given);
  elsif scale(given) = 0 and given between 0 and 18446744073709551615 then
    return jsonb_build_array('uint', given);
  end if;
  return secateur_cel.box_double_v1(secateur_cel.double_v1(given));
end
$$;

-- The same value with its type on the outside: ["json", 1] becomes ["int", 1]. What is inside stays json.
create or replace function secateur_cel.open_v1 (given jsonb)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
declare
  content jsonb := given -> 1;
begin
  if given ->> 0 <> 'json' then
    return given;
  end if;
  case jsonb_typeof(content)
    when 'null' then
      return '["null", null]';
    when 'boolean' then
      return jsonb_build_array('bool', content);
    when 'string' then
      return jsonb_build_array('string', content);
    when 'number' then
      return secateur_cel.box_payload_number_v1(content::numeric);
    when 'array' then
      return (
        select jsonb_build_array('list', coalesce(
                 jsonb_agg(jsonb_build_array('json', item.value) order by item.ordinality), '[]'))
          from jsonb_array_elements(content) with ordinality as item
      );
    else
      return (
        select jsonb_build_array('map', coalesce(jsonb_agg(jsonb_build_array(
                 jsonb_build_array('string', entry.key), jsonb_build_array('json', entry.value))), '[]'))
          from jsonb_each(content) as entry
      );
  end case;
end
$$;

-- The double nearest to an opened number; NULL if the value is not a number.
create or replace function secateur_cel.as_double_v1 (opened jsonb)
  returns float8 language plpgsql immutable strict parallel safe
as $$
begin
  case opened ->> 0
    when 'double' then return (opened ->> 1)::float8;
    when 'int', 'uint' then return secateur_cel.double_v1((opened ->> 1)::numeric);
    else return null;
  end case;
end
$$;

-- The value under a key of an opened map; NULL if the map does not have the key.
create or replace function secateur_cel.entry_v1 (entries jsonb, key jsonb)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
declare
  entry jsonb;
begin
  for entry in select value from jsonb_array_elements(entries) loop
    if secateur_cel.equal_v1(entry -> 0, key) then
      return entry -> 1;
    end if;
  end loop;
  return null;
end
$$;

-- The operator ==. Values of different types are unequal; numbers compare by value. It is an error only if two values are equal
-- down to 64 levels of lists and maps and are nested deeper than that: Postgres would run out of stack.
create or replace function secateur_cel.equal_within_v1 (one jsonb, other jsonb, levels integer)
  returns boolean language plpgsql immutable strict parallel safe
as $$
declare
  one_type text;
  other_type text;
  entry jsonb;
  found jsonb;
  same boolean;
  result boolean := true;
begin
  one := secateur_cel.open_v1(one);
  other := secateur_cel.open_v1(other);
  one_type := one ->> 0;
  other_type := other ->> 0;
  if one_type in ('int', 'uint', 'double') and other_type in ('int', 'uint', 'double') then
    if one_type = 'double' or other_type = 'double' then
      return secateur_cel.as_double_v1(one) = secateur_cel.as_double_v1(other) and one ->> 1 <> 'NaN';
    end if;
    return (one ->> 1)::numeric = (other ->> 1)::numeric;
  end if;
  if one_type <> other_type then
    return false;
  end if;
  one := one -> 1;
  other := other -> 1;
  if one_type not in ('list', 'map') then
    return one = other;
  end if;
  if jsonb_array_length(one) <> jsonb_array_length(other) then
    return false;
  end if;
  if levels = 0 then
    return null;
  end if;
  if one_type = 'list' then
    for position in 0 .. jsonb_array_length(one) - 1 loop
      same := secateur_cel.equal_within_v1(one -> position, other -> position, levels - 1);
      if not same then
        return false;
      end if;
      result := result and same;
    end loop;
    return result;
  end if;
  for position in 0 .. jsonb_array_length(one) - 1 loop
    entry := one -> position;
    -- A map opened from a payload has sorted keys, so the same key is probably at the same position.
    found := other -> position;
    if found -> 0 = entry -> 0 then
      found := found -> 1;
    else
      found := secateur_cel.entry_v1(other, entry -> 0);
    end if;
    if found is null then
      return false;
    end if;
    same := secateur_cel.equal_within_v1(entry -> 1, found, levels - 1);
    if not same then
      return false;
    end if;
    result := result and same;
  end loop;
  return result;
end
$$;

create or replace function secateur_cel.equal_v1 (one jsonb, other jsonb)
  returns boolean language plpgsql immutable strict parallel safe
as $$ begin return secateur_cel.equal_within_v1(one, other, 64); end $$;

-- -1, 0 or 1; 2 if either is NaN; NULL if the two have no order.
create or replace function secateur_cel.order_v1 (one jsonb, other jsonb)
  returns integer language plpgsql immutable strict parallel safe
as $$
declare
  one_type text;
  other_type text;
  one_double float8;
  other_double float8;
  one_number numeric;
  other_number numeric;
begin
  one := secateur_cel.open_v1(one);
  other := secateur_cel.open_v1(other);
  one_type := one ->> 0;
  other_type := other ->> 0;
  if one_type in ('int', 'uint', 'double') and other_type in ('int', 'uint', 'double')
     and 'double' in (one_type, other_type) then
    one_double := secateur_cel.as_double_v1(one);
    other_double := secateur_cel.as_double_v1(other);
    return case
      when one_double = 'NaN' or other_double = 'NaN' then 2
      when one_double < other_double then -1
      when one_double = other_double then 0
      else 1
    end;
  end if;
  if one_type in ('int', 'uint') and other_type in ('int', 'uint')
     or one_type = other_type and one_type in ('timestamp', 'duration') then
    one_number := (one ->> 1)::numeric;
    other_number := (other ->> 1)::numeric;
    return sign(one_number - other_number);
  end if;
  if one_type = other_type and one_type in ('string', 'bytes', 'bool') then
    return case
      when one ->> 1 ~<~ (other ->> 1) then -1
      when one ->> 1 = other ->> 1 then 0
      else 1
    end;
  end if;
  return null;
end
$$;

create or replace function secateur_cel.less_v1 (one jsonb, other jsonb)
  returns boolean language plpgsql immutable strict parallel safe
as $$ begin return secateur_cel.order_v1(one, other) = -1; end $$;

create or replace function secateur_cel.less_equal_v1 (one jsonb, other jsonb)
  returns boolean language plpgsql immutable strict parallel safe
as $$ begin return secateur_cel.order_v1(one, other) in (-1, 0); end $$;

-- The value of a bool; NULL for any other type.
create or replace function secateur_cel.bool_v1 (given jsonb)
  returns boolean language plpgsql immutable strict parallel safe
as $$
begin
  given := secateur_cel.open_v1(given);
  return case given ->> 0 when 'bool' then given -> 1 = 'true' end;
end
$$;

-- The value of a string; NULL for any other type.
create or replace function secateur_cel.text_v1 (given jsonb)
  returns text language plpgsql immutable strict parallel safe
as $$
begin
  given := secateur_cel.open_v1(given);
  return case given ->> 0 when 'string' then given ->> 1 end;
end
$$;

-- Not strict, so that Postgres can inline them.
create or replace function secateur_cel.json_bool_v1 (given jsonb)
  returns boolean language sql immutable parallel safe
as $$ select case jsonb_typeof(given) when 'boolean' then given = 'true' end $$;

create or replace function secateur_cel.json_text_v1 (given jsonb)
  returns text language sql immutable parallel safe
as $$ select case jsonb_typeof(given) when 'string' then given #>> '{}' end $$;

-- The value of a payload's int; NULL for any other number and any other type.
create or replace function secateur_cel.json_int_v1 (given jsonb)
  returns numeric language plpgsql immutable strict parallel safe
as $$
declare
  content numeric;
begin
  if jsonb_typeof(given) <> 'number' then
    return null;
  end if;
  content := given::numeric;
  return case
    when scale(content) = 0 and content between -9223372036854775808 and 9223372036854775807 then content
  end;
end
$$;

-- The same int; NULL if it does not fit into 64 bits.
create or replace function secateur_cel.int_v1 (given numeric)
  returns numeric language plpgsql immutable strict parallel safe
as $$
begin
  return case when given between -9223372036854775808 and 9223372036854775807 then given end;
end
$$;

-- has(payload.field): an error unless the payload is an object.
create or replace function secateur_cel.json_has_v1 (given jsonb, field text)
  returns boolean language sql immutable parallel safe
as $$ select case jsonb_typeof(given) when 'object' then given ? field end $$;

-- payload[0]. (Postgres itself would also index a scalar.)
create or replace function secateur_cel.json_element_v1 (given jsonb, place integer)
  returns jsonb language sql immutable parallel safe
as $$ select case jsonb_typeof(given) when 'array' then given -> place end $$;

-- The number of characters of a string, or of elements of a list or a map; NULL for any other type.
create or replace function secateur_cel.json_size_v1 (given jsonb)
  returns numeric language plpgsql immutable strict parallel safe
as $$
begin
  case jsonb_typeof(given)
    when 'string' then return length(given #>> '{}');
    when 'array' then return jsonb_array_length(given);
    when 'object' then return (select count(*) from jsonb_object_keys(given));
    else return null;
  end case;
end
$$;

-- The same for a box, and the length of bytes.
create or replace function secateur_cel.size_v1 (given jsonb)
  returns numeric language plpgsql immutable strict parallel safe
as $$
begin
  case given ->> 0
    when 'json' then return secateur_cel.json_size_v1(given -> 1);
    when 'string' then return length(given ->> 1);
    when 'bytes' then return length(given ->> 1) / 2;
    when 'list', 'map' then return jsonb_array_length(given -> 1);
    else return null;
  end case;
end
$$;

-- given.field
create or replace function secateur_cel.select_v1 (given jsonb, field text)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
begin
  case given ->> 0
    when 'json' then return secateur_cel.box_json_v1(given -> 1 -> field);
    when 'map' then return secateur_cel.entry_v1(given -> 1, jsonb_build_array('string', field));
    else return null;
  end case;
end
$$;

-- has(given.field)
create or replace function secateur_cel.has_v1 (given jsonb, field text)
  returns boolean language plpgsql immutable strict parallel safe
as $$
begin
  case given ->> 0
    when 'json' then return secateur_cel.json_has_v1(given -> 1, field);
    when 'map' then
      return secateur_cel.entry_v1(given -> 1, jsonb_build_array('string', field)) is not null;
    else return null;
  end case;
end
$$;

-- given[key]. A list takes a number without a fraction; a map takes any type that a key can have.
create or replace function secateur_cel.index_v1 (given jsonb, key jsonb)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
declare
  place float8;
begin
  key := secateur_cel.open_v1(key);
  if given ->> 0 = 'json' and jsonb_typeof(given -> 1) = 'object' and key ->> 0 = 'string' then
    return secateur_cel.box_json_v1(given -> 1 -> (key ->> 1));
  end if;
  if given ->> 0 = 'map' and key ->> 0 in ('string', 'bool', 'int', 'uint', 'double') then
    return secateur_cel.entry_v1(given -> 1, key);
  elsif jsonb_typeof(given -> 1) = 'array' and given ->> 0 in ('list', 'json') then
    place := secateur_cel.as_double_v1(key);
    if place >= 0 and place < jsonb_array_length(given -> 1) and trunc(place) = place then
      return case given ->> 0
        when 'json' then secateur_cel.box_json_v1(given -> 1 -> place::integer)
        else given -> 1 -> place::integer
      end;
    end if;
  end if;
  return null;
end
$$;

-- element in given
create or replace function secateur_cel.in_v1 (element jsonb, given jsonb)
  returns boolean language plpgsql immutable strict parallel safe
as $$
declare
  item jsonb;
  same boolean;
  result boolean := false;
begin
  element := secateur_cel.open_v1(element);
  if given ->> 0 = 'json' and jsonb_typeof(given -> 1) = 'object' and element ->> 0 = 'string' then
    return given -> 1 ? (element ->> 1);
  elsif given ->> 0 = 'json' and jsonb_typeof(given -> 1) = 'array' then
    -- No box is made for each item, because that would be repeated for each element that is searched for.
    case element ->> 0
      when 'string', 'bool', 'null' then
        return given -> 1 @> (element -> 1);
      when 'int', 'uint', 'double' then
        if element ->> 0 <> 'double' and given -> 1 @> (element -> 1) then
          return true;
        end if;
        -- Numbers with the same value may be written differently.
        for item in select value from jsonb_array_elements(given -> 1) where jsonb_typeof(value) = 'number' loop
          if secateur_cel.equal_v1(element, jsonb_build_array('json', item)) then
            return true;
          end if;
        end loop;
        return false;
      else
        null;
    end case;
  end if;
  given := secateur_cel.open_v1(given);
  if given ->> 0 = 'map' and element ->> 0 in ('string', 'bool', 'int', 'uint', 'double') then
    return secateur_cel.entry_v1(given -> 1, element) is not null;
  elsif given ->> 0 = 'list' then
    for item in select value from jsonb_array_elements(given -> 1) loop
      same := secateur_cel.equal_v1(element, item);
      if same then
        return true;
      end if;
      result := result or same;
    end loop;
    return result;
  end if;
  return null;
end
$$;

-- [a, b]: an error if one of the elements is an error.
create or replace function secateur_cel.list_v1 (items jsonb[])
  returns jsonb language plpgsql immutable strict parallel safe
as $$
begin
  if array_position(items, null) is not null then
    return null;
  end if;
  return jsonb_build_array('list', to_jsonb(items));
end
$$;

-- {a: b}, from alternating keys and values. An error if one of them is an error, a key occurs twice, or has a type that keys
-- cannot have.
create or replace function secateur_cel.map_v1 (items jsonb[])
  returns jsonb language plpgsql immutable strict parallel safe
as $$
declare
  entries jsonb := '[]';
  key jsonb;
begin
  if array_position(items, null) is not null then
    return null;
  end if;
  for position in 1 .. cardinality(items) by 2 loop
    key := secateur_cel.open_v1(items[position]);
    if key ->> 0 not in ('string', 'bool', 'int', 'uint') or secateur_cel.entry_v1(entries, key) is not null then
      return null;
    end if;
    entries := entries || jsonb_build_array(jsonb_build_array(key, items[position + 1]));
  end loop;
  return jsonb_build_array('map', entries);
end
$$;

-- The sum according to IEEE 754. Postgres raises if the sum is infinite, so half of it is computed first.
create or replace function secateur_cel.double_add_v1 (one float8, other float8)
  returns float8 language plpgsql immutable strict parallel safe
as $$
declare
  half float8;
begin
  if greatest(abs(one), abs(other)) <= 1.7976931348623157e308 and least(abs(one), abs(other)) >= 1e280 then
    half := one / 2 + other / 2;
    if abs(half) >= 2::float8 ^ 1023 then
      return sign(half) * 'Infinity'::float8;
    end if;
  end if;
  return one + other;
end
$$;

-- The exact rounding error of the product of two doubles of moderate size, by Dekker's method: halves of 26 bits.
create or replace function secateur_cel.product_error_v1 (one float8, other float8)
  returns float8 language plpgsql immutable strict parallel safe
as $$
declare
  one_high float8 := one * 134217729 - (one * 134217729 - one);
  other_high float8 := other * 134217729 - (other * 134217729 - other);
  one_low float8 := one - one_high;
  other_low float8 := other - other_high;
begin
  return ((one_high * other_high - one * other) + one_high * other_low + one_low * other_high) + one_low * other_low;
end
$$;

-- The product according to IEEE 754. Postgres raises if the product is infinite or underflows to zero. Both are detected at a
-- scale where neither can happen: 2^-520 for large factors, 2^540 for small ones.
create or replace function secateur_cel.double_multiply_v1 (one float8, other float8)
  returns float8 language plpgsql immutable strict parallel safe
as $$
declare
  large float8 := greatest(abs(one), abs(other));
  small float8 := least(abs(one), abs(other));
  negative boolean := left(one::text, 1) = '-' is distinct from (left(other::text, 1) = '-');
begin
  if large in ('Infinity', 'NaN') or small = 0 then
    return one * other;
  elsif small > 1 then
    if (large * 2::float8 ^ -520) * (small * 2::float8 ^ -520) >= 2::float8 ^ -16 then
      return case when negative then '-Infinity'::float8 else 'Infinity' end;
    end if;
  elsif large < 1 and small < 2::float8 ^ -500 then
    large := large * 2::float8 ^ 540;
    small := small * 2::float8 ^ 540;
    if large * small < 32 or large * small = 32 and secateur_cel.product_error_v1(large, small) <= 0 then
      return case when negative then '-0'::float8 else '0' end;
    end if;
  end if;
  return one * other;
end
$$;

-- The quotient according to IEEE 754, by the same method; the divisor may be zero.
create or replace function secateur_cel.double_divide_v1 (one float8, other float8)
  returns float8 language plpgsql immutable strict parallel safe
as $$
declare
  dividend float8 := abs(one);
  divisor float8 := abs(other);
  negative boolean := left(one::text, 1) = '-' is distinct from (left(other::text, 1) = '-');
begin
  if dividend = 'NaN' or divisor = 'NaN' or divisor = 0 and dividend = 0
     or dividend = 'Infinity' and divisor = 'Infinity' then
    return 'NaN';
  elsif dividend = 'Infinity' or divisor = 0 then
    return case when negative then '-Infinity'::float8 else 'Infinity' end;
  elsif divisor = 'Infinity' or dividend = 0 then
    return case when negative then '-0'::float8 else '0' end;
  elsif dividend >= 2::float8 ^ -51 and divisor < 1 then
    -- near 2^1024: at 2^-1080 of its size
    if dividend * 2::float8 ^ -540 >= divisor * 2::float8 ^ 480 then
      if (dividend * 2::float8 ^ -540) / (divisor * 2::float8 ^ 540) >= 2::float8 ^ -56 then
        return case when negative then '-Infinity'::float8 else 'Infinity' end;
      end if;
    end if;
  elsif dividend < 2::float8 ^ -50 and divisor > 1 then
    -- near 2^-1075: at 2^1040 of its size
    if dividend * 2::float8 ^ 540 <= divisor * 2::float8 ^ -500 then
      if (dividend * 2::float8 ^ 540) / (divisor * 2::float8 ^ -500) <= 2::float8 ^ -35 then
        return case when negative then '-0'::float8 else '0' end;
      end if;
    end if;
  end if;
  return one / other;
end
$$;

-- The operators + - * / %. Each opens both operands and then decides by their types.
create or replace function secateur_cel.add_v1 (one jsonb, other jsonb)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
begin
  one := secateur_cel.open_v1(one);
  other := secateur_cel.open_v1(other);
  case concat(one ->> 0, ' ', other ->> 0)
    when 'int int' then
      return secateur_cel.box_number_v1((one ->> 1)::numeric + (other ->> 1)::numeric);
    when 'uint uint' then
      return secateur_cel.box_uint_v1((one ->> 1)::numeric + (other ->> 1)::numeric);
    when 'double double' then
      return secateur_cel.box_double_v1(
        secateur_cel.double_add_v1((one ->> 1)::float8, (other ->> 1)::float8));
    when 'string string', 'bytes bytes' then
      perform secateur_cel.text_in_time_v1(one ->> 1);
      -- The limit is a million characters or bytes; a byte is two digits.
      return case
        when length(one ->> 1) + length(other ->> 1) <= case one ->> 0 when 'string' then 1000000 else 2000000 end
        then jsonb_build_array(one -> 0, (one ->> 1) || (other ->> 1))
      end;
    when 'list list' then
      return case
        when jsonb_array_length(one -> 1) + jsonb_array_length(other -> 1) <= 10000
        then jsonb_build_array('list', (one -> 1) || (other -> 1))
      end;
    when 'timestamp duration', 'duration timestamp' then
      return secateur_cel.box_nanoseconds_v1((one ->> 1)::numeric + (other ->> 1)::numeric);
    when 'duration duration' then
      return secateur_cel.box_duration_v1((one ->> 1)::numeric + (other ->> 1)::numeric);
    else
      return null;
  end case;
end
$$;

create or replace function secateur_cel.subtract_v1 (one jsonb, other jsonb)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
declare
  difference numeric;
begin
  one := secateur_cel.open_v1(one);
  other := secateur_cel.open_v1(other);
  case concat(one ->> 0, ' ', other ->> 0)
    when 'int int' then
      return secateur_cel.box_number_v1((one ->> 1)::numeric - (other ->> 1)::numeric);
    when 'uint uint' then
      return secateur_cel.box_uint_v1((one ->> 1)::numeric - (other ->> 1)::numeric);
    when 'double double' then
      return secateur_cel.box_double_v1(
        secateur_cel.double_add_v1((one ->> 1)::float8, -((other ->> 1)::float8)));
    when 'timestamp duration' then
      return secateur_cel.box_nanoseconds_v1((one ->> 1)::numeric - (other ->> 1)::numeric);
    when 'timestamp timestamp' then
      difference := (one ->> 1)::numeric - (other ->> 1)::numeric;
      return case
        when difference between -9223372036854775808 and 9223372036854775807
        then secateur_cel.box_duration_v1(difference)
      end;
    when 'duration duration' then
      return secateur_cel.box_duration_v1((one ->> 1)::numeric - (other ->> 1)::numeric);
    else
      return null;
  end case;
end
$$;

create or replace function secateur_cel.multiply_v1 (one jsonb, other jsonb)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
begin
  one := secateur_cel.open_v1(one);
  other := secateur_cel.open_v1(other);
  case concat(one ->> 0, ' ', other ->> 0)
    when 'int int' then
      return secateur_cel.box_number_v1((one ->> 1)::numeric * (other ->> 1)::numeric);
    when 'uint uint' then
      return secateur_cel.box_uint_v1((one ->> 1)::numeric * (other ->> 1)::numeric);
    when 'double double' then
      return secateur_cel.box_double_v1(
        secateur_cel.double_multiply_v1((one ->> 1)::float8, (other ->> 1)::float8));
    else
      return null;
  end case;
end
$$;

create or replace function secateur_cel.divide_v1 (one jsonb, other jsonb)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
begin
  one := secateur_cel.open_v1(one);
  other := secateur_cel.open_v1(other);
  case concat(one ->> 0, ' ', other ->> 0)
    when 'int int' then
      return secateur_cel.box_number_v1(div((one ->> 1)::numeric, nullif((other ->> 1)::numeric, 0)));
    when 'uint uint' then
      return secateur_cel.box_uint_v1(div((one ->> 1)::numeric, nullif((other ->> 1)::numeric, 0)));
    when 'double double' then
      return secateur_cel.box_double_v1(
        secateur_cel.double_divide_v1((one ->> 1)::float8, (other ->> 1)::float8));
    else
      return null;
  end case;
end
$$;

create or replace function secateur_cel.modulo_v1 (one jsonb, other jsonb)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
begin
  one := secateur_cel.open_v1(one);
  other := secateur_cel.open_v1(other);
  case concat(one ->> 0, ' ', other ->> 0)
    when 'int int' then
      -- overflows where the division would
      return case
        when secateur_cel.divide_v1(one, other) is not null
        then secateur_cel.box_number_v1(mod((one ->> 1)::numeric, nullif((other ->> 1)::numeric, 0)))
      end;
    when 'uint uint' then
      return secateur_cel.box_uint_v1(mod((one ->> 1)::numeric, nullif((other ->> 1)::numeric, 0)));
    else
      return null;
  end case;
end
$$;

create or replace function secateur_cel.negate_v1 (given jsonb)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
begin
  given := secateur_cel.open_v1(given);
  case given ->> 0
    when 'int' then return secateur_cel.box_number_v1(-((given ->> 1)::numeric));
    when 'double' then return secateur_cel.box_double_v1(-((given ->> 1)::float8));
    else return null;
  end case;
end
$$;

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

-- The keys of an object as an array, in jsonb's own order: by length in bytes, then by bytes.
create or replace function secateur_cel.keys_v1 (given jsonb)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
begin
  return (select coalesce(jsonb_agg(key), '[]') from jsonb_object_keys(given) as key);
end
$$;

-- The values that a macro visits: the elements of an array, the keys of an object, none for any other type. Not strict, so that
-- Postgres can inline it.
create or replace function secateur_cel.json_items_v1 (given jsonb)
  returns setof jsonb language sql immutable parallel safe
as $$
select item
  from jsonb_array_elements(
         case jsonb_typeof(given)
           when 'array' then given
           when 'object' then secateur_cel.keys_v1(given)
           else '[]'
         end) as item
 where secateur_cel.in_time_v1(item)
$$;

-- The same for a box, as boxes. Keys are ordered by type, length and value. A single NULL if it is neither a list nor a map.
create or replace function secateur_cel.box_items_v1 (given jsonb)
  returns setof jsonb language plpgsql immutable parallel safe
as $$
begin
  case concat(given ->> 0, ' ', jsonb_typeof(given -> 1))
    when 'json array' then
      return query select jsonb_build_array('json', item) from jsonb_array_elements(given -> 1) as item;
    when 'json object' then
      return query select jsonb_build_array('string', key) from jsonb_object_keys(given -> 1) as key;
    when 'list array' then
      return query select item from jsonb_array_elements(given -> 1) as item;
    when 'map array' then
      return query
      select entry -> 0
        from jsonb_array_elements(given -> 1) as entry
       order by case entry -> 0 ->> 0 when 'bool' then 0 when 'string' then 2 else 1 end,
                case when entry -> 0 ->> 0 in ('int', 'uint') then (entry -> 0 ->> 1)::numeric end,
                octet_length(entry -> 0 ->> 1),
                (entry -> 0 ->> 1) collate "C";
    else
      return next null;
  end case;
end
$$;

-- The same with a check of the deadline. Postgres inlines it, too.
create or replace function secateur_cel.items_v1 (given jsonb)
  returns setof jsonb language sql immutable parallel safe
as $$
select item from secateur_cel.box_items_v1(given) as item where secateur_cel.in_time_v1(item)
$$;

-- exists_one: an error if one of the verdicts is an error.
create or replace function secateur_cel.one_v1 (verdicts boolean[])
  returns boolean language plpgsql immutable strict parallel safe
as $$
begin
  if array_position(verdicts, null) is not null then
    return null;
  end if;
  return cardinality(array_positions(verdicts, true)) = 1;
end
$$;

-- map and filter: the list of the boxes. false stands for an element that is left out. An error if one of the boxes is an error,
-- or if there are more than 10,000.
create or replace function secateur_cel.collect_v1 (items jsonb[])
  returns jsonb language plpgsql immutable strict parallel safe
as $$
declare
  kept jsonb[];
begin
  if array_position(items, null) is not null then
    return null;
  end if;
  perform secateur_cel.in_time_v1(null);
  if pg_column_size(items) > 30000000 and current_setting('secateur.deadline', true) <> '' then
    perform secateur_cel.out_of_time_v1();
  end if;
  kept := array_remove(items, 'false');
  if cardinality(kept) > 10000 then
    return null;
  end if;
  return jsonb_build_array('list', to_jsonb(kept));
end
$$;

-- The next two evaluate chains such as list.filter(…).map(…).exists(…). They take a verdict for each element of the list:
-- 0 if the first step leaves it out, 1 for true, 2 for false or left out by a later step, 3 if the last predicate fails.
-- NULL means that a step failed, which makes the whole chain fail. So do more than 10,000 elements after the first step.
--
-- exists: an error if no element is true and the predicate fails for one.
create or replace function secateur_cel.exists_v1 (verdicts integer[])
  returns boolean language plpgsql immutable strict parallel safe
as $$
begin
  return case
    when array_position(verdicts, null) is not null
      or cardinality(verdicts) > 10000 and cardinality(array_remove(verdicts, 0)) > 10000 then null
    when 1 = any (verdicts) then true
    when 3 = any (verdicts) then null
    else false
  end;
end
$$;

-- The number of elements that are true.
create or replace function secateur_cel.count_v1 (verdicts integer[])
  returns numeric language plpgsql immutable strict parallel safe
as $$
begin
  return case
    when array_position(verdicts, null) is null
      and (cardinality(verdicts) <= 10000 or cardinality(array_remove(verdicts, 0)) <= 10000)
    then cardinality(array_positions(verdicts, 1))
  end;
end
$$;

-- collect_v1 for several steps. true stands for an element that a later step leaves out. Only the list after the first step is
-- checked for 10,000 elements, because the later ones cannot be longer.
create or replace function secateur_cel.collect_v2 (items jsonb[])
  returns jsonb language plpgsql immutable strict parallel safe
as $$
begin
  if cardinality(items) > 10000 and cardinality(array_remove(items, 'false')) > 10000 then
    return null;
  end if;
  return secateur_cel.collect_v1(array_remove(items, 'true'));
end
$$;

-- The value of an int; NULL for any other type.
create or replace function secateur_cel.whole_v1 (given jsonb)
  returns numeric language plpgsql immutable strict parallel safe
as $$
begin
  given := secateur_cel.open_v1(given);
  return case given ->> 0 when 'int' then (given ->> 1)::numeric end;
end
$$;

-- The string functions. Positions count characters from 0; a position outside the text is an error.
create or replace function secateur_cel.lower_v1 (given text)
  returns text language sql immutable parallel safe
as $$ select translate(given, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz') $$;

create or replace function secateur_cel.upper_v1 (given text)
  returns text language sql immutable parallel safe
as $$ select translate(given, 'abcdefghijklmnopqrstuvwxyz', 'ABCDEFGHIJKLMNOPQRSTUVWXYZ') $$;

-- Unicode's white space.
create or replace function secateur_cel.trim_v1 (given text)
  returns text language sql immutable parallel safe
as $$
select btrim(given, E'\u0009\u000A\u000B\u000C\u000D\u0020\u0085\u00A0\u1680\u2000\u2001\u2002'
                    '\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200A\u2028\u2029\u202F\u205F\u3000')
$$;

create or replace function secateur_cel.char_at_v1 (given text, place numeric)
  returns text language plpgsql immutable strict parallel safe
as $$
begin
  return case when place between 0 and length(given) then substr(given, place::integer + 1, 1) end;
end
$$;

create or replace function secateur_cel.index_of_v1 (given text, part text, place numeric)
  returns numeric language plpgsql immutable strict parallel safe
as $$
declare
  found integer;
begin
  if place not between 0 and length(given) then
    return null;
  end if;
  found := strpos(substr(given, place::integer + 1), part);
  return case found when 0 then -1 else place + found - 1 end;
end
$$;

create or replace function secateur_cel.last_index_of_v1 (given text, part text, place numeric)
  returns numeric language plpgsql immutable strict parallel safe
as $$
declare
  searched text;
  found integer;
begin
  if place not between 0 and length(given) then
    return null;
  end if;
  searched := left(given, least(place + length(part), length(given))::integer);
  found := strpos(reverse(searched), reverse(part));
  return case found when 0 then -1 else length(searched) - found - length(part) + 1 end;
end
$$;

create or replace function secateur_cel.last_index_of_v1 (given text, part text)
  returns numeric language plpgsql immutable strict parallel safe
as $$ begin return secateur_cel.last_index_of_v1(given, part, length(given)); end $$;

create or replace function secateur_cel.substring_v1 (given text, first numeric, past numeric)
  returns text language plpgsql immutable strict parallel safe
as $$
begin
  return case
    when 0 <= first and first <= past and past <= length(given)
    then substr(given, first::integer + 1, (past - first)::integer)
  end;
end
$$;

create or replace function secateur_cel.substring_v1 (given text, first numeric)
  returns text language plpgsql immutable strict parallel safe
as $$ begin return secateur_cel.substring_v1(given, first, length(given)); end $$;

-- A negative limit means no limit. The empty text occurs before every character and at the end. An error if the result has
-- more than a million characters.
create or replace function secateur_cel.replace_v1 (given text, old text, new text, most numeric)
  returns text language plpgsql immutable strict parallel safe
as $$
declare
  times integer;
  pieces text[];
begin
  perform secateur_cel.text_in_time_v1(given);
  times := case old
    when '' then length(given) + 1
    else (length(given) - length(replace(given, old, ''))) / length(old)
  end;
  if most >= 0 and most < times then
    times := most;
  end if;
  if length(given) + times::bigint * (length(new) - length(old)) > 1000000 then
    return null;
  elsif times = 0 then
    return given;
  elsif old = '' then
    pieces := string_to_array(given, null);
    return concat(new, array_to_string(pieces[:times], new), array_to_string(pieces[times + 1:], ''),
                  case when times > length(given) and given <> '' then new end);
  end if;
  pieces := string_to_array(given, old);
  return concat(array_to_string(pieces[:times + 1], new),
                case when times + 1 < cardinality(pieces) then old end,
                array_to_string(pieces[times + 2:], old));
end
$$;

-- A list in a box. A negative limit means no limit; the last part contains the rest. An error beyond 10,000 parts.
create or replace function secateur_cel.split_v1 (given text, separator text, most numeric)
  returns jsonb language plpgsql immutable strict parallel safe
as $$
declare
  pieces text[];
begin
  perform secateur_cel.text_in_time_v1(given);
  if most = 0 then
    return '["list", []]';
  end if;
  pieces := case
    when given = '' then array['']
    when separator = '' then string_to_array(given, null)
    else string_to_array(given, separator)
  end;
  if most > 0 and most < cardinality(pieces) then
    pieces := pieces[:most::integer - 1] || array_to_string(pieces[most::integer:], separator);
  end if;
  if cardinality(pieces) > 10000 then
    return null;
  end if;
  return jsonb_build_array('list', (
    select jsonb_agg(jsonb_build_array('string', piece.content) order by piece.place)
      from unnest(pieces) with ordinality as piece (content, place)));
end
$$;

-- An error if an element is not a string, or if the result has more than a million characters.
create or replace function secateur_cel.join_v1 (given jsonb, separator text)
  returns text language plpgsql immutable strict parallel safe
as $$
declare
  item jsonb;
  pieces text[] := '{}';
  total bigint;
begin
  given := secateur_cel.open_v1(given);
  if given ->> 0 <> 'list' then
    return null;
  end if;
  total := length(separator)::bigint * greatest(0, jsonb_array_length(given -> 1) - 1);
  for item in select value from jsonb_array_elements(given -> 1) loop
    item := secateur_cel.open_v1(item);
    perform secateur_cel.text_in_time_v1(item ->> 1);
    total := total + length(item ->> 1);
    if item ->> 0 <> 'string' or total > 1000000 then
      return null;
    end if;
    pieces := pieces || (item ->> 1);
  end loop;
  return case when total <= 1000000 then array_to_string(pieces, separator) end;
end
$$;

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
