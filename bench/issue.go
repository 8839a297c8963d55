//go:build linux

package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/lint"
)

// measureIssue has clients bring CSRs and wait for the certificates, each with its own connection.
func measureIssue(ctx context.Context, b *bench) ([]row, error) {
	s, err := b.serve(ctx)
	if err != nil {
		return nil, err
	}
	l, err := b.issues(ctx, s, "h")
	if err = errors.Join(err, s.stop()); err != nil {
		return nil, err
	}
	bare, err := b.bareIssue("issuance", newRequests().make)
	if err != nil {
		return nil, err
	}
	r := l.row(fmt.Sprintf("CSR → certificate, %d clients, P-256", b.clients), bare)
	r.goal, r.missed = "≥ 1000/s, p99 ≤ 60 ms, ≥ 0.5", l.rate() < 1000 || l.at(0.99) > 60*time.Millisecond || r.ratio < 0.5
	return []row{r}, nil
}

// issues has certificates issued whose names begin so.
func (b *bench) issues(ctx context.Context, s *server, prefix string) (load, error) {
	return b.issuesBy(ctx, s, prefix, "iss-local")
}

// issuesBy is issues by an issuer of choice.
func (b *bench) issuesBy(ctx context.Context, s *server, prefix, issuer string) (load, error) {
	requests := newRequests()
	return b.put(ctx, s, "issue", func(ctx context.Context, n int) error {
		name, csr, err := requests.named(fmt.Sprintf("%s%d.bench.example.com", prefix, n), n)
		if err != nil {
			return err
		}
		made, err := api.CreateCertificate.Call(ctx, s.Client, api.CreateCertificateInput{Wait: 30, Body: api.NewCertificate{
			CertificateWrite: api.CertificateWrite{CommonName: api.Some(name), IssuerID: api.Some(issuer)}, CSRPEM: string(pki.EncodeCSR(csr)),
		}})
		if err == nil && made.Version == nil {
			err = fmt.Errorf("%s is not issued within its wait", name)
		}
		return err
	})
}

// requests makes CSRs. Keys are used again and again: to make them is not what is measured.
type requests struct {
	mu   sync.Mutex
	keys []crypto.Signer
}

func newRequests() *requests { return &requests{} }

func (r *requests) key(n int) (crypto.Signer, error) {
	const keys = 64
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.keys) == keys {
		return r.keys[n%keys], nil
	}
	key, err := pki.GenerateKey(pki.KeyKind{Algorithm: pki.ECDSA, Size: 256})
	if err == nil {
		r.keys = append(r.keys, key)
	}
	return key, err
}

func (r *requests) make(n int) (name string, csr []byte, err error) {
	return r.named(fmt.Sprintf("h%d.bench.example.com", n), n)
}

func (r *requests) named(name string, n int) (string, []byte, error) {
	key, err := r.key(n)
	if err != nil {
		return "", nil, err
	}
	names, err := pki.ParseNames([]string{name})
	if err != nil {
		return "", nil, err
	}
	csr, err := pki.MakeCSR(key, name, names)
	return name, csr, err
}

// bareIssue is what no server can leave out, without one: verify the CSR, lint, sign, and be on disk before the answer,
// where clients share commits. The CSRs are the clients' part, which costs the same cores in the other measurement.
func (b *bench) bareIssue(what string, csr func(n int) (name string, der []byte, err error)) (rate float64, err error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	disk, err := openDisk(filepath.Join(dir, "log"))
	if err != nil {
		return 0, err
	}
	defer disk.Close()
	signer, err := newBareSigner()
	if err != nil {
		return 0, err
	}
	return b.bare(b.clients, what, func(n int) error {
		_, der, err := csr(n)
		if err != nil {
			return err
		}
		cert, err := signer.sign(der)
		if err != nil {
			return err
		}
		return disk.commit(cert)
	})
}

// bareSigner is an authority in memory.
type bareSigner struct {
	key    crypto.Signer
	cert   *x509.Certificate
	issuer pki.Issuer
	dummy  *pki.Dummy
	lint   *lint.Linter
}

const bareLife = 90 * 24 * time.Hour

func newBareSigner() (*bareSigner, error) {
	b := &bareSigner{dummy: pki.NewDummy()}
	var err error
	if b.lint, err = lint.New(); err != nil {
		return nil, err
	}
	if b.key, err = pki.GenerateKey(pki.KeyKind{Algorithm: pki.ECDSA, Size: 256}); err != nil {
		return nil, err
	}
	t := pki.Template{Serial: pki.NewSerial(), Subject: pki.Subject{CommonName: "bare"}, NotBefore: time.Now().Add(-time.Hour), TTL: 365 * 24 * time.Hour, CA: true}
	issuer, err := t.SelfIssuer(b.key.Public())
	if err != nil {
		return nil, err
	}
	draft, err := b.dummy.BuildTBS(t, issuer, b.key.Public())
	if err != nil {
		return nil, err
	}
	der, err := pki.SignTBS(draft.TBS, b.key)
	if err != nil {
		return nil, err
	}
	if b.cert, err = pki.ParseCertificate(der); err != nil {
		return nil, err
	}
	b.issuer, err = pki.IssuerOf(b.cert)
	return b, err
}

func (b *bareSigner) sign(der []byte) ([]byte, error) {
	csr, err := pki.ParseCSR(der)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	t := pki.Template{Serial: pki.NewSerial(), Subject: pki.Subject{CommonName: csr.Names.DNS[0]}, Names: csr.Names, NotBefore: now, TTL: bareLife, EKUs: []string{"serverAuth"}}
	draft, err := b.dummy.BuildTBS(t, b.issuer, csr.PublicKey)
	if err != nil {
		return nil, err
	}
	if err := b.lint.Check(draft.Certificate, b.cert, lint.Options{Now: now, MaxTTL: bareLife, EKUs: t.EKUs, InternalNames: true, CommonNameOnly: true}); err != nil {
		return nil, err
	}
	return pki.SignTBS(draft.TBS, b.key)
}

// disk is a file to which many append at once and share the wait for the disk.
type disk struct {
	file  *os.File
	turns chan turn
	done  chan struct{}
}

type turn struct {
	record []byte
	told   chan error
}

func openDisk(path string) (*disk, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	d := &disk{file: file, turns: make(chan turn), done: make(chan struct{})}
	go d.run()
	return d, nil
}

// commit returns when the record is on disk.
func (d *disk) commit(record []byte) error {
	t := turn{record, make(chan error, 1)}
	d.turns <- t
	return <-t.told
}

func (d *disk) run() {
	defer close(d.done)
	for first := range d.turns {
		batch := []turn{first}
		for runtime.Gosched(); ; {
			select {
			case next := <-d.turns:
				batch = append(batch, next)
				continue
			default:
			}
			break
		}
		var err error
		for _, t := range batch {
			_, wrong := d.file.Write(t.record)
			err = errors.Join(err, wrong)
		}
		err = errors.Join(err, d.file.Sync())
		for _, t := range batch {
			t.told <- err
		}
	}
}

func (d *disk) Close() error {
	close(d.turns)
	<-d.done
	return d.file.Close()
}
