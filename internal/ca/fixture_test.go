package ca_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/hook"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/lint"
	"github.com/leafward/leafward/internal/pki/ocsp"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

const publicURL = "http://pki.example.com:8480"

// world is the authorities of a server and what they stand on.
type world struct {
	*ca.CA
	config ca.Config
	ctx    context.Context
}

// start makes the authorities on a database, as the first start of a server does.
func start(t testing.TB, db *store.DB, base string) *world {
	t.Helper()
	linter, err := lint.New()
	check(t, err)
	w := &world{ctx: storetest.Admin(t.Context()), config: ca.Config{
		DB: db, Master: keys.GenerateMaster(), Lint: linter, Dummy: pki.NewDummy(), Points: hook.NewPoints(), BaseURL: base,
	}}
	return w.restart(t, base)
}

// restart is another server process on the same database.
func (w *world) restart(t testing.TB, base string) *world {
	t.Helper()
	again := *w
	again.config.BaseURL = base
	var err error
	again.CA, err = ca.New(again.config)
	check(t, err)
	check(t, again.Bootstrap(w.ctx))
	return &again
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := pki.GenerateKey(pki.KeyKind{Algorithm: pki.ECDSA, Size: 256})
	check(t, err)
	return key
}

// order asks for a server's certificate from the issuer that the first start makes.
func order(t testing.TB, request string) ca.Order {
	t.Helper()
	return ca.Order{
		Authority: ca.LocalIssuer, Request: request, Subject: pki.Subject{CommonName: "www.example.com"}, Names: pki.Names{DNS: []string{"www.example.com"}},
		PublicKey: newKey(t).Public(), EKUs: []string{pki.ServerAuth}, TTL: 90 * 24 * time.Hour, Backdate: 5 * time.Minute,
	}
}

// issue issues and stores a certificate.
func (w *world) issue(t testing.TB, o ca.Order) ca.Issued {
	t.Helper()
	issued, err := w.Issue(w.ctx, o)
	check(t, err)
	check(t, w.mark(issued))
	return issued
}

func (w *world) mark(issued ca.Issued) error {
	return w.config.DB.Write(w.ctx, func(tx *store.Tx) error { return ca.MarkIssued(tx, issued.Authority, issued.Serial) })
}

func (w *world) revoke(issued ca.Issued, reason string) (changed bool, err error) {
	err = w.config.DB.Write(w.ctx, func(tx *store.Tx) error {
		changed, err = ca.Revoke(tx, issued.Authority, issued.Serial, reason, time.Time{})
		return err
	})
	return changed, err
}

func (w *world) release(issued ca.Issued) error {
	return w.config.DB.Write(w.ctx, func(tx *store.Tx) error { return ca.Release(tx, issued.Authority, issued.Serial) })
}

// status is what OCSP says, verified against the issuing authority.
func (w *world) status(t testing.TB, authority, serial string) ocsp.Single {
	t.Helper()
	answer, err := w.RespondSerial(w.ctx, authority, serial)
	check(t, err)
	response, err := ocsp.ParseResponse(answer.DER)
	check(t, err)
	if response.Code != ocsp.Successful {
		t.Fatalf("the answer is %v", response.Code)
	}
	var now time.Time
	check(t, w.config.DB.View(w.ctx, func(v *store.View) error { now = v.Now; return nil }))
	check(t, response.Verify(w.certificate(t, authority), now))
	return response.Singles[0]
}

func (w *world) certificate(t testing.TB, id string) *x509.Certificate {
	t.Helper()
	der, err := w.Certificate(w.ctx, id)
	check(t, err)
	return parse(t, der)
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	return cert
}

// list is the published CRL, verified.
func (w *world) list(t testing.TB, authority string) *x509.RevocationList {
	t.Helper()
	stored, err := w.CRL(w.ctx, authority)
	check(t, err)
	list, err := x509.ParseRevocationList(stored.DER)
	check(t, err)
	check(t, list.CheckSignatureFrom(w.certificate(t, authority)))
	return list
}

// publish runs the publishing loop until the list of an authority is as wanted.
func (w *world) publish(t testing.TB, authority string, wanted func(*x509.RevocationList) bool) *x509.RevocationList {
	t.Helper()
	ctx, stop := context.WithTimeout(w.ctx, 20*time.Second)
	defer stop()
	done := make(chan error, 1)
	loop, end := context.WithCancel(ctx)
	go func() { done <- w.Run(loop) }()
	defer func() { end(); check(t, <-done) }()
	for {
		changed := w.config.DB.Changed()
		if list := w.list(t, authority); wanted(list) {
			return list
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatal("the CRL does not become what it should be")
		}
	}
}

func holds(serial string) func(*x509.RevocationList) bool {
	return func(list *x509.RevocationList) bool {
		for _, entry := range list.RevokedCertificateEntries {
			if pki.SerialHex(entry.SerialNumber) == serial {
				return true
			}
		}
		return false
	}
}

// folder writes files, PEM for certificates, and gives their directory.
func folder(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if strings.HasSuffix(name, ".pem") {
			content = pki.EncodeChain(content)
		}
		check(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
	return dir
}

// openssl runs the command in a directory and gives what it printed.
func openssl(t testing.TB, dir string, args ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "openssl", args...)
	command.Dir = dir
	out, err := command.CombinedOutput()
	return fmt.Sprintf("openssl %s: %s", strings.Join(args, " "), out), err
}

// issuingID is the id of the authority behind the local issuer.
func (w *world) issuingID(t testing.TB) string {
	t.Helper()
	var id string
	check(t, w.config.DB.View(w.ctx, func(v *store.View) error {
		i, err := v.Issuer(ca.LocalIssuer)
		id = i.Authority
		return err
	}))
	return id
}

// sound fails unless every step of the authority's test holds.
func sound(t testing.TB, w *world, id string) {
	t.Helper()
	steps, err := w.Test(w.ctx, id)
	check(t, err)
	for _, s := range steps {
		if !s.OK {
			t.Errorf("%s: %s", s.Name, s.Message)
		}
	}
	if len(steps) != 5 {
		t.Errorf("%d steps", len(steps))
	}
}

// authority is the row of an authority.
func (w *world) authority(t testing.TB, id string) (a leafward.Authority) {
	t.Helper()
	check(t, w.config.DB.View(w.ctx, func(v *store.View) (err error) { a, err = v.Authority(id); return err }))
	return a
}
