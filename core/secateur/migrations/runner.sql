-- What the runner itself says to the database; not a migration.

-- name: patience
-- A queue of waiters behind us would stop the workers: give way quickly. Migrations may take long.
select set_config('lock_timeout', '2s', true), set_config('statement_timeout', '0', true)

-- name: lock
-- Two installers at once: concurrent `create … if not exists` would raise a unique violation.
select pg_advisory_xact_lock($1, 0)

-- name: exists
-- By the catalog, so that a role without any right gets an answer too.
select exists (
  select from pg_catalog.pg_class
   where relname = 'migrations' and relnamespace = to_regnamespace('secateur')
)

-- name: schema_exists
select to_regnamespace('secateur') is not null

-- name: create_schema
create schema secateur

-- name: create_migrations
create table secateur.migrations (
  name text primary key,
  checksum text not null,
  -- The version of the program that applied it.
  program text not null,
  applied_at timestamptz not null default clock_timestamp()
)

-- name: grant_migrations
-- Every program checks first whether it fits the database, also those that may read nothing else.
grant select on secateur.migrations to public

-- name: applied
select name, checksum, program from secateur.migrations

-- name: record
insert into secateur.migrations (name, checksum, program) values ($1, $2, $3)
on conflict (name) do update
   set checksum = excluded.checksum, program = excluded.program, applied_at = excluded.applied_at

-- name: vocabulary
-- Only added to: an older program's conditions must go on being accepted.
insert into secateur.condition_vocabulary (token)
select unnest($1::text[])
on conflict do nothing

-- name: is_audited
select to_regproc('secateur.record_audit') is not null

-- name: audit
-- In the transaction that installs.
select secateur.record_audit('install', '', null, null, $1, null,
                             jsonb_build_object('version', $2::text, 'applied', $3::text[]))
