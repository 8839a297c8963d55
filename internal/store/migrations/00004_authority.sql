CREATE TABLE issuers (
	number      {{serial}},
	id          {{text}} NOT NULL UNIQUE,
	uuid        {{text}} NOT NULL UNIQUE,
	revision    BIGINT NOT NULL,
	created_at  BIGINT NOT NULL,
	updated_at  BIGINT NOT NULL,
	team              {{text}} NOT NULL,
	name              {{text}} NOT NULL,
	type              {{text}} NOT NULL,
	config            {{text}} NOT NULL,
	sealed            {{blob}} NOT NULL,
	secrets_set       {{text}} NOT NULL,
	authority         {{text}} NOT NULL,
	enabled           BOOLEAN NOT NULL,
	UNIQUE (team, name)
);
CREATE INDEX issuers_created ON issuers (created_at, id);
CREATE INDEX issuers_name ON issuers (name, id);
CREATE INDEX issuers_type ON issuers (type, id);
CREATE INDEX issuers_enabled ON issuers (enabled, id);

CREATE TABLE keys (
	id          {{text}} PRIMARY KEY,
	uuid        {{text}} NOT NULL,
	revision    BIGINT NOT NULL,
	created_at  BIGINT NOT NULL,
	updated_at  BIGINT NOT NULL,
	spki              {{text}} NOT NULL UNIQUE,
	algorithm         {{text}} NOT NULL,
	size              BIGINT NOT NULL,
	custody           {{text}} NOT NULL,
	holder            {{text}} NOT NULL,
	sealed            {{blob}} NOT NULL,
	retrieval         {{text}} NOT NULL,
	delivered_at      BIGINT NOT NULL,
	destroyed_at      BIGINT NOT NULL,
	compromised_at    BIGINT NOT NULL
);

CREATE TABLE authorities (
	id          {{text}} PRIMARY KEY,
	uuid        {{text}} NOT NULL UNIQUE,
	revision    BIGINT NOT NULL,
	created_at  BIGINT NOT NULL,
	updated_at  BIGINT NOT NULL,
	issuer            {{text}} NOT NULL,
	name              {{text}} NOT NULL,
	subject           {{blob}} NOT NULL,
	ski               {{text}} NOT NULL,
	key_id            {{text}} NOT NULL REFERENCES keys (id),
	algorithm         {{text}} NOT NULL,
	size              BIGINT NOT NULL,
	custody           {{text}} NOT NULL,
	state             {{text}} NOT NULL,
	parent            {{text}} NOT NULL,
	successor         {{text}} NOT NULL,
	certificate       {{text}} NOT NULL,
	not_after         BIGINT NOT NULL,
	crl_hours         BIGINT NOT NULL,
	UNIQUE (ski, subject)
);
CREATE INDEX authorities_issuer ON authorities (issuer);
CREATE INDEX authorities_parent ON authorities (parent);

CREATE TABLE ca_certificates (
	id          {{text}} PRIMARY KEY,
	uuid        {{text}} NOT NULL UNIQUE,
	revision    BIGINT NOT NULL,
	created_at  BIGINT NOT NULL,
	updated_at  BIGINT NOT NULL,
	authority         {{text}} NOT NULL REFERENCES authorities (id),
	signer            {{text}} NOT NULL,
	serial            {{text}} NOT NULL,
	kind              {{text}} NOT NULL,
	der               {{blob}} NOT NULL,
	sha256            {{text}} NOT NULL UNIQUE,
	not_before        BIGINT NOT NULL,
	not_after         BIGINT NOT NULL
);
CREATE UNIQUE INDEX ca_certificates_serial ON ca_certificates (signer, serial) WHERE signer <> '';
CREATE INDEX ca_certificates_authority ON ca_certificates (authority, not_before);

-- An OCSP responder of an authority: one at a time, shared by all replicas.
CREATE TABLE responders (
	authority   {{text}} PRIMARY KEY REFERENCES authorities (id),
	serial      {{text}} NOT NULL,
	sealed      {{blob}} NOT NULL,
	der         {{blob}} NOT NULL,
	not_before  BIGINT NOT NULL,
	not_after   BIGINT NOT NULL
);

CREATE TABLE serials (
	authority         {{text}} NOT NULL,
	serial            {{text}} NOT NULL,
	state             {{text}} NOT NULL,
	name              {{text}} NOT NULL,
	subject           {{text}} NOT NULL,
	not_before        BIGINT NOT NULL,
	not_after         BIGINT NOT NULL,
	shard             BIGINT NOT NULL,
	tbs               {{blob}} NOT NULL,
	tbs_hash          {{blob}} NOT NULL,
	no_revocation     BOOLEAN NOT NULL,
	created_at        BIGINT NOT NULL,
	revoked_at        BIGINT NOT NULL,
	reason            {{text}} NOT NULL,
	held              BOOLEAN NOT NULL,
	rev_seq           BIGINT NOT NULL,
	PRIMARY KEY (authority, serial)
) {{rowless}};
CREATE INDEX serials_revoked ON serials (authority, shard, not_after) WHERE revoked_at > 0;
CREATE INDEX serials_reserved ON serials (created_at) WHERE state = 'reserved';
CREATE UNIQUE INDEX serials_reservation ON serials (subject) WHERE state = 'reserved';
CREATE INDEX serials_subject ON serials (subject, created_at);

-- What the published CRLs do not tell yet: a row for every revocation and release, removed by the publication that
-- read it. Removing what was read, and not what lies below a number, misses nothing that commits out of order.
CREATE TABLE revocations (
	seq         {{serial}},
	authority   {{text}} NOT NULL,
	serial      {{text}} NOT NULL
);
CREATE INDEX revocations_authority ON revocations (authority, seq);

CREATE TABLE crls (
	authority         {{text}} NOT NULL,
	shard             BIGINT NOT NULL,
	number            BIGINT NOT NULL,
	this_update       BIGINT NOT NULL,
	next_update       BIGINT NOT NULL,
	entries           BIGINT NOT NULL,
	rev_seq           BIGINT NOT NULL,
	der               {{blob}} NOT NULL,
	PRIMARY KEY (authority, shard)
);
