-- Functions that are no more. The row of the function stays, for history refers to it. The mark is a row of its own: an enqueue
-- takes it away in a transaction that may stay open, and a lock of the function's row would then hold up pause and register.

create table secateur.forgotten_functions (
  app_id text not null,
  function_id text not null,
  forgotten_at timestamptz not null default clock_timestamp(),
  primary key (app_id, function_id),
  foreign key (app_id, function_id) references secateur.functions
);

-- The audit may belong to a role of its own by now.
do $$
begin
  if not pg_has_role(current_user, (select relation.relowner from pg_class as relation
                                     where relation.oid = 'secateur.audit'::regclass), 'usage') then
    execute format('grant secateur_audit to %I', current_user);
  end if;
end
$$;
alter table secateur.audit
  drop constraint audit_action_check,
  add constraint audit_action_check
    check (action in ('install', 'commit', 'stop', 'undo', 'restore', 'pause', 'resume', 'retention', 'forget'));
