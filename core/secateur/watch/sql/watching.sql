-- What `secateur watch` keeps, so that any number of watches, one after the other or at once, post each message once.

-- Moves an episode on: from the version that the caller has seen (null: there was none) to `episode` (null: it is over), and in the
-- same transaction puts `message` into the outbox of each of the targets. False, and nothing is changed, if somebody else has
-- moved it meanwhile, or if it would end before its guard's pause. Raises SC422.
create or replace function secateur.move_alert_episode(
  app_id text, function_id text, queue text, rule text, seen bigint, episode jsonb, targets text[], message jsonb
)
  returns boolean
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform secateur.require_name('app_id', move_alert_episode.app_id, 500);
  perform secateur.require_text('function_id', coalesce(move_alert_episode.function_id, repeat('x', 501)), 500);
  perform secateur.require_name('queue', move_alert_episode.queue);
  perform secateur.require_name('rule', move_alert_episode.rule);
  perform secateur.require_count('targets', cardinality(move_alert_episode.targets), 0, 20);
  perform secateur.require_name('targets', named.name) from unnest(move_alert_episode.targets) as named (name);
  if move_alert_episode.episode is not null then
    perform secateur.require_object('episode', move_alert_episode.episode, 100000);
  end if;
  if cardinality(move_alert_episode.targets) > 0 then
    perform secateur.require_object('message', move_alert_episode.message, 1000000);
  end if;
  if move_alert_episode.episode is null then
    delete from secateur.alert_episodes as one
     where one.app_id = move_alert_episode.app_id and one.function_id = move_alert_episode.function_id
       and one.queue = move_alert_episode.queue and one.rule = move_alert_episode.rule
       and one.version = move_alert_episode.seen and (one.paused_until is null or one.pause_is_over);
  elsif move_alert_episode.seen is null then
    insert into secateur.alert_episodes (app_id, function_id, queue, rule, episode)
    values (move_alert_episode.app_id, move_alert_episode.function_id, move_alert_episode.queue, move_alert_episode.rule,
            move_alert_episode.episode)
    on conflict do nothing;
  else
    update secateur.alert_episodes as one
       set episode = move_alert_episode.episode, version = one.version + 1
     where one.app_id = move_alert_episode.app_id and one.function_id = move_alert_episode.function_id
       and one.queue = move_alert_episode.queue and one.rule = move_alert_episode.rule
       and one.version = move_alert_episode.seen;
  end if;
  if not found then
    return false;
  end if;
  insert into secateur.alert_messages (app_id, function_id, queue, rule, target, message)
  select move_alert_episode.app_id, move_alert_episode.function_id, move_alert_episode.queue, move_alert_episode.rule, named.name,
         move_alert_episode.message
    from unnest(move_alert_episode.targets) as named (name);
  return true;
end
$$;

-- Takes the next message that is due for one of the targets, for as long as `lease`: nobody else gets it meanwhile. Messages of one
-- rule about one function go to a target in their order. No row: nothing is due. Raises SC422.
create or replace function secateur.take_alert_message(targets text[], lease interval)
  returns setof secateur.alert_messages
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform secateur.require_count('targets', cardinality(take_alert_message.targets), 0, 100);
  perform secateur.require_interval('lease', take_alert_message.lease, '1 second', '1 hour');
  return query
  update secateur.alert_messages as taken
     set attempts = taken.attempts + 1, due_at = clock_timestamp() + take_alert_message.lease
    from (select due.app_id, due.serial
            from secateur.alert_messages as due
           where due.ended_at is null and due.due_at <= clock_timestamp() and due.target = any (take_alert_message.targets)
             and not exists (select from secateur.alert_messages as before
                              where before.app_id = due.app_id and before.function_id = due.function_id
                                and before.queue = due.queue and before.rule = due.rule and before.target = due.target
                                and before.ended_at is null and before.serial < due.serial)
           order by due.due_at, due.serial
           limit 1
             for update skip locked) as next
   where taken.app_id = next.app_id and taken.serial = next.serial
  returning taken.*;
end
$$;

-- Says what became of a message that was taken: it was posted, or `error`, and it may be tried again after `pause` (null: never).
-- Repeatable. Deletes messages that ended a week ago, and those that nobody has had a target for in a month. Raises SC422.
create or replace function secateur.settle_alert_message(app_id text, serial bigint, posted boolean, error text, pause interval)
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  moment constant timestamptz := clock_timestamp();
  ends constant boolean := coalesce(settle_alert_message.posted, false) or settle_alert_message.pause is null;
