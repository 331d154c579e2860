-- Values in boxes. This and the other files cel_*.sql are the language's operators and functions, where Postgres has no
-- operator with the same meaning.
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
