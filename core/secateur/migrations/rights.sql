-- Rights: nobody may call anything until it is granted, and stored conditions run as a role that owns nothing else.
do $$
begin
  grant usage, create on schema secateur to secateur_sandbox;
  revoke all on all functions in schema secateur from public;
  execute format('grant execute on function secateur.evaluate_conditions to %I', current_user);
  alter function secateur.evaluate_conditions owner to secateur_sandbox;
  revoke all on schema secateur from secateur_sandbox;
  if not (select rolsuper from pg_roles where rolname = current_user) then
    execute format('revoke secateur_sandbox from %I', current_user);
  end if;
end
$$;
