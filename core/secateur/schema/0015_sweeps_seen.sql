-- How the sweep of a cancellation, or the restore of an undone one, fares: so that one which fails, or which nobody does any
-- more, can be seen in its record.
alter table secateur.sweeps
  -- When a batch was last through; null before the first.
  add column stepped_at timestamptz,
  -- Since the last batch that was through: how many failed, since when, and why the last one did.
  add column failures integer not null default 0,
  add column failing_since timestamptz,
  add column last_error text check (length(last_error) <= 2000),
  add column last_error_at timestamptz;
