//go:build linux

// Command bench measures the programs in bin/ from outside, each figure beside the bare limit that was measured in the
// same run on the same machine, since a figure alone says more of the machine than of leafward.
package main

import (
	"context"
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
	name   string
	engine bool // depends on the database
	run    func(ctx context.Context, b *bench) ([]row, error)
}

func measurements() []measurement {
	return []measurement{
		{"start", true, measureStart},
		{"issue", true, measureIssue},
		{"rsa", false, measureRSA},
		{"keys", true, measureServerKeys},
		{"ocsp", false, measureOCSP},
		{"many", true, measureMany},
		{"import", true, measureImport},
	}
}

// bench is what every measurement is given.
type bench struct {
	program      string        // path of bin/leafward
	engine       string        // sqlite or postgres
	cluster      string        // superuser's URL of PostgreSQL, "" without one
	time         time.Duration // of each load
	clients      int
	certificates int    // that a full server holds
	profile      string // directory for profiles, "" for none; wants a program with test hooks
}

func main() {
	var b bench
	flag.StringVar(&b.program, "program", "bin/leafward", "the binary that is measured")
	flag.DurationVar(&b.time, "time", 5*time.Second, "how long each load lasts")
	flag.IntVar(&b.clients, "clients", 16, "how many clients work at once")
	flag.StringVar(&b.profile, "profile", "", "write a profile of each load into this directory; wants -program bin/leafward-testhooks")
	flag.IntVar(&b.certificates, "certificates", 100_000, "how many certificates a full server holds")
	only := flag.String("run", "", "measure only what matches this regular expression")
	flag.Parse()
	b.cluster = os.Getenv("LEAFWARD_TEST_POSTGRES")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, b, *only); err != nil {
		stop()
		log.Fatal(err)
	}
}

// run measures one thing after the other and prints each as soon as it is known.
func run(ctx context.Context, out io.Writer, b bench, only string) error {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	printHead(out)
	for _, m := range measurements() {
		engines := []string{"sqlite"}
		if m.engine && b.cluster != "" {
			engines = append(engines, "postgres")
		}
		for _, engine := range engines {
			if !wanted.MatchString(m.name + "/" + engine) {
				continue
			}
			b.engine = engine
			rows, err := m.run(ctx, &b)
			if err != nil {
				return fmt.Errorf("%s on %s: %w", m.name, engine, err)
			}
			for _, r := range rows {
				r.print(out, engine)
			}
		}
	}
	return nil
}
