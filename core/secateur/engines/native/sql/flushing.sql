-- Claims that do not hold the app's lock until they are on disk.

-- complete_and_claim in a transaction that does not wait for the disk, then a second one that does: when it returns, what it
-- returns is on disk, and no commit has waited for that behind it. A procedure, since it commits in between: it cannot be called
-- within a transaction. It runs with the caller's own rights and settings, and uses no operator that these could replace.
-- Each row of complete_and_claim is one place of the arrays; they are null if there is none.
create or replace procedure secateur.claim_and_flush(
  app_id text, run_ids uuid[], claim_tokens uuid[], function_ids text[], max_runs integer, worker text, lease interval,
  out id uuid[], out function_id text[], out event jsonb[], out attempt integer[], out max_attempts integer[],
  out claim_token uuid[], out more boolean[], out resumes boolean[], out started_at timestamptz[], out due_in interval[]
)
  language plpgsql
as $$
#variable_conflict use_column
begin
  select pg_catalog.array_agg(one.id), pg_catalog.array_agg(one.function_id), pg_catalog.array_agg(one.event),
         pg_catalog.array_agg(one.attempt), pg_catalog.array_agg(one.max_attempts), pg_catalog.array_agg(one.claim_token),
         pg_catalog.array_agg(one.more), pg_catalog.array_agg(one.resumes), pg_catalog.array_agg(one.started_at),
         pg_catalog.array_agg(one.due_in)
    into id, function_id, event, attempt, max_attempts, claim_token, more, resumes, started_at, due_in
    from secateur.complete_and_claim(
           claim_and_flush.app_id, claim_and_flush.run_ids, claim_and_flush.claim_tokens, claim_and_flush.function_ids,
           claim_and_flush.max_runs, claim_and_flush.worker, claim_and_flush.lease, durable => false) as one;
  commit;
  if claim_and_flush.id[1] is not null or claim_and_flush.run_ids[1] is not null then
    -- Nobody reads this message; only a transaction that has written something waits for the disk.
    perform pg_catalog.pg_logical_emit_message(true, 'secateur', ''::pg_catalog.text);
  end if;
end
$$;

-- Waits until everything that was committed before is on disk, and on the replicas that commits wait for (unless the session does
-- not wait for commits either). Returns the run's status if that claim's token stands in it (`completed`, if the claim has
-- completed it), and null if it does not: a crash of the server has undone the claim, or it is no longer the caller's.
--
-- It writes a message that nobody reads, because only a transaction that has written something is flushed when it ends. It reads
-- its result on the server that flushes: if that server had crashed in between, the row would not show the claim.
create or replace function secateur.flush(app_id text, run_id uuid, claim_token uuid)
  returns text
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  perform pg_logical_emit_message(true, 'secateur', ''::text);
  return (select run.status from secateur.runs as run
           where run.app_id = flush.app_id and run.id = flush.run_id
             and flush.claim_token in (run.claim_token, run.last_token));
end
$$;
