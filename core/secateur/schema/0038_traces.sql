-- The trace in which a run was sent: W3C's `traceparent`, for the worker that goes on with it.

-- It comes with the sender's transaction, by a setting, so that no function that queues runs has to know of it: it is no part of the
-- event, which is the user's. What does not have the form is left out.
alter table secateur.runs add column traceparent text;
alter table secateur.runs alter column traceparent set default
  case when current_setting('secateur.traceparent', true) ~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'
       then current_setting('secateur.traceparent', true) end;
