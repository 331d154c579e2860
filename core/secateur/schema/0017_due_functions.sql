-- Which functions may have something to claim. A hint, so that a claim need not ask all that there are: see due.sql.
create table secateur.due_functions (
  app_id text not null,
  -- The list is written anew now and then, under the next number.
  epoch bigint not null,
  function_id text not null,
  -- Its place in this epoch's order, which is by chance; null where nothing is known but what is scheduled for later.
  place bigint,
  -- When the first of that falls due.
  due_at timestamptz,
  -- Since when it is known to have nothing, though it is on the list.
  empty_since timestamptz,
  check ((place is null) <> (due_at is null))
) with (fillfactor = 50);

-- No key: two transactions that note the same function must not wait for each other.
create index due_functions_by_function on secateur.due_functions (app_id, epoch, function_id);
create index due_functions_by_place on secateur.due_functions (app_id, epoch, place);
create index due_functions_by_time on secateur.due_functions (app_id, epoch, due_at);

-- Each app's epoch. Apart from `searches`, for whoever queues runs reads it, and it is seldom written.
create table secateur.due_epochs (
  app_id text primary key,
  epoch bigint not null default 0
) with (fillfactor = 20);

-- When an app's list is compared with its queue next. Only HOT updates.
create table secateur.searches (
  app_id text primary key,
  next_at timestamptz not null default clock_timestamp(),
  -- Where it goes on: behind this function.
  after text not null default '',
  -- How many entries of the epoch are dead by now.
  dead bigint not null default 0
) with (fillfactor = 20);

insert into secateur.due_epochs (app_id) select apps.app_id from secateur.apps;
insert into secateur.searches (app_id) select apps.app_id from secateur.apps;

-- All functions that there are; the first search finds out which have something.
insert into secateur.due_functions (app_id, epoch, function_id, place)
select known.app_id, 0, known.function_id, hashtextextended(known.function_id, 0) from secateur.functions as known;

-- With other parameters it is another function; finding.sql makes it.
drop function if exists secateur.find_functions(text, text[], boolean[], integer);
