-- Jobs of other engines on which a cancellation's condition takes long. If it is evaluated under a lock, claims, commits and stops wait. So
-- a gate and a batch of a sweep have little time for it. The jobs that they cannot decide are stored here, and decided with more time and
-- under no lock. Until then the job is neither claimed nor cancelled, as in secateur's own queue (docs/guarantee.md).

-- Stores jobs that a batch could not decide. Raises SC404, and SC422 with the parameter.
create or replace function secateur.note_slow_jobs(app_id text, cancellation_id uuid, job_ids text[])
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform secateur.job_cancellation(note_slow_jobs.app_id, note_slow_jobs.cancellation_id);
  perform secateur.require_jobs(job_ids);
  insert into secateur.slow_jobs (app_id, cancellation_id, job_id)
  select note_slow_jobs.app_id, note_slow_jobs.cancellation_id, given.job_id
    from (select distinct unnest(job_ids) as job_id order by 1) as given
  on conflict on constraint slow_jobs_pkey do nothing;
end
$$;

-- Stores whether the cancellation matches these stored jobs; null means that it took too long again. A job that has left the queue does not
-- match any more. Raises SC404, and SC422 with the parameter.
create or replace function secateur.decide_jobs(app_id text, cancellation_id uuid, job_ids text[], verdicts boolean[])
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  perform secateur.job_cancellation(decide_jobs.app_id, decide_jobs.cancellation_id);
  perform secateur.require_jobs(job_ids);
  perform secateur.require_same_length('verdicts', cardinality(job_ids), array[coalesce(cardinality(verdicts), 0)]);
  update secateur.slow_jobs as slow
     set verdict = given.verdict,
         attempts = slow.attempts + (given.verdict is null)::integer,
         next_at = clock_timestamp() + least(60, slow.attempts * slow.attempts) * interval '1 second'
    from unnest(job_ids, verdicts) as given (job_id, verdict)
   where slow.app_id = decide_jobs.app_id and slow.cancellation_id = decide_jobs.cancellation_id and slow.job_id = given.job_id
     and slow.verdict is not false;
end
$$;

-- How many jobs of a cancellation are to be decided now, up to 1,000.
create or replace function secateur.undecided_jobs(app_id text, cancellation_id uuid)
  returns integer
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  return (select count(*) from (select from secateur.slow_jobs as slow
                                 where slow.app_id = undecided_jobs.app_id
                                   and slow.cancellation_id = undecided_jobs.cancellation_id
                                   and slow.verdict is null and slow.next_at <= clock_timestamp()
                                 limit 1000) as due);
end
$$;

-- Whether a cancellation still has running jobs, or slow jobs that are not decided or not cancelled yet. Part of a sweep.
create or replace function secateur.awaits_jobs(app_id text, cancellation_id uuid)
  returns boolean
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
as $$
begin
  return exists (select from secateur.preimages as met
                  where met.app_id = awaits_jobs.app_id and met.cancellation_id = awaits_jobs.cancellation_id
                    and met.was_running and met.outcome is null)
      or exists (select from secateur.slow_jobs as slow
                  where slow.app_id = awaits_jobs.app_id and slow.cancellation_id = awaits_jobs.cancellation_id
                    and slow.verdict is not false);
end
$$;
