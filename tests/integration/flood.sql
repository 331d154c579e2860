-- Thousands of rows in every table of the app `shop`. Written past the queue's functions, which would take longer: what the
-- rows look like is all that counts here. A fifth of the runs each is completed, cancelled, running, queued and scheduled; what
-- runs is asked to stop by a cancellation that is over.

insert into secateur.functions (app_id, function_id, concurrency)
select 'shop', 'flood' || n, 1 from generate_series(1, 5000) as n;

insert into secateur.levels (app_id, function_id, priority)
select 'shop', 'flood' || n, 0 from generate_series(1, 5000) as n;

insert into secateur.slots (app_id, function_id, slot, run_id)
select 'shop', 'flood' || n, 1, null from generate_series(1, 5000) as n;

insert into secateur.cancellations (
  id, kind, state, app_id, function_id, started_before, standing, parameters, compiler, request, idempotency_key,
  source, created_at, created_by, created_role, in_force_at, completed_at)
select gen_random_uuid(), 'bulk', 'complete', 'shop', 'flood1', now() - interval '2 hours', false, '{}', 1, '{}',
       'flood' || n, 'python', now(), 'tester', 'tester', now(), now()
  from generate_series(1, 5000) as n;

insert into secateur.runs (id, app_id, function_id, event, status, started_at, claim_token, lease_expires_at, finished_at,
                           cancellation_id, cancelled_from, scheduled_for)
select secateur.run_id_at((extract(epoch from now() - interval '1 hour') * 1000000)::bigint + n,
                          substring(uuid_send(gen_random_uuid()), 9)),
       'shop', 'flood' || 1 + n % 10, '{"name": "flood", "data": {"vendor_id": "v1"}}', kind.status,
       now() - interval '1 hour', gen_random_uuid(), now() + interval '1 hour',
       case when kind.status in ('completed', 'cancelled') then now() end, kind.cancellation_id,
       case when kind.status = 'cancelled' then 'queued' end,
       case when kind.status = 'scheduled' then now() + interval '1 day' end
  from generate_series(1, 5 * 5000) as n,
       lateral (select (array['completed', 'cancelled', 'running', 'queued', 'scheduled'])[1 + n % 5] as status,
                       case when n % 5 = 1 then (select rule.id from secateur.cancellations as rule limit 1) end
                         as cancellation_id) as kind;

insert into secateur.cancel_requests (app_id, run_id, claim_token, cancellation_id, function_id)
select run.app_id, run.id, run.claim_token, (select rule.id from secateur.cancellations as rule limit 1), run.function_id
  from secateur.runs as run where run.status = 'running' and run.function_id like 'flood%';

insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, cancelled)
select rule.app_id, rule.id, rule.function_id, 1
  from secateur.cancellations as rule where rule.idempotency_key like 'flood%';

insert into secateur.steps (app_id, run_id, step, result)
select run.app_id, run.id, 'one', '1' from secateur.runs as run where run.status = 'running' and run.function_id like 'flood%';

insert into secateur.enqueue_keys (app_id, function_id, key, run_id, event_hash)
select run.app_id, run.function_id, run.id::text, run.id, '' from secateur.runs as run where run.status = 'queued';

insert into secateur.seen_events (app_id, id) select 'shop', 'flood' || n from generate_series(1, 5000) as n;
