-- name: is_there
-- Null where there is no such function.
select has_function_privilege(
         to_regprocedure('secateur.move_alert_episode(text, text, text, text, bigint, jsonb, text[], jsonb)'), 'execute')

-- name: episodes
-- As text, so that one that is odd hides no other.
select kept.app_id, kept.function_id, kept.rule, kept.version, kept.episode::text as episode,
       kept.paused_until is not null and not kept.pause_is_over as is_paused
  from secateur.alert_episodes as kept
 where kept.queue = $1

-- name: move
select secateur.move_alert_episode($1, $2, $3, $4, $5, $6::text::jsonb, $7, $8::text::jsonb)

-- name: take
select taken.app_id, taken.serial, taken.target, taken.message::text as message, taken.attempts, taken.made_at,
       clock_timestamp() as now
  from secateur.take_alert_message($1, $2) as taken

-- name: settle
select secateur.settle_alert_message($1, $2, $3, $4, $5)

-- name: guard_pause
select secateur.guard_pause($1, $2, $3, $4, $5, $6)

-- name: end_guard_pauses
select secateur.end_guard_pauses(due.app_id)
  from (select distinct kept.app_id from secateur.alert_episodes as kept
         where kept.paused_until <= clock_timestamp() and not kept.pause_is_over) as due
