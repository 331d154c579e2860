-- Distributes the schema `secateur` by app over the nodes of a Citus cluster. Run it with psql on the coordinator, as the role
-- that installed the schema: after `secateur install`, and again after each upgrade. Repeatable.
-- What it means to run the queue so is in operations.md.
\set ON_ERROR_STOP 1
begin;
set local client_min_messages = warning;
-- The one trigger looks at nothing but its own row.
set local citus.enable_unsafe_triggers = on;
-- All in one transaction takes one connection a node.
set local citus.multi_shard_modify_mode = 'sequential';

do $$
declare
  one record;
begin
  loop
    -- The next whose foreign keys lead to tables that are there already.
    select relation.oid::regclass as name,
           exists (select from pg_attribute as part
                    where part.attrelid = relation.oid and part.attname = 'app_id' and not part.attisdropped) as by_app
      into one
      from pg_class as relation
     where relation.relnamespace = 'secateur'::regnamespace
       and relation.relkind = 'r'
       and not exists (select from pg_dist_partition as known where known.logicalrelid = relation.oid)
       and not exists (select from pg_constraint as link
                        where link.conrelid = relation.oid and link.contype = 'f'
                          and not exists (select from pg_dist_partition as known where known.logicalrelid = link.confrelid))
     order by relation.relname <> 'apps', relation.oid
     limit 1;
    exit when not found;
    if not one.by_app then
      -- Of the whole queue, few rows, seldom written: each node has its copy.
      perform create_reference_table(one.name);
    elsif one.name = 'secateur.apps'::regclass then
      perform create_distributed_table(one.name, 'app_id');
    else
      perform create_distributed_table(one.name, 'app_id', colocate_with => 'secateur.apps');
    end if;
  end loop;
  for one in
    select routine.oid::regprocedure as signature,
           coalesce('plan_cache_mode=force_generic_plan' = any (routine.proconfig), false) as generic,
           'app_id' = any (routine.proargnames[:routine.pronargs])
             and routine.prosecdef
             and routine.proowner = (select mine.oid from pg_roles as mine where mine.rolname = current_user) as called_by_app
      from pg_proc as routine
     where routine.pronamespace = 'secateur'::regnamespace
     order by routine.oid
  loop
    perform create_distributed_function(one.signature);
    if one.generic then
      -- Which shard is meant is not known before the app is.
      execute format('alter function %s reset plan_cache_mode', one.signature);
    end if;
    if one.called_by_app then
      -- A call goes on to the node that has the app.
      perform create_distributed_function(one.signature, 'app_id', colocate_with => 'secateur.apps');
    elsif one.signature = to_regproc('secateur.record_audit')::regprocedure then
      -- Also within a transaction: it runs as a role that no node lets log in on another.
      perform create_distributed_function(
        one.signature, 'app_id', colocate_with => 'secateur.apps', force_delegation => true);
    end if;
  end loop;
end
$$;

commit;
