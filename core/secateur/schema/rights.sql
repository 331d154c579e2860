-- Rights. Nobody may call anything until it is granted here. Stored conditions run as a role that owns nothing else, and the
-- audit belongs to one that does nothing else.
--
-- `rights_gaps` and its parts are the one place that says who owns what and who may do what; `mend_rights` makes it so. Both
-- look at the catalog, whatever has been there before: an older program's rights, a restore without the roles, somebody's
-- GRANT.

-- Whether there is secateur's own queue, or only the ledger for other engines' queues. Older programs always made both, and noted no
-- file of tables.
create or replace function secateur.has_queue()
  returns boolean
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $$
  select count(*) filter (where known.name = 'queue.sql') > 0 or count(*) filter (where known.name = 'ledger.sql') = 0
    from secateur.migrations as known
$$;

-- What the roles may call. A name stands for all functions of that name; a new one is granted by a line here: of the ledger, or of
-- secateur's own queue, which may not be there.
create or replace function secateur.callable()
  returns jsonb
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $$
  select jsonb_object_agg(one.role, to_jsonb(one.of_ledger || case when secateur.has_queue() then one.of_queue else '{}' end))
    from (select array['open_cancellations', 'confirm_cancellation', 'note_sweep_failure', 'rights_gaps'] as of_ledger,
                 array['sweep_cancellation', 'decide_slowly', 'restore_cancellation', 'all_apps', 'compact_depth', 'check_depth', 'prune',
                       'end_guard_pauses'] as of_queue) as upkeep,
         lateral (values (
           'secateur_worker', upkeep.of_ledger,
           upkeep.of_queue || array[
             'register_function', 'declare_cancel_on', 'enqueue', 'enqueue_many', 'begin_bulk', 'enqueue_bulk', 'send', 'send_to',
             'apps_of_event',
             'claim', 'claim_batch', 'complete_and_claim', 'claim_and_flush', 'flush', 'begin_step', 'finish_step', 'finish_steps', 'finished_steps', 'complete',
             'complete_runs', 'fail', 'heartbeat', 'release', 'interrupt', 'traces_of'
           ]
         ), (
           'secateur_operator',
           upkeep.of_ledger || array[
             'stop_cancellation', 'undo_cancellation', 'cancellation_records', 'set_retention', 'commit_jobs', 'commit_job', 'take_jobs',
             'settle_jobs', 'note_slow_jobs', 'decide_jobs', 'begin_job_batch', 'end_job_batch', 'begin_job_restore', 'end_job_restore',
             'prune_jobs', 'create_token', 'revoke_token', 'note_token_use', 'propose_cancellation', 'decide_proposal',
             'move_alert_episode', 'take_alert_message', 'settle_alert_message'
           ],
           upkeep.of_queue || array[
             'pause', 'resume', 'forget', 'commit_cancellation', 'commit_cancellations', 'commit_retries', 'cancel_run', 'app_of_run',
             'unrestored', 'guard_pause'
           ]
         ), (
           'secateur_viewer', array['rights_gaps', 'propose_cancellation'], array['unrestored']
         )) as one (role, of_ledger, of_queue)
$$;

create or replace function secateur.own_roles()
  returns text[]
  language sql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
  select array['secateur_sandbox', 'secateur_audit', 'secateur_viewer', 'secateur_worker', 'secateur_operator',
               'secateur_importer']
$$;

-- Whoever installed.
create or replace function secateur.installer()
  returns oid
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $$
  select space.nspowner from pg_namespace as space where space.nspname = 'secateur'
$$;

