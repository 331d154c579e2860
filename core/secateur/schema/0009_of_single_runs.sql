-- The cancellations of one run: looked up by its id, however long the history of its app is.
create index cancellations_of_run on secateur.cancellations (run_id, app_id) where run_id is not null;
