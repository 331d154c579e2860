-- Who may cancel how much, as it is now: proposals, budgets, and the tokens of the HTTP API.

-- Cancellations that somebody proposes and somebody else decides on.
create table secateur.proposals (
  app_id text not null,
  id uuid not null,
  serial bigint not null generated always as identity,
  -- The queue of another engine that the app is of. Null: secateur's own.
  installation text,
  -- The request as POST /v1/cancellations takes it.
  request jsonb not null,
  reasoning text,
  -- What its author was shown: a count, what else it hits. Said, not proven.
  seen jsonb,
  source text not null,
  proposed_by text not null,
  proposed_login text not null,
  proposed_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  decision text check (decision in ('approved', 'rejected')),
  decided_by text,
  decided_login text,
  decided_at timestamptz,
  decision_reason text,
  -- By a server of the HTTP API: the names of the tokens, if they are proven.
  proposed_token text,
  decided_token text,
  primary key (app_id, id),
  constraint proposals_check
    check ((decision is null) = (decided_at is null) and (decision is null) = (decided_login is null))
);

create index proposals_newest on secateur.proposals (serial);
create index proposals_by_id on secateur.proposals (id);
create index proposals_open on secateur.proposals (app_id, expires_at) where decision is null;

-- Above how many runs a commit needs a proposal that somebody else has approved.
create table secateur.budgets (
  -- Empty: of every app that has none of its own.
  app_id text primary key,
  runs bigint not null check (runs >= 0),
  set_login text not null,
  set_at timestamptz not null default clock_timestamp()
);

-- Tokens of the HTTP API: who may call `secateur serve`.
create table secateur.api_tokens (
  -- The public half of a token, by which its row is found.
  token_id text primary key check (token_id ~ '^[0-9a-f]{16}$'),
  name text not null check (name <> ''),
  scope text not null check (scope in ('viewer', 'operator')),
  -- The SHA-256 of the secret half. That is enough: the secret is 256 random bits, which nobody can try out.
  secret_hash text not null check (secret_hash ~ '^[0-9a-f]{64}$'),
  created_at timestamptz not null default clock_timestamp(),
  -- As the client gave it.
  created_by text not null,
  created_role text not null default session_user,
  -- Null: it never expires.
  expires_at timestamptz,
  revoked_at timestamptz,
  revoked_by text,
  -- Written once a minute at most.
  last_used_at timestamptz,
  -- The SHA-256 of what the server shows of a token to act in its name: see token_of. Null for a token of an older program.
  proof_hash text check (proof_hash ~ '^[0-9a-f]{64}$')
);

-- The name of a token that was revoked may be used again.
create unique index api_tokens_by_name on secateur.api_tokens (name) where revoked_at is null;
