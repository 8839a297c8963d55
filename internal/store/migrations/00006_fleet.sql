CREATE TABLE agents (
	id          {{text}} PRIMARY KEY,
	uuid        {{text}} NOT NULL UNIQUE,
	revision    BIGINT NOT NULL,
	created_at  BIGINT NOT NULL,
	updated_at  BIGINT NOT NULL,
	team              {{text}} NOT NULL,
	name              {{text}} NOT NULL,
	principal         {{text}} NOT NULL,
	hostname          {{text}} NOT NULL,
	os                {{text}} NOT NULL,
	architecture      {{text}} NOT NULL,
	ip_address        {{text}} NOT NULL,
	version           {{text}} NOT NULL,
	last_heartbeat_at BIGINT NOT NULL,
	registered_at     BIGINT NOT NULL,
	retired_at        BIGINT NOT NULL,
	retired_reason    {{text}} NOT NULL,
	deploy_failed     BOOLEAN NOT NULL,
	clock_skew        BIGINT NOT NULL,
	ours              BOOLEAN NOT NULL
);
CREATE UNIQUE INDEX agents_name ON agents (team, name) WHERE retired_at = 0;
CREATE INDEX agents_names ON agents (name, id);
CREATE INDEX agents_created ON agents (created_at, id);
CREATE INDEX agents_heartbeat ON agents (last_heartbeat_at, id);
CREATE INDEX agents_retired ON agents (retired_at, id) WHERE retired_at > 0;
CREATE UNIQUE INDEX agents_principal ON agents (principal) WHERE principal <> '';

CREATE TABLE targets (
	id          {{text}} PRIMARY KEY,
	uuid        {{text}} NOT NULL UNIQUE,
	revision    BIGINT NOT NULL,
	created_at  BIGINT NOT NULL,
	updated_at  BIGINT NOT NULL,
	team              {{text}} NOT NULL,
	name              {{text}} NOT NULL,
	type              {{text}} NOT NULL,
	agent             {{text}} NOT NULL REFERENCES agents (id),
	config            {{text}} NOT NULL,
	sealed            {{blob}} NOT NULL,
	secrets_set       {{text}} NOT NULL,
	enabled           BOOLEAN NOT NULL,
	UNIQUE (team, name)
);
CREATE INDEX targets_name ON targets (name, id);
CREATE INDEX targets_created ON targets (created_at, id);
CREATE INDEX targets_agent ON targets (agent, id);
CREATE INDEX targets_type ON targets (type, id);
