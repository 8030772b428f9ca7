-- Runs end with forgetting the old ones of their job.
GRANT DELETE ON job_runs TO app;
