CREATE TABLE teams (
	number      {{serial}},
	id          {{text}} NOT NULL UNIQUE,
	uuid        {{text}} NOT NULL UNIQUE,
	revision    BIGINT NOT NULL,
	created_at  BIGINT NOT NULL,
	updated_at  BIGINT NOT NULL,
	slug        {{text}} NOT NULL UNIQUE,
	name        {{text}} NOT NULL UNIQUE,
	description {{text}} NOT NULL
);
CREATE INDEX teams_created ON teams (created_at, id);

CREATE TABLE owners (
	id          {{text}} PRIMARY KEY,
	uuid        {{text}} NOT NULL UNIQUE,
	revision    BIGINT NOT NULL,
	created_at  BIGINT NOT NULL,
	updated_at  BIGINT NOT NULL,
	team        {{text}} NOT NULL REFERENCES teams (id),
	name        {{text}} NOT NULL,
	email       {{text}} NOT NULL,
	UNIQUE (team, name)
);
CREATE INDEX owners_created ON owners (created_at, id);
CREATE INDEX owners_name ON owners (name, id);

CREATE TABLE principals (
	id          {{text}} PRIMARY KEY,
	uuid        {{text}} NOT NULL UNIQUE,
	revision    BIGINT NOT NULL,
	created_at  BIGINT NOT NULL,
	updated_at  BIGINT NOT NULL,
	kind        {{text}} NOT NULL,
	name        {{text}} NOT NULL,
	team        {{text}} NOT NULL
);

CREATE TABLE credentials (
	number       {{serial}},
	id           {{text}} NOT NULL UNIQUE,
	uuid         {{text}} NOT NULL UNIQUE,
	revision     BIGINT NOT NULL,
	created_at   BIGINT NOT NULL,
	updated_at   BIGINT NOT NULL,
	principal    {{text}} NOT NULL REFERENCES principals (id),
	kind         {{text}} NOT NULL,
	name         {{text}} NOT NULL,
	team         {{text}} NOT NULL,
	hash         {{blob}} NOT NULL UNIQUE,
	subject      {{text}} NOT NULL,
	expires_at   BIGINT NOT NULL,
	uses_left    INTEGER NOT NULL,
	last_used_at BIGINT NOT NULL,
	revoked_at   BIGINT NOT NULL
);
CREATE UNIQUE INDEX credentials_name ON credentials (name) WHERE kind = 'key' AND revoked_at = 0;
CREATE INDEX credentials_principal ON credentials (principal);

CREATE TABLE grants (
	principal  {{text}} NOT NULL REFERENCES principals (id),
	role       {{text}} NOT NULL,
	team       {{text}} NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (principal, role, team)
) {{rowless}};
