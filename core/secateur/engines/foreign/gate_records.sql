-- What is kept of the gates: see sql/gates.sql.

-- name: lock_number
select known.lock_number from secateur.installations as known where known.name = $1

-- name: gate
select gate.lock_number, gate.guarded::oid as guarded, gate.version, coalesce(failed.failures, 0) as failures, failed.last_error
  from secateur.gates as gate
 cross join lateral (
   select count(*) as failures, (array_agg(one.error order by one.id desc))[1] as last_error
     from secateur.gate_failures as one where one.installation = gate.installation
 ) as failed
 where gate.installation = $1

-- name: note_gate
-- Nothing is promised before the trigger is there: see `guard`.
with forgotten as (
  delete from secateur.gate_failures as kept where kept.installation = $1
)
insert into secateur.gates as known (installation, version, lock_number) values ($1, $2, $3)
on conflict on constraint gates_pkey do update set version = excluded.version, made_at = clock_timestamp()

-- name: compile_gate
select secateur.compile_gate($1)

-- name: guard
select secateur.guard($1, $2, $3)
