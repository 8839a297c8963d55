//go:build linux

package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki"
)

// measureRSA has an RSA-4096 authority sign, whose limit is what all cores can sign with such a key.
func measureRSA(ctx context.Context, b *bench) ([]row, error) {
	s, err := b.serve(ctx)
	if err != nil {
		return nil, err
	}
	made, err := api.CreateIssuer.Call(ctx, s.Client, api.Make[api.IssuerWrite]{Body: api.IssuerWrite{
		Name: api.Some("rsa"), Type: api.Some("GenericCA"), Config: api.Some(api.Config(`{"key_algorithm":"RSA-4096"}`)),
	}})
	var l load
	if err == nil {
		l, err = b.issuesBy(ctx, s, "rsa", made.ID)
	}
	if err = errors.Join(err, s.stop()); err != nil {
		return nil, err
	}
	key, err := pki.GenerateKey(pki.KeyKind{Algorithm: pki.RSA, Size: 4096})
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte("what is signed"))
	bare, err := b.bare(runtime.NumCPU(), "RSA-4096", func(int) error {
		_, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
		return err
	})
	if err != nil {
		return nil, err
	}
	r := l.row(fmt.Sprintf("CSR → certificate by RSA-4096, %d clients", b.clients), bare)
	r.goal, r.missed = "≥ 0.75", r.ratio < 0.75
	return []row{r}, nil
}

// measureServerKeys has the server make the keys too, which is a job.
func measureServerKeys(ctx context.Context, b *bench) ([]row, error) {
	s, err := b.serve(ctx)
	if err != nil {
		return nil, err
	}
	var answered, looked load
	if answered, err = b.put(ctx, s, "server-keys", func(ctx context.Context, n int) error { return s.keyed(ctx, "k", n, 30) }); err == nil {
		looked, err = b.put(ctx, s, "server-keys-by-job", func(ctx context.Context, n int) error { return s.keyed(ctx, "j", n, 0) })
	}
	if err = errors.Join(err, s.stop()); err != nil {
		return nil, err
	}
	bare, err := b.bareIssue("keys and issuance", freshRequest)
	if err != nil {
		return nil, err
	}
	r := answered.row(fmt.Sprintf("key and certificate by the server, %d clients", b.clients), bare)
	r.goal, r.missed = "≥ 300/s", answered.rate() < 300
	return []row{r, looked.row("the same by a job, looked for every 10 ms", bare)}, nil
}

// keyed has the server make a key and a certificate, and waits for it in the call or, when that is to take no seconds, by
// looking for it.
func (s *server) keyed(ctx context.Context, name string, n, wait int) error {
	made, err := api.CreateCertificate.Call(ctx, s.Client, api.CreateCertificateInput{Wait: wait, Body: api.NewCertificate{
		CertificateWrite: api.CertificateWrite{CommonName: api.Some(fmt.Sprintf("%s%d.bench.example.com", name, n)), KeySource: api.Some("server")},
	}})
	for err == nil && made.Version == nil {
		if wait > 0 {
			return errors.New("a certificate is not issued within its wait")
		}
		select {
		case <-time.After(10 * time.Millisecond):
			made, err = api.GetCertificate.Call(ctx, s.Client, api.ByID{ID: made.ID})
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

// freshRequest is a CSR with a key of its own.
func freshRequest(n int) (name string, csr []byte, err error) { return newRequests().make(n) }
