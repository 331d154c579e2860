-- Proposals that come by a server of the HTTP API: whose token made them, and whose token decided.

alter table secateur.api_tokens
  -- The SHA-256 of what the server shows of a token to act in its name: see token_of. Null for a token of an older program.
  add column proof_hash text check (proof_hash ~ '^[0-9a-f]{64}$');

alter table secateur.proposals
  -- The token's name, if the token is proven. Null otherwise.
  add column proposed_token text,
  add column decided_token text;

-- They have more parameters now.
drop function if exists secateur.create_token(text, text, text, text, timestamptz, text, text);
drop function if exists secateur.propose_cancellation(uuid, text, text, jsonb, text, jsonb, interval, text, text);
drop function if exists secateur.decide_proposal(text, uuid, text, text, text, text);
