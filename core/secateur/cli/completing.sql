-- What a pressed tab key asks. Each reads little, whatever there is.

-- name: apps
select distinct known.app_id as value, '' as description
  from secateur.functions as known
 where not exists (select from secateur.forgotten_functions as gone
                    where gone.app_id = known.app_id and gone.function_id = known.function_id)
 order by value
 limit 200

-- name: functions
-- Of one app, if it is known already.
select distinct known.function_id as value, known.app_id as description
  from secateur.functions as known
 where ($1::text is null or known.app_id = $1)
   and not exists (select from secateur.forgotten_functions as gone
                    where gone.app_id = known.app_id and gone.function_id = known.function_id)
 order by value
 limit 200

-- name: apps_of_others
-- Where there is only the ledger for other engines' queues: the apps in it, by the names that they have where there is one such queue.
select distinct case when (select count(*) from secateur.installations) = 1
                     then substr(known.app_id, length(known.installation) + 2) else known.app_id end as value,
       '' as description
  from secateur.functions as known
 order by value
 limit 200

-- name: functions_of_others
select distinct known.function_id as value, known.app_id as description
  from secateur.functions as known
 where $1::text is null or $1 in (known.app_id, substr(known.app_id, length(known.installation) + 2))
 order by value
 limit 200

-- name: cancellations
select rule.id::text as value,
       concat_ws(' ', rule.state, rule.app_id, rule.function_id, coalesce(rule.request ->> 'if', '')) as description
  from secateur.cancellations as rule
 order by rule.serial desc
 limit 50

-- name: runs
select run.id::text as value, concat_ws(' ', run.status, run.app_id, run.function_id) as description
  from secateur.runs as run
 order by run.id desc
 limit 50

-- name: installations
select name from secateur.installations order by name
