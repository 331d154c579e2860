-- The audit: an entry belongs to the transaction that did what it says. It exists if and only if that transaction was committed.

-- Appends an entry. People made the audited decision, and are told that it holds. So its transaction is on disk before they are
-- told, even if the session does not wait for the disk (`synchronous_commit = off`). The session says who and from where; the
-- caller only adds the author and the source that a client gave.
create or replace function secateur.record_audit(
  action text, app_id text, function_id text, cancellation_id uuid, author text, source text, details jsonb
)
  returns void
  language sql
  security definer set search_path = pg_catalog, pg_temp
as $$
  select set_config('synchronous_commit', 'on', true) where current_setting('synchronous_commit') = 'off';
  insert into secateur.audit (action, app_id, function_id, cancellation_id, author, source, details)
  values (record_audit.action, record_audit.app_id, record_audit.function_id, record_audit.cancellation_id,
          record_audit.author, record_audit.source, coalesce(record_audit.details, '{}'))
$$;
