CREATE TABLE jobs (
	id          {{text}} PRIMARY KEY,
	uuid        {{text}} NOT NULL,
	revision    BIGINT NOT NULL,
	created_at  BIGINT NOT NULL,
	updated_at  BIGINT NOT NULL,
	kind              {{text}} NOT NULL,
	type              {{text}} NOT NULL,
	subject           {{text}} NOT NULL,
	team              {{text}} NOT NULL,
	parent            {{text}} NOT NULL,
	batch             {{text}} NOT NULL,
	certificate       {{text}} NOT NULL,
	target            {{text}} NOT NULL,
	agent             {{text}} NOT NULL,
	installation      {{text}} NOT NULL,
	version           {{text}} NOT NULL,
	lane              {{text}} NOT NULL,
	status            {{text}} NOT NULL,
	attempt           BIGINT NOT NULL,
	max_attempts      BIGINT NOT NULL,
	retry_max         BIGINT NOT NULL,
	run_at            BIGINT NOT NULL,
	deadline          BIGINT NOT NULL,
	worker            {{text}} NOT NULL,
	epoch             BIGINT NOT NULL,
	lease_until       BIGINT NOT NULL,
	waiting_for       {{text}} NOT NULL,
	checkpoint        {{text}} NOT NULL,
	result            {{text}} NOT NULL,
	last_error        {{text}} NOT NULL,
	started_at        BIGINT NOT NULL,
	completed_at      BIGINT NOT NULL,
	cancel_by         {{text}} NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX jobs_open ON jobs (kind, subject) WHERE status IN ('Pending', 'AwaitingCSR', 'AwaitingApproval', 'Running');
CREATE INDEX jobs_due ON jobs (run_at, id) WHERE status = 'Pending' AND agent = '' AND kind <> 'root';
CREATE INDEX jobs_leased ON jobs (lease_until) WHERE status = 'Running' AND lease_until > 0;
CREATE INDEX jobs_deadline ON jobs (deadline) WHERE deadline > 0 AND status IN ('Pending', 'AwaitingCSR', 'AwaitingApproval', 'Running');
CREATE INDEX jobs_work ON jobs (agent, run_at, id) WHERE agent <> '' AND status IN ('Pending', 'AwaitingCSR', 'AwaitingApproval', 'Running');
CREATE INDEX jobs_lane ON jobs (lane) WHERE status = 'Running' AND lane <> '';
CREATE INDEX jobs_parent ON jobs (parent, created_at, id) WHERE parent <> '';
CREATE INDEX jobs_batch ON jobs (batch, created_at, id) WHERE batch <> '';
CREATE INDEX jobs_certificate ON jobs (certificate, created_at, id) WHERE certificate <> '';
CREATE INDEX jobs_target ON jobs (target, created_at, id) WHERE target <> '';
CREATE INDEX jobs_agent ON jobs (agent, created_at, id) WHERE agent <> '';
CREATE INDEX jobs_installation ON jobs (installation, created_at, id) WHERE installation <> '';
CREATE INDEX jobs_created ON jobs (created_at, id);
CREATE INDEX jobs_updated ON jobs (updated_at, id);
CREATE INDEX jobs_status ON jobs (status, created_at, id);
CREATE INDEX jobs_type ON jobs (type, created_at, id);

CREATE TABLE job_attempts (
	job               {{text}} NOT NULL,
	number            BIGINT NOT NULL,
	worker            {{text}} NOT NULL,
	started_at        BIGINT NOT NULL,
	ended_at          BIGINT NOT NULL,
	outcome           {{text}} NOT NULL,
	error             {{text}} NOT NULL,
	PRIMARY KEY (job, number)
) {{rowless}};

CREATE TABLE job_steps (
	job               {{text}} NOT NULL,
	number            BIGINT NOT NULL,
	attempt           BIGINT NOT NULL,
	at                BIGINT NOT NULL,
	name              {{text}} NOT NULL,
	ok                BOOLEAN NOT NULL,
	message           {{text}} NOT NULL,
	PRIMARY KEY (job, number)
) {{rowless}};

CREATE TABLE job_lanes (
	lane              {{text}} PRIMARY KEY,
	claims            BIGINT NOT NULL
) {{rowless}};
