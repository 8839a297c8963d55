-- Whether a root counts among the renewals of an hour: one that was begun by the clock, and had to wait for its turn.
ALTER TABLE jobs ADD COLUMN hourly BOOLEAN NOT NULL DEFAULT TRUE;
DROP INDEX IF EXISTS jobs_renewals;
CREATE INDEX jobs_renewals ON jobs (created_at) WHERE kind = 'root' AND type = 'Renewal' AND hourly;
