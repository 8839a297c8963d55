CREATE TABLE certificates (
	number      {{serial}},
	id          {{text}} NOT NULL UNIQUE,
	uuid        {{text}} NOT NULL UNIQUE,
	revision    BIGINT NOT NULL,
	created_at  BIGINT NOT NULL,
	updated_at  BIGINT NOT NULL,
	team              {{text}} NOT NULL REFERENCES teams (id),
	enrollment        {{text}} NOT NULL,
	name              {{text}} NOT NULL,
	common_name       {{text}} NOT NULL,
	sans              {{text}} NOT NULL,
	owner             {{text}} NOT NULL REFERENCES owners (id),
	profile           {{text}} NOT NULL REFERENCES profiles (id),
	issuer            {{text}} NOT NULL REFERENCES issuers (id),
	policy            {{text}} NOT NULL REFERENCES renewal_policies (id),
	environment       {{text}} NOT NULL,
	tags              {{text}} NOT NULL,
	ttl               BIGINT NOT NULL,
	algorithm         {{text}} NOT NULL,
	size              BIGINT NOT NULL,
	key_source        {{text}} NOT NULL,
	reuse_key         BOOLEAN NOT NULL,
	spec_revision     BIGINT NOT NULL,
	version           {{text}} NOT NULL,
	version_spec      BIGINT NOT NULL,
	not_before        BIGINT NOT NULL,
	not_after         BIGINT NOT NULL,
	expires_at        BIGINT NOT NULL,
	window_at         BIGINT NOT NULL,
	renew_at          BIGINT NOT NULL,
	open_job          {{text}} NOT NULL,
	failed_at         BIGINT NOT NULL,
	tries             BIGINT NOT NULL,
	last_error        {{text}} NOT NULL,
	renewed_at        BIGINT NOT NULL,
	deployed_at       BIGINT NOT NULL,
	note_at           BIGINT NOT NULL,
	noted_days        BIGINT NOT NULL,
	revoked_at        BIGINT NOT NULL,
	revocation_reason {{text}} NOT NULL,
	archived_at       BIGINT NOT NULL
);
CREATE UNIQUE INDEX certificates_name ON certificates (team, enrollment, name) WHERE archived_at = 0;
CREATE INDEX certificates_created ON certificates (created_at, id);
CREATE INDEX certificates_updated ON certificates (updated_at, id);
CREATE INDEX certificates_names ON certificates (name, id);
CREATE INDEX certificates_common ON certificates (common_name, id);
CREATE INDEX certificates_expiry ON certificates (expires_at, id);
CREATE INDEX certificates_renewal ON certificates (renew_at, id) WHERE renew_at > 0 AND open_job = '';
CREATE INDEX certificates_note ON certificates (note_at, id) WHERE note_at > 0;
CREATE INDEX certificates_owner ON certificates (owner, created_at, id);
CREATE INDEX certificates_profile ON certificates (profile, created_at, id);
CREATE INDEX certificates_issuer ON certificates (issuer, created_at, id);
CREATE INDEX certificates_policy ON certificates (policy, created_at, id);
CREATE INDEX certificates_environment ON certificates (environment, created_at, id);
CREATE INDEX certificates_team ON certificates (team, created_at, id);

CREATE TABLE certificate_counts (
	team       {{text}} NOT NULL,
	issuer     {{text}} NOT NULL,
	state      {{text}} NOT NULL,
	expiry_day BIGINT NOT NULL,
	renew_day  BIGINT NOT NULL,
	n          BIGINT NOT NULL,
	PRIMARY KEY (team, issuer, state, expiry_day, renew_day)
) {{rowless}};

CREATE TABLE certificate_deltas (
	id         {{serial}},
	team       {{text}} NOT NULL,
	issuer     {{text}} NOT NULL,
	state      {{text}} NOT NULL,
	expiry_day BIGINT NOT NULL,
	renew_day  BIGINT NOT NULL,
	n          BIGINT NOT NULL
);

CREATE TABLE requests (
	id          {{text}} PRIMARY KEY,
	uuid        {{text}} NOT NULL,
	revision    BIGINT NOT NULL,
	created_at  BIGINT NOT NULL,
	updated_at  BIGINT NOT NULL,
	certificate       {{text}} NOT NULL REFERENCES certificates (id),
	job               {{text}} NOT NULL,
	slot              {{text}} NOT NULL,
	csr               {{blob}} NOT NULL,
	key_id            {{text}} NOT NULL,
	state             {{text}} NOT NULL,
	version           {{text}} NOT NULL,
	error             {{text}} NOT NULL
);
CREATE INDEX requests_certificate ON requests (certificate, created_at);
CREATE INDEX requests_job ON requests (job);

