-- Tokens of the HTTP API: who may call `secateur serve`.

create table secateur.api_tokens (
  -- The public half of a token, by which its row is found.
  token_id text primary key check (token_id ~ '^[0-9a-f]{16}$'),
  name text not null check (name <> ''),
  scope text not null check (scope in ('viewer', 'operator')),
  -- The SHA-256 of the secret half. That is enough: the secret is 256 random bits, which nobody can try out.
  secret_hash text not null check (secret_hash ~ '^[0-9a-f]{64}$'),
  created_at timestamptz not null default clock_timestamp(),
  -- As given by the client.
  created_by text not null,
  created_role text not null default session_user,
  -- Null: it never expires.
  expires_at timestamptz,
  revoked_at timestamptz,
  revoked_by text,
  -- Written once a minute at most.
  last_used_at timestamptz
);

-- The name of a token that was revoked may be used again.
create unique index api_tokens_by_name on secateur.api_tokens (name) where revoked_at is null;

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
    check (action in ('install', 'commit', 'stop', 'undo', 'restore', 'pause', 'resume', 'retention', 'forget',
                      'create_token', 'revoke_token', 'request'));
