-- Functions and apps that no longer exist: hidden, never deleted.
--
-- A forgotten function is left out of the depth while none of its runs waits or runs, and events start no runs of it. Nothing else
-- reads the mark: any run of the function is counted, claimed, cancelled and restored as usual. So forgetting need not see every
-- open transaction.

-- Removes the mark from those of these functions that have one. Waits for nobody: if another transaction is removing it and then
-- rolls back, the mark stays until the next call.
create or replace function secateur.recall_functions(app_id text, function_ids text[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  function text;
begin
  for function in
    select gone.function_id
      from secateur.forgotten_functions as gone
     where gone.app_id = recall_functions.app_id and gone.function_id = any (recall_functions.function_ids)
       for update skip locked
  loop
    delete from secateur.forgotten_functions as gone
     where gone.app_id = recall_functions.app_id and gone.function_id = function;
  end loop;
end
$$;

-- Why these functions of the app cannot be forgotten, in words; null if they can. Counts at most a thousand runs of each function
-- and status.
create or replace function secateur.unfinished_of(app_id text, function_ids text[])
  returns text
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  return nullif(concat_ws(', ',
    (select string_agg(format('%s has %s %s %s', named.function_id,
                              case when found.runs > 1000 then 'more than 1000' else found.runs::text end, kind.status,
                              case when found.runs = 1 then 'run' else 'runs' end), ', ' order by named.place, kind.place)
       from unnest(unfinished_of.function_ids) with ordinality as named (function_id, place),
            unnest(array['queued', 'scheduled', 'running']) with ordinality as kind (status, place),
            lateral (select count(*) as runs
                       from (select from secateur.runs as run
                              where run.app_id = unfinished_of.app_id and run.function_id = named.function_id
                                and run.status in ('queued', 'scheduled', 'running') and run.status = kind.status
                              limit 1001) as one) as found
      where found.runs > 0),
    (select string_agg(case rule.state
                         when 'active' then format('cancellation %s is active', rule.id)
                         when 'retrying' then format('retry %s is under way', rule.id)
                         when 'stopped' then format('an open transaction may still act for the stopped cancellation %s', rule.id)
                         else format('the undo of %s still restores runs', rule.id) end, ', ' order by rule.serial)
       from secateur.open_cancellations() as open,
            lateral (select one.id, one.state, one.function_id, one.serial from secateur.cancellations as one
                      where one.app_id = open.app_id and one.id = open.id offset 0) as rule
      where open.app_id = unfinished_of.app_id
        and (rule.function_id is null or rule.function_id = any (unfinished_of.function_ids)))), '');
end
$$;

-- Forgets a function or, with null, all functions of the app, and so the app: they are left out of the depth, and events start
-- no runs of them. Their history is kept: finished runs, cancellations, the audit. A function comes back by
-- itself when something is enqueued into it, or when a worker registers it, or claims and names it. Returns those that were
-- not forgotten before. Repeatable.
--
-- Raises SC404; SC409, with what is in the way, while a run of one of them, or a cancellation, retry or undo that concerns it, is
-- not finished; SC423. A run that is enqueued at the same time is never lost: see above.
-- Locks: the app's, exclusive.
create or replace function secateur.forget(app_id text, function_id text, author text, source text)
  returns text[]
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  wanted text[];
  forgotten text[];
  unfinished text;
begin
  perform secateur.require_read_committed();
  perform secateur.require_author(forget.author, forget.source);
  perform secateur.require_known(forget.app_id, forget.function_id);
  perform secateur.lock_app(forget.app_id);
  wanted := array(
    select known.function_id from secateur.functions as known
     where known.app_id = forget.app_id and (forget.function_id is null or known.function_id = forget.function_id)
     order by known.function_id);
  unfinished := secateur.unfinished_of(forget.app_id, wanted);
  if unfinished is not null then
    raise exception using
      errcode = 'SC409',
      message = format('%s cannot be forgotten yet: %s', concat_ws(' / ', forget.app_id, forget.function_id), unfinished),
      hint = 'let its runs end or cancel them, and its cancellations, retries and undos become complete or stop them; then'
             ' forget it';
  end if;
  -- A mark that an open transaction is removing still counts here; this does not wait for it.
  with marked as (
    insert into secateur.forgotten_functions (app_id, function_id)
    select forget.app_id, named.function_id
      from unnest(wanted) as named (function_id)
     where not exists (select from secateur.forgotten_functions as gone
                        where gone.app_id = forget.app_id and gone.function_id = named.function_id)
    returning forgotten_functions.function_id
  )
  select array_agg(marked.function_id order by marked.function_id) into forgotten from marked;
  if forgotten is null then
    return '{}';
  end if;
  perform secateur.record_audit('forget', forget.app_id, forget.function_id, null, forget.author, forget.source,
                                jsonb_build_object('functions', forgotten));
  -- A worker that still has one of them looks at once, and so brings it back.
  perform secateur.wake(forget.app_id);
  return forgotten;
end
$$;