-- Part of rights_gaps: roles and functions that are missing, and powers that no role of ours may have.
create or replace function secateur.role_gaps(out phase integer, out what text, out gap text, out remedy text)
  returns setof record
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  ours constant text[] := secateur.own_roles();
begin
  return query
  select 1, format('role %I', needed.name), 'is missing', format('create role %I nologin', needed.name)
    from unnest(ours) as needed (name)
   where not exists (select from pg_roles as known where known.rolname = needed.name);

  return query
  select 1, format('function secateur.%I', listed.name), 'is missing', null
    from jsonb_each(secateur.callable()) as one (role, list), jsonb_array_elements_text(one.list) as listed (name)
   where not exists (select from pg_proc as known
                      where known.pronamespace = 'secateur'::regnamespace and known.proname = listed.name);

  return query
  select 1, format('role %I', known.rolname), format('has %s', power.name),
         format('alter role %I no%s', known.rolname, power.name)
    from pg_roles as known,
         lateral (values (known.rolcanlogin, 'login'), (known.rolsuper, 'superuser'), (known.rolcreaterole, 'createrole'),
                         (known.rolcreatedb, 'createdb'), (known.rolreplication, 'replication'),
                         (known.rolbypassrls, 'bypassrls')) as power (has, name)
   where known.rolname = any (ours) and power.has;
end
$$;

-- Part of rights_gaps: owners.
create or replace function secateur.owner_gaps(out phase integer, out what text, out gap text, out remedy text)
  returns setof record
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  installer constant oid := secateur.installer();
begin
  return query
  select 2, thing.what, format('belongs to %s, not to %s', pg_get_userbyid(thing.owner), wanted.rolname),
         format('alter %s owner to %I', thing.what, wanted.rolname)
    from (select format('schema %I', space.nspname) as what, space.nspname as name, space.nspowner as owner
            from pg_namespace as space
           where space.nspname in ('secateur_cel', 'secateur_locks')
          union all
          select format('%s %s', case routine.prokind when 'p' then 'procedure' else 'function' end, routine.oid::regprocedure), routine.proname, routine.proowner
            from pg_proc as routine
           where routine.pronamespace in (to_regnamespace('secateur'), to_regnamespace('secateur_cel'))
          union all
          select format('%s %s', case relation.relkind when 'v' then 'view' when 'c' then 'type' else 'table' end,
                        relation.oid::regclass),
                 relation.relname, relation.relowner
            from pg_class as relation
           where relation.relnamespace in (to_regnamespace('secateur'), to_regnamespace('secateur_locks'))
             and relation.relkind in ('r', 'p', 'v', 'c')
         ) as thing
    join pg_roles as wanted
      on case thing.name
           when 'evaluate_conditions' then wanted.rolname = 'secateur_sandbox'
           when 'define_match' then wanted.rolname = 'secateur_sandbox'
           when 'record_audit' then wanted.rolname = 'secateur_audit'
           when 'audit' then wanted.rolname = 'secateur_audit'
           else wanted.oid = installer
         end
   where thing.owner <> wanted.oid;
end
$$;

-- Part of rights_gaps: everything that has rights. `acl` is null where nobody has granted anything yet: then `unsaid` holds.
create or replace function secateur.things_with_rights()
  returns table (what text, name name, kind text, owner oid, acl aclitem[], unsaid aclitem[])
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $$
  select format('schema %I', space.nspname) as what, space.nspname as name, 'schema' as kind, space.nspowner as owner,
         space.nspacl as acl, acldefault('n', space.nspowner) as unsaid
    from pg_namespace as space
   where space.nspname in ('secateur', 'secateur_cel', 'secateur_locks')
  union all
  select format('%s %s', case routine.prokind when 'p' then 'procedure' else 'function' end, routine.oid::regprocedure), routine.proname,
         case when space.nspname = 'secateur' then 'function' else 'operator' end,
         routine.proowner, routine.proacl, acldefault('f', routine.proowner)
    from pg_proc as routine
    join pg_namespace as space on space.oid = routine.pronamespace and space.nspname in ('secateur', 'secateur_cel')
  union all
  select format('%s %s', case when relation.relkind = 'S' then 'sequence' else 'table' end, relation.oid::regclass),
         relation.relname,
         -- Whoever may do anything with a lock can hold up the queue.
         case when relation.relnamespace <> 'secateur'::regnamespace then 'lock'
              when relation.relkind = 'S' then 'sequence' else 'table' end,
         relation.relowner, relation.relacl,
         acldefault(case when relation.relkind = 'S' then 's' else 'r' end::"char", relation.relowner)
    from pg_class as relation
   where relation.relnamespace in (to_regnamespace('secateur'), to_regnamespace('secateur_locks'))
     and relation.relkind in ('r', 'p', 'v', 'S')
