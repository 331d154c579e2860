-- secateur's own indexes on what filters read: see indexing.py, and index_costs.py for what one would cost and bring.

-- name: indexes_of_filters
-- All of them, with what Postgres knows of their use.
select space.nspname::text as schema, own.relname::text as name, guarded.oid::regclass::text as table,
       coalesce(obj_description(own.oid, 'pg_class'), '') as about, pg_relation_size(own.oid) as bytes,
       about.indisvalid and about.indisready as is_valid, coalesce(used.idx_scan, 0) as scans,
       exists (select from pg_stat_progress_create_index as built where built.index_relid = own.oid) as is_being_built
  from pg_class as own
  join pg_index as about on about.indexrelid = own.oid
  join pg_class as guarded on guarded.oid = about.indrelid
  join pg_namespace as space on space.oid = own.relnamespace
  left join pg_stat_all_indexes as used on used.indexrelid = own.oid
 where own.relkind = 'i' and own.relname ~ '^secateur_if_(text|number)_[0-9a-f]{16}$'
   and space.nspname !~ '^pg_(toast_)?temp_'
 order by space.nspname, own.relname

-- name: owner
-- Whose table it is, and whether this role may make an index on it.
select pg_get_userbyid(known.relowner)::text as owner, current_user::text as role, pg_has_role(known.relowner, 'usage') as may
  from pg_class as known
 where known.oid = $1::text::regclass

-- name: made
-- The statement that says in the index what it is on, and since when.
select format('comment on index %s is %L', $1::text, $2::text || '; made at ' || to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))

-- name: over
-- How the table itself calls what an index would be over, since the plan says it in the table's own words: nothing is executed.
explain (verbose, format json)
select {expression} as expression, run.app_id as app, {among} as among from {runs} as run

-- name: sampled
-- Of the app's unfinished runs on $2 per cent of the pages: how many, how many each probe finds, and where some of these are.
select count(*) as runs, (array_agg({place} order by random()))[1:1000]::text[] as places, {served}
  from {drawn}
 where run.app_id = $1 and {among}

-- name: fetched
-- What reading runs by their places costs, and evaluating the condition on them.
explain (analyze, timing off, format json)
select count(*) filter (where {condition})
  from {runs} as run
 where {place} = any ($1::text[]::tid[])

-- name: pages
select pg_relation_size($1::text::regclass) / current_setting('block_size')::bigint

-- name: entries
-- What the index would hold of $1 per cent of the table.
create temp table secateur_entries on commit drop as
select run.app_id as app, {expression} as entry
  from {drawn}
 where {among}

-- name: entries_indexed
create index secateur_entries_indexed on secateur_entries (app, entry {collation})

-- name: entries_size
-- Without the page that every index has.
select pg_relation_size('secateur_entries_indexed') - current_setting('block_size')::bigint

-- name: rows_to_write
create temp table secateur_rows on commit drop as
select own.* from {table} as own where own.ctid = any ($1::text[]::tid[])

-- name: written
-- An empty table of the same form, with the same indexes.
create temp table {written} (like {table} including defaults including indexes) on commit drop

-- name: write
explain (analyze, timing off, format json)
insert into {written} select * from secateur_rows

-- name: write_again
truncate {written}

-- name: hypothetical
-- Where the extension hypopg is, the planner can be asked about an index that is not there.
select exists (select from pg_extension as has where has.extname = 'hypopg')

-- name: suppose
select indexname from hypopg_create_index($1::text)

-- name: suppose_nothing
select hypopg_reset()
