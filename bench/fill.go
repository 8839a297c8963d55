//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store/storetest"
)

// filled is a server that holds many certificates. They are copies of some that it issued, in three environments, one in
// twenty of them revoked, none due.
func (b *bench) filled(ctx context.Context, many int) (*server, error) {
	s, err := b.serve(ctx)
	if err != nil {
		return nil, err
	}
	of, err := s.models(ctx)
	if err == nil {
		s.end()
		err = storetest.Multiply(ctx, s.database(), storetest.Copies{Of: of, Many: many, Spread: 50 * 24 * time.Hour, Host: hostOf})
	}
	if err == nil {
		err = s.start(ctx, b.program)
	}
	if err == nil {
		err = s.caughtUp(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// hostOf names the host of the certificate number n of those that are copied.
func hostOf(n int) string {
	return fmt.Sprintf("%s-%d", [...]string{"web", "api", "db", "mail", "vpn"}[n%5], n)
}

// domainOf is the domain of a model, and of the copies of it.
func domainOf(model int) string {
	return [...]string{"berlin", "oslo", "rome"}[model%3] + ".example.com"
}

// nameOf is the name of the certificate number n.
func nameOf(n int) string { return hostOf(n) + "." + domainOf(n%models) }

// models is how many certificates are copied.
const models = 20

// models issues what is copied.
func (s *server) models(ctx context.Context) (ids []string, err error) {
	requests := newRequests()
	for n := range models {
		name, csr, err := requests.named(fmt.Sprintf("model-%d.%s", n, domainOf(n)), n)
		if err != nil {
			return nil, err
		}
		made, err := api.CreateCertificate.Call(ctx, s.Client, api.CreateCertificateInput{Wait: 30, Body: api.NewCertificate{
			CertificateWrite: api.CertificateWrite{CommonName: api.Some(name), Environment: api.Some(environments()[min(n/10, n%3)])}, CSRPEM: string(pki.EncodeCSR(csr)),
		}})
		if err != nil {
			return nil, err
		}
		ids = append(ids, made.ID)
	}
	revoked := ids[len(ids)-1]
	_, err = api.RevokeCertificate.Call(ctx, s.Client, api.AskWith[api.RevokeRequest]{ID: revoked, Body: &api.RevokeRequest{Reason: "superseded"}})
	return ids, err
}

func environments() []string { return []string{"production", "staging", "development"} }

// caughtUp waits until the server has written the log of what it holds beside the database and has nothing else to do.
func (s *server) caughtUp(ctx context.Context) error {
	for last, quiet := s.cpu(), 0; quiet < 4; {
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		now := s.cpu()
		if quiet++; now-last > 20*time.Millisecond {
			quiet = 0
		}
		last = now
	}
	return nil
}