$$;

-- Part of rights_gaps: rights on schemas, functions and tables that are not granted, or are and should not be.
create or replace function secateur.right_gaps(out phase integer, out what text, out gap text, out remedy text)
  returns setof record
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  with thing as materialized (
    select * from secateur.things_with_rights()
  ), wanted as (
    select thing.what, needed.role, needed.right
      from thing,
           lateral (
             select one.key as role, 'EXECUTE' as right from jsonb_each(secateur.callable()) as one
              where thing.kind = 'function' and one.value ? thing.name
             union all
             -- What was granted to an owner went with the ownership.
             select pg_get_userbyid(secateur.installer()), 'EXECUTE'
              where thing.kind = 'function' and thing.name in ('evaluate_conditions', 'define_match', 'record_audit')
             union all
             select 'PUBLIC', 'EXECUTE' where thing.kind = 'operator'
             union all
             select 'PUBLIC', 'USAGE' where thing.kind = 'schema' and thing.name = 'secateur_cel'
             union all
             -- The audit's owner finds its table by it.
             select reader.name, 'USAGE'
               from unnest(array['secateur_viewer', 'secateur_worker', 'secateur_operator', 'secateur_audit']) as reader (name)
              where thing.kind = 'schema' and thing.name = 'secateur'
             union all
             select reader.name, 'SELECT' from unnest(array['secateur_viewer', 'secateur_operator']) as reader (name)
              where thing.kind = 'table'
             union all
             -- Every program looks first whether it fits the database.
             select 'PUBLIC', 'SELECT' where thing.kind = 'table' and thing.name = 'migrations'
           ) as needed
     where needed.role = 'PUBLIC' or exists (select from pg_roles as known where known.rolname = needed.role)
  ), granted as (
    select thing.what, coalesce(known.rolname, 'PUBLIC') as role, item.privilege_type as right
      from thing, aclexplode(coalesce(thing.acl, thing.unsaid)) as item
      left join pg_roles as known on known.oid = item.grantee
     where item.grantee <> thing.owner
  )
  select 3, missing.what, format('%s is not granted to %s', missing.right, missing.role),
         format('grant %s on %s to %s', missing.right, missing.what,
                case missing.role when 'PUBLIC' then 'public' else quote_ident(missing.role) end)
    from (select wanted.* from wanted except select granted.* from granted) as missing
  union all
  select 3, surplus.what, format('%s is granted to %s', surplus.right, surplus.role),
         format('revoke %s on %s from %s cascade', surplus.right, surplus.what,
                case surplus.role when 'PUBLIC' then 'public' else quote_ident(surplus.role) end)
    from (select granted.* from granted where granted.role = any (secateur.own_roles() || 'PUBLIC'::text)
          except select wanted.* from wanted) as surplus;
end
$$;

-- Part of rights_gaps: what columns and tables to come say by themselves.
create or replace function secateur.further_right_gaps(out phase integer, out what text, out gap text, out remedy text)
  returns setof record
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  ours constant text[] := secateur.own_roles();
  installer constant oid := secateur.installer();
begin
  return query
  select 3, format('column %s.%I', relation.oid::regclass, part.attname),
         format('%s is granted to %s', item.privilege_type, coalesce(known.rolname, 'PUBLIC')),
         format('revoke %s (%I) on %s from %s cascade', item.privilege_type, part.attname, relation.oid::regclass,
                coalesce(quote_ident(known.rolname), 'public'))
    from pg_class as relation
    join pg_attribute as part on part.attrelid = relation.oid and part.attacl is not null
    cross join lateral aclexplode(part.attacl) as item
    left join pg_roles as known on known.oid = item.grantee
   where relation.relnamespace = 'secateur'::regnamespace and coalesce(known.rolname, 'PUBLIC') = any (ours || 'PUBLIC'::text);

  -- Whoever looks may read every table, also those that come later.
  return query
  select 3, 'tables to come in schema secateur', format('SELECT is not granted to %s', reader.rolname),
         format('alter default privileges for role %I in schema secateur grant select on tables to %I',
                pg_get_userbyid(installer), reader.rolname)
    from pg_roles as reader
   where reader.rolname in ('secateur_viewer', 'secateur_operator')
     and not exists (
           select from pg_default_acl as kept, aclexplode(kept.defaclacl) as item
            where kept.defaclrole = installer and kept.defaclnamespace = 'secateur'::regnamespace
              and kept.defaclobjtype = 'r' and item.grantee = reader.oid and item.privilege_type = 'SELECT');
