package store

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/leafward/leafward"
)

// CheckURL says what is wrong with the URL of a PostgreSQL database, without connecting to it.
func CheckURL(url string) error {
	if _, err := parsePostgres(url); err != nil {
		return leafward.Errorf(leafward.Invalid, "write it as postgres://user:password@host:5432/name; what may follow a ? is in PostgreSQL's manual", "the parameters of the database's URL cannot be used")
	}
	return nil
}

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

// waitForDisk makes a session acknowledge what is on disk only, where the database or its role is set to hurry. A stricter
// setting, such as waiting for a standby, stays.
func waitForDisk(ctx context.Context, c *pgx.Conn) error {
	_, err := c.Exec(ctx, "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'")
	return err
}
