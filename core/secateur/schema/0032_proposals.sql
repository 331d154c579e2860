-- Cancellations that somebody proposes and somebody else decides on, and the budgets above which a commit needs that.

create table secateur.proposals (
  app_id text not null,
  id uuid not null,
  serial bigint generated always as identity,
  -- The queue of others that the app is of; null for secateur's own.
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
  primary key (app_id, id),
  check ((decision is null) = (decided_at is null) and (decision is null) = (decided_login is null))
);

create index proposals_newest on secateur.proposals (serial);
create index proposals_by_id on secateur.proposals (id);
create index proposals_open on secateur.proposals (app_id, expires_at) where decision is null;

create table secateur.budgets (
  -- Empty: of every app that has none of its own.
  app_id text primary key,
  runs bigint not null check (runs >= 0),
  set_login text not null,
  set_at timestamptz not null default clock_timestamp()
);

-- Entries are written by functions of this schema only, which need no list of what they may write.
alter table secateur.audit drop constraint if exists audit_action_check;
alter table secateur.audit add constraint audit_action_check check (action ~ '^[a-z][a-z_]{0,39}$');
