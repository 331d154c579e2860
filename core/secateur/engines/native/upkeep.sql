-- name: all_apps
select secateur.all_apps()

-- name: compact_depth
select coalesce(sum(secateur.compact_depth(known.app_id, $1, $2)), 0)::bigint
  from unnest(secateur.all_apps()) as known (app_id)

-- name: check_depth
select one.* from secateur.check_depth($1, $2) as one

-- name: prune
select * from secateur.prune($1, $2)

-- name: end_guard_pauses
select secateur.end_guard_pauses($1)

-- name: retention
select kept.finished, kept.cancelled, kept.standing from secateur.retention as kept

-- name: set_retention
select (kept).finished, (kept).cancelled, (kept).standing from secateur.set_retention($1, $2, $3, $4, $5) as kept
