CREATE TABLE settings (
	name  {{text}} PRIMARY KEY,
	value {{text}} NOT NULL
) {{rowless}};

CREATE TABLE leases (
	name   {{text}} PRIMARY KEY,
	holder {{text}} NOT NULL,
	epoch  BIGINT NOT NULL,
	until  BIGINT NOT NULL
) {{rowless}};

CREATE TABLE events (
	id            {{text}} PRIMARY KEY,
	seq           BIGINT NOT NULL,
	at            BIGINT NOT NULL,
	actor         {{text}} NOT NULL,
	actor_type    {{text}} NOT NULL,
	action        {{text}} NOT NULL,
	resource_type {{text}} NOT NULL,
	resource_id   {{text}} NOT NULL,
	team          {{text}} NOT NULL,
	request_id    {{text}} NOT NULL,
	payload       {{text}} NOT NULL,
	leaf          {{blob}} NOT NULL,
	chain         {{blob}} NOT NULL
);
CREATE UNIQUE INDEX events_seq ON events (seq) WHERE seq > 0;
CREATE INDEX events_unnumbered ON events (at, id) WHERE seq = 0;
CREATE INDEX events_at ON events (at, id);
CREATE INDEX events_resource ON events (resource_id, at, id);
CREATE INDEX events_type ON events (resource_type, at, id);
CREATE INDEX events_action ON events (action, at, id);
CREATE INDEX events_actor ON events (actor, at, id);

CREATE TABLE terms (
	noun {{text}} NOT NULL,
	term {{text}} NOT NULL,
	id   {{text}} NOT NULL,
	PRIMARY KEY (noun, term, id)
) {{rowless}};
