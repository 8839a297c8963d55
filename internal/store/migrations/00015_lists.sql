-- Lists leave archived certificates out: where indexes do so too, or say which are archived, pages are skipped and rows
-- counted without a look at the table.
DROP INDEX certificates_created;
DROP INDEX certificates_updated;
DROP INDEX certificates_names;
DROP INDEX certificates_common;
DROP INDEX certificates_expiry;
DROP INDEX certificates_owner;
DROP INDEX certificates_profile;
DROP INDEX certificates_issuer;
DROP INDEX certificates_policy;
DROP INDEX certificates_environment;
DROP INDEX certificates_team;
CREATE INDEX certificates_created ON certificates (created_at, id) WHERE archived_at = 0;
CREATE INDEX certificates_updated ON certificates (updated_at, id) WHERE archived_at = 0;
CREATE INDEX certificates_names ON certificates (name, id) WHERE archived_at = 0;
CREATE INDEX certificates_common ON certificates (common_name, id) WHERE archived_at = 0;
CREATE INDEX certificates_expiry ON certificates (expires_at, id) WHERE archived_at = 0;
CREATE INDEX certificates_owner ON certificates (owner, created_at, id, archived_at);
CREATE INDEX certificates_profile ON certificates (profile, created_at, id, archived_at);
CREATE INDEX certificates_issuer ON certificates (issuer, created_at, id, archived_at);
CREATE INDEX certificates_policy ON certificates (policy, created_at, id, archived_at);
CREATE INDEX certificates_environment ON certificates (environment, created_at, id, archived_at);
CREATE INDEX certificates_team ON certificates (team, created_at, id, archived_at);

-- The states that few certificates are in.
CREATE INDEX certificates_archived ON certificates (created_at, id) WHERE archived_at > 0;
CREATE INDEX certificates_revoked ON certificates (created_at, id) WHERE archived_at = 0 AND revoked_at > 0;
CREATE INDEX certificates_failed ON certificates (created_at, id) WHERE archived_at = 0 AND failed_at > 0;
CREATE INDEX certificates_open ON certificates (created_at, id) WHERE archived_at = 0 AND open_job <> '';
CREATE INDEX certificates_pending ON certificates (created_at, id) WHERE archived_at = 0 AND version = '';
CREATE INDEX certificates_window ON certificates (window_at, id) WHERE archived_at = 0 AND window_at > 0;

-- The words that a certificate is found by, one a line: with them very many are searched in the order in which they are
-- shown. The words of archived certificates stand apart, so that others are counted without a look at each.
ALTER TABLE certificates ADD COLUMN words {{text}} NOT NULL DEFAULT '';
UPDATE certificates SET words = found.words
	FROM (SELECT id, '
' || string_agg(term, '
') AS words FROM terms WHERE noun = 'certificate' GROUP BY id) AS found
	WHERE found.id = certificates.id;
UPDATE terms SET noun = noun || '.archived'
	WHERE noun IN ('certificate', 'certificate.version') AND id IN (SELECT id FROM certificates WHERE archived_at > 0);
