-- Where claims begin to look for what falls due. A hint, never a truth: see due_floors.sql. Only HOT updates.
create table secateur.due_floors (
  app_id text not null,
  -- The name '' stands for the app's leases; the others are for the scheduled runs of a function.
  function_id text not null,
  -- No run that is due is known before this place in the order of (scheduled_for, id). Of leases, only the time counts.
  floor_at timestamptz not null default '-infinity',
  floor_id uuid not null default '00000000-0000-0000-0000-000000000000',
  -- When to look below it next.
  walk_at timestamptz not null default clock_timestamp(),
  -- The place of the first scheduled run, as somebody found it, and how long that is believed.
  next_at timestamptz not null default '-infinity',
  next_id uuid not null default '00000000-0000-0000-0000-000000000000',
  next_until timestamptz not null default '-infinity',
  primary key (app_id, function_id)
) with (fillfactor = 20);

insert into secateur.due_floors (app_id, function_id)
select apps.app_id, '' from secateur.apps
union all
select known.app_id, known.function_id from secateur.functions as known;

-- With the id, so that a floor can lie between runs of the same time.
drop index secateur.runs_scheduled;
create index runs_scheduled on secateur.runs (app_id, function_id, scheduled_for, id) where status = 'scheduled';

-- With other parameters it is another function; claiming.sql makes it.
drop function if exists secateur.nothing_before(timestamptz);
