-- Statements that read another engine's queue, instead of those of relation.sql, which its indexes would not serve, or besides them. {runs}
-- has every run. {unfinished} and {among} are predicates in the engine's words.

-- name: detected
-- What every `detect` finds, with the number of its file; and the server's version, also where nothing is found.
select current_setting('server_version_num') as server, asked.file, asked.found
  from (select) as server
  left join (
{asked}
       ) as asked (file, found) on true

-- name: numbered
-- The rows of one `detect`, as JSON: the kinds have different columns.
select {number}, to_jsonb(found)::text
  from (
{detect}
       ) as found

-- name: helpers
-- The functions that conditions may call, as far as they are installed and may be called.
select routine.proname::text as name
  from pg_proc as routine
  join pg_namespace as room on room.oid = routine.pronamespace
 where room.nspname = 'secateur_cel'
   and has_schema_privilege(room.oid, 'usage') and has_function_privilege(routine.oid, 'execute')

-- name: hidden
-- Tables of the schema $1, named by the source $2, whose rows row level security may hide from this role: queries miss them silently.
select part.relname::text as name
  from pg_class as part
  join pg_namespace as room on room.oid = part.relnamespace
 cross join lateral (
       select coalesce(bool_or(policy.polpermissive and pg_get_expr(policy.polqual, policy.polrelid) = 'true'), false) as opens,
              coalesce(bool_or(not policy.polpermissive), false) as closes
         from pg_policy as policy
        where policy.polrelid = part.oid and policy.polcmd in ('r', '*')
          and exists (select from unnest(policy.polroles) as role where role = 0 or pg_has_role(role, 'usage'))
       ) as policies
 where room.nspname = $1 and part.relkind in ('r', 'p') and strpos($2, part.relname) > 0
   and row_security_active(part.oid) and (policies.closes or not policies.opens)
 order by part.relname

-- name: examples
select {columns}
  from {runs} as run
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and {among}
   and ($3::timestamptz is null or run.started_at > $3)
   and ($4::timestamptz is null or run.started_at < $4)
   and ({condition}) is not distinct from $5::boolean
 limit $6

-- name: sample_events_of_pages
-- For large tables, where a draw from all runs would take long: all runs on $4 per cent of the table's pages.
select run.event
  from {drawn}
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and {unfinished}
 limit $3

-- name: sample
-- Matches, errors and total of each page in one pass over $5 per cent of the table's pages; offset 0 keeps the condition
-- from being evaluated once per aggregate.
select judged.page,
       judged.function_id,
       judged.status,
       count(*) as total,
       count(*) filter (where judged.verdict) as matched,
       count(*) filter (where judged.verdict is null) as errors
  from (
    select (run.place::text::point)[0]::bigint as page,
           run.function_id,
           run.status,
           case when ($3::timestamptz is null or run.started_at > $3) and ($4::timestamptz is null or run.started_at < $4)
                then {condition} else false end as verdict
      from {drawn}
     where run.app_id = $1
       and ($2::text is null or run.function_id = $2)
       and {unfinished}
    offset 0
  ) as judged
 group by judged.page, judged.function_id, judged.status

-- name: rows_of_sample
-- The same runs, for an evaluation outside of the database. `within`: the run is in the window.
select {columns}, (run.place::text::point)[0]::bigint as page,
       ($3::timestamptz is null or run.started_at > $3) and ($4::timestamptz is null or run.started_at < $4) as within
  from {drawn}
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and {unfinished}

-- name: pages
select pg_relation_size(({table})) / current_setting('block_size')::bigint

-- name: arrivals_of_few
-- For tables whose pages cannot be drawn, or hardly have a run of the scope: a draw from the newest $8 runs, in the order of the key.
select {what}
  from (
    select run.* from {runs} as run order by {newest} limit $8
  ) as run
 where run.app_id = $1
   and ($2::text[] is null or run.function_id = any ($2))
   and run.function_id <> all ($3::text[])
   and ($4::timestamptz is null or run.started_at > $4)
   and ($5::timestamptz is null or run.started_at < $5)
   and run.status <> 'cancelled'
   and (not $6::boolean or {unfinished})
   and {which}
 order by random()
 limit $7

-- name: rows
-- The runs of scope and window, or a part of them, to be evaluated outside of the database, as those of the other statements `rows_of_…` are.
select {columns}
  from {drawn}
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and {among}
   and ($3::timestamptz is null or run.started_at > $3)
   and ($4::timestamptz is null or run.started_at < $4)

