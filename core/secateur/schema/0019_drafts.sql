-- A commit takes its draft as one document: see draft_of in records.sql. With other parameters they are other functions.
drop function if exists secateur.commit_cancellations(
  uuid[], text, text[], text, timestamptz, timestamptz, boolean, text, jsonb, integer, jsonb, text, text, text, text, bigint,
  jsonb, integer, jsonb[], boolean, boolean);
drop function if exists secateur.commit_retries(
  uuid[], text, text[], text, timestamptz, timestamptz, boolean, text, jsonb, integer, jsonb, text, text, text, text, bigint,
  jsonb, integer, jsonb[], boolean, boolean);
