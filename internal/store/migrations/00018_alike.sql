-- Of the words of a certificate that begin alike one is the first: told apart by how many characters a word has alike with the
-- one before it, certificates are counted by their words without a look at which they are. And each word knows when its
-- certificate was made, so that the newest of those that have it are found by words alone.
ALTER TABLE terms ADD COLUMN alike INTEGER NOT NULL DEFAULT 0;
ALTER TABLE terms ADD COLUMN born BIGINT NOT NULL DEFAULT 0;
{{postgres}}ALTER TABLE terms DROP CONSTRAINT terms_pkey;
UPDATE terms SET born = known.born, alike = CASE WHEN substr(known.term, 1, 1) <> substr(known.before, 1, 1) THEN 0 ELSE (
		WITH RECURSIVE beginning(n) AS (SELECT 1 UNION ALL
			SELECT n + 1 FROM beginning WHERE substr(known.term, 1, n + 1) = substr(known.before, 1, n + 1))
		SELECT max(n) FROM beginning) END
	FROM (SELECT t.noun, t.term, t.id, c.created_at AS born, lag(t.term, 1, '') OVER (PARTITION BY t.noun, t.id ORDER BY t.term) AS before
		FROM terms t JOIN certificates c ON c.id = t.id WHERE t.noun IN ('certificate', 'certificate.archived')) AS known
	WHERE terms.noun = known.noun AND terms.term = known.term AND terms.id = known.id;
{{postgres}}ALTER TABLE terms ADD PRIMARY KEY (noun, term, id) INCLUDE (alike, born);

-- What was imported had no words beside it.
UPDATE certificates SET words = found.words
	FROM (SELECT id, '
' || string_agg(term, '
') AS words FROM terms WHERE noun IN ('certificate', 'certificate.archived') GROUP BY id) AS found
	WHERE found.id = certificates.id AND certificates.words = '';
