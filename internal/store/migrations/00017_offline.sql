-- The copy of a key that was handed out last, and what a key that comes back is sealed to.
ALTER TABLE authorities ADD COLUMN copy_sha256 {{text}} NOT NULL DEFAULT '';
ALTER TABLE authorities ADD COLUMN recipient {{text}} NOT NULL DEFAULT '';
ALTER TABLE authorities ADD COLUMN intake {{blob}} NOT NULL DEFAULT '';
ALTER TABLE authorities ADD COLUMN offline_at BIGINT NOT NULL DEFAULT 0;
