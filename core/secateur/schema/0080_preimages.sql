-- part: ledger
-- Each job that a sweep takes paid for this index, and only whoever looks at a single run used it.
drop index secateur.preimages_by_job;
