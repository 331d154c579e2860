-- Locks that nobody without rights can take. An advisory lock is anybody's: any login of the database could hold an app's, and
-- its claims, commits and stops stood still. Who may lock a table or a row is a matter of rights.

-- Nothing may hold an app's old lock when the new one counts. To rename the column waits for every transaction that has looked up
-- its app, and so for all that hold a lock; and whoever waits behind this, in the old functions, does not find the column.
alter table secateur.apps rename column lock_key to lock_number;

create schema if not exists secateur_locks;
revoke all on schema secateur_locks from public;

-- See make_locks.
do $$
declare
  name text;
begin
  for name in
    select format('%s_%s', kind, apps.lock_number) from secateur.apps, unnest(array['app', 'sweeps']) as kind
  loop
    execute format('create table if not exists secateur_locks.%I () with (autovacuum_enabled = false)', name);
    execute format('revoke all on secateur_locks.%I from public', name);
  end loop;
end
$$;

-- What one process at a time does for an app: a row to lock for each.
create table secateur.upkeep (
  app_id text not null,
  task text not null check (task in ('compact', 'check', 'prune')),
  primary key (app_id, task)
);
