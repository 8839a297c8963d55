//go:build testhooks

package app_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/config"
	"github.com/leafward/leafward/internal/hook"
	"github.com/leafward/leafward/internal/pgtest"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// served is when the certificate ends that the server shows.
func (s *server) served(t *testing.T) time.Time { return s.shows(t).NotAfter }

// shows is the certificate that the server shows.
func (s *server) shows(t *testing.T) *x509.Certificate {
	t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	conn, err := dialer.DialContext(t.Context(), "tcp", s.API)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
}

// hook sends a request to the hooks.
func (s *server) hook(t *testing.T, path, body string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://local/testhooks/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return send(t, s.owner(t), request)
}

func TestTheOwnCertificateIsRenewedBeforeHalfOfItsLifeIsOver(t *testing.T) {
	each(t, func(t *testing.T, settings config.Serve) {
		settings.Clock = time.Now().Add(-65 * 24 * time.Hour)
		s := start(t, settings)
		first := s.served(t)
		if got := s.hook(t, "clock", `{"advance":"1512h"}`); got.status != 200 { // 63 days
			t.Fatalf("%+v", got)
		}
		until(t, "the certificate is renewed", func() bool { return s.served(t).After(first) })
		until(t, "everything else has followed the clock", func() bool { return get(t, s.owner(t), "http://local/ready").status == 200 })
	})
}

func TestAClockThatWasWrongForAWhileLeavesNothingUnready(t *testing.T) {
	each(t, func(t *testing.T, settings config.Serve) {
		s := start(t, settings)
		ready := func(status int) func() bool {
			return func() bool { return get(t, s.owner(t), "http://local/ready").status == status }
		}
		if got := s.hook(t, "clock", `{"set":"2090-01-01T00:00:00Z"}`); got.status != 200 { // when every authority has ended
			t.Fatalf("%+v", got)
		}
		until(t, "the certificate cannot be renewed", ready(503))
		if got := s.hook(t, "clock", `{"set":"`+time.Now().UTC().Format(time.RFC3339)+`"}`); got.status != 200 {
			t.Fatalf("%+v", got)
		}
		until(t, "the clock is right again", ready(200))
	})
}

func TestTheOwnCertificateIsReplacedWhenItIsRevoked(t *testing.T) {
	each(t, func(t *testing.T, settings config.Serve) {
		s := start(t, settings)
		first := s.shows(t)
		replaced := func() bool { return s.shows(t).SerialNumber.Cmp(first.SerialNumber) != 0 }
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		strike(t, settings, first)
		if s = start(t, settings); !replaced() || bytes.Equal(s.shows(t).RawSubjectPublicKeyInfo, first.RawSubjectPublicKeyInfo) {
			t.Error("a server that starts shows the revoked certificate, or another one of its key")
		}
		if settings.Database == "" { // which nobody else may open
			return
		}
		first = s.shows(t)
		strike(t, settings, first)
		if got := s.hook(t, "clock", `{"advance":"1m"}`); got.status != 200 {
			t.Fatalf("%+v", got)
		}
		until(t, "the certificate is replaced", replaced)
	})
}

// strike revokes a certificate of the local authority.
func strike(t *testing.T, settings config.Serve, cert *x509.Certificate) {
	t.Helper()
	change(t, settings, func(tx *store.Tx, a *leafward.Authority) error {
		_, err := ca.Revoke(tx, a.ID, pki.SerialHex(cert.SerialNumber), leafward.KeyCompromise, time.Time{})
		return err
	})
}

func TestAnExpiredOwnCertificateDoesNotStopTheStart(t *testing.T) {
	settings := fresh(t)
	settings.Clock = time.Now().Add(-200 * 24 * time.Hour)
	s := start(t, settings)
	old := s.served(t)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	retire(t, settings)
	settings.Clock = time.Time{}
	s = start(t, settings)
	if got := s.served(t); !got.Equal(old) || !got.Before(time.Now()) {
		t.Errorf("the certificate ends on %s; the old one ended on %s", got, old)
	}
	if got := get(t, s.owner(t), "http://local/ready"); got.status != 503 || !strings.Contains(got.body, `"tls"`) {
		t.Errorf("readiness does not tell: %+v", got)
	}
	if got := get(t, s.owner(t), "http://local/api/v1/teams"); got.status != 200 {
		t.Errorf("%+v", got)
	}
}

