-- name: propose
select (secateur.propose_cancellation($1, $2, $3, $4::jsonb, $5, $6::jsonb, $7, $8, $9, $10, $11)).id

-- name: decide
select (secateur.decide_proposal($1, $2, $3, $4, $5, $6, $7, $8)).id

-- name: proposal
select one.document from secateur.proposal_documents as one where one.id = $1

-- name: proposals
-- The newest first: those that are open ($1), or all.
select one.document
  from secateur.proposal_documents as one
 where not $1::boolean or one.decision is null and one.expires_at > now()
 order by one.serial desc
 limit $2

-- name: budget
select secateur.set_budget($1, $2, $3, $4)

-- name: budgets
select app_id, runs, set_login, set_at from secateur.budgets order by app_id

-- name: login
select session_user::text
