-- What became of a run's earlier attempts; the last one is in the row itself. See attempts.sql.
alter table secateur.runs add column past_attempts jsonb;
