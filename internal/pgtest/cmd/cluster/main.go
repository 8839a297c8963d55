//go:build unix

// Command cluster runs a command with a PostgreSQL cluster beside it, which every package's tests then share:
//
//	cluster [--] COMMAND [ARGUMENT]…
//
// The command finds the cluster in LEAFWARD_TEST_POSTGRES. Where PostgreSQL is missing it runs without, unless CI=true.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/leafward/leafward/internal/pgtest"
)

func main() {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "usage: cluster [--] COMMAND [ARGUMENT]…")
		os.Exit(2)
	}
	code, err := run(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
	}
	os.Exit(code)
}

// run is the command's exit code.
func run(args []string) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env := os.Environ()
	if os.Getenv(pgtest.Variable) == "" {
		server, failure := pgtest.Start(ctx, pgtest.Fast)
		switch {
		case failure == nil:
			env = append(env, pgtest.Variable+"="+server.URL())
			defer func() { err = errors.Join(err, server.Stop()) }()
		case errors.Is(failure, pgtest.ErrMissing) && os.Getenv("CI") != "true":
			fmt.Fprintln(os.Stderr, "cluster:", failure, "(its tests are skipped)")
		default:
			return 1, failure
		}
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}