CREATE TABLE chains (
	id  {{text}} PRIMARY KEY,
	der {{blob}} NOT NULL
);

CREATE TABLE versions (
	number      {{serial}},
	id          {{text}} NOT NULL UNIQUE,
	uuid        {{text}} NOT NULL UNIQUE,
	revision    BIGINT NOT NULL,
	created_at  BIGINT NOT NULL,
	updated_at  BIGINT NOT NULL,
	certificate       {{text}} NOT NULL REFERENCES certificates (id),
	team              {{text}} NOT NULL,
	slot              {{text}} NOT NULL,
	current           BOOLEAN NOT NULL,
	key_id            {{text}} NOT NULL,
	request           {{text}} NOT NULL,
	issuer            {{text}} NOT NULL,
	authority         {{text}} NOT NULL,
	serial            {{text}} NOT NULL,
	sha256            {{text}} NOT NULL UNIQUE,
	subject           {{text}} NOT NULL,
	algorithm         {{text}} NOT NULL,
	size              BIGINT NOT NULL,
	not_before        BIGINT NOT NULL,
	not_after         BIGINT NOT NULL,
	der               {{blob}} NOT NULL,
	chain             {{text}} NOT NULL,
	spec_revision     BIGINT NOT NULL,
	predecessor       {{text}} NOT NULL,
	source            {{text}} NOT NULL,
	revoked_at        BIGINT NOT NULL,
	revocation_reason {{text}} NOT NULL,
	hidden_at         BIGINT NOT NULL,
	UNIQUE (authority, serial)
);
CREATE UNIQUE INDEX versions_current ON versions (certificate, slot) WHERE current;
CREATE UNIQUE INDEX versions_successor ON versions (predecessor) WHERE predecessor <> '';
CREATE INDEX versions_certificate ON versions (certificate, created_at, id);
CREATE INDEX versions_key ON versions (key_id);

CREATE TABLE installations (
	id          {{text}} PRIMARY KEY,
	uuid        {{text}} NOT NULL,
	revision    BIGINT NOT NULL,
	created_at  BIGINT NOT NULL,
	updated_at  BIGINT NOT NULL,
	certificate       {{text}} NOT NULL REFERENCES certificates (id),
	target            {{text}} NOT NULL REFERENCES targets (id),
	desired           {{text}} NOT NULL,
	deployed          {{text}} NOT NULL,
	deployed_at       BIGINT NOT NULL,
	proved            {{text}} NOT NULL,
	proved_at         BIGINT NOT NULL,
	proof             {{text}} NOT NULL,
	pinned            BOOLEAN NOT NULL,
	waived_by         {{text}} NOT NULL,
	waived_why        {{text}} NOT NULL,
	last_error        {{text}} NOT NULL,
	UNIQUE (certificate, target)
);
CREATE INDEX installations_target ON installations (target);

CREATE TABLE endpoints (
	id          {{text}} PRIMARY KEY,
	uuid        {{text}} NOT NULL,
	revision    BIGINT NOT NULL,
	created_at  BIGINT NOT NULL,
	updated_at  BIGINT NOT NULL,
	installation      {{text}} NOT NULL,
	certificate       {{text}} NOT NULL,
	address           {{text}} NOT NULL,
	port              BIGINT NOT NULL,
	server_name       {{text}} NOT NULL,
	starttls          {{text}} NOT NULL,
	enabled           BOOLEAN NOT NULL
);
CREATE INDEX endpoints_installation ON endpoints (installation);
CREATE INDEX endpoints_certificate ON endpoints (certificate);

CREATE TABLE nodes (
	endpoint          {{text}} NOT NULL REFERENCES endpoints (id),
	ip                {{text}} NOT NULL,
	prober            {{text}} NOT NULL,
	fingerprint       {{text}} NOT NULL,
	outcome           {{text}} NOT NULL,
	seen_at           BIGINT NOT NULL,
	gone_at           BIGINT NOT NULL,
	PRIMARY KEY (endpoint, ip, prober)
) {{rowless}};
