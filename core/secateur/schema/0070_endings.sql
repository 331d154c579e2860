-- part: ledger
-- A stop or an undo goes through at once, also while a transaction that may still act for the cancellation stays open.
alter table secateur.cancellations add column ending boolean not null default false;
create index cancellations_ending on secateur.cancellations (serial) where ending;

drop function if exists secateur.lock_record(text, uuid, timestamptz);
drop function if exists secateur.withdraw(secateur.cancellations);
