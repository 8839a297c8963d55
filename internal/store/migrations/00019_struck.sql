-- Since when a version in use is revoked for good although its certificate is not: it is to be renewed.
ALTER TABLE certificates ADD COLUMN struck_at BIGINT NOT NULL DEFAULT 0;
UPDATE certificates SET struck_at = v.revoked_at,
		window_at = CASE WHEN window_at = 0 OR window_at > v.revoked_at THEN v.revoked_at ELSE window_at END
	FROM versions v
	WHERE v.id = certificates.version AND v.revoked_at > 0 AND v.revocation_reason <> 'certificateHold'
		AND certificates.revoked_at = 0 AND certificates.archived_at = 0;
CREATE INDEX certificates_struck ON certificates (created_at, id) WHERE archived_at = 0 AND struck_at > 0;
