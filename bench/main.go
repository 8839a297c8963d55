//go:build linux

// Command bench measures the programs in bin/ from outside, each figure beside the bare limit that was measured in the
// same run on the same machine, since a figure alone says more of the machine than of leafward.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

// measurement is one thing that is measured.
type measurement struct {
	name    string
	engines []string // on which it is measured, one after the other
	run     func(ctx context.Context, b *bench) ([]row, error)
}

const (
	sqlite   = "sqlite"
	postgres = "postgres"
)

func measurements() []measurement {
	both, one := []string{sqlite, postgres}, []string{sqlite}
	return []measurement{
		{"start", both, measureStart},
		{"issue", both, measureIssue},
		{"rsa", one, measureRSA},
		{"keys", both, measureServerKeys},
		{"ocsp", one, measureOCSP},
		{"renew", both, measureRenew},
		{"fleet", both, measureFleet},
		{"replicas", []string{postgres}, measureReplicas},
		{"many", both, measureMany},
		{"import", both, measureImport},
	}
}

// bench is what every measurement is given.
type bench struct {
	*progress
	program      string        // path of bin/leafward
	engine       string        // sqlite or postgres
	cluster      string        // superuser's URL of PostgreSQL, "" without one
	time         time.Duration // of each load
	runs         int           // of each load
	clients      int
	certificates int    // that a full server holds
	agents       int    // of a fleet
	questions    int    // of OCSP about any certificate; 0 for as many as go into a minute
	profile      string // directory for profiles, "" for none; wants a program with test hooks
}

func main() {
	if known, err := beBare(os.Args[1:]); known {
		if err != nil {
			log.Fatal(err)
		}
		return
	}
	b := bench{progress: newProgress(os.Stderr)}
	flag.StringVar(&b.program, "program", "bin/leafward", "the binary that is measured")
	flag.DurationVar(&b.time, "time", 2*time.Second, "how long each load lasts")
	flag.IntVar(&b.runs, "runs", 3, "how often each load is put on; the one in the middle counts")
	flag.IntVar(&b.clients, "clients", 16, "how many clients work at once")
	flag.StringVar(&b.profile, "profile", "", "write a profile of each load into this directory; wants -program bin/leafward-testhooks")
	flag.IntVar(&b.certificates, "certificates", 100_000, "how many certificates a full server holds")
	flag.IntVar(&b.agents, "agents", 2000, "how many agents poll")
	flag.IntVar(&b.questions, "questions", 0, "how many questions of OCSP are asked about any certificate; unless given, as many as go into a minute, at most 500000")
	only := flag.String("run", "", "measure only what matches this regular expression, as issue/postgres")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, b, *only); err != nil {
		stop()
		log.Fatal(err)
	}
}

// beBare does what a limit wants of a process of its own, where the arguments say so.
func beBare(args []string) (known bool, err error) {
	switch {
	case len(args) == 1 && args[0] == bareWord:
		return true, serveBare(os.Stdin, os.Stdout)
	case len(args) == 3 && args[0] == bareStartWord:
		return true, startBarely(os.Stdout, args[1], args[2])
	}
	return false, nil
}

// run measures one thing after the other and prints each as soon as it is known. What cannot be measured keeps nothing else
// from it.
func run(ctx context.Context, out io.Writer, b bench, only string) (failed error) {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	if b.runs < 1 || b.clients < 1 || b.time <= 0 {
		return errors.New("-runs, -clients and -time must be more than nothing")
	}
	if b.profile != "" {
		if err := os.MkdirAll(b.profile, 0o755); err != nil {
			return fmt.Errorf("-profile: %w", err)
		}
	}
	var stop func() error
	var disk string
	if b.cluster, disk, stop, err = cluster(ctx, b.progress); err != nil {
		return err
	}
	defer func() { failed = errors.Join(failed, stop()) }()
	t := table{out: out, progress: b.progress}
	t.head(disk, b)
	for _, m := range measurements() {
		for _, engine := range m.engines {
			name := m.name + "/" + engine
			if !wanted.MatchString(name) || engine == postgres && b.cluster == "" || ctx.Err() != nil {
				continue
			}
			b.engine = engine
			b.begin(name)
			rows, err := m.run(ctx, &b)
			for _, r := range rows {
				t.print(r, engine)
			}
			if err != nil {
				t.print(row{what: name, figure: "not measured to the end"}, engine)
				failed = errors.Join(failed, fmt.Errorf("%s: %w", name, err))
			}
		}
	}
	t.foot()
	return errors.Join(failed, ctx.Err())
}
