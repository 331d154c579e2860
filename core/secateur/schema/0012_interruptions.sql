-- What a run remembers of the workers that lost it or gave it back.
alter table secateur.runs
  -- The token of a claim whose lease ended, until somebody begins the run again: whoever held it may still say that it ended.
  add column last_token uuid,
  -- How often a worker that stopped gave it back after it had begun: that costs no attempt, a limited number of times.
  add column interruptions integer not null default 0;

-- Steps of an earlier attempt are kept: whoever claims the run asks finished_steps for them.
alter type secateur.claimed_run add attribute resumes boolean;

-- It gets more parameters, and would otherwise be there twice.
drop function if exists secateur.fail(text, uuid, uuid, text);
