-- The cluster's roles: none of them can log in. Two own something that nobody else may touch (rights.sql gives it to them
-- when all files have been read), the others are granted to whoever logs in.
do $$
declare
  role text;
begin
  foreach role in array array['secateur_sandbox', 'secateur_audit',
                              'secateur_viewer', 'secateur_worker', 'secateur_operator', 'secateur_importer'] loop
    if not exists (select from pg_roles where rolname = role) then
      begin
        execute format('create role %I nologin', role);
      exception when duplicate_object or unique_violation then
        null; -- another database's install was quicker
      end;
    end if;
  end loop;
  -- A superuser needs no membership; and to give and take it would get in the way of an install in another database.
  if not (select rolsuper from pg_roles where rolname = current_user) then
    execute format('grant secateur_sandbox, secateur_audit to %I', current_user);
  end if;
  if to_regproc('secateur.evaluate_conditions') is not null then
    execute format('alter function secateur.evaluate_conditions owner to %I', current_user);
  end if;
  if to_regproc('secateur.define_match') is not null then
    execute format('alter function secateur.define_match owner to %I', current_user);
  end if;
  if to_regproc('secateur.record_audit') is not null then
    execute format('alter function secateur.record_audit owner to %I', current_user);
  end if;
end
$$;
