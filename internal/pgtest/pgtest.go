//go:build unix

// Package pgtest gives tests a real PostgreSQL: a private cluster, started from the installed binaries, that ends with
// the process that started it, and in it a fresh database for every test that asks.
package pgtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the database/sql driver "pgx"
)

// Variable names the environment variable that holds a superuser's URL of a cluster to be shared. Without it every
// test binary that asks for a database starts a cluster of its own.
const Variable = "LEAFWARD_TEST_POSTGRES"

// DSN is the URL of a fresh, empty database, whose owner is an ordinary role; the end of the test drops both. A machine
// without PostgreSQL skips the test, or fails it where CI=true.
func DSN(t testing.TB) string {
	t.Helper()
	server, err := shared()
	if err != nil {
		giveUp(t, err)
	}
	return server.Database(t)
}

// Cluster starts a cluster for this test alone, which stops at its end.
func Cluster(t testing.TB, durability Durability) *Server {
	t.Helper()
	server, err := Start(t.Context(), durability)
	if err != nil {
		giveUp(t, err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// Database makes a fresh, empty database in the cluster; see DSN.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	admin, err := sql.Open("pgx", s.url)
	if err != nil {
		t.Fatal(err)
	}
	admin.SetMaxOpenConns(1)
	name, password := "leafward_"+strings.ToLower(rand.Text()[:12]), rand.Text()
	do := func(ctx context.Context, statements ...string) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		for _, statement := range statements {
			if _, err := admin.ExecContext(ctx, statement); err != nil {
				t.Fatalf("PostgreSQL, making or dropping the database %s: %v", name, err)
			}
		}
	}
	t.Cleanup(func() {
		do(context.WithoutCancel(t.Context()), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)", "DROP ROLE IF EXISTS "+name)
		if err := admin.Close(); err != nil {
			t.Error(err)
		}
	})
	do(t.Context(), fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", name, password),
		fmt.Sprintf("CREATE DATABASE %s OWNER %s TEMPLATE template0", name, name))

	dsn, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	dsn.User, dsn.Path = url.UserPassword(name, password), "/"+name
	return dsn.String()
}

// shared is the cluster of the environment, else one for this process, started by the first who asks.
//
//nolint:gochecknoglobals // one cluster for all tests of a binary: nothing but the process could own it
var shared = sync.OnceValues(func() (*Server, error) {
	if u := os.Getenv(Variable); u != "" {
		return &Server{url: u}, nil
	}
	return Start(context.Background(), Fast)
})

func giveUp(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, ErrMissing) && os.Getenv("CI") != "true" {
		t.Skip("skipped: " + err.Error())
	}
	t.Fatal(err)
}
