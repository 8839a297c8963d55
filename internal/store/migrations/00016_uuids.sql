-- Nobody looks for these by their UUID. On SQLite, which takes no constraint off a table, the tables are made anew instead.
ALTER TABLE keys DROP CONSTRAINT IF EXISTS keys_uuid_key;
ALTER TABLE jobs DROP CONSTRAINT IF EXISTS jobs_uuid_key;
ALTER TABLE requests DROP CONSTRAINT IF EXISTS requests_uuid_key;
ALTER TABLE installations DROP CONSTRAINT IF EXISTS installations_uuid_key;
ALTER TABLE endpoints DROP CONSTRAINT IF EXISTS endpoints_uuid_key;
ALTER TABLE batches DROP CONSTRAINT IF EXISTS batches_uuid_key;