-- name: rows_of_arrivals
select {columns}
  from {runs} as run
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and run.started_at > now() - interval '10 s'
   and ($3::timestamptz is null or run.started_at > $3)
   and ($4::timestamptz is null or run.started_at < $4)

-- name: matching
-- The statements from here on are for cancellations. This one finds unfinished runs that match, in the order in which workers claim.
select run.id
  from {runs} as run
 where run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and {unfinished}
   and ($3::timestamptz is null or run.started_at > $3)
   and ($4::timestamptz is null or run.started_at < $4)
   and {condition}
 order by {claim_order}
 limit $5

-- name: matching_of
-- Those of the given runs that match, and that are unfinished or have ended, as asked for.
select run.id, run.function_id, run.status
  from {runs} as run
 where {these}
   and run.app_id = $1
   and ($2::text is null or run.function_id = $2)
   and {state}
   and ($3::timestamptz is null or run.started_at > $3)
   and ($4::timestamptz is null or run.started_at < $4)
   and {condition}

-- name: states_of
select run.id, run.function_id, run.status from {runs} as run where {these}

-- name: may_see_installed
-- Whether the table of installed queues is there, and this role may read it.
select exists (
  select from pg_class as kept join pg_namespace as room on room.oid = kept.relnamespace
   where room.nspname = 'secateur' and kept.relname = 'installations'
     and has_schema_privilege(room.oid, 'usage') and has_table_privilege(kept.oid, 'select'))

-- name: installed
select known.name, known.version,
       exists (select from secateur.gates as gate
                 join pg_trigger as made
                   on made.tgrelid = gate.guarded::oid and made.tgname = 'aaa_secateur_gate' and made.tgenabled in ('O', 'A')
                where gate.installation = known.name) as gated
  from secateur.installations as known

-- name: retention
select kept.finished, kept.cancelled, kept.standing from secateur.retention as kept

-- name: set_retention
select (kept).finished, (kept).cancelled, (kept).standing from secateur.set_retention($1, $2, $3, $4, $5) as kept

-- name: install
select secateur.install_queue($1, $2, $3, $4, $5, $6, $7)

-- name: is_adopted
select exists (select from secateur.apps as home
                where home.app_id = $1 and home.installation = $2
                  and ($3::text[] is null or not exists (
                    select from unnest($3::text[]) as wanted (id)
                     where not exists (select from secateur.functions as known
                                        where known.app_id = home.app_id and known.function_id = wanted.id))))

-- name: commit
select record
  from secateur.cancellation_records(
         array(select committed.id from secateur.commit_jobs($1, $2, $3, $4::jsonb) as committed)) as record

