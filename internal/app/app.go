// Package app puts the server together: it opens what everything stands on, gives each part what it needs, listens, and
// stops in order. Nothing else knows all the parts.
package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/audit"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/config"
	"github.com/leafward/leafward/internal/door/rest"
	"github.com/leafward/leafward/internal/hook"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/lint"
	"github.com/leafward/leafward/internal/store"
)

// Config is the server's settings and what it speaks to.
type Config struct {
	config.Serve
	Version string       // of this build
	Program string       // how the command was called, for hints
	Out     io.Writer    // words for a person
	Log     io.Writer    // the log
	Points  *hook.Points // nil: none is set
}

// App is a server. It is made by New, served by Run and released by Close.
type App struct {
	config  Config
	log     *slog.Logger
	clock   *hook.Clock
	points  *hook.Points
	name    string        // of this process, among those of one database
	started time.Time     // by the server's clock
	behind  time.Duration // how far the clock is behind the last event that was on record at the start; 0 where it is not

	db            *store.DB
	master        *keys.Master
	authorities   *ca.CA
	ledger        *audit.Ledger
	follower      *store.Follower
	root          []byte // certificate of the first start's root, DER
	checkpointKey leafward.Secret
	own           *ownCertificate
	metrics       *metrics
	verbs         verbs
	listeners     listeners

	opened []io.Closer // released in the opposite order
}

// RunsOn says why the server does not run on a system, named as Go names it; nil where it does.
func RunsOn(system string) error {
	if system == "linux" || system == "darwin" {
		return nil
	}
	return leafward.Errorf(leafward.Invalid, "run the server on Linux or macOS; agent and command line run here", "the server does not run on %s", system)
}

// New opens everything and listens, so that Run serves at once. At the first start it makes the data directory and what
// belongs in it. The context bounds the start only.
func New(ctx context.Context, c Config) (*App, error) {
	if err := RunsOn(runtime.GOOS); err != nil {
		return nil, err
	}
	a := &App{config: c, clock: hook.NewClock(c.Clock), points: c.Points, name: processName(c)}
	if a.points == nil {
		a.points = hook.NewPoints()
	}
	a.log, a.started = newLog(c), a.clock.Now().UTC()
	if err := a.open(leafward.WithActor(ctx, leafward.System("start"))); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// processName tells this process from the others on its database. On a file there are no others, and what a killed one
// had begun is this one's to end.
func processName(c Config) string {
	if c.Database == "" {
		return "server"
	}
	return store.NewID("server")
}

func newLog(c Config) *slog.Logger {
	if c.JSON {
		return slog.New(slog.NewJSONHandler(c.Log, nil))
	}
	return slog.New(slog.NewTextHandler(c.Log, nil))
}

// open brings up the parts in the order in which they stand on one another.
func (a *App) open(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		a.openData, a.openStore, a.openLedger, a.openAuthorities, a.compareRecord, a.writeRoot, a.openOwnCertificate, a.wire, a.listen,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (a *App) openData(context.Context) error {
	if err := prepareDir(a.config.DataDir); err != nil {
		return err
	}
	if err := a.notRestoring(); err != nil {
		return err
	}
	if a.config.Database == "" {
		return nil // opening the file takes the lock
	}
	lock, err := store.Lock(a.config.DataDir)
	if err != nil {
		return err
	}
	a.opened = append(a.opened, lock)
	return nil
}

func (a *App) openStore(ctx context.Context) (err error) {
	c := store.Config{Path: a.path("leafward.db"), URL: a.config.Database.Reveal(), Clock: a.clock, Points: a.points, Log: a.log}
	if a.db, err = store.Open(ctx, c); err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	a.opened = append(a.opened, a.db)
	return nil
}

func (a *App) openLedger(context.Context) (err error) {
	if a.ledger, err = audit.OpenLedger(a.path("ledger"), a.log); err != nil {
		return err
	}
	a.opened = append(a.opened, a.ledger)
	a.metrics = newMetrics(a)
	a.follower = store.NewFollower(a.db, a.ledger, a.name, a.metrics.event)
	return nil
}

// openAuthorities brings the schema up to date and, in the same turn, makes what the first start makes.
func (a *App) openAuthorities(ctx context.Context) error {
	linter, err := lint.New()
	if err != nil {
		return err
	}
	return a.db.Migrate(ctx, func(ctx context.Context) error {
		if err := a.openMaster(ctx); err != nil {
			return err
		}
		if err := errors.Join(a.db.Seed(ctx), a.openCheckpointKey(ctx)); err != nil {
			return err
		}
		if err := a.recoverFromLedger(ctx); err != nil {
			return err
		}
		a.authorities, err = ca.New(ca.Config{
			DB: a.db, Master: a.master, Lint: linter, Dummy: pki.NewDummy(), Points: a.points, Log: a.log, BaseURL: a.config.PublicURL,
		})
		if err != nil {
			return err
		}
		if err := a.authorities.Bootstrap(ctx); err != nil {
			return err
		}
		return a.republish(ctx)
	})
}

// Close releases what New opened. Run must have returned, or never been called.
func (a *App) Close() error {
	var errs []error
	for i := len(a.opened) - 1; i >= 0; i-- {
		errs = append(errs, a.opened[i].Close())
	}
	a.opened = nil
	return errors.Join(errs...)
}

// Run serves until the context ends and then stops in order: listeners close, requests and jobs that run end, loops stop.
// It returns nil after an orderly stop.
func (a *App) Run(ctx context.Context) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	engine, stopEngine := context.WithCancel(background)
	defer stopEngine()
	var loops, working sync.WaitGroup
	for _, run := range []func(context.Context) error{a.verbs.auth.Run, a.authorities.Run, a.follower.Run, a.own.run, a.watchClock} {
		loops.Go(func() { a.survive(run(background)) })
	}
	working.Go(func() { a.survive(a.verbs.engine.Run(engine)) })
	failed := a.listeners.serve()
	if err := a.announce(background); err != nil {
		a.log.Error("announcing", "error", err)
	}
	releaseStart()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	a.log.Info("stopping")
	stopEngine()
	a.listeners.drain()
	working.Wait()
	stop()
	loops.Wait()
	if last := a.follower.Leave(leafward.WithActor(context.WithoutCancel(ctx), leafward.System("ledger"))); last != nil {
		a.log.Warn("the ledger lacks the last events; they are in the database", "error", last)
	}
	a.log.Info("stopped")
	return err
}

// survive tells of a loop that ended with an error; the others go on.
func (a *App) survive(err error) {
	if err != nil {
		a.log.Error("a part of the server stopped", "error", err)
	}
}

// Nudge makes everything that hangs on the time look again: the test clock moved.
func (a *App) nudge() {
	a.verbs.engine.Nudge()
	a.own.nudge()
}

// Document is the OpenAPI document of a version.
func Document(version string) ([]byte, error) { return rest.Document(version) }

// tlsConfig is what every TLS listener of the server speaks. Ours ask for TLS 1.3; clients of other makes may know TLS 1.2
// only, and get what RFC 9325 §4.2 recommends of it.
func (a *App) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: a.own.get, NextProtos: []string{"h2", "http/1.1"},
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
}
