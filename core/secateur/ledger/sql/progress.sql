-- The progress of sweeps and restores: their failures, their tallies, and the cancellations that still need them.

-- Whether a batch has to wait until the time that an earlier one left. Not if the last one seems to be later than now: then the clock was
-- set back, and that time may be hours away. Part of a restore and of a retry.
create or replace function secateur.must_wait(app_id text, cancellation_id uuid, next_at timestamptz)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
begin
  return next_at > clock_timestamp()
         and not exists (select from secateur.sweeps as place
                          where place.app_id = must_wait.app_id and place.cancellation_id = must_wait.cancellation_id
                            and place.stepped_at > clock_timestamp());
end
$$;

-- Notes in the cancellation's place that a batch of its sweep or its restore has succeeded: every five seconds at most, but at once
-- after a failure. Gives way to whoever holds the place. Part of a sweep.
create or replace function secateur.note_step(app_id text, cancellation_id uuid)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
begin
  perform from secateur.sweeps as place
    where place.app_id = note_step.app_id and place.cancellation_id = note_step.cancellation_id
      and (place.failures > 0
           or (place.stepped_at between clock_timestamp() - interval '5 seconds' and clock_timestamp()) is not true)
      for update skip locked;
  if found then
    update secateur.sweeps as place
       set stepped_at = clock_timestamp(), failures = 0, failing_since = null, last_error = null, last_error_at = null
     where place.app_id = note_step.app_id and place.cancellation_id = note_step.cancellation_id;
  end if;
end
$$;

-- Notes in the cancellation's place that a batch of its sweep or its restore failed, and the reason that the sweeper gives.
-- Forgotten when a batch succeeds. Gives way to whoever holds the place.
create or replace function secateur.note_sweep_failure(app_id text, cancellation_id uuid, error text)
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
begin
  perform from secateur.sweeps as place
    where place.app_id = note_sweep_failure.app_id and place.cancellation_id = note_sweep_failure.cancellation_id
      for update skip locked;
  if found then
    update secateur.sweeps as place
       set failures = least(place.failures, 2147483646) + 1, last_error = left(error, 2000), last_error_at = clock_timestamp(),
           failing_since = coalesce(place.failing_since, clock_timestamp())
     where place.app_id = note_sweep_failure.app_id and place.cancellation_id = note_sweep_failure.cancellation_id;
  end if;
end
$$;

-- A cancellation's tallies, function by function: the sums of its deltas.
create or replace view secateur.cancellation_tallies as
  select app_id,
         cancellation_id,
         function_id,
         sum(requested)::bigint as requested,
         sum(cancelled)::bigint as cancelled,
         sum(finished_first)::bigint as finished_first,
         sum(errors)::bigint as errors,
         sum(requested - stopped - finished_first - withdrawn)::bigint as stopping,
         sum(restored)::bigint as restored,
         sum(handed_over)::bigint as handed_over,
         sum(pruned)::bigint as pruned,
         sum(stopped)::bigint as stopped,
         sum(retried)::bigint as retried,
         sum(left_alone)::bigint as left_alone
    from secateur.cancellation_deltas
   group by app_id, cancellation_id, function_id;

-- How many of each function's unfinished runs its active cancellations have matched and not yet reached: an estimate, from the
-- tallies, so that it costs nothing per run. No row if there are none; a record may name functions that do not exist. A
-- cancellation's expected counts are one document for all functions. It is taken apart once, because looking up each function would
-- read it again for each.
create or replace view secateur.cancelling_runs as
  select rule.app_id, one.function_id, sum(one.runs) as runs
    from secateur.cancellations as rule
    cross join lateral (
      select part.function_id,
             greatest(0, coalesce(max(part.expected) - coalesce(max(part.reached), 0), max(part.stopping), 0)) as runs
        from (
          select expected.key as function_id,
                 -- Whatever else is there is no number of runs.
                 case when jsonb_typeof(expected.value) = 'number'
                      then greatest(0, least(1e15, trunc((expected.value)::numeric)))::bigint end as expected,
                 null::bigint as reached, null::bigint as stopping
            from jsonb_each(case jsonb_typeof(rule.expected_by_function)
                              when 'object' then rule.expected_by_function end) as expected
           union all
          select tally.function_id, null, tally.cancelled + tally.finished_first, tally.stopping
            from secateur.cancellation_tallies as tally
           where tally.app_id = rule.app_id and tally.cancellation_id = rule.id
        ) as part
       group by part.function_id
    ) as one
   where rule.state = 'active'
     and (rule.function_id is null or rule.function_id = one.function_id)
     and one.runs > 0
   group by rule.app_id, one.function_id;

-- Left by older programs.
drop function if exists secateur.open_cancellations();

-- What a sweeper of the queue has to do: active cancellations to sweep, retries (`retrying`), undone ones to restore (`restoring`),
-- stopped and undone ones whose end is not final yet (`ending`), oldest commit first. Uses indexes of only these records, so a long
-- history costs nothing. A null queue is secateur's own.
create or replace function secateur.open_cancellations(installation text default null)
  returns table (app_id text, id uuid, state text)
  language sql
  stable
  security definer set search_path = pg_catalog, pg_temp
as $$
  select open.app_id, open.id, open.state
    from (
      select rule.app_id, rule.id, rule.state, rule.serial
        from secateur.cancellations as rule where rule.state = 'active'
      union all
      select rule.app_id, rule.id, rule.state, rule.serial
        from secateur.cancellations as rule where rule.state = 'retrying'
      union all
      select rule.app_id, rule.id, 'restoring', rule.serial
        from secateur.cancellations as rule where rule.state = 'undone' and rule.restored_at is null and not rule.ending
      union all
      select rule.app_id, rule.id, 'ending', rule.serial
        from secateur.cancellations as rule where rule.ending
    ) as open
   where (select home.installation from secateur.apps as home where home.app_id = open.app_id)
         is not distinct from open_cancellations.installation
   order by open.serial
$$;
