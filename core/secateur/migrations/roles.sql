-- The role that owns the sandbox function; rights.sql gives it away when all files have been read.
do $$
begin
  if not exists (select from pg_roles where rolname = 'secateur_sandbox') then
    begin
      create role secateur_sandbox nologin;
    exception when duplicate_object or unique_violation then
      null; -- another database's install was quicker
    end;
  end if;
  -- A superuser needs no membership; and to give and take it would get in the way of an install in another database.
  if not (select rolsuper from pg_roles where rolname = current_user) then
    execute format('grant secateur_sandbox to %I', current_user);
  end if;
  if to_regproc('secateur.evaluate_conditions') is not null then
    execute format('alter function secateur.evaluate_conditions owner to %I', current_user);
  end if;
end
$$;
