-- What the doctor asks. Everything but `horizons`, `unconfirmed`, `depth` and `widths` is in the catalog and the statistics,
-- which every role may read.

-- name: server
select current_setting('server_version') as version, current_setting('server_version_num')::int / 10000 as major,
       pg_is_in_recovery() as is_standby

-- name: program
-- The program that brought the schema up to date last.
select program from secateur.migrations order by applied_at desc, name desc limit 1

-- name: login
select current_user::text as role,
       (select known.rolsuper from pg_roles as known where known.rolname = current_user) as is_superuser,
       to_regnamespace('secateur') is not null as is_installed,
       coalesce((select pg_has_role(space.nspowner, 'usage') from pg_namespace as space where space.nspname = 'secateur'),
                false) as is_owner,
       array(select known.rolname::text from pg_roles as known
              where known.rolname in ('secateur_viewer', 'secateur_worker', 'secateur_operator')
                and pg_has_role(known.oid, 'usage')
              order by known.rolname) as roles

-- name: sees_all
select pg_has_role('pg_read_all_stats', 'usage')

-- name: transactions
-- Every open transaction that has an id (it writes), or a snapshot in this database (vacuum keeps what it may still see). The
-- times and the statement are null where another role may not see them. `age` counts transactions; it is comparable with that
-- of `horizons`. Vacuum takes no notice of other vacuums, and one of a parallel worker is its leader's.
select session.pid, session.usename::text as role, session.datname::text as database,
       session.datname is not distinct from current_database() as is_here,
       session.application_name as application, session.client_addr::text as address, session.state,
       session.xact_start as since, session.query_start as statement_since, session.query as statement,
       session.backend_xid is not null as writes,
       session.backend_xmin is not null as has_snapshot,
       age(session.backend_xid) as age,
       age(coalesce(session.backend_xmin, session.backend_xid)) as snapshot_age,
       session.backend_type is null as is_hidden,
       session.backend_type = 'walsender' as is_standby,
       extract(epoch from clock_timestamp() - session.xact_start)::float8 as seconds
  from pg_stat_activity as session
 where session.pid <> pg_backend_pid()
   and (session.backend_xid is not null or session.backend_xmin is not null)
   and (session.backend_type is null or session.backend_type in ('client backend', 'walsender', 'background worker'))
   and session.leader_pid is null
 order by session.xact_start nulls last, session.pid

-- name: horizons
-- What each sweep that is not complete waits for: the end of every transaction before it.
select age(place.horizon::xid) as age
  from secateur.sweeps as place
  join secateur.cancellations as rule on rule.app_id = place.app_id and rule.id = place.cancellation_id
 where rule.state = 'active' and place.horizon is not null and rule.kind <> 'retry'

-- name: prepared
select made.gid, made.owner::text as role, made.database::text as database, made.prepared as since,
       extract(epoch from clock_timestamp() - made.prepared)::float8 as seconds, age(made.transaction) as age
  from pg_prepared_xacts as made
 order by made.prepared

-- name: slots
select slot.slot_name::text as name, slot.slot_type as kind, slot.database::text as database, slot.active,
       age(slot.xmin) as age, age(slot.catalog_xmin) as catalog_age, slot.wal_status,
       case when pg_is_in_recovery() then null
            else pg_wal_lsn_diff(pg_current_wal_lsn(), slot.restart_lsn)::bigint end as retained
  from pg_replication_slots as slot
 order by slot.slot_name

-- name: weakened
-- What somebody has switched off on secateur's own tables, and how to switch it on again.
select format('secateur.%s hides its rows from everybody but its owner: row security is on', own.relname) as summary,
       format('alter table secateur.%I disable row level security', own.relname) as advice
  from pg_class as own
 where own.relnamespace = 'secateur'::regnamespace and own.relkind in ('r', 'p') and own.relrowsecurity
