ALTER TABLE profiles ADD COLUMN name_types {{text}} NOT NULL DEFAULT '[]';
UPDATE profiles SET name_types = '["dns","ip"]' WHERE id = 'prof-server';
