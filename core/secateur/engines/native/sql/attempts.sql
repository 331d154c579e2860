-- A run's earlier attempts, for whoever asks what happened to it. Only an attempt after which the run goes on is written down,
-- in the update that ends it: a run that completes at once costs nothing more.

-- The earlier attempts of a run with one more. `outcome` is `failed`, `lost` (its lease ended) or `interrupted` (its worker stopped).
-- The last twenty are kept, and the first 2,000 characters of each error. Changes nothing.
create or replace function secateur.with_attempt(
  past_attempts jsonb, attempt integer, outcome text, began_at timestamptz, ended_at timestamptz, worker text, error text
)
  returns jsonb
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  kept jsonb := coalesce(past_attempts, '[]');
begin
  while jsonb_array_length(kept) >= 20 loop
    kept := kept - 0;
  end loop;
  return kept || jsonb_build_object('attempt', attempt, 'outcome', outcome, 'began_at', began_at, 'ended_at', ended_at,
                                    'worker', worker, 'error', left(error, 2000));
end
$$;

-- In which traces these runs were sent; those that were sent in none are left out. `traceparent` is as W3C writes it.
create or replace function secateur.traces_of(app_id text, run_ids uuid[], out run_id uuid, out traceparent text)
  returns setof record
  language sql
  stable
  security definer set search_path = pg_catalog, pg_temp
as $$
  select run.id, run.traceparent
    from unnest(traces_of.run_ids) as wanted (id)
   cross join lateral (
     select one.id, one.traceparent
       from secateur.runs as one
      where one.app_id = traces_of.app_id and one.id = wanted.id and one.traceparent is not null
     offset 0) as run
$$;
