package lifecycle_test

import (
	"crypto"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestACallersCSRIsSignedBeforeTheAnswer(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		made, err := w.Create(w.ctx, of("a.example.com"), lifecycle.Asked{CSR: csr(t, newKey(t), "a.example.com")}, lifecycle.Once{})
		check(t, err)
		if made.Version == nil || made.OpenJob != "" || made.Status != leafward.StatusActive {
			t.Fatalf("the answer says %s, with the job %s", made.Status, made.OpenJob)
		}
		read, err := w.Get(w.ctx, made.ID)
		check(t, err)
		read.Job = made.Job
		sameShown(t, "as it was read", made, read)
	})
}

// What is written of a certificate does not tell which way it went.
func TestBothWaysToASignatureLeaveTheSame(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		straight, err := w.Create(w.ctx, of("a.example.com"), lifecycle.Asked{CSR: csr(t, newKey(t), "a.example.com")}, lifecycle.Once{})
		check(t, err)
		waits, err := w.Create(w.ctx, of("b.example.com", func(c *leafward.Certificate) { c.KeySource = leafward.ClientKey }), lifecycle.Asked{}, lifecycle.Once{})
		check(t, err)
		_, err = w.SubmitCSR(w.ctx, waits.ID, "", csr(t, newKey(t), "b.example.com"), lifecycle.Once{})
		check(t, err)
		long := w.version(t, waits)
		if a, b := w.traces(t, straight.ID), w.traces(t, long.ID); !slices.Equal(a, b) {
			t.Errorf("straight leaves\n%v\nand the job\n%v", a, b)
		}
	})
}

func TestBothWaysToAKeyOfTheServerLeaveTheSame(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		straight, err := w.Create(w.ctx, of("a.example.com", serverKey), lifecycle.Asked{Waits: true}, lifecycle.Once{})
		check(t, err)
		if straight.Version == nil || straight.OpenJob != "" || straight.Status != leafward.StatusActive {
			t.Fatalf("the answer says %s, with the job %s", straight.Status, straight.OpenJob)
		}
		long := w.issued(t, of("b.example.com", serverKey), lifecycle.Asked{})
		if a, b := w.traces(t, straight.ID), w.traces(t, long.ID); !slices.Equal(a, b) {
			t.Errorf("straight leaves\n%v\nand the job\n%v", a, b)
		}
		key, err := w.FirstKey(w.ctx, &straight, false)
		check(t, err)
		private, err := pki.ParsePrivateKeyPEM(key.Reveal())
		check(t, err)
		leaf, err := pki.ParseCertificate(straight.Version.DER)
		check(t, err)
		if !leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(private.Public()) {
			t.Error("the key is not that of the certificate")
		}
		for what, fill := range map[string]func(lifecycle.Shown, *leafward.Certificate) error{
			"a key of the caller": of("c.example.com"),
			"an RSA key":          of("d.example.com", serverKey, func(c *leafward.Certificate) { c.Algorithm, c.Size = pki.RSA, 2048 }),
		} {
			made, err := w.Create(w.ctx, fill, lifecycle.Asked{Waits: true}, lifecycle.Once{})
			check(t, err)
			if made.Version != nil || made.OpenJob == "" {
				t.Errorf("%s goes straight: %s", what, made.Status)
			}
		}
	})
}

func TestWhoWaitsForAKeyOfTheServerIsNotSentAwayWhereAnIssuerIsBusy(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	w.stop()
	log := slog.New(slog.DiscardHandler)
	kinds := append(w.orders.Kinds(), job.Kind{Name: leafward.DeployJob}, job.Kind{Name: leafward.ProveJob})
	engine, err := job.New(job.Config{DB: w.db, Log: log, Points: w.points, Worker: "w-narrow", Kinds: kinds, Workers: 4, Grace: time.Millisecond, LaneLimit: func(string) int { return 1 }})
	check(t, err)
	narrow := lifecycle.New(engine, w.orders, log)
	leave, err := engine.Enter(w.ctx, "issuer/iss-local")
	check(t, err)
	defer leave()
	made, err := narrow.Create(w.ctx, of("a.example.com", serverKey), lifecycle.Asked{Waits: true}, lifecycle.Once{})
	check(t, err)
	if made.Version != nil || made.OpenJob == "" {
		t.Errorf("it is %s, and no job waits for its turn", made.Status)
	}
	_, err = narrow.Create(w.ctx, of(""), lifecycle.Asked{CSR: csr(t, newKey(t), "b.example.com")}, lifecycle.Once{})
	if leafward.KindOf(err) != leafward.Later {
		t.Errorf("who brings a CSR is answered %v", err)
	}
}

