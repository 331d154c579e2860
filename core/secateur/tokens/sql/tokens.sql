-- Tokens of the HTTP API. The server finds a token's row by its public half, and compares the hash of the secret half itself.

-- Creates a token; its secret half never comes here. Raises SC422 for a value out of bounds, and SC409 if there is a token of
-- that name already which was not revoked, even an expired one: the audit tells tokens apart by their names.
create or replace function secateur.create_token(
  token_id text, name text, scope text, secret_hash text, expires_at timestamptz, author text, source text, proof_hash text default null
)
  returns secateur.api_tokens
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  made secateur.api_tokens;
begin
  perform secateur.require_name('name', create_token.name, 64);
  if create_token.name ~ '^[[:space:]]|[[:space:]]$' then
    raise exception using errcode = 'SC422', column = 'name', message = 'name: must not begin or end with a space';
  end if;
  perform secateur.require_name('author', create_token.author);
  perform secateur.require_name('source', create_token.source);
  if (create_token.scope in ('viewer', 'operator')) is not true then
    raise exception using errcode = 'SC422', column = 'scope', message = 'scope: must be viewer or operator';
  elsif (create_token.token_id ~ '^[0-9a-f]{16}$') is not true then
    raise exception using errcode = 'SC422', column = 'token_id', message = 'token_id: must be 16 hexadecimal digits';
  elsif (create_token.secret_hash ~ '^[0-9a-f]{64}$') is not true then
    raise exception using errcode = 'SC422', column = 'secret_hash', message = 'secret_hash: must be 64 hexadecimal digits';
  elsif create_token.proof_hash !~ '^[0-9a-f]{64}$' then
    raise exception using errcode = 'SC422', column = 'proof_hash', message = 'proof_hash: must be 64 hexadecimal digits';
  end if;
  perform secateur.require_instant('expires_at', create_token.expires_at);
  if create_token.expires_at <= clock_timestamp() then
    raise exception using errcode = 'SC422', column = 'expires_at', message = 'expires_at: must be in the future';
  end if;
  insert into secateur.api_tokens (token_id, name, scope, secret_hash, created_by, expires_at, proof_hash)
  values (create_token.token_id, create_token.name, create_token.scope, create_token.secret_hash, create_token.author,
          create_token.expires_at, create_token.proof_hash)
  on conflict do nothing
  returning * into made;
  if made.token_id is null then
    raise exception using errcode = 'SC409', column = 'name',
      message = format('there is a token %L already', create_token.name),
      hint = 'choose another name, or revoke that token first';
  end if;
  perform secateur.record_audit(
    'create_token', '', null, null, create_token.author, create_token.source,
    jsonb_build_object('token', made.name, 'token_id', made.token_id, 'scope', made.scope, 'expires_at', made.expires_at));
  return made;
end
$$;

-- Revokes the token of that name: from the next request on it is refused. Repeatable. Raises SC404 if there never was one.
create or replace function secateur.revoke_token(name text, author text, source text)
  returns secateur.api_tokens
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  revoked secateur.api_tokens;
begin
  perform secateur.require_name('author', revoke_token.author);
  perform secateur.require_name('source', revoke_token.source);
  update secateur.api_tokens as token
     set revoked_at = clock_timestamp(), revoked_by = revoke_token.author
   where token.name = revoke_token.name and token.revoked_at is null
  returning token.* into revoked;
  if found then
    perform secateur.record_audit(
      'revoke_token', '', null, null, revoke_token.author, revoke_token.source,
      jsonb_build_object('token', revoked.name, 'token_id', revoked.token_id, 'scope', revoked.scope,
                         'last_used_at', revoked.last_used_at));
    return revoked;
  end if;
  select token.* into revoked
    from secateur.api_tokens as token
   where token.name = revoke_token.name
   order by token.revoked_at desc limit 1;
  if revoked.token_id is null then
    raise exception using errcode = 'SC404', message = format('there is no token %L', left(revoke_token.name, 200));
  end if;
  return revoked;
end
$$;

-- Notes that a token is used: when, once a minute at most, and for a request that may change something in the audit, under the
-- token's name. `method` null is a request that only reads. `path` is without the query, `address` is that of the HTTP client.
create or replace function secateur.note_token_use(token_id text, method text, path text, address text)
  returns void
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  used secateur.api_tokens;
begin
  perform secateur.require_text('method', note_token_use.method, 20);
  perform secateur.require_text('path', note_token_use.path, 1000);
  perform secateur.require_text('address', note_token_use.address, 100);
  select token.* into used from secateur.api_tokens as token where token.token_id = note_token_use.token_id;
  if used.token_id is null then
    raise exception using errcode = 'SC404', message = 'there is no such token';
  end if;
  -- Requests that come together do not wait for each other.
  update secateur.api_tokens as token
     set last_used_at = clock_timestamp()
   where token.token_id = (select stale.token_id
                             from secateur.api_tokens as stale
                            where stale.token_id = used.token_id
                              and (stale.last_used_at is null or stale.last_used_at < clock_timestamp() - interval '1 minute')
                              for update skip locked);
  if note_token_use.method is not null then
    perform secateur.record_audit(
      'request', '', null, null, format('token %s', used.name), 'api',
      jsonb_build_object('method', note_token_use.method, 'path', note_token_use.path, 'from', note_token_use.address));
  end if;
end
$$;

-- The name of the token in whose name this login acts; null if it acts for itself (`token_id` null), or if that proves nobody else: a
-- login could have created any number of tokens, so its own do not count. `proof` is what only who has the token's text can tell, and
-- what nobody can send as a token. Raises SC422 if the token is unknown or invalid, may only read, or if the proof is wrong.
create or replace function secateur.token_of(token_id text, proof text)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  shown secateur.api_tokens;
begin
  if token_of.token_id is null then
    return null;
  end if;
  perform secateur.require_text('token_id', token_of.token_id, 100);
  perform secateur.require_text('proof', token_of.proof, 100);
  select token.* into shown from secateur.api_tokens as token where token.token_id = token_of.token_id;
  if shown.proof_hash is null then
    if shown.token_id is null then
      raise exception using errcode = 'SC422', column = 'token_id', message = 'token_id: there is no such token';
    end if;
    return null;
  elsif shown.revoked_at is not null or shown.expires_at <= clock_timestamp() or shown.scope <> 'operator'
        or shown.proof_hash is distinct from encode(sha256(convert_to(coalesce(token_of.proof, ''), 'UTF8')), 'hex') then
    raise exception using errcode = 'SC422', column = 'proof', message = format('proof: it does not prove the token %L', shown.name);
  end if;
  return case when shown.created_role <> session_user then shown.name end;
end
$$;
