-- Equality and order, of values in boxes. cel_boxes.sql says what holds for all of them.

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
