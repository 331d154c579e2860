-- What macros visit, and what becomes of their verdicts. cel_boxes.sql says what holds for all of them.

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
