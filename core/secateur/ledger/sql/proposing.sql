-- Proposed cancellations. A proposal changes nothing. Once it is approved, its request can be committed under the key
-- `proposal:ID`, which makes only one cancellation, however often somebody tries.
--
-- Above an app's budget a cancellation can only be committed like that, and only if a login other than the proposer's has approved
-- it. The logins are the sessions' own (session_user), not what a client says. All users of an HTTP API server share its login;
-- there, two tokens count instead of two logins, if the server has proven both: see token_of.

-- Whether the decision came from another login, or another token, than the proposal.
create or replace function secateur.is_decided_by_another(one secateur.proposals)
  returns boolean
  language sql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
  select coalesce(one.decided_login <> one.proposed_login or one.decided_token <> one.proposed_token, false)
$$;

-- Stores a proposal that expires `lifetime` from now. `request` is a body of POST /v1/cancellations, `app_id` its app as the
-- database calls it, `installation` the other engine's queue (null: secateur's own), and `seen` what the author was shown.
-- `token_id` and `proof`: see token_of. Raises SC422 with the field, SC409 if there are too many open ones, or one of that id with
-- another request. Repeatable.
create or replace function secateur.propose_cancellation(
  id uuid, app_id text, installation text, request jsonb, reasoning text, seen jsonb, lifetime interval, author text, source text,
  token_id text default null, proof text default null
)
  returns secateur.proposals
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  moment constant timestamptz := clock_timestamp();
  token constant text := secateur.token_of(token_id, proof);
  made secateur.proposals;
begin
  -- Whoever speaks MCP may propose, and commits nothing.
  perform secateur.require_author(
    propose_cancellation.author, case when propose_cancellation.source = 'mcp' then 'api' else propose_cancellation.source end);
  if propose_cancellation.id is null then
    raise exception using errcode = 'SC422', column = 'id', message = 'id: must not be null';
  end if;
  perform secateur.require_name('app_id', propose_cancellation.app_id, 500);
  if propose_cancellation.installation is not null then
    perform secateur.require_name('installation', propose_cancellation.installation);
  end if;
  perform secateur.require_object('request', propose_cancellation.request, 1000000);
  perform secateur.require_text('reasoning', propose_cancellation.reasoning, 10000);
  if propose_cancellation.seen is not null then
    perform secateur.require_object('seen', propose_cancellation.seen, 100000);
  end if;
  perform secateur.require_interval('lifetime', propose_cancellation.lifetime, '1 minute', '30 days');
  select known.* into made from secateur.proposals as known
   where known.app_id = propose_cancellation.app_id and known.id = propose_cancellation.id;
  if found then
    if made.request <> propose_cancellation.request then
      raise exception using errcode = 'SC409', message = format('proposal %s is of another request', made.id), hint = 'choose a new id, or a new idempotency key';
    end if;
    return made;
  end if;
  if (select count(*) from (
        select from secateur.proposals as open
         where open.app_id = propose_cancellation.app_id and open.decision is null and open.expires_at > moment
         limit 100) as one) = 100 then
    raise exception using errcode = 'SC409', column = 'app_id',
      message = format('app %s has 100 open proposals already', quote_literal(propose_cancellation.app_id)),
      hint = 'approve or reject some of them first';
  end if;
  insert into secateur.proposals (
    app_id, id, installation, request, reasoning, seen, source, proposed_by, proposed_login, proposed_token, proposed_at,
    expires_at)
  values (
    propose_cancellation.app_id, propose_cancellation.id, propose_cancellation.installation, propose_cancellation.request,
    propose_cancellation.reasoning, propose_cancellation.seen, coalesce(propose_cancellation.source, 'python'),
    coalesce(propose_cancellation.author, session_user),
    session_user, token, moment, moment + propose_cancellation.lifetime)
  returning * into made;
  perform secateur.record_audit(
    'propose', made.app_id, null, null, propose_cancellation.author, propose_cancellation.source,
    jsonb_build_object('proposal', made.id, 'request', made.request));
  return made;
