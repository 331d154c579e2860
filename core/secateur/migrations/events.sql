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

-- Enqueues one run of every function, of any app, that `function.cancelled` triggers, for each of these runs; they were
-- cancelled in this transaction. A run that such an event triggered is passed over, so that nothing goes round in circles.
-- Costs one look at an index while no function asks for it, and one insert per function otherwise. Takes no lock.
create or replace function secateur.announce_cancelled(run_ids uuid[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
declare
  announced jsonb[];
  moment bigint;
begin
  if cardinality(run_ids) = 0
     or not exists (select from secateur.functions as triggered where triggered.triggers @> array['function.cancelled']) then
    return;
  end if;
  moment := extract(epoch from clock_timestamp()) * 1000;
  select array_agg(
           jsonb_build_object(
             'name', 'function.cancelled',
             'ts', moment,
             'data', jsonb_build_object(
               'run_id', run.id,
               'app_id', run.app_id,
               'function_id', run.function_id,
               'cause', case rule.kind when 'bulk' then 'cancellation' else rule.kind end,
               'cancellation_id', rule.id,
               -- Two levels further down: what just passed as an event must not be refused here.
               'event', case when not (pg_column_size(run.event) > 3000 and run.event @? '$.**{498}') then run.event end))
           order by run.id)
    into announced
    from secateur.runs as run
    join secateur.cancellations as rule on rule.id = run.cancellation_id
   where run.id = any (announce_cancelled.run_ids)
     and run.event ->> 'name' is distinct from 'function.cancelled';
  if announced is not null then
    perform count(entered.run_id)
       from secateur.functions as triggered,
            lateral secateur.enqueue_many(triggered.app_id, triggered.function_id, announced) as entered (run_id)
      where triggered.triggers @> array['function.cancelled'];
  end if;
end
$$;
