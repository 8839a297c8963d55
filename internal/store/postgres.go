package store

import (
	"github.com/jackc/pgx/v5"
	"github.com/leafward/leafward"
)

// parsePostgres reads a connection URL; the password never appears in an error.
func parsePostgres(url string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		var p leafward.Problems
		p.Add("database", "is not a PostgreSQL URL", "write it as postgres://user:password@host:5432/name")
		return nil, p.Err()
	}
	config.RuntimeParams["application_name"] = "leafward"
	config.RuntimeParams["timezone"] = "UTC"
	return config, nil
}
