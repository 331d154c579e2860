-- How many runs a draft would cancel, as far as a budget has to know.

-- Whether a draft's cancellations, one for each of the functions (null: one for the whole app), match more than `most` runs that
-- wait or run. Also true if that cannot be told within two seconds. Reads no more than it needs: in an app with few runs it
-- evaluates nothing.
create or replace function secateur.exceeds(draft secateur.cancellations, function_ids text[], most bigint)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
as $$
declare
  deadline constant timestamptz := clock_timestamp() + interval '2 seconds';
  rule secateur.cancellations := draft;
  place secateur.sweeps;
  walked record;
  name text;
  found bigint := 0;
  read integer;
begin
  rule.id := coalesce(rule.id, gen_random_uuid());
  rule.started_before := coalesce(rule.started_before, clock_timestamp());
  rule.parameters := draft.parameters || jsonb_build_object('now', secateur.in_utc(clock_timestamp()));
  foreach name in array coalesce(function_ids, array[null::text]) loop
    rule.function_id := name;
    select found + count(*) into found
      from secateur.reached(rule.app_id, array[rule], array(
             select run.id from secateur.runs as run
              where run.app_id = rule.app_id and run.status = 'running' and run.lease_expires_at is not null
                and (name is null or run.function_id = name)), budget => '500 ms') as hit
     where hit.cancellation_id is not null or hit.undecided_by is not null;
    place := null;
    loop
      if found > most or clock_timestamp() > deadline then
        return true;
      end if;
      walked := secateur.next_to_sweep(rule, place, 2000);
      read := cardinality(walked.run_ids);
      exit when read = 0;
      select found + count(*) into found
        from secateur.reached(rule.app_id, array[rule], walked.run_ids, budget => '500 ms') as hit
       where hit.cancellation_id is not null or hit.undecided_by is not null;
      place.function_id := walked.function_ids[read];
      place.status := walked.statuses[read];
      place.run_id := walked.run_ids[read];
      exit when read < 2000;
    end loop;
  end loop;
  return found > most;
end
$$;
