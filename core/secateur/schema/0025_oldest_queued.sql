-- It is a view now: see depth.sql.
drop function if exists secateur.oldest_queued(text, text);
