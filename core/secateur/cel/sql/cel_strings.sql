-- The functions of texts. cel_boxes.sql says what holds for all of them.

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
