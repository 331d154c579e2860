-- Sending events.

-- Enqueues one run of every function, of any app, that the event's name triggers.
create or replace function secateur.send(event jsonb)
  returns table (run_id uuid, app_id text, function_id text)
  language sql
  security definer set search_path = pg_catalog, pg_temp
as $$
  select secateur.enqueue(triggered.app_id, triggered.function_id, send.event), triggered.app_id, triggered.function_id
    from secateur.functions as triggered
   where triggered.triggers @> array[send.event ->> 'name']
   order by triggered.app_id, triggered.function_id
$$;
