-- Since when a version in use is revoked for good although its certificate is not: it is to be renewed. The newest of slots that serve
-- nothing any more are among them until the server looks.
ALTER TABLE certificates ADD COLUMN struck_at BIGINT NOT NULL DEFAULT 0;
UPDATE certificates SET struck_at = v.at, window_at = CASE WHEN window_at = 0 OR window_at > v.at THEN v.at ELSE window_at END
	FROM (SELECT certificate, min(revoked_at) AS at FROM versions WHERE current AND revoked_at > 0 AND revocation_reason <> 'certificateHold' GROUP BY certificate) AS v
	WHERE v.certificate = certificates.id AND certificates.revoked_at = 0 AND certificates.archived_at = 0;
CREATE INDEX certificates_struck ON certificates (created_at, id) WHERE struck_at > 0;