func TestAnAuthorityThatHasEndedKeepsNobodyFromBeingReady(t *testing.T) {
	each(t, func(t *testing.T, settings config.Serve) {
		s := start(t, settings)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://local/api/v1/issuers",
			strings.NewReader(`{"name":"short","type":"GenericCA","config":{"validity_days":1}}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		if got := send(t, s.owner(t), request); got.status != 201 {
			t.Fatalf("%+v", got)
		}
		has := func(line string) bool {
			return strings.Contains(get(t, s.owner(t), "http://local/metrics").body, "\n"+line+"\n")
		}
		if !has("leafward_crls 3") {
			t.Error("the metrics do not count the new authority")
		}
		if got := s.hook(t, "clock", `{"advance":"48h"}`); got.status != 200 {
			t.Fatalf("%+v", got)
		}
		until(t, "the server is ready", func() bool { return get(t, s.owner(t), "http://local/ready").status == 200 })
		if !has("leafward_crls 2") || !has("leafward_crls_stale 0") {
			t.Error("the metrics wait for an authority that can sign no more")
		}
	})
}

// retire takes the right to sign away from the issuing authority, so that nothing can be renewed.
func retire(t *testing.T, settings config.Serve) {
	t.Helper()
	change(t, settings, func(tx *store.Tx, a *leafward.Authority) error {
		a.State = leafward.AuthorityRetiring
		tx.PutAuthority(a)
		return nil
	})
}

// change writes into the database of a server, beside it, what becomes of the local issuer's authority.
func change(t *testing.T, settings config.Serve, write func(*store.Tx, *leafward.Authority) error) {
	t.Helper()
	at := store.Config{URL: string(settings.Database)}
	if at.URL == "" {
		at.Path = filepath.Join(settings.DataDir, "leafward.db")
	}
	db, err := store.Open(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Write(storetest.Admin(t.Context()), func(tx *store.Tx) error {
		i, err := tx.Issuer(ca.LocalIssuer)
		if err != nil {
			return err
		}
		a, err := tx.Authority(i.Authority)
		if err != nil {
			return err
		}
		return write(tx, &a)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestHooksAreOnTheLocalSocketOnly(t *testing.T) {
	s := start(t, fresh(t))
	if got := s.hook(t, "failpoint", `{"name":"store.before-commit","action":"error:broken"}`); got.status != 200 {
		t.Fatalf("%+v", got)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://local/api/v1/teams", strings.NewReader(`{"name":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if got := send(t, s.owner(t), request); got.status != 500 || strings.Contains(got.body, "broken") {
		t.Errorf("%+v", got)
	}
	if got := get(t, s.https(t), "https://"+s.API+"/testhooks/clock"); got.status != 404 {
		t.Errorf("the hooks are open to the world: %+v", got)
	}
}

func TestAServerThatStartsBeforeItsOwnRecordTellsSo(t *testing.T) {
	each(t, func(t *testing.T, settings config.Serve) {
		settings.Clock = time.Now().Add(3 * time.Hour)
		s := start(t, settings)
		until(t, "an event has its number", func() bool {
			return strings.Contains(get(t, s.owner(t), "http://local/api/v1/audit/export").body, "certificate.issued")
		})
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		settings.Clock = time.Time{}
		s = start(t, settings)
		until(t, "the jump is on record", func() bool {
			return strings.Contains(get(t, s.owner(t), "http://local/api/v1/audit/export").body, `"clock":"record"`)
		})
	})
}

func TestAFirstStartThatEndsInTheMidstGoesOn(t *testing.T) {
	for engine, config := range map[string]func(*testing.T) store.Config{
		"sqlite":   func(t *testing.T) store.Config { return store.Config{Path: filepath.Join(t.TempDir(), "leafward.db")} },
		"postgres": func(t *testing.T) store.Config { return store.Config{URL: pgtest.DSN(t)} },
	} {
		t.Run(engine, func(t *testing.T) {
			for step := range int(store.Newest()) {
				c := config(t)
				c.Points = hook.NewPoints()
				db, err := store.Open(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				if err := c.Points.Set(fmt.Sprintf("store.migrating-%d", step+1), "1*error"); err != nil {
					t.Fatal(err)
				}
				if err := db.Migrate(t.Context(), storetest.Seed(db)); err == nil {
					t.Fatalf("nothing happened before step %d", step+1)
				}
				if err := db.Migrate(t.Context(), storetest.Seed(db)); err != nil {
					t.Errorf("ended before step %d, it is met with %v", step+1, err)
				}
			}
		})
	}
}