begin
  perform secateur.require_name('app_id', settle_alert_message.app_id, 500);
  perform secateur.require_text('error', settle_alert_message.error, 1000);
  if settle_alert_message.pause is not null then
    perform secateur.require_interval('pause', settle_alert_message.pause, '0', '1 day');
  end if;
  update secateur.alert_messages as one
     set posted = coalesce(settle_alert_message.posted, false), error = settle_alert_message.error,
         ended_at = case when ends then moment end, due_at = moment + coalesce(settle_alert_message.pause, '0')
   where one.app_id = settle_alert_message.app_id and one.serial = settle_alert_message.serial and one.ended_at is null;
  delete from secateur.alert_messages as old
   where old.app_id = settle_alert_message.app_id
     and old.serial in (select past.serial from secateur.alert_messages as past
                         where past.app_id = settle_alert_message.app_id and past.ended_at < moment - interval '7 days'
                         limit 20);
  delete from secateur.alert_messages as old
   where old.app_id = settle_alert_message.app_id and old.made_at < moment - interval '30 days'
     and old.serial in (select past.serial from secateur.alert_messages as past
                         where past.app_id = settle_alert_message.app_id
                         order by past.serial limit 20);
end
$$;

-- Pauses the function of an episode for a while, once: asked again, it only tells until when that is, or was. Null, and nothing is
-- changed, if somebody has paused it already. end_guard_pauses ends it. Raises SC404, SC422, SC423. Locks: the app's, exclusive.
create or replace function secateur.guard_pause(
  app_id text, function_id text, queue text, rule text, lasts interval, author text
)
  returns timestamptz
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  known secateur.alert_episodes;
begin
  perform secateur.require_name('app_id', guard_pause.app_id);
  perform secateur.require_name('function_id', guard_pause.function_id);
  perform secateur.require_name('author', guard_pause.author);
  perform secateur.require_interval('lasts', guard_pause.lasts, '1 second', '7 days');
  -- The lock first: whoever else asks for the same waits for it.
  perform secateur.require_read_committed();
  perform secateur.lock_app(guard_pause.app_id);
  select one.* into known from secateur.alert_episodes as one
   where one.app_id = guard_pause.app_id and one.function_id = guard_pause.function_id
     and one.queue = guard_pause.queue and one.rule = guard_pause.rule
     for update;
  if not found then
    raise exception using errcode = 'SC404', message = 'there is no such episode';
  elsif known.paused_until is not null then
    return known.paused_until;
  end if;
  perform secateur.pause(guard_pause.app_id, guard_pause.function_id, guard_pause.author, 'watch');
  if not exists (select from secateur.functions as paused
                  where paused.app_id = guard_pause.app_id and paused.function_id = guard_pause.function_id
                    and paused.paused_by = guard_pause.author) then
    return null;
  end if;
  update secateur.alert_episodes as one
     set paused_until = clock_timestamp() + guard_pause.lasts, paused_by = guard_pause.author
   where one.app_id = known.app_id and one.function_id = known.function_id and one.queue = known.queue and one.rule = known.rule
  returning one.* into known;
  return known.paused_until;
end
$$;

-- Ends the pauses of guards whose time is over, unless somebody has ended them, or paused the function himself since. Part of
-- the upkeep, so that a pause ends even if no watch is left; one that cannot get the app's lock now is ended the next time.
-- Returns how many functions it resumed. Locks: the app's, exclusive.
create or replace function secateur.end_guard_pauses(app_id text)
  returns integer
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  one secateur.alert_episodes;
  ended integer := 0;
begin
  for one in select over.* from secateur.alert_episodes as over
              where over.app_id = end_guard_pauses.app_id and not over.pause_is_over and over.paused_until <= clock_timestamp()
              limit 20 loop
    exit when not secateur.try_lock_app(one.app_id, '50 ms');
    if exists (select from secateur.functions as paused
                where paused.app_id = one.app_id and paused.function_id = one.function_id and paused.paused_by = one.paused_by) then
      perform secateur.resume(one.app_id, one.function_id, one.paused_by, 'watch');
      ended := ended + 1;
    end if;
    update secateur.alert_episodes as over
       set pause_is_over = true
     where over.app_id = one.app_id and over.function_id = one.function_id and over.queue = one.queue and over.rule = one.rule;
  end loop;
  return ended;
end
$$;