// traces are what is stored of a certificate with one version, without what is its own: ids, names, moments and bytes.
func (w *world) traces(t *testing.T, id string) (all []string) {
	t.Helper()
	note := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for _, j := range w.jobsOf(t, id) {
		_, slot, _ := strings.Cut(j.Subject, "/")
		note("job %s %s/%s %s by %q, attempt %d of %d, lane %q, retry %d, deadline %t, started %t, ended %t, lease %t, parent %t", j.Kind, j.Type, slot, j.Status, j.Worker,
			j.Attempt, j.MaxAttempts, j.Lane, j.RetryMax, !j.Deadline.IsZero(), !j.StartedAt.IsZero(), !j.CompletedAt.IsZero(), !j.LeaseUntil.IsZero(), j.Parent != "")
		w.view(t, func(v *store.View) error {
			attempts, err := v.Attempts(j.ID)
			for _, a := range attempts {
				note("attempt %d by %s: %s %s, ended %t", a.Number, a.Worker, a.Outcome, a.Error, !a.EndedAt.IsZero())
			}
			return err
		})
	}
	for _, action := range w.events(t, id) {
		note("event %s", action)
	}
	w.view(t, func(v *store.View) error {
		c, err := v.Certificate(id)
		check(t, err)
		version, err := v.Version(c.Version)
		check(t, err)
		request, found, err := v.Request(version.Request)
		check(t, err)
		key, err := v.KeyPair(version.Key)
		check(t, err)
		serial, known, err := v.Serial(version.Authority, version.Serial)
		check(t, err)
		note("certificate %s %s %s %s %s, spec %d of %d, job %q, tries %d, ends %t, window %t, renewed %t", c.Team, c.Owner, c.Profile, c.Issuer, c.KeySource, c.VersionSpec, c.Spec,
			c.OpenJob, c.Tries, c.ExpiresAt.Equal(version.NotAfter), !c.WindowAt.IsZero(), !c.RenewedAt.IsZero())
		note("plan %v after its window, note %v before its end", c.WindowAt.Sub(c.RenewAt) >= 0, c.ExpiresAt.Sub(c.NoteAt))
		note("version %s %t %s %d %s, key %t, request %t, chain %t", version.Slot, version.Current, version.Algorithm, version.Spec, version.Source, version.Key == request.Key, found, version.Chain != "")
		note("request %s %s, of an order %t, of the version %t", request.State, request.Slot, request.Job != "", request.Version == version.ID)
		note("key %s %d %s %s %s", key.Algorithm, key.Size, key.Custody, key.Holder, key.Retrieval)
		note("serial %t %s, tbs %d, of the request %t", known, serial.State, len(serial.TBS), serial.Subject == request.ID)
		list, err := v.Certificates(leafward.Query{Text: version.Serial})
		note("found by its serial %d", len(list.Items))
		return err
	})
	return all
}

func sameShown(t *testing.T, what string, a, b lifecycle.Shown) {
	t.Helper()
	if x, y := fmt.Sprintf("%+v %+v", a.Certificate, *a.Version), fmt.Sprintf("%+v %+v", b.Certificate, *b.Version); x != y {
		t.Errorf("%s:\n%s\n%s", what, x, y)
	}
	a.Certificate, b.Certificate, a.Version, b.Version = leafward.Certificate{}, leafward.Certificate{}, nil, nil
	if x, y := fmt.Sprintf("%+v", a), fmt.Sprintf("%+v", b); x != y {
		t.Errorf("%s:\n%s\n%s", what, x, y)
	}
}
