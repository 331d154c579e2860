-- What was enqueued under an idempotency key: asking again gives the same run. Kept for a day.
create table secateur.enqueue_keys (
  app_id text not null,
  function_id text not null,
  key text not null,
  run_id uuid not null,
  -- SHA-256 of the event, to tell a repeated call from another one under the same key.
  event_hash bytea not null,
  at timestamptz not null default clock_timestamp(),
  primary key (app_id, function_id, key)
);

create index enqueue_keys_by_age on secateur.enqueue_keys (at);

-- These have a new parameter, and would otherwise be there twice.
drop function if exists secateur.enqueue(text, text, jsonb, timestamptz, integer, timestamptz);
drop function if exists secateur.enqueue_many(text, text, jsonb[], timestamptz[], integer[], timestamptz[]);
drop function if exists secateur.send(jsonb);
drop function if exists secateur.cancel_by_event(jsonb);