end
$$;

-- Approves or rejects a proposal. The client that approves it also commits it, under the key `proposal:ID`. Repeatable: the same
-- decision gets the same answer again. Raises SC404; SC409 if it has expired or somebody has decided otherwise; SC403 if the app
-- has a budget and the login (or the token: see token_of) that would approve it has also proposed it. Locks: the proposal.
create or replace function secateur.decide_proposal(
  app_id text, id uuid, decision text, author text, source text, reason text default null,
  token_id text default null, proof text default null
)
  returns secateur.proposals
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  moment constant timestamptz := clock_timestamp();
  token constant text := secateur.token_of(token_id, proof);
  known secateur.proposals;
begin
  perform secateur.require_record(decide_proposal.reason, decide_proposal.author, decide_proposal.source);
  if decide_proposal.decision is null or decide_proposal.decision not in ('approved', 'rejected') then
    raise exception using errcode = 'SC422', column = 'decision', message = 'decision: must be approved or rejected';
  end if;
  select one.* into known from secateur.proposals as one
   where one.app_id = decide_proposal.app_id and one.id = decide_proposal.id
     for update;
  if not found then
    raise exception using errcode = 'SC404', message = format('there is no proposal %s', decide_proposal.id);
  elsif known.decision is not null and (known.decision <> decide_proposal.decision or known.decided_login <> session_user
                                        or known.decided_token is distinct from token) then
    raise exception using errcode = 'SC409',
      message = format('proposal %s was %s by %s before', known.id, known.decision, known.decided_by);
  elsif known.decision is not null then
    return known;
  elsif known.expires_at <= moment then
    raise exception using errcode = 'SC409', message = format('proposal %s has expired', known.id), hint = 'propose it again';
  end if;
  known.decision := decide_proposal.decision;
  known.decided_login := session_user;
  known.decided_token := token;
  if known.decision = 'approved' and not secateur.is_decided_by_another(known) and secateur.budget_of(known.app_id) is not null then
    raise exception using errcode = 'SC403',
      message = case
        when known.proposed_token is null or token is null
        then format('proposal %s was made by your own login, %s: another one has to approve it', known.id, session_user)
        else format('proposal %s was made with your own token, %L: another one has to approve it', known.id, token) end,
      hint = format('app %s has a budget, so two logins are needed; over HTTP two tokens, which another login than the server''s has created',
                    quote_literal(known.app_id));
  end if;
  update secateur.proposals as one
     set decision = known.decision, decided_by = coalesce(author, session_user), decided_login = known.decided_login,
         decided_token = known.decided_token, decided_at = moment, decision_reason = reason
   where one.app_id = known.app_id and one.id = known.id
  returning one.* into known;
  perform secateur.record_audit(
    case known.decision when 'approved' then 'approve' else 'reject' end, known.app_id, null, null,
    decide_proposal.author, decide_proposal.source,
    jsonb_build_object('proposal', known.id, 'request', known.request, 'proposed_by', known.proposed_by,
                       'proposed_login', known.proposed_login, 'proposed_token', known.proposed_token, 'token', known.decided_token,
                       'reason', known.decision_reason));
  return known;
end
$$;

-- How many runs one login may cancel in one go in that app; null: as many as it likes.
create or replace function secateur.budget_of(app_id text)
  returns bigint
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $$
  select budget.runs from secateur.budgets as budget
   where budget.app_id in (budget_of.app_id, '') order by budget.app_id desc limit 1
$$;

