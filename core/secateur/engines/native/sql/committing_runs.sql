-- Committing cancellations and retries of runs. What a commit decides is in ledger/sql/committing.sql.

-- Commits a cancellation of one app's functions (`function_ids` null: of all of them together), one for each function, all
-- or nothing; `ids` are theirs. The draft has what they share: see draft_of. Returns their records in the order of the functions.
--
-- O(running runs), whatever the backlog: it inserts the record, and a cancel request for each matching running run.
-- Repeatable under its idempotency key: the same request gives the same records, another one raises SC409. (The first
-- function's record has the key itself. The others' keys are made of it.)
-- Raises SC404, SC422 with the field (app or functions unknown, window, rate), SC400 (condition), SC403 (the app's budget: see
-- proposing.sql).
--
-- In force: the commit holds the app's lock, exclusive, until its transaction ends. From then on no matching run is claimed, and no
-- further step of one begins.
--
-- Pending: an open transaction that claimed has held the lock for longer than 250 ms. The record is inserted all the same.
-- * Promised: the record is durable. Every claim that begins after this transaction has ended honours it, since a claim reads the
--   records after taking the lock. All matching runs that were seen running are asked to stop.
-- * Not promised yet: runs that an open claim has taken, which read the records before. They become visible when that claim ends, and can
--   then begin steps, until put_in_force asks them to stop. That needs the exclusive lock, which is free when all those claims
--   have ended. No sweep begins before, so nothing can become complete.
--
-- Locks: the app's, exclusive, until the transaction ends; no run. Its time is taken after the lock or the attempt; then the
-- horizon: see insert_record.
create or replace function secateur.commit_cancellations(ids uuid[], function_ids text[], draft jsonb)
  returns setof secateur.cancellations
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  given secateur.cancellations := secateur.draft_of(draft);
begin
  given.kind := 'bulk';
  return query select committed.* from secateur.commit_draft(given, ids, function_ids) as committed;
end
$$;

-- commit_cancellations of one function, or of all of an app together, for people and programs that write SQL by hand.
create or replace function secateur.commit_cancellation(
  id uuid,
  app_id text,
  function_id text,
  "if" text,
  started_after timestamptz,
  started_before timestamptz,
  standing boolean,
  condition text,
  parameters jsonb,
  compiler integer,
  request jsonb,
  idempotency_key text,
  reason text,
  source text,
  created_by text,
  expected bigint,
  expected_by_function jsonb,
  rate integer default null,
  requires jsonb[] default null,
  requires_suffices boolean default false,
  expected_exact boolean default true
)
  returns secateur.cancellations
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  draft secateur.cancellations;
  committed secateur.cancellations;
begin
  draft.kind := 'bulk';
  draft.standing := standing;
  draft.app_id := app_id;
  draft."if" := "if";
  draft.started_after := started_after;
  draft.started_before := started_before;
  draft.condition := condition;
  draft.parameters := parameters;
  draft.compiler := compiler;
  draft.request := request;
  draft.idempotency_key := idempotency_key;
  draft.reason := reason;
  draft.source := source;
  draft.created_by := created_by;
  draft.expected := expected;
  draft.expected_exact := expected_exact;
  draft.expected_by_function := expected_by_function;
  draft.rate := rate;
  draft.requires := requires;
  draft.requires_suffices := requires_suffices;
  select made.* into committed
    from secateur.commit_draft(draft, array[id], case when function_id is not null then array[function_id] end) as made;
  return committed;
end
$$;

-- Commits a retry of one app's functions; parameters, keys and records are as for commit_cancellations, and so is what it
-- raises. The runs that it means are those that had failed, or had been cancelled if `with_cancelled`, before this moment.
-- O(1), and takes no lock.
create or replace function secateur.commit_retries(ids uuid[], function_ids text[], draft jsonb)
  returns setof secateur.cancellations
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  given secateur.cancellations := secateur.draft_of(draft);
  made secateur.cancellations;
  committed secateur.cancellations;
begin
  given.kind := 'retry';
  given.state := 'retrying';
  given.standing := false;
  perform secateur.require_read_committed();
  perform secateur.require_draft(given, ids, function_ids);
  given.created_at := clock_timestamp();
  given.in_force_at := given.created_at;
  perform secateur.require_window(given);
  committed := secateur.committed_under(given.app_id, given.idempotency_key, given.request);
  if committed.id is null then
    perform secateur.require_free_ids(given.app_id, ids);
  end if;
  for made in select * from secateur.records_of(given, ids, function_ids) loop
    committed := secateur.insert_record(made);
    if committed.id is null then
      committed := secateur.committed_under(made.app_id, made.idempotency_key, made.request);
    else
      -- point: recorded
      perform secateur.announce_commit(committed, '{"kind": "retry"}');
    end if;
    return next committed;
  end loop;
end
$$;
