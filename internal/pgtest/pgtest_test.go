//go:build unix

package pgtest_test

import (
	"bufio"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/pgtest"
)

func TestEveryTestHasADatabaseOfItsOwn(t *testing.T) {
	first, second := open(t, pgtest.DSN(t)), open(t, pgtest.DSN(t))
	run(t, first, "CREATE TABLE mine (n int)")
	run(t, second, "CREATE TABLE mine (n int)")
	run(t, first, "INSERT INTO mine VALUES (1)")
	if n := query[int](t, second, "SELECT count(*) FROM mine"); n != 0 {
		t.Errorf("the second database sees %d rows of the first", n)
	}
	if query[bool](t, first, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") {
		t.Error("the owner of a test's database is a superuser")
	}
}

func TestTheDatabaseEndsWithItsTest(t *testing.T) {
	server := pgtest.Cluster(t, pgtest.Fast)
	t.Run("a test that leaves its connection open", func(t *testing.T) {
		run(t, open(t, server.Database(t)), "CREATE TABLE mine (n int)")
	})
	admin := open(t, server.URL())
	if n := query[int](t, admin, "SELECT count(*) FROM pg_database WHERE datname LIKE 'leafward%'"); n != 0 {
		t.Errorf("%d databases are left", n)
	}
	if n := query[int](t, admin, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'leafward%'"); n != 0 {
		t.Errorf("%d roles are left", n)
	}
}

func TestTextSortsByLanguage(t *testing.T) {
	if !query[bool](t, open(t, pgtest.DSN(t)), "SELECT 'a' < 'B' AND 'B' < 'c'") {
		t.Error("the cluster sorts by byte, unlike most installations")
	}
}

func TestOnlyADurableClusterWaitsForTheDisk(t *testing.T) {
	for durability, want := range map[pgtest.Durability]string{pgtest.Fast: "off", pgtest.Durable: "on"} {
		db := open(t, pgtest.Cluster(t, durability).URL())
		for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
			if got := query[string](t, db, "SHOW "+setting); got != want {
				t.Errorf("durable is %t: %s is %s", durability, setting, got)
			}
		}
	}
}

func TestAStoppedClusterLeavesNothing(t *testing.T) {
	server := pgtest.Cluster(t, pgtest.Fast)
	folder := query[string](t, open(t, server.URL()), "SHOW data_directory")
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(folder)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", folder, err)
	}
}

func TestAClusterIsRestartedWithWhatItHad(t *testing.T) {
	server := pgtest.Cluster(t, pgtest.Durable)
	for i, how := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		run(t, open(t, server.URL()), fmt.Sprintf("CREATE TABLE kept%d (n int)", i))
		before := query[string](t, open(t, server.URL()), "SELECT pg_postmaster_start_time()::text")
		if err := server.Restart(how); err != nil {
			t.Fatal(err)
		}
		if after := query[string](t, open(t, server.URL()), "SELECT pg_postmaster_start_time()::text"); after == before {
			t.Errorf("%v restarts nothing", how)
		}
	}
	if n := query[int](t, open(t, server.URL()), "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'kept%'"); n != 2 {
		t.Errorf("%d of 2 tables are there", n)
	}
}

// The process that started a cluster is killed and can clean nothing up: the cluster ends all the same.
func TestAClusterEndsWithItsProcess(t *testing.T) {
	pgtest.DSN(t) // skips where there is no PostgreSQL
	cmd := command(t, "sh", "-c", `echo "$LEAFWARD_TEST_POSTGRES"; exec cat`)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		t.Fatal("the command did not run")
	}
	folder := query[string](t, open(t, lines.Text()), "SHOW data_directory")
	if err := errors.Join(cmd.Process.Kill(), stdin.Close()); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	look, deadline := time.NewTicker(10*time.Millisecond), time.After(20*time.Second)
	defer look.Stop()
	for {
		if _, err := os.Stat(filepath.Dir(folder)); errors.Is(err, fs.ErrNotExist) {
			return
		}
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("%s is left", folder)
		}
	}
}

func TestTheCommandsExitCodeComesThrough(t *testing.T) {
	pgtest.DSN(t)
	err := command(t, "sh", "-c", "exit 7").Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 7 {
		t.Errorf("it ended with %v", err)
	}
}

// command is the cluster command around another, with a cluster of its own.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "cluster")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./cmd/cluster").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), bin, append([]string{"--"}, args...)...)
	cmd.Env = append(os.Environ(), pgtest.Variable+"=")
	return cmd
}

func open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func run(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func query[T any](t *testing.T, db *sql.DB, statement string) (out T) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), statement).Scan(&out); err != nil {
		t.Fatal(err)
	}
	return out
}