-- Sets the budget of an app, or with '' of every app that has none of its own; null removes it. Only the owner of the schema may do
-- this: a login that works under a budget must not be able to raise it.
create or replace function secateur.set_budget(app_id text, runs bigint, author text, source text)
  returns bigint
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  before bigint;
begin
  perform secateur.require_author(set_budget.author, set_budget.source);
  if set_budget.app_id is null or set_budget.app_id <> '' then
    perform secateur.require_name('app_id', set_budget.app_id, 500);
  end if;
  if set_budget.runs is not null then
    perform secateur.require_number('runs', set_budget.runs, 0, 9007199254740991);
  end if;
  select budget.runs into before from secateur.budgets as budget where budget.app_id = set_budget.app_id for update;
  if set_budget.runs is null then
    delete from secateur.budgets as budget where budget.app_id = set_budget.app_id;
  else
    insert into secateur.budgets as budget (app_id, runs, set_login) values (set_budget.app_id, set_budget.runs, session_user)
    on conflict on constraint budgets_pkey do update set runs = excluded.runs, set_login = excluded.set_login, set_at = default;
  end if;
  if before is distinct from set_budget.runs then
    perform secateur.record_audit('budget', set_budget.app_id, null, null, set_budget.author, set_budget.source,
      jsonb_build_object('before', before, 'after', set_budget.runs));
  end if;
  return set_budget.runs;
end
$$;

-- Raises SC403 unless this login may commit the draft: the app has no budget, or the draft cannot exceed it, or its proposal was
-- approved. A standing cancellation has no bound, so it needs approval wherever there is a budget. So does one in another engine's
-- queue, whose runs only that engine's statements can count. Cancellations of a single run or by an event need none.
create or replace function secateur.require_within_budget(draft secateur.cancellations, function_ids text[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  most constant bigint := secateur.budget_of(draft.app_id);
  proposed boolean;
  -- What cannot be counted here does: another engine's queue, and a standing one.
  exceeds boolean;
begin
  if draft.kind <> 'bulk' or draft.source = 'event' then
    return;
  end if;
  -- Were it committed now, one key would make two cancellations.
  proposed := exists (
    select from secateur.proposals as known
     where known.app_id = draft.app_id and known.id = md5(draft.app_id || E'\n' || draft.idempotency_key)::uuid);
  if most is null and not proposed then
    return;
  end if;
  if exists (select from secateur.proposals as approved
              where approved.app_id = draft.app_id and approved.decision = 'approved'
                and draft.idempotency_key = 'proposal:' || approved.id
                and approved.decided_login = session_user and secateur.is_decided_by_another(approved)
                and approved.request - 'app_id' = draft.request - 'app_id') then
    return;
  end if;
  if (secateur.committed_under(draft.app_id, draft.idempotency_key, draft.request)).id is not null then
    return;
  elsif most is null then
    raise exception using errcode = 'SC403', column = 'app_id', message = 'it was proposed under this idempotency key before',
      hint = 'let another login approve the proposal, or choose a new key';
  end if;
  exceeds := proposed or coalesce(draft.standing, false) or draft.gated is not null;
  if not exceeds then
    exceeds := secateur.exceeds(draft, function_ids, most);
  end if;
  if exceeds then
    raise exception using errcode = 'SC403', column = 'app_id',
      message = format('this would cancel more than the %s runs that one login may cancel at once in app %s', most,
                       quote_literal(draft.app_id)),
      hint = 'propose it, and let another login approve it: secateur propose';
  end if;
end
$$;

-- Each proposal as one document, with the cancellations that an approved proposal has become. Their keys are those of records_of.
create or replace view secateur.proposal_documents as
select one.id, one.serial, one.decision, one.expires_at,
       to_jsonb(one) || jsonb_build_object(
         'has_expired', one.decision is null and one.expires_at <= now(),
         'cancellation_ids', coalesce(
           (select jsonb_agg(made.id order by made.serial)
              from (select 'proposal:' || one.id as key
                    union all
                    select 'proposal:' || one.id || ' ' || named.id
                      from jsonb_array_elements_text(
                             case when jsonb_typeof(one.request -> 'function_ids') = 'array' then one.request -> 'function_ids'
                                  else '[]' end) as named (id)) as wanted
             -- By its key, however few cancellations the planner expects.
             cross join lateral (select rule.id, rule.serial from secateur.cancellations as rule
                                  where rule.app_id = one.app_id and rule.idempotency_key = wanted.key
                                 offset 0) as made), '[]')) as document
  from secateur.proposals as one;
