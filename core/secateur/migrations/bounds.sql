-- What may come in. Each of these raises SC422 with the field that is wrong; the functions that take the field say which.

-- Whether a time is finite and in the years 1 to 9999, which is what Python, JSON's readers and CEL know; true of null. The
-- last microsecond of 9999 is left out: clients write it as `infinity`. (Without a path of its own, so that it is spelled
-- out in the statements that use it.)
create or replace function secateur.is_instant(moment timestamptz)
  returns boolean
  language sql
  immutable
return moment is null
       or moment between timestamptz '0001-01-01 00:00:00+00' and timestamptz '9999-12-31 23:59:59.999998+00';

-- Raises unless the field's time is one.
create or replace function secateur.require_instant(field text, moment timestamptz)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if not secateur.is_instant(moment) then
    raise exception using errcode = 'SC422', column = field,
      message = format('must be a time in the years 1 to 9999, not %s', moment);
  end if;
end
$$;

-- Raises unless all of the field's times are.
create or replace function secateur.require_instants(field text, moments timestamptz[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  odd record;
begin
  select given.moment, given.place into odd
    from unnest(moments) with ordinality as given (moment, place)
   where not secateur.is_instant(given.moment) limit 1;
  if found then
    raise exception using errcode = 'SC422', column = field,
      message = format('number %s must be a time in the years 1 to 9999, not %s', odd.place, odd.moment);
  end if;
end
$$;
