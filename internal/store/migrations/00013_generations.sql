CREATE TABLE generations (
	slot  INTEGER NOT NULL PRIMARY KEY,
	value BIGINT NOT NULL
);
INSERT INTO generations (slot, value) VALUES (0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (7, 0),
	(8, 0), (9, 0), (10, 0), (11, 0), (12, 0), (13, 0), (14, 0), (15, 0);
