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
