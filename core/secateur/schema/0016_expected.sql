-- Whether `expected`, the count that was shown before the commit, was exact; null where nothing was counted.
alter table secateur.cancellations add column expected_exact boolean;

update secateur.cancellations set expected_exact = true where expected is not null;

alter table secateur.cancellations
  add constraint cancellations_expected_exact check ((expected is null) = (expected_exact is null));

-- With another parameter they are other functions; committing.sql makes them.
drop function if exists secateur.commit_cancellation(
  uuid, text, text, text, timestamptz, timestamptz, boolean, text, jsonb, integer, jsonb, text, text, text, text, bigint,
  jsonb, integer, jsonb[], boolean);
drop function if exists secateur.commit_cancellations(
  uuid[], text, text[], text, timestamptz, timestamptz, boolean, text, jsonb, integer, jsonb, text, text, text, text, bigint,
  jsonb, integer, jsonb[], boolean);
