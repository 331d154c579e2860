-- part: queue
-- They answer, or take, something else now.
drop function if exists secateur.pause(text, text, text, text);
drop function if exists secateur.withdraw_requests(text, uuid);
