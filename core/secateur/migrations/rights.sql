-- Rights: nobody may call anything until it is granted here; stored conditions run as a role that owns nothing else, and
-- the audit belongs to one that does nothing else.

do $$
begin
  revoke all on all functions in schema secateur from public;
  grant usage, create on schema secateur to secateur_sandbox, secateur_audit;
  alter function secateur.evaluate_conditions owner to secateur_sandbox;
  alter function secateur.record_audit owner to secateur_audit;
  -- Now that it is another's: what was granted to an owner goes with the ownership.
  execute format('grant execute on function secateur.evaluate_conditions, secateur.record_audit to %I', current_user);
  if (select relation.relowner from pg_class as relation where relation.oid = 'secateur.audit'::regclass)
     <> 'secateur_audit'::regrole then
    alter table secateur.audit owner to secateur_audit;
    revoke all on secateur.audit from public;
    grant select on secateur.audit to secateur_viewer, secateur_operator;
  end if;
  revoke all on schema secateur from secateur_sandbox, secateur_audit;
  -- What record_audit takes to find its table.
  grant usage on schema secateur to secateur_audit;
end
$$;

-- What the roles may do. A name stands for all functions of that name; a new one is granted by a line here.
do $$
declare
  roles constant jsonb := jsonb_build_object(
    'secateur_worker', array[
      'register_function', 'declare_cancel_on', 'enqueue', 'enqueue_many', 'begin_bulk', 'enqueue_bulk', 'send', 'send_to',
      'apps_of_event',
      'claim', 'claim_batch', 'begin_step', 'finish_step', 'finish_steps', 'finished_steps', 'complete', 'complete_runs',
      'fail', 'heartbeat', 'release',
      'open_cancellations', 'sweep_cancellation', 'confirm_cancellation', 'restore_cancellation',
      'all_apps', 'compact_depth', 'check_depth', 'prune'
    ],
    'secateur_operator', array[
      'pause', 'resume', 'commit_cancellation', 'commit_cancellations', 'stop_cancellation', 'undo_cancellation', 'cancel_run',
      'unrestored', 'set_retention',
      'open_cancellations', 'sweep_cancellation', 'confirm_cancellation', 'restore_cancellation',
      'all_apps', 'compact_depth', 'check_depth', 'prune'
    ],
    'secateur_viewer', array['unrestored']);
  one record;
begin
  revoke all on all functions in schema secateur from secateur_viewer, secateur_worker, secateur_operator;
  grant usage on schema secateur to secateur_viewer, secateur_worker, secateur_operator;
  for one in
    select granted.role, names.name,
           (select string_agg(routine.oid::regprocedure::text, ', ')
              from pg_proc as routine
             where routine.pronamespace = 'secateur'::regnamespace and routine.proname = names.name) as signatures
      from jsonb_each(roles) as granted (role, list), jsonb_array_elements_text(granted.list) as names (name)
  loop
    if one.signatures is null then
      raise exception 'rights.sql grants %, which there is not', one.name;
    end if;
    execute format('grant execute on function %s to %I', one.signatures, one.role);
  end loop;
  -- Whoever looks may read every table, also those that come later.
  for one in
    select relation.oid::regclass as name
      from pg_class as relation
     where relation.relnamespace = 'secateur'::regnamespace and relation.relkind in ('r', 'p', 'v')
       and relation.relowner = (select mine.oid from pg_roles as mine where mine.rolname = current_user)
  loop
    execute format('grant select on %s to secateur_viewer, secateur_operator', one.name);
  end loop;
  alter default privileges in schema secateur grant select on tables to secateur_viewer, secateur_operator;
end
$$;

-- Membership was needed to give things away.
do $$
begin
  if not (select rolsuper from pg_roles where rolname = current_user) then
    execute format('revoke secateur_sandbox, secateur_audit from %I', current_user);
  end if;
end
$$;
