-- What `secateur watch` keeps, as it is now.

-- Which of its rules fire.
create table secateur.alert_episodes (
  app_id text not null,
  -- Empty: the app as a whole.
  function_id text not null,
  -- The queue as `secateur engines` lists it.
  queue text not null,
  rule text not null,
  -- Grows with each change: whoever has seen an older one may not change it.
  version bigint not null default 1,
  -- As the watch writes it: see secateur.watch.episodes.
  episode jsonb not null,
  -- Until when its guard has paused the function, in whose name, and whether that is over. Null: it has not.
  paused_until timestamptz,
  paused_by text,
  pause_is_over boolean not null default false,
  primary key (app_id, function_id, queue, rule)
);

create index alert_episodes_paused on secateur.alert_episodes (app_id, paused_until)
  where paused_until is not null and not pause_is_over;

-- The messages that it has to post.
create table secateur.alert_messages (
  app_id text not null,
  serial bigint not null generated always as identity,
  function_id text not null,
  queue text not null,
  rule text not null,
  -- The target's name in the configuration, which has its URL.
  target text not null,
  message jsonb not null,
  made_at timestamptz not null default clock_timestamp(),
  attempts integer not null default 0,
  -- When it may be tried next; while somebody tries, when their time is up.
  due_at timestamptz not null default clock_timestamp(),
  error text,
  -- Posted, or given up.
  ended_at timestamptz,
  posted boolean not null default false,
  primary key (app_id, serial)
);

create index alert_messages_due on secateur.alert_messages (due_at, serial) where ended_at is null;
create index alert_messages_open on secateur.alert_messages (app_id, function_id, queue, rule, target, serial) where ended_at is null;
create index alert_messages_ended on secateur.alert_messages (app_id, ended_at) where ended_at is not null;
