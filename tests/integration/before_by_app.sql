-- A queue as an older program left it, whose keys had no app in them: two apps, `billing` and `crm`, with the same runs and
-- cancellations; the ids of the one begin with b, of the other with c. Of its functions there is what is told apart from
-- the others when they go, and one of those others.

create function secateur.record_audit(
  action text, app_id text, function_id text, cancellation_id uuid, author text, source text, details jsonb
)
  returns void
  language sql
  security definer set search_path = pg_catalog, pg_temp
as $$
  insert into secateur.audit (action, app_id, function_id, cancellation_id, author, source, details)
  values (record_audit.action, record_audit.app_id, record_audit.function_id, record_audit.cancellation_id,
          record_audit.author, record_audit.source, coalesce(record_audit.details, '{}'))
$$;

create function secateur.evaluate_conditions(
  conditions text[], parameters jsonb, app_id text, function_ids text[], ids uuid[], events jsonb[],
  started_at timestamptz[], priorities integer[]
)
  returns table (place bigint, nth integer, verdict boolean)
  language sql
  security definer set search_path = pg_catalog, pg_temp
as $$
  select null::bigint, null::integer, null::boolean where false
$$;

create function secateur.complete(run_id uuid, claim_token uuid) returns boolean language sql as 'select true';

create view secateur.cancellation_tallies as
  select cancellation_id, function_id, sum(cancelled)::bigint as cancelled
    from secateur.cancellation_deltas group by cancellation_id, function_id;

create function secateur.an_id(app_id text, kind text, number integer) returns uuid immutable language sql as $$
  select (left(app_id, 1) || '0000000-0000-7000-800' || kind || '-' || lpad(number::text, 12, '0'))::uuid
$$;

insert into secateur.apps (app_id, paused_at, paused_by) values ('billing', null, null), ('crm', now(), 'ann');
insert into secateur.idle (app_id, idle) values ('billing', false), ('crm', true);

insert into secateur.functions (app_id, function_id, triggers, concurrency, cancel_on)
select app_id, 'sync', array['vendor/sync'], 3,
       '[{"event": "user/deleted", "compiler": 1, "parameters": {}}]'::jsonb
  from secateur.apps
 union all
select app_id, 'mail', array[]::text[], null, '[]' from secateur.apps;

insert into secateur.runs (
  id, app_id, function_id, event, status, attempt, started_at, scheduled_for, worker, claim_token, claimed_at,
  lease_expires_at, step, finished_at, cancellation_id, cancelled_from, slot)
select secateur.an_id(apps.app_id, '0', run.number), apps.app_id, 'sync',
       jsonb_build_object('name', 'vendor/sync', 'data', jsonb_build_object('vendor', run.vendor)),
       run.status, run.attempt, now() - interval '2 hours',
       case when 'scheduled' in (run.status, run.cancelled_from) then now() + interval '1 day' end,
       case when run.attempt > 0 then 'worker' end,
       case when run.attempt > 0 then secateur.an_id(apps.app_id, '1', run.number) end,
       case when run.attempt > 0 then now() - interval '1 hour' end,
       case when run.status = 'running' then now() + interval '1 day' end,
       case when run.attempt > 0 then 'fetch' end,
       case when run.status in ('completed', 'failed') or run.number = 12 then now() - interval '8 days'
            when run.status = 'cancelled' then now() - interval '30 minutes' end,
       secateur.an_id(apps.app_id, '2', run.cancellation), run.cancelled_from, run.slot
  from secateur.apps,
       (values (1, 'acme', 'queued', 0, null, null, null),
               (2, 'globex', 'queued', 0, null, null, null),
               (3, 'acme', 'scheduled', 0, null, null, null),
               -- Asked to stop.
               (4, 'globex', 'running', 1, null, null, 1),
               (5, 'acme', 'running', 2, null, null, 2),
               (6, 'acme', 'completed', 1, null, null, null),
               (7, 'acme', 'failed', 4, null, null, null),
               (8, 'initech', 'cancelled', 0, 1, 'queued', null),
               -- The next two are to be restored.
               (9, 'acme', 'cancelled', 0, 2, 'queued', null),
               (10, 'acme', 'cancelled', 0, 2, 'scheduled', null),
               -- Stopped while it ran, so that its restore left it.
               (11, 'acme', 'cancelled', 1, 3, 'running', null),
               (12, 'acme', 'cancelled', 0, null, null, null))
       as run (number, vendor, status, attempt, cancellation, cancelled_from, slot);

insert into secateur.slots (app_id, function_id, slot, run_id)
select app_id, 'sync', slot, case when slot < 3 then secateur.an_id(app_id, '0', slot + 3) end
  from secateur.apps, generate_series(1, 3) as slot;
insert into secateur.levels (app_id, function_id, priority) select app_id, 'sync', 0 from secateur.apps;
insert into secateur.enqueue_keys (app_id, function_id, key, run_id, event_hash)
select app_id, function_id, 'once', id, sha256(convert_to(event::text, 'UTF8'))
  from secateur.runs where right(id::text, 2) = '01';
insert into secateur.steps (run_id, step, result)
select id, 'fetch', jsonb_build_object('n', attempt) from secateur.runs where status in ('running', 'completed');
insert into secateur.steps (run_id, step, result)
select id, 'store', '[]' from secateur.runs where right(id::text, 2) = '05';

