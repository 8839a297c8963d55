CREATE TABLE lane_places (
	id     {{text}} PRIMARY KEY,
	lane   {{text}} NOT NULL,
	worker {{text}} NOT NULL,
	until  BIGINT NOT NULL
) {{rowless}};
CREATE INDEX jobs_renewals ON jobs (created_at) WHERE kind = 'root' AND type = 'Renewal';
