//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib" // the database/sql driver "pgx"
	"github.com/leafward/leafward/internal/pgtest"
)

// cluster is a PostgreSQL of this run alone, which waits for the disk at every commit, or the one that the environment
// names; and what it says of the disk. Without PostgreSQL there is none.
func cluster(ctx context.Context, p *progress) (at, disk string, stop func() error, err error) {
	stop = func() error { return nil }
	if at = os.Getenv(pgtest.Variable); at == "" {
		server, err := pgtest.Start(ctx, pgtest.Durable)
		if errors.Is(err, pgtest.ErrMissing) {
			p.tell("%v; its lines are left out", err)
			return "", "PostgreSQL is missing", stop, nil
		}
		if err != nil {
			return "", "", nil, err
		}
		at, stop = server.URL(), server.Stop
	}
	db, err := sql.Open("pgx", at)
	if err != nil {
		return "", "", nil, errors.Join(err, stop())
	}
	var version, fsync, commit string
	err = db.QueryRowContext(ctx, "SELECT current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit')").Scan(&version, &fsync, &commit)
	if err = errors.Join(err, db.Close()); err != nil {
		return "", "", nil, errors.Join(err, stop())
	}
	return at, "PostgreSQL " + version + ", fsync " + fsync + ", synchronous_commit " + commit, stop, nil
}

// database makes a database in the cluster and returns its URL and what drops it.
func database(ctx context.Context, cluster string) (dsn string, drop func() error, err error) {
	at, err := url.Parse(cluster)
	if err != nil {
		return "", nil, err
	}
	admin, err := sql.Open("pgx", cluster)
	if err != nil {
		return "", nil, err
	}
	name := "bench_" + strings.ToLower(rand.Text()[:12])
	if _, err := admin.ExecContext(ctx, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		return "", nil, errors.Join(err, admin.Close())
	}
	at.Path = "/" + name
	return at.String(), func() error {
		_, err := admin.ExecContext(context.WithoutCancel(ctx), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
		return errors.Join(err, admin.Close())
	}, nil
}
