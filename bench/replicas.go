//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki"
)

const replicas = 3

// measureReplicas has one server and then three on one database issue certificates, and the three again while each of them
// in turn is killed and started again. Whoever gets no answer asks another server the same, with the same Idempotency-Key.
func measureReplicas(ctx context.Context, b *bench) ([]row, error) {
	all, err := b.serveTogether(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := b.together(ctx, all)
	return rows, errors.Join(err, all.stop())
}

// together are servers on one database, the first of which removes it.
type together []*server

func (t together) stop() (err error) {
	for i := len(t) - 1; i >= 0; i-- {
		err = errors.Join(err, t[i].stop())
	}
	return err
}

func (t together) cpu() (sum time.Duration) {
	for _, s := range t {
		sum += s.cpu()
	}
	return sum
}

// serveTogether starts servers that share a database and a master key; one key of the API is good for all of them.
func (b *bench) serveTogether(ctx context.Context) (all together, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, all.stop())
		}
	}()
	for n := range replicas {
		b.tell("server %d of %d starts", n+1, replicas)
		var s *server
		if n == 0 {
			s, err = b.place(ctx)
		} else {
			s, err = b.placeOn(ctx, all[0].dsn, func() error { return nil })
		}
		if err != nil {
			return all, err
		}
		all = append(all, s)
		master := filepath.Join(all[0].home, "master.key")
		if n == 0 {
			secret := make([]byte, 32)
			_, _ = rand.Read(secret) // it never fails
			if err := os.WriteFile(master, []byte(hex.EncodeToString(secret)+"\n"), 0o600); err != nil {
				return all, err
			}
		}
		s.args = append(s.args, "--master-key-file", master)
		if err := s.start(ctx, b.program); err != nil {
			return all, err
		}
		if n == 0 {
			err = s.connect(ctx)
		} else {
			err = s.connectWith(all[0].Key)
		}
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

func (b *bench) together(ctx context.Context, all together) ([]row, error) {
	one, err := b.issues(ctx, all[0], "one")
	if err != nil {
		return nil, err
	}
	o := &orders{requests: newRequests(), prefix: "three", from: all, made: map[string]string{}}
	three, err := b.repeated(ctx, all.cpu, "issue on three servers", o.order)
	if err != nil {
		return nil, err
	}
	rows := []row{
		one.row("issuance on one server of three", 0),
		three.row("issuance on three servers, against one", one.rate()),
	}
	o = &orders{requests: newRequests(), prefix: "lost", from: all, made: map[string]string{}}
	lasts := 2 * replicas * b.time
	b.tell("issue for %s while each server is killed and comes back", lasts)
	killed := make(chan error, 1)
	working, stop := context.WithCancel(ctx)
	go func() { killed <- all.killEach(working, b.program, b.time) }()
	through, err := put(ctx, func() time.Duration { return 0 }, b.clients, lasts, o.order)
	if err != nil {
		stop()
	}
	err = errors.Join(err, <-killed)
	stop()
	if err != nil {
		return rows, err
	}
	lost, twice, err := o.judge(ctx, all[1])
	if err != nil {
		return rows, err
	}
	r := through.row("the same, each killed and back in turn", one.rate())
	return append(rows, r, row{
		what:   "what that left of the acknowledged",
		figure: fmt.Sprintf("%d, %d lost, %d twice, %d asked again", len(o.made), lost, twice, o.again), bare: "waited " + through.at(1).Round(time.Millisecond).String(),
		goal: "0 lost, 0 twice", missed: lost+twice > 0,
	}), nil
}

// killEach kills one server after the other and starts it again, with a pause before each of both.
func (t together) killEach(ctx context.Context, path string, every time.Duration) error {
	for _, s := range t {
		if err := pause(ctx, every); err != nil {
			return err
		}
		s.kill()
		if err := pause(ctx, every); err != nil {
			return err
		}
		if err := s.start(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

// orders are the certificates that clients ask of several servers.
type orders struct {
	requests *requests
	prefix   string
	from     together

	mu    sync.Mutex
	made  map[string]string // ids by name, of what was acknowledged
	again int               // requests that were sent again
}

// order asks one server after the other until one has issued the certificate number n.
func (o *orders) order(ctx context.Context, n int) error {
	name, csr, err := o.requests.named(fmt.Sprintf("%s%d.bench.example.com", o.prefix, n), n)
	if err != nil {
		return err
	}
	in := api.CreateCertificateInput{IdempotencyKey: name, Wait: 30, Body: api.NewCertificate{
		CertificateWrite: api.CertificateWrite{CommonName: api.Some(name)}, CSRPEM: string(pki.EncodeCSR(csr)),
	}}
	for begun, try := time.Now(), 0; ; try++ {
		made, err := api.CreateCertificate.Call(ctx, o.from[(n+try)%len(o.from)].Client, in)
		if err == nil && made.Version != nil {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.made[name], o.again = made.ID, o.again+try
			return nil
		}
		if err != nil && !passing(err) || time.Since(begun) > 2*time.Minute {
			return errors.Join(err, fmt.Errorf("%s is not issued", name))
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// passing tells a failure that another try, or another server, may not have.
func passing(err error) bool {
	if answered, ok := errors.AsType[*api.Error](err); ok {
		return answered.GetStatus() == http.StatusServiceUnavailable || answered.RetryAfter() > 0
	}
	return leafward.KindOf(err) == leafward.Later || !errors.Is(err, context.Canceled)
}

// judge holds what was acknowledged against what a server has.
func (o *orders) judge(ctx context.Context, s *server) (lost, twice int, err error) {
	held := map[string][]string{}
	for in := (api.ListCertificatesInput{Listing: api.Listing{Page: 1, PerPage: 500, Search: o.prefix, Sort: "id"}}); ; {
		page, err := api.ListCertificates.Call(ctx, s.Client, in)
		if err != nil {
			return 0, 0, err
		}
		for _, c := range page.Data {
			if c.Status == "Active" {
				held[c.CommonName] = append(held[c.CommonName], c.ID)
			}
		}
		if in.Cursor = page.NextCursor; in.Cursor == "" {
			break
		}
	}
	for name, id := range o.made {
		switch has := held[name]; {
		case len(has) == 0 || has[0] != id:
			lost++
		case len(has) > 1:
			twice++
		}
	}
	more, err := s.number(ctx, "SELECT count(*) FROM (SELECT certificate FROM versions GROUP BY certificate HAVING count(*) > 1) AS again")
	return lost, twice + int(more), err
}
