CREATE TABLE checkpoints (
	size  BIGINT PRIMARY KEY,
	at    BIGINT NOT NULL,
	nodes {{blob}} NOT NULL,
	note  {{text}} NOT NULL
);