insert into secateur.cancellations (
  id, kind, state, app_id, function_id, "if", started_before, standing, condition, parameters, compiler, request,
  idempotency_key, source, created_at, created_by, created_role, in_force_at, completed_at, stopped_at, stopped_by,
  undone_at, undone_by, restored_at, requires, requires_suffices)
select secateur.an_id(apps.app_id, '2', rule.number), rule.kind, rule.state, apps.app_id, 'sync',
       format('event.data.vendor == ''%s''', rule.vendor), now() - interval '1 hour', false,
       'run.event -> $1::text -> $2::text = $3::text::jsonb',
       jsonb_build_object('1', 'data', '2', 'vendor', '3', to_json(rule.vendor)::text), 1,
       jsonb_build_object('app_id', apps.app_id, 'function_id', 'sync', 'if',
                          format('event.data.vendor == ''%s''', rule.vendor)),
       rule.key || apps.app_id || rule.more, 'python', now() - interval '1 hour', 'ann', session_user, now() - interval '1 hour',
       case when rule.state in ('complete', 'undone') then now() - interval '50 minutes' end,
       case when rule.state = 'stopped' then now() - interval '50 minutes' end,
       case when rule.state = 'stopped' then 'bob' end,
       case when rule.state = 'undone' then now() - interval '40 minutes' end,
       case when rule.state = 'undone' then 'bob' end,
       case when rule.number = 3 then now() - interval '39 minutes' end,
       array[jsonb_build_object('data', jsonb_build_object('vendor', rule.vendor))], true
  from secateur.apps,
       (values (1, 'bulk', 'complete', 'initech', 'key of ', ''),
               (2, 'bulk', 'undone', 'acme', null, null),
               (3, 'bulk', 'undone', 'acme', null, null),
               (4, 'bulk', 'active', 'globex', null, null),
               (5, 'bulk', 'stopped', 'umbrella', null, null),
               (6, 'event', 'complete', 'hooli', 'event:e1:', ':sync:1'))
       as rule (number, kind, state, vendor, key, more)
 order by rule.number, apps.app_id;

insert into secateur.sweeps (cancellation_id, pass, pass_xmin, clean, horizon)
select id, 2, pg_current_xact_id(), state <> 'active', pg_current_xact_id() from secateur.cancellations;
insert into secateur.restores (cancellation_id, run_id)
select id, case when restored_at is not null then secateur.an_id(app_id, '0', 11) end
  from secateur.cancellations where state = 'undone';

insert into secateur.cancel_requests (run_id, claim_token, cancellation_id, function_id, outcome)
select secateur.an_id(app_id, '0', asked.run), secateur.an_id(app_id, '1', asked.run),
       secateur.an_id(app_id, '2', asked.cancellation), 'sync', asked.outcome
  from secateur.apps, (values (4, 4, null), (11, 3, 'cancelled')) as asked (run, cancellation, outcome);

insert into secateur.cancellation_deltas (cancellation_id, function_id, requested, cancelled, stopped, errors)
select secateur.an_id(app_id, '2', delta.cancellation), 'sync', delta.requested, delta.cancelled, delta.stopped, delta.errors
  from secateur.apps,
       (values (1, 0, 1, 0, 0), (1, 0, 0, 0, 7), (2, 0, 2, 0, 0), (3, 1, 0, 0, 0), (3, 0, 1, 1, 0), (4, 1, 0, 0, 0))
       as delta (cancellation, requested, cancelled, stopped, errors);

insert into secateur.seen_events (id) values ('e1');

insert into secateur.depth_totals (app_id, function_id, queued, scheduled, running, moved_at)
select app_id, 'sync', 3, 1, 2, now() - interval '1 minute' from secateur.apps;
insert into secateur.depth_deltas (app_id, function_id, queued) select app_id, 'sync', -1 from secateur.apps;
insert into secateur.depth_seconds (app_id, function_id, second, entered, drained)
select app_id, 'sync', date_trunc('second', now()), 1, 1 from secateur.apps;
with checked as (insert into secateur.depth_checks (counted, drift) values (10, 1) returning id)
insert into secateur.depth_drifts (check_id, app_id, function_id, queued, scheduled, running)
select checked.id, 'crm', 'sync', 1, 0, 0 from checked;

update secateur.retention set standing = '9 days';
select secateur.record_audit('retention', null, null, null, 'ann', 'cli', '{}');
select secateur.record_audit('pause', 'crm', null, null, 'ann', 'cli', '{}');
select secateur.record_audit('commit', app_id, function_id, id, 'ann', 'python', '{}') from secateur.cancellations;

drop function secateur.an_id;

-- As an install ends.
grant usage, create on schema secateur to secateur_sandbox, secateur_audit;
alter function secateur.evaluate_conditions owner to secateur_sandbox;
alter function secateur.record_audit owner to secateur_audit;
do $$
begin
  execute format('grant execute on function secateur.evaluate_conditions, secateur.record_audit to %I', current_user);
end
$$;
alter table secateur.audit owner to secateur_audit;
revoke all on secateur.audit from public;
revoke all on schema secateur from secateur_sandbox, secateur_audit;
grant usage on schema secateur to secateur_audit;
do $$
begin
  if not (select rolsuper from pg_roles where rolname = current_user) then
    execute format('revoke secateur_sandbox, secateur_audit from %I', current_user);
  end if;
end
$$;
