package app

import (
	"context"
	"strings"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/door/rest"
	"github.com/leafward/leafward/internal/store"
)

// leastSpace is how many octets the data directory's file system must have left.
const leastSpace = 32 << 20

// checks are what readiness means.
func (a *App) checks() []rest.Check {
	return []rest.Check{
		{Name: "database", Test: a.db.Ping},
		{Name: "jobs", Test: func(context.Context) error { return a.verbs.engine.Healthy() }},
		{Name: "ledger", Test: func(context.Context) error { return a.follower.Healthy() }},
		{Name: "disk", Test: func(context.Context) error { return spaceIn(a.config.DataDir) }},
		{Name: "crl", Test: a.freshLists},
		{Name: "tls", Test: a.own.healthy},
	}
}

func spaceIn(dir string) error {
	free, err := freeSpace(dir)
	if err != nil {
		return err
	}
	if free < leastSpace {
		return leafward.Errorf(leafward.StorageFull, "free some space; reading, OCSP and CRLs go on", "the disk of the data directory has %d MB left", free>>20)
	}
	return nil
}

// freshLists is nil while every CRL that this server can publish is valid: a server without traffic would not bring the key
// of an offline authority back.
func (a *App) freshLists(ctx context.Context) error {
	var stale []string
	err := a.db.View(ctx, func(v *store.View) error {
		lists, err := v.Lists()
		for _, l := range lists {
			if l.Stale(v.Now) && !l.Offline {
				stale = append(stale, l.Authority)
			}
		}
		return err
	})
	if err != nil || len(stale) == 0 {
		return err
	}
	return leafward.Errorf(leafward.Later, "the server publishes them by itself; its log says why it could not", "the CRL of %s is past its next update", strings.Join(stale, ", "))
}
