-- Pauses by guards of `secateur watch`, which can only pause functions of secateur's own queue.

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
  held boolean;
begin
  perform secateur.require_name('app_id', guard_pause.app_id);
  perform secateur.require_name('function_id', guard_pause.function_id);
  perform secateur.require_name('author', guard_pause.author);
  perform secateur.require_interval('lasts', guard_pause.lasts, '1 second', '7 days');
  -- The lock before the episode, as end_guard_pauses takes them.
  perform secateur.require_read_committed();
  held := secateur.try_lock_app(guard_pause.app_id, '4.5 seconds');
  select one.* into known from secateur.alert_episodes as one
   where one.app_id = guard_pause.app_id and one.function_id = guard_pause.function_id
     and one.queue = guard_pause.queue and one.rule = guard_pause.rule
     for update;
  if not found then
    raise exception using errcode = 'SC404', message = 'there is no such episode';
  elsif known.paused_until is not null then
    return known.paused_until;
  end if;
  perform secateur.write_pause(guard_pause.app_id, guard_pause.function_id, guard_pause.author, 'watch', held);
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
-- the upkeep, so that a pause ends even if no watch is left. Returns how many functions it resumed. Locks: as resume.
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
    perform secateur.try_lock_app(one.app_id, '50 ms');
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
