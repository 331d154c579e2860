-- name: exist
-- Also revoked and expired ones: the last one that goes does not leave the door open.
select exists (select from secateur.api_tokens) as exist, clock_timestamp() as now

-- name: can_be_made
-- In a database without secateur's own tables there are none.
select to_regclass('secateur.api_tokens') is not null as exist, clock_timestamp() as now

-- name: token
-- By the public half, in one look at the primary key.
select token.token_id, token.name, token.scope, token.secret_hash, token.expires_at, token.revoked_at,
       coalesce(token.expires_at <= clock_timestamp(), false) as expired,
       token.last_used_at is null or token.last_used_at < clock_timestamp() - interval '1 minute' as unnoted,
       clock_timestamp() as now
  from secateur.api_tokens as token
 where token.token_id = $1

-- name: tokens
-- Newest first.
select token.token_id, token.name, token.scope, token.created_at, token.created_by, token.created_role, token.expires_at,
       token.revoked_at, token.revoked_by, token.last_used_at,
       coalesce(token.expires_at <= clock_timestamp(), false) as expired
  from secateur.api_tokens as token
 order by token.created_at desc, token.token_id

-- name: create_token
select made.token_id, made.name, made.scope, made.created_at, made.created_by, made.created_role, made.expires_at,
       made.revoked_at, made.revoked_by, made.last_used_at, false as expired
  from secateur.create_token($1, $2, $3, $4, clock_timestamp() + $5::interval, $6, $7, $8) as made

-- name: revoke_token
select gone.token_id, gone.name, gone.scope, gone.created_at, gone.created_by, gone.created_role, gone.expires_at,
       gone.revoked_at, gone.revoked_by, gone.last_used_at,
       coalesce(gone.expires_at <= clock_timestamp(), false) as expired
  from secateur.revoke_token($1, $2, $3) as gone

-- name: note_token_use
select secateur.note_token_use($1, $2, $3, $4)
