-- What the runner itself says to the database; not a migration.

-- name: patience
-- A queue of waiters behind us would stop the workers: give way quickly. Migrations may take long.
select set_config('lock_timeout', '2s', true), set_config('statement_timeout', '0', true)

-- name: lock
-- One installer at a time. Rights decide who may lock a table; anybody could take an advisory lock.
lock table only secateur.migrations in share row exclusive mode

-- name: session
select pg_backend_pid()

-- name: blockers
-- Whom a session waits for in the end: the one in front of it in a queue may be waiting itself. A prepared transaction has no
-- process, and counts as 0.
with recursive blocker (pid) as (
  select unnest(pg_catalog.pg_blocking_pids($1))
  union
  select unnest(pg_catalog.pg_blocking_pids(blocker.pid)) from blocker where blocker.pid > 0
)
select distinct
       case when blocker.pid = 0 then 'a prepared transaction (see pg_prepared_xacts)'
            else format('process %s', blocker.pid)
                 || coalesce(format(' (%s, in a transaction since %s)', activity.usename,
                                    to_char(activity.xact_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')), '')
       end as blocker
  from blocker
  left join pg_catalog.pg_stat_activity as activity on activity.pid = blocker.pid
 where blocker.pid = 0 or pg_catalog.pg_blocking_pids(blocker.pid) = '{}'

-- name: exists
-- By the catalog, so that a role without any right gets an answer too.
select exists (
  select from pg_catalog.pg_class
   where relname = 'migrations' and relnamespace = to_regnamespace('secateur')
)

-- name: schema_exists
select to_regnamespace('secateur') is not null

-- name: create_schema
-- Another installer may be quicker.
do $$ begin
  create schema secateur;
exception when duplicate_schema or unique_violation then
  null;
end $$

-- name: create_migrations
do $$ begin
  create table secateur.migrations (
    name text primary key,
    checksum text not null,
    -- The version of the program that applied it.
    program text not null,
    applied_at timestamptz not null default clock_timestamp(),
    -- What the schema is made of once the last file is applied, as that server prints it. Null for the other files.
    objects jsonb
  );
  -- Every program checks first whether it fits the database, also those that may read nothing else.
  grant select on secateur.migrations to public;
exception when duplicate_table or unique_violation then
  null;
end $$

-- name: applied
select name, checksum, program from secateur.migrations

-- name: record
insert into secateur.migrations (name, checksum, program) values ($1, $2, $3)
on conflict (name) do update
   set checksum = excluded.checksum, program = excluded.program, applied_at = excluded.applied_at

-- name: add_objects
alter table secateur.migrations add column if not exists objects jsonb

-- name: describe
update secateur.migrations set objects = $2::jsonb where name = $1

-- name: described
-- Null in a schema of an older program, whose table has no such column.
select to_jsonb(known) -> 'objects' from secateur.migrations as known where known.name = $1

-- name: search_path
select set_config('search_path', $1, true)

-- name: objects
-- What definitions and tables make, each as Postgres prints it, with nothing to be found by its bare name. Long ones by their digest.
-- Whether rows were looked at (NOT VALID) makes no difference to what is refused.
with made as (
  select 'function' as kind, '' as relation, routine.oid::regprocedure::text as name,
         -- As pg_get_functiondef says it, which takes three times as long.
         md5(concat_ws('|', routine.prokind, routine.prosrc, routine.prolang, routine.provolatile, routine.prosecdef, routine.proisstrict,
                       routine.proretset, routine.proleakproof, routine.proparallel, routine.procost, routine.prorows,
                       routine.proconfig, routine.prorettype::regtype, routine.proargnames, routine.proargmodes,
                       routine.proallargtypes::regtype[], pg_get_expr(routine.proargdefaults, 0))) as definition
    from pg_catalog.pg_proc as routine
   where routine.pronamespace in (to_regnamespace('secateur'), to_regnamespace('secateur_cel')) and routine.prokind in ('f', 'p')
  union all
  select 'view', '', own.oid::regclass::text, md5(pg_get_viewdef(own.oid))
    from pg_catalog.pg_class as own
   where own.relnamespace = to_regnamespace('secateur') and own.relkind = 'v'
  union all
  select 'constraint', known.conrelid::regclass::text, known.conname,
         replace(pg_get_constraintdef(known.oid), ' NOT VALID', '')
    from pg_catalog.pg_constraint as known
   where known.connamespace = to_regnamespace('secateur') and known.conrelid <> 0 and known.contype in ('c', 'f', 'p', 'u', 'x')
  union all
  -- Without those of constraints.
  select 'index', found.indrelid::regclass::text, own.relname, pg_get_indexdef(own.oid)
    from pg_catalog.pg_index as found
    join pg_catalog.pg_class as own on own.oid = found.indexrelid and own.relnamespace = to_regnamespace('secateur')
   where not exists (select from pg_catalog.pg_constraint as known where known.conindid = own.oid and known.contype in ('p', 'u', 'x'))
  union all
  select 'trigger', switch.tgrelid::regclass::text, switch.tgname, pg_get_triggerdef(switch.oid)
    from pg_catalog.pg_trigger as switch
    join pg_catalog.pg_class as own on own.oid = switch.tgrelid and own.relnamespace = to_regnamespace('secateur')
   where not switch.tgisinternal
  union all
  select own.kind, part.attrelid::regclass::text, part.attname, own.definition
    from pg_catalog.pg_attribute as part
    join pg_catalog.pg_class as one
      on one.oid = part.attrelid and one.relnamespace = to_regnamespace('secateur') and one.relkind = 'r'
     and one.relname <> 'migrations'
    left join pg_catalog.pg_attrdef as known on known.adrelid = part.attrelid and known.adnum = part.attnum
   cross join lateral (values ('default', pg_get_expr(known.adbin, known.adrelid)),
                              ('nullability', case when part.attnotnull then 'not null' end),
                              ('type', format_type(part.atttypid, part.atttypmod))) as own (kind, definition)
   where part.attnum > 0 and not part.attisdropped and part.attgenerated = ''
)
select kind, relation, name, definition from made where kind = any ($1::text[]) order by kind, relation, name

-- name: views
select own.oid::regclass::text as name, pg_get_viewdef(own.oid) as definition
  from pg_catalog.pg_class as own
 where own.relnamespace = to_regnamespace('secateur') and own.relkind = 'v'

-- name: vocabulary
-- Only added to: an older program's conditions must go on being accepted.
insert into secateur.condition_vocabulary (token)
select unnest($1::text[])
on conflict do nothing

-- name: is_audited
select to_regproc('secateur.record_audit') is not null

-- name: audit
-- In the transaction that installs.
select secateur.record_audit('install', '', null, null, $1, null, $2::jsonb)

-- name: lost
-- What the files define and their schemas do not have.
select format('%s %I.%I', defined.kind, defined.schema, defined.name) as what, 'is missing' as gap
  from unnest($1::text[], $2::text[], $3::text[]) as defined (kind, schema, name)
 where not exists (select from pg_catalog.pg_proc as routine
                    where routine.pronamespace = to_regnamespace(defined.schema) and routine.proname = defined.name)
   and not exists (select from pg_catalog.pg_class as relation
                    where relation.relnamespace = to_regnamespace(defined.schema) and relation.relname = defined.name)

-- name: tells_rights
-- Whether this session may ask the database itself what is wrong with the rights.
select exists (
  select from pg_catalog.pg_proc as routine
   where routine.pronamespace = to_regnamespace('secateur') and routine.proname = 'rights_gaps'
     and has_schema_privilege(routine.pronamespace, 'usage') and has_function_privilege(routine.oid, 'execute')
)

-- name: may_look
select has_schema_privilege(to_regnamespace('secateur'), 'usage')

-- name: rights
select found.what, found.gap from secateur.rights_gaps() as found order by found.phase, found.gap, found.what

-- name: mend
select secateur.mend_rights()

-- name: dangers
-- With what no program should work: stored conditions that run with the rights of somebody else, an audit that is somebody
-- else's, functions that anybody may call with the rights of their owner. By the catalog, as a role without any right sees it.
select format('%s secateur.%s', thing.kind, thing.name) as what,
       format('belongs to %s, not to %s', pg_get_userbyid(thing.owner), thing.wanted) as gap
  from (select 'function' as kind, routine.proname as name, routine.proowner as owner,
               case routine.proname when 'record_audit' then 'secateur_audit' else 'secateur_sandbox' end as wanted
          from pg_catalog.pg_proc as routine
         where routine.pronamespace = to_regnamespace('secateur')
           and routine.proname in ('record_audit', 'evaluate_conditions', 'define_match')
        union all
        select 'table', relation.relname, relation.relowner, 'secateur_audit'
          from pg_catalog.pg_class as relation
         where relation.relnamespace = to_regnamespace('secateur') and relation.relname = 'audit'
           -- Before the first install is through, and in one of before the audit.
           and exists (select from pg_catalog.pg_proc as routine
                        where routine.pronamespace = relation.relnamespace and routine.proname = 'record_audit')) as thing
 where pg_get_userbyid(thing.owner) <> thing.wanted
union all
select format('role %s', power.rolname), 'has superuser'
  from pg_catalog.pg_roles as power
 where power.rolname in ('secateur_sandbox', 'secateur_audit') and power.rolsuper
union all
select format('function secateur.%s', min(routine.proname))
         || case when count(*) > 1 then format(' and %s others', count(*) - 1) else '' end,
       'EXECUTE is granted to PUBLIC'
  from pg_catalog.pg_proc as routine
 where routine.pronamespace = to_regnamespace('secateur') and routine.prosecdef
   and exists (select from aclexplode(coalesce(routine.proacl, acldefault('f', routine.proowner))) as item
                where item.grantee = 0)
having count(*) > 0
