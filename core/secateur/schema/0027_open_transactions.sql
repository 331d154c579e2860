-- Of a sweep in a queue of others: the virtual ids of the transactions that were open when its horizon was taken. They may insert jobs that
-- seem to have entered before: many engines take the time from the beginning of the transaction, which has no transaction id before it
-- writes. Null: all of them have ended, or none matters.
alter table secateur.sweeps add column open_transactions text[];
