-- Their places are taken by mark_idle, which says more, and by nothing_before with one parameter more.
drop function if exists secateur.fall_idle(text);
drop function if exists secateur.nothing_before(timestamptz, timestamptz);
