-- The operators + - * / % on values in boxes. cel_boxes.sql says what holds for all of them.

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
