-- By how much the backlog itself changed, beside the rates in and out: runs that a cancellation takes come in and never go out.
alter table secateur.depth_seconds add column grown bigint not null default 0;

-- The oldest run's start is `oldest_started_at`; since when it could be claimed is another time, if it had to wait for its own.
alter table secateur.depth_totals add column oldest_claimable_at timestamptz;
update secateur.depth_totals set oldest_started_at = null;

drop function if exists secateur.oldest_claimable(text, text);
