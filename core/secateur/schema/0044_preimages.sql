-- A sweep writes pre-images by the thousand, and must keep up with the cancels themselves.

-- To check the reference row by row took as long as all cancels of a batch. take_jobs and end_job_restore look for the cancellation once a
-- batch, and no cancellation is ever deleted.
alter table secateur.preimages drop constraint preimages_app_id_cancellation_id_fkey;

-- Each batch asks for the running jobs that its cancellation waits for. preimages_open has all that it has cancelled so far as well.
create index preimages_running on secateur.preimages (app_id, cancellation_id, job_id) where was_running and outcome is null;