union all
select format('secateur.%s is unlogged: a crash empties it', own.relname),
       format('alter table secateur.%I set logged', own.relname)
  from pg_class as own
 where own.relnamespace = 'secateur'::regnamespace and own.relkind in ('r', 'p') and own.relpersistence = 'u'
union all
select format('%s of secateur.%s is disabled, so what it refuses is written',
              coalesce('constraint ' || known.conname, 'trigger ' || switch.tgname), own.relname),
       format('alter table secateur.%I enable trigger %s',
              own.relname, case when known.oid is null then quote_ident(switch.tgname) else 'all' end)
  from pg_class as own
  join pg_trigger as switch on switch.tgrelid = own.oid
  left join pg_constraint as known on known.oid = switch.tgconstraint
 where own.relnamespace = 'secateur'::regnamespace and switch.tgenabled in ('D', 'R')
 group by own.relname, known.conname, known.oid, switch.tgname
 order by 1

-- name: triggers
select trigger.tgname::text as name
  from pg_trigger as trigger
  join pg_class as own on own.oid = trigger.tgrelid
 where own.relnamespace = 'secateur'::regnamespace

-- name: members
-- The columns and the constraints of secateur's own tables.
select own.relname::text as table, part.attname::text as name
  from pg_class as own
  join pg_attribute as part on part.attrelid = own.oid and part.attnum > 0 and not part.attisdropped
 where own.relnamespace = to_regnamespace('secateur') and own.relkind in ('r', 'p')
union all
select own.relname, known.conname
  from pg_class as own
  join pg_constraint as known on known.conrelid = own.oid
 where own.relnamespace = to_regnamespace('secateur')

-- name: indexes
-- Of secateur's own tables, and of the tables whose ids are given.
select space.nspname::text as schema, own.relname::text as name, guarded.relname::text as table, about.indisvalid as is_valid,
       about.indisready as is_ready
  from pg_index as about
  join pg_class as own on own.oid = about.indexrelid
  join pg_class as guarded on guarded.oid = about.indrelid
  join pg_namespace as space on space.oid = guarded.relnamespace
 where space.nspname = 'secateur' or guarded.oid = any ($1::oid[])

-- name: building
-- Indexes that somebody builds right now are not valid yet.
select built.index_relid::oid as id, own.relname::text as name
  from pg_stat_progress_create_index as built
  join pg_class as own on own.oid = built.index_relid
 where built.datname = current_database()

-- name: rows
-- Live and dead rows of the same tables.
select used.schemaname::text as schema, used.relname::text as table, used.n_live_tup as live, used.n_dead_tup as dead,
       greatest(used.last_vacuum, used.last_autovacuum) as vacuumed_at, pg_table_size(used.relid) as bytes,
       age(known.relfrozenxid) as frozen_age,
       coalesce((select option.option_value from pg_options_to_table(known.reloptions) as option
                  where option.option_name = 'autovacuum_enabled'), 'true') in ('false', 'off', 'no', '0') as is_unvacuumed
  from pg_stat_all_tables as used
  join pg_class as known on known.oid = used.relid
 where used.schemaname = 'secateur' or used.relid = any ($1::oid[])

