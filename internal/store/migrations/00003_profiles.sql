CREATE TABLE profiles (
	number        {{serial}},
	id            {{text}} NOT NULL UNIQUE,
	uuid          {{text}} NOT NULL UNIQUE,
	revision      BIGINT NOT NULL,
	created_at    BIGINT NOT NULL,
	updated_at    BIGINT NOT NULL,
	team          {{text}} NOT NULL,
	name          {{text}} NOT NULL,
	description   {{text}} NOT NULL,
	keys          {{text}} NOT NULL,
	max_ttl       BIGINT NOT NULL,
	default_ttl   BIGINT NOT NULL,
	backdate      BIGINT NOT NULL,
	ekus          {{text}} NOT NULL,
	required_sans {{text}} NOT NULL,
	spiffe        {{text}} NOT NULL,
	allow_short   BOOLEAN NOT NULL,
	cut_to_issuer BOOLEAN NOT NULL,
	enabled       BOOLEAN NOT NULL,
	UNIQUE (team, name)
);
CREATE INDEX profiles_created ON profiles (created_at, id);
CREATE INDEX profiles_name ON profiles (name, id);

CREATE TABLE renewal_policies (
	id             {{text}} PRIMARY KEY,
	uuid           {{text}} NOT NULL UNIQUE,
	revision       BIGINT NOT NULL,
	created_at     BIGINT NOT NULL,
	updated_at     BIGINT NOT NULL,
	team           {{text}} NOT NULL,
	name           {{text}} NOT NULL,
	window_days    BIGINT NOT NULL,
	auto_renew     BOOLEAN NOT NULL,
	max_retries    BIGINT NOT NULL,
	retry_interval BIGINT NOT NULL,
	thresholds     {{text}} NOT NULL,
	literal_window BOOLEAN NOT NULL,
	UNIQUE (team, name)
);
CREATE INDEX renewal_policies_created ON renewal_policies (created_at, id);
CREATE INDEX renewal_policies_name ON renewal_policies (name, id);
