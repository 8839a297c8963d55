CREATE TABLE batches (
	id          {{text}} PRIMARY KEY,
	uuid        {{text}} NOT NULL,
	revision    BIGINT NOT NULL,
	created_at  BIGINT NOT NULL,
	updated_at  BIGINT NOT NULL,
	kind              {{text}} NOT NULL,
	selector          {{text}} NOT NULL,
	change            {{text}} NOT NULL,
	actor             {{text}} NOT NULL,
	done              BIGINT NOT NULL,
	skipped           BIGINT NOT NULL,
	failed            BIGINT NOT NULL,
	ended_at          BIGINT NOT NULL,
	last_error        {{text}} NOT NULL
);

CREATE TABLE batch_items (
	batch             {{text}} NOT NULL REFERENCES batches (id),
	certificate       {{text}} NOT NULL,
	outcome           {{text}} NOT NULL,
	reason            {{text}} NOT NULL,
	job               {{text}} NOT NULL,
	PRIMARY KEY (batch, certificate)
) {{rowless}};

CREATE TABLE idempotency (
	identity          {{text}} NOT NULL,
	operation         {{text}} NOT NULL,
	key               {{text}} NOT NULL,
	body              {{blob}} NOT NULL,
	resource          {{text}} NOT NULL,
	created_at        BIGINT NOT NULL,
	PRIMARY KEY (identity, operation, key)
) {{rowless}};
CREATE INDEX idempotency_age ON idempotency (created_at);
