-- The tables of Elixir's Oban after its migration 14: what they are, in other words than its own. The search path is their schema.
create type oban_job_state as enum (
  'available', 'suspended', 'scheduled', 'executing', 'retryable', 'completed', 'discarded', 'cancelled');

create table oban_jobs (
  id bigserial primary key,
  state oban_job_state not null default 'available',
  queue text not null default 'default',
  worker text not null,
  args jsonb not null default '{}',
  errors jsonb[] not null default array[]::jsonb[],
  attempt integer not null default 0,
  max_attempts integer not null default 20,
  inserted_at timestamp not null default timezone('UTC', now()),
  scheduled_at timestamp not null default timezone('UTC', now()),
  attempted_at timestamp,
  completed_at timestamp,
  attempted_by text[],
  discarded_at timestamp,
  priority integer not null default 0,
  tags text[] default array[]::text[],
  meta jsonb default '{}',
  cancelled_at timestamp,
  constraint worker_length check (char_length(worker) > 0 and char_length(worker) < 128),
  constraint queue_length check (char_length(queue) > 0 and char_length(queue) < 128),
  constraint positive_max_attempts check (max_attempts > 0),
  constraint attempt_range check (attempt between 0 and max_attempts),
  constraint non_negative_priority check (priority >= 0) not valid
);
create index oban_jobs_state_queue_priority_scheduled_at_id_index on oban_jobs (state, queue, priority, scheduled_at, id);
create index oban_jobs_args_index on oban_jobs using gin (args);
create index oban_jobs_meta_index on oban_jobs using gin (meta);
create index oban_jobs_state_cancelled_at_index on oban_jobs (state, cancelled_at);
create index oban_jobs_state_discarded_at_index on oban_jobs (state, discarded_at);

create unlogged table oban_peers (
  name text primary key,
  node text not null,
  started_at timestamp not null,
  expires_at timestamp not null
);

comment on table oban_jobs is '14';
