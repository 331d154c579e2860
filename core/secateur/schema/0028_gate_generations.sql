-- A gate's generated function says itself whether anything is active, and its generation is the id of the transaction that made it.

alter table secateur.gates drop column active;
