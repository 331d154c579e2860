-- What a value holds: its content by type, its fields and elements, and new lists and maps. cel_boxes.sql says what holds for all of them.

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
