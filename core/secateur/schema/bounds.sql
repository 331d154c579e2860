-- The limits of parameters. Each function here raises SC422. The message begins with the name of the parameter, as in
-- `priority: must be …`, since psql shows no more than that; COLUMN is the bare name, for programs.

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
      message = format('%s: must be a time in the years 1 to 9999, not %s', field, moment);
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
      message = format('%s[%s]: must be a time in the years 1 to 9999, not %s', field, odd.place, odd.moment);
  end if;
end
$$;

-- Whether a text is drawn as it is read: it has no control characters, line separators or changes of direction, by which one
-- name could be taken for another, or a terminal be steered.
create or replace function secateur.is_plain(value text)
  returns boolean
  language sql
  immutable
return value !~ E'[\u0001-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]';

-- Raises unless it is a name: of an app, a function, an event, a worker, an author. One may be as long as `most`.
create or replace function secateur.require_name(field text, value text, most integer default 200)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if coalesce(value, '') = '' then
    raise exception using errcode = 'SC422', column = field, message = format('%s: must not be empty', field);
  elsif length(value) > most then
    raise exception using errcode = 'SC422', column = field,
      message = format('%s: is longer than %s characters', field, most);
  elsif not secateur.is_plain(value) then
    raise exception using errcode = 'SC422', column = field,
      message = format('%s: must not contain control characters, line breaks or changes of the writing direction', field);
  end if;
end
$$;

-- Raises unless it can be an idempotency key. Null is none.
create or replace function secateur.require_key(key text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if length(key) not between 1 and 500 then
    raise exception using errcode = 'SC422', column = 'idempotency_key',
      message = 'idempotency_key: must have 1 to 500 characters';
  elsif key is not null then
    perform secateur.require_name('idempotency_key', key, 500);
  end if;
end
$$;

-- Raises for a text that is too long. Null is one that is not given.
create or replace function secateur.require_text(field text, value text, most integer)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if length(value) > most then
    raise exception using errcode = 'SC422', column = field,
      message = format('%s: is longer than %s characters', field, most);
  end if;
end
$$;

-- Raises unless a number is given and is from `lowest` to `highest`.
create or replace function secateur.require_number(field text, value bigint, lowest bigint, highest bigint)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if (value between lowest and highest) is not true then
    raise exception using errcode = 'SC422', column = field,
      message = format('%s: must be a whole number from %s to %s', field, lowest, highest);
  end if;
end
$$;

-- Raises unless each of the field's flags is given.
create or replace function secateur.require_flags(field text, flags boolean[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if (select count(given.flag) from unnest(flags) as given (flag)) is distinct from cardinality(flags)::bigint then
    raise exception using errcode = 'SC422', column = field, message = format('%s: must be true or false', field);
  end if;
end
$$;

-- Raises unless a list has from `fewest` to `most` values. Null is one that is not given.
create or replace function secateur.require_count(field text, given integer, fewest integer, most integer)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if given not between fewest and most then
    raise exception using errcode = 'SC422', column = field,
      message = format('%s: must have %s to %s values, not %s', field, fewest, most, given);
  end if;
end
$$;

-- Raises unless a length of time is given, is not below `lowest` and not above `highest`.
create or replace function secateur.require_interval(field text, value interval, lowest interval, highest interval)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set intervalstyle = 'postgres'
as $$
begin
  if value is null then
    raise exception using errcode = 'SC422', column = field, message = format('%s: must not be null', field);
  elsif value > highest then
    raise exception using errcode = 'SC422', column = field, message = format('%s: must be at most %s', field, highest);
  elsif value < lowest then
    raise exception using errcode = 'SC422', column = field,
      message = format('%s: ', field)
                || case when lowest = '0' then 'must not be negative' else format('must be at least %s', lowest) end;
  end if;
end
$$;

-- Raises unless this is an object of at most so many bytes.
create or replace function secateur.require_object(field text, value jsonb, most integer)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if coalesce(jsonb_typeof(value) <> 'object', true) then
    raise exception using errcode = 'SC422', column = field, message = format('%s: must be a JSON object', field);
  elsif pg_column_size(value) > most then
    raise exception using errcode = 'SC422', column = field,
      message = format('%s: is larger than %s bytes', field, most);
  end if;
end
$$;

-- Raises unless the lists that belong together are equally long, as the first of them is. A null one is left out.
create or replace function secateur.require_same_length(field text, expected integer, lengths integer[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if expected <> any (lengths) then
    raise exception using errcode = 'SC422', column = field,
      message = format('%s: must have %s values, not %s', field, expected,
                       (select given from unnest(lengths) as given where given <> expected limit 1));
  end if;
end
$$;

-- Raises unless these can be kept in a record: who did something, and by which of our programs. Null is not known.
create or replace function secateur.require_author(author text, source text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if author is not null then
    perform secateur.require_name('author', author);
  end if;
  if source not in ('tui', 'cli', 'api', 'python', 'event', 'watch') then
    raise exception using errcode = 'SC422', column = 'source', message = 'source: must be tui, cli, api, python or watch';
  end if;
end
$$;

-- Raises unless a record of a cancellation can say this: why, by whom, and by which program.
create or replace function secateur.require_record(reason text, author text, source text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform secateur.require_text('reason', reason, 2000);
  perform secateur.require_name('author', author);
  perform secateur.require_author(author, coalesce(source, ''));
end
$$;

-- Raises unless this can be sent: an object that has a name, by which functions are found.
create or replace function secateur.require_event(event jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if coalesce(jsonb_typeof(event) <> 'object', true) then
    raise exception using errcode = 'SC422', column = 'event', message = 'event: must be a JSON object';
  elsif coalesce(jsonb_typeof(event -> 'name') <> 'string' or event ->> 'name' = '', true) then
    raise exception using errcode = 'SC422', column = 'name',
      message = 'event.name: is required, and must be a string that is not empty';
  elsif jsonb_typeof(event -> 'id') not in ('string', 'number', 'null') then
    raise exception using errcode = 'SC422', column = 'id', message = 'event.id: must be a string or a number';
  elsif (case when jsonb_typeof(event -> 'ts') = 'number' then (event -> 'ts')::numeric % 1 <> 0
              else jsonb_typeof(event -> 'ts') <> 'null' end) then
    raise exception using errcode = 'SC422', column = 'ts',
      message = 'event.ts: must be a whole number of milliseconds since 1970';
  end if;
  perform secateur.require_name('name', event ->> 'name');
end
$$;

-- Raises for an event that the queue alone sends. Null is none.
create or replace function secateur.require_foreign_events(events jsonb[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (select from unnest(events) as given (event) where given.event ->> 'name' = 'function.cancelled') then
    raise exception using errcode = 'SC422', column = 'name',
      message = 'event.name: function.cancelled is reserved; the queue sends it when it cancels a run';
  end if;
end
$$;