-- name: sizes
-- How large each btree index and each table is, and how large it would be if it were written anew: an estimate from the
-- statistics of its columns. Null where there are none, or where this role may not see them.
select schema, name, "table", kind, bytes,
       (entries * bytes_each / filled)::bigint as needed
  from (
    select space.nspname::text as schema, own.relname::text as name, guarded.relname::text as "table", 'index' as kind,
           pg_relation_size(own.oid) as bytes, own.reltuples as entries, 0.9 as filled,
           12 + (select sum(case when part.attlen > 0 then part.attlen else about_it.avg_width end)
                   from pg_attribute as part
                   left join pg_attribute as behind
                     on behind.attrelid = guarded.oid and behind.attnum = about.indkey[part.attnum - 1] and behind.attnum > 0
                   left join pg_stats as about_it
                     on about_it.schemaname = space.nspname
                    and about_it.tablename = case when behind.attnum is null then own.relname else guarded.relname end
                    and about_it.attname = case when behind.attnum is null then part.attname else behind.attname end
                  where part.attrelid = own.oid and part.attnum > 0
                 having count(*) = count(case when part.attlen > 0 then part.attlen else about_it.avg_width end)) as bytes_each
      from pg_index as about
      join pg_class as own on own.oid = about.indexrelid and own.reltuples >= 0
      join pg_am as method on method.oid = own.relam and method.amname = 'btree'
      join pg_class as guarded on guarded.oid = about.indrelid
      join pg_namespace as space on space.oid = guarded.relnamespace
     where space.nspname = 'secateur' or guarded.oid = any ($1::oid[])
    union all
    select space.nspname::text, own.relname::text, own.relname::text, 'table', pg_relation_size(own.oid), own.reltuples,
           coalesce((select option.option_value::float8 / 100 from pg_options_to_table(own.reloptions) as option
                      where option.option_name = 'fillfactor'), 1) * 0.97,
           32 + (select sum((1 - about_it.null_frac) * about_it.avg_width)
                   from pg_attribute as part
                   left join pg_stats as about_it
                     on about_it.schemaname = space.nspname and about_it.tablename = own.relname
                    and about_it.attname = part.attname
                  where part.attrelid = own.oid and part.attnum > 0 and not part.attisdropped
                 having count(*) = count(about_it.avg_width))
      from pg_class as own
      join pg_namespace as space on space.oid = own.relnamespace
     where own.relkind = 'r' and own.reltuples >= 0 and (space.nspname = 'secateur' or own.oid = any ($1::oid[]))
  ) as measured
 order by bytes desc

-- name: unconfirmed
-- Commits, stops and undos whose guarantee is pending.
select rule.id, rule.app_id, rule.function_id, rule.created_at,
       (select home.installation from secateur.apps as home where home.app_id = rule.app_id) as installation
  from secateur.cancellations as rule
 where rule.state = 'active' and rule.in_force_at is null and rule.kind <> 'retry' or rule.ending
 order by rule.serial
 limit 20

-- name: programs
-- Other programs of secateur that are connected to this database. Watching alone sweeps nothing, but cannot be told apart.
select count(distinct session.pid)
  from pg_stat_activity as session
 where session.datname = current_database() and session.pid <> pg_backend_pid()
   and session.application_name like 'secateur%' and session.application_name <> $1

-- name: depth
-- Any delta will do: the first in the table is about the oldest.
select (select extract(epoch from clock_timestamp() - first.at)::float8
          from (select delta.at from secateur.depth_deltas as delta limit 1) as first) as waiting_seconds,
       (select greatest(0, known.reltuples)::bigint from pg_class as known
         where known.oid = 'secateur.depth_deltas'::regclass) as deltas,
       checked.drift, checked.seconds as checked_seconds
  from (select sum(last.drift)::bigint as drift,
               extract(epoch from clock_timestamp() - max(last.checked_at))::float8 as seconds
          from (select distinct on (made.app_id) made.drift, made.checked_at
                  from secateur.depth_checks as made
                 order by made.app_id, made.id desc) as last) as checked

-- name: tls
-- A pooler's own connection, where there is one in between.
select inet_client_addr() is null as is_socket,
       coalesce(inet_client_addr() <<= '127.0.0.0/8' or inet_client_addr() = '::1', false) as is_loopback,
       known.ssl as is_encrypted, known.version, known.cipher
  from pg_stat_ssl as known
 where known.pid = pg_backend_pid()

-- name: settings
select name, setting from pg_settings where name = any ($1::text[])

-- name: connections
select (select count(*) from pg_stat_activity as session where session.backend_type is null
                                                            or session.backend_type = 'client backend') as used,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int as most
