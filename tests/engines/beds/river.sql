-- River's tables as they are after its migration 7, as far as anybody here needs them: described from its catalog.

create type river_job_state as enum
  ('available', 'cancelled', 'completed', 'discarded', 'pending', 'retryable', 'running', 'scheduled');

create table river_job (
  id bigserial primary key,
  state river_job_state not null default 'available',
  attempt smallint not null default 0,
  max_attempts smallint not null default 25 constraint max_attempts_is_positive check (max_attempts > 0),
  attempted_at timestamptz,
  created_at timestamptz not null default now(),
  finalized_at timestamptz,
  scheduled_at timestamptz not null default now(),
  priority smallint not null default 1 constraint priority_in_range check (priority between 1 and 4),
  args jsonb not null,
  attempted_by text[],
  errors jsonb[],
  kind text not null constraint kind_length check (char_length(kind) between 1 and 127),
  metadata jsonb not null default '{}',
  queue text not null default 'default' constraint queue_length check (char_length(queue) between 1 and 127),
  tags varchar(255)[] not null default '{}',
  unique_key bytea,
  unique_states bit(8),
  constraint finalized_or_finalized_at_null
    check ((finalized_at is not null) = (state in ('cancelled', 'completed', 'discarded'))));

-- Bit 7, the last one, is the first state in alphabetical order.
create function river_job_state_in_bitmask(bitmask bit(8), state river_job_state) returns boolean immutable
  return get_bit(bitmask, 8 - array_position(
    array['available', 'cancelled', 'completed', 'discarded', 'pending', 'retryable', 'running', 'scheduled']::river_job_state[],
    state)) = 1;

create index river_job_kind on river_job (kind);
create index river_job_state_and_finalized_at_index on river_job (state, finalized_at) where finalized_at is not null;
create index river_job_prioritized_fetching_index on river_job (state, queue, priority, scheduled_at, id);
create index river_job_args_index on river_job using gin (args);
create index river_job_metadata_index on river_job using gin (metadata);
create unique index river_job_unique_idx on river_job (unique_key)
  where unique_key is not null and unique_states is not null and river_job_state_in_bitmask(unique_states, state);

create table river_queue (
  name text primary key,
  created_at timestamptz not null default now(),
  metadata jsonb not null default '{}',
  paused_at timestamptz,
  updated_at timestamptz not null default now());

create table river_notification (
  id bigserial primary key,
  created_at timestamptz not null default now(),
  payload text not null,
  topic text not null);

create table river_migration (
  line text not null,
  version bigint not null,
  created_at timestamptz not null default now(),
  primary key (line, version));

insert into river_migration (line, version) select 'main', version from generate_series(1, 7) as version;