end
$$;

-- Part of rights_gaps: memberships. Who may give one on need not have it; before Postgres 16 the one came with the other.
create or replace function secateur.member_gaps(out phase integer, out what text, out gap text, out remedy text)
  returns setof record
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  select 4, format('role %I', member.rolname), format('is a member of %s', granted.rolname),
         format('revoke %I from %I%s', granted.rolname, member.rolname,
                case when usable.known then format(' granted by %I', pg_get_userbyid(link.grantor)) else '' end)
    from pg_auth_members as link
    join pg_roles as granted on granted.oid = link.roleid
    join pg_roles as member on member.oid = link.member
   cross join lateral (
           select to_jsonb(link) ? 'set_option' as known,
                  coalesce((to_jsonb(link) ->> 'set_option')::boolean or (to_jsonb(link) ->> 'inherit_option')::boolean,
                           not link.admin_option) as held
         ) as usable
   where (granted.rolname in ('secateur_sandbox', 'secateur_audit') and usable.held)
      or member.rolname in ('secateur_sandbox', 'secateur_audit');
end
$$;

-- Where the catalog is not what it should be; no row if all is well. `what` is the object, `gap` what is wrong with it, and
-- `remedy` the statement that puts it right. `phase` is the order of mending: 1 roles, 2 owners, 3 rights, 4 memberships.
-- Rights of roles that are not secateur's are their grantor's business.
create or replace function secateur.rights_gaps(out phase integer, out what text, out gap text, out remedy text)
  returns setof record
  language sql
  stable
  security definer set search_path = pg_catalog, pg_temp
as $$
  select * from secateur.role_gaps()
   union all select * from secateur.owner_gaps()
   union all select * from secateur.right_gaps()
   union all select * from secateur.further_right_gaps()
   union all select * from secateur.member_gaps()
$$;

-- Closes every gap. Raises 42501 where the session's role may not close one, and where a function is granted that there is
-- not. Part of the install; it needs the rights of who owns the schema, and of who may create roles if one is missing.
create or replace function secateur.mend_rights()
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  one record;
  -- A superuser needs no membership to give things away; and to give and take it would get in the way of an install in another
  -- database.
  super constant boolean := (select known.rolsuper from pg_roles as known where known.rolname = current_user);
begin
  for step in 1 .. 4 loop
    if step = 2 then
      if not super then
        execute format('grant secateur_sandbox, secateur_audit to %I', current_user);
      end if;
      -- Without it nothing in the schema can become theirs.
      grant create on schema secateur to secateur_sandbox, secateur_audit;
    elsif step = 3 then
      revoke create on schema secateur from secateur_sandbox, secateur_audit;
    elsif step = 4 and not super then
      execute format('revoke secateur_sandbox, secateur_audit from %I', current_user);
    end if;
    for one in select found.* from secateur.rights_gaps() as found where found.phase = step loop
      if one.remedy is null then
        raise exception 'rights.sql names %, which does not exist', one.what;
      end if;
      begin
        execute one.remedy;
      exception
        when duplicate_object or unique_violation then
          null; -- another database's install was quicker to create the role
        when insufficient_privilege then
          raise exception using errcode = '42501', message = format('%s %s: %s', one.what, one.gap, sqlerrm);
      end;
    end loop;
  end loop;
end
$$;

select secateur.mend_rights();