-- name: commit_run
select made, record from secateur.commit_job($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- name: record
select record from secateur.cancellation_records(array[$1::uuid]) as record

-- name: committed_run
-- The record of a single run's cancellation under that key. For a request that is repeated: the run may be gone by then.
select rule.app_id, rule.function_id
  from secateur.cancellations as rule
  join secateur.apps as home on home.app_id = rule.app_id and home.installation = $1
 where rule.job_id = $2 and rule.idempotency_key = $3

-- name: taken_singly
-- The cancellation of this run alone that waits for it to stop, else the last one that was undone; of any app: see taken_by.
select rule.id
  from secateur.cancellations as rule
 where rule.app_id = any (array(select home.app_id from secateur.apps as home where home.installation = $1))
   and rule.job_id = $2 and rule.state in ('active', 'undone')
 order by rule.state, rule.serial desc
 limit 1

-- name: taken_by
-- The cancellation that has the run. The run may have another app by now: DBOS takes what it cancels off its queue. It asks for each
-- cancellation that has pre-images: an index of the jobs would cost every sweep more than this.
select met.cancellation_id
  from secateur.apps as home
  join secateur.cancellations as rule on rule.app_id = home.app_id and rule.pruned_at is null
 cross join lateral (
   select one.cancellation_id, one.serial
     from secateur.preimages as one
    where one.app_id = rule.app_id and one.cancellation_id = rule.id and one.job_id = $2
      and (one.outcome in ('stopped', 'left') or (one.outcome is null and not one.was_running))
   offset 0
 ) as met
 where home.installation = $1
 order by met.serial desc
 limit 1

-- name: begin_sweep
-- With whether jobs are written down on which its condition takes long.
select begun.*, exists (select from secateur.slow_jobs as slow where slow.app_id = $1 and slow.cancellation_id = $2) as has_slow
  from secateur.begin_job_batch($1, $2) as begun

-- name: slow
-- Jobs on which a cancellation's condition takes long, and whether it matches them; null: that is not known yet.
select slow.job_id, slow.verdict
  from secateur.slow_jobs as slow
 where slow.app_id = $1 and slow.cancellation_id = $2
 order by slow.job_id
 limit 50000

-- name: to_decide
select slow.job_id
  from secateur.slow_jobs as slow
 where slow.app_id = $1 and slow.cancellation_id = $2 and slow.verdict is null and slow.next_at <= clock_timestamp()
 order by slow.next_at, slow.job_id
 limit $3

-- name: limit_conditions
-- So many seconds conditions may take in this transaction; null: as long as they need.
select set_config('secateur.deadline', coalesce((date_part('epoch', clock_timestamp()) + $1::double precision)::text, ''), true)

-- name: note_slow
select secateur.note_slow_jobs($1, $2, $3)

-- name: decide
select secateur.decide_jobs($1, $2, $3, $4)

-- name: take
select secateur.take_jobs($1, $2, $3, $4, $5::jsonb[], $6)

-- name: take_cancelled
-- It stands behind an engine's statement `cancel`, whose rows are `cancelled`: the pre-images do not leave the database. $1 are the ids, as
-- there; $5 and $6 say of each job its function, and whether it runs. Gives the ids of the rows.
select array_agg(cancelled.id) as ids,
       secateur.take_jobs($3, $4, array_agg(cancelled.id), array_agg(given.function_id), array_agg(cancelled.pre),
                          array_agg(given.running)) as met
  from cancelled
  join unnest($1::text[], $5::text[], $6::boolean[]) as given (id, function_id, running) using (id)
having count(*) > 0

-- name: settle
select secateur.settle_jobs($1, $2, $3, $4)

-- name: end_sweep
select * from secateur.end_job_batch($1, $2, $3, $4, $5)

-- name: begin_restore
select * from secateur.begin_job_restore($1, $2, $3)

-- name: end_restore
select * from secateur.end_job_restore($1, $2, $3, $4, $5, $6, $7::jsonb[])

-- name: unrestored
select met.job_id as run_id,
       case when met.outcome = 'stopped' then 'it was stopped while it ran' else coalesce(met.told, 'it was left as it is') end as reason
  from secateur.preimages as met
  join secateur.cancellations as rule on rule.app_id = met.app_id and rule.id = met.cancellation_id
 where met.app_id = $1 and met.cancellation_id = $2 and rule.state = 'undone'
   and met.outcome in ('stopped', 'left', 'handed_over')
 order by met.serial
 limit $3

-- name: touching
-- Those that have $4, and the active ones whose scope a run of the function is in. Newest first.
select one.record
  from (
    select unnest($4::uuid[]) as id
    union
    (select rule.id
       from secateur.cancellations as rule
      where rule.app_id = $1 and rule.state = 'active'
        and (rule.function_id is null or rule.function_id = $2)
        and (rule.job_id is null or rule.job_id = $3)
      order by rule.serial desc
      limit 200)
  ) as wanted
 cross join lateral (
   select known.serial, known.record from secateur.cancellation_documents as known where known.id = wanted.id offset 0
 ) as one
 order by one.serial desc

-- name: cancelling
-- How many runs are about to be cancelled, by what was expected.
select known.app_id, known.function_id, known.runs::bigint as runs
  from secateur.cancelling_runs as known
  join secateur.apps as home on home.app_id = known.app_id and home.installation = $1

-- name: keep_waits_short
-- A batch holds up whoever wants to stop it: it waits for nobody.
select set_config('lock_timeout', '1s', true)

-- name: set_for_batch
-- As plan_for_values and keep_waits_short do.
select set_config('plan_cache_mode', 'force_custom_plan', true), set_config('jit', 'off', true), set_config('lock_timeout', '1s', true)

-- name: waited_for
-- Whom the process $1 waits for in the end: the one in front of it in a row's queue, such as a sweep, may be waiting itself.
-- A prepared transaction has no process.
with recursive blocker (pid) as (
  select unnest(pg_blocking_pids($1))
  union
  select unnest(pg_blocking_pids(blocker.pid)) from blocker where blocker.pid > 0
)
select array(select blocker.pid from blocker
              where blocker.pid > 0 and pg_blocking_pids(blocker.pid) = '{}' order by blocker.pid) as pids,
       array(select distinct prepared.gid
               from pg_locks as waiting
               join pg_prepared_xacts as prepared on prepared.transaction = waiting.transactionid
              where not waiting.granted and (waiting.pid = $1 or waiting.pid in (select blocker.pid from blocker))) as gids

-- name: prune
select secateur.prune_jobs($1, $2)
