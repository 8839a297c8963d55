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
	l, err := b.put(ctx, s, "server-keys", func(ctx context.Context, n int) error {
		made, err := api.CreateCertificate.Call(ctx, s.Client, api.CreateCertificateInput{Wait: 30, Body: api.NewCertificate{
			CertificateWrite: api.CertificateWrite{CommonName: api.Some(fmt.Sprintf("k%d.bench.example.com", n)), KeySource: api.Some("server")},
		}})
		if err == nil && made.Version == nil {
			err = errors.New("a certificate is not issued within its wait")
		}
		return err
	})
	if err = errors.Join(err, s.stop()); err != nil {
		return nil, err
	}
	bare, err := b.bareIssue("keys and issuance", freshRequest)
	if err != nil {
		return nil, err
	}
	r := l.row(fmt.Sprintf("key and certificate by the server, %d clients", b.clients), bare)
	r.goal, r.missed = "≥ 300/s", l.rate() < 300
	return []row{r}, nil
}

// freshRequest is a CSR with a key of its own.
func freshRequest(n int) (name string, csr []byte, err error) { return newRequests().make(n) }
