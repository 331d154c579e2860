-- Their places are taken by functions with one parameter more, `durable`.
drop function if exists secateur.complete_and_claim(text, uuid[], uuid[], text[], integer, text, interval);
drop function if exists secateur.begin_step(text, uuid, uuid, text);
