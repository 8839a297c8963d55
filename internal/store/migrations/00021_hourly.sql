-- Whether a root counts among the renewals of an hour: one that was begun by the clock, and had to wait for its turn.
ALTER TABLE jobs ADD COLUMN hourly BOOLEAN NOT NULL DEFAULT TRUE;
