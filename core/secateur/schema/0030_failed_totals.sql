-- Runs that ever failed for good, beside those that ever came in and ended: `failed` falls again when they are pruned or retried.

alter table secateur.depth_totals add column ever_failed bigint not null default 0;
