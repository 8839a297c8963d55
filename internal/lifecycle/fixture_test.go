package lifecycle_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/hook"
	"github.com/leafward/leafward/internal/issuer"
	"github.com/leafward/leafward/internal/issuer/local"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/lint"
	"github.com/leafward/leafward/internal/pki/ocsp"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// world is a server's authorities, its engine at work and its certificates.
type world struct {
	*lifecycle.Service
	orders *lifecycle.Orders
	engine *job.Engine
	ca     *ca.CA
	db     *store.DB
	master *keys.Master
	points *hook.Points
	ctx    context.Context
	stop   func() // the engine, in the midst of its work
}

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// start makes the world; its engine works until the test ends.
func start(t testing.TB, db *store.DB) *world {
	t.Helper()
	w := &world{db: db, master: keys.GenerateMaster(), points: hook.NewPoints(), ctx: storetest.Admin(t.Context())}
	w.boot(t)
	return w
}

// boot makes what a process makes of its database when it starts.
func (w *world) boot(t testing.TB) {
	t.Helper()
	linter, err := lint.New()
	check(t, err)
	w.ca, err = ca.New(ca.Config{DB: w.db, Master: w.master, Lint: linter, Dummy: pki.NewDummy(), BaseURL: "http://pki.example.com", Points: w.points})
	check(t, err)
	check(t, w.ca.Bootstrap(w.ctx))
	plugin := local.Plugin(w.ca)
	w.orders = lifecycle.NewOrders(w.db, w.master, func(ctx context.Context, row leafward.Issuer) (issuer.Issuer, error) {
		return plugin.Open(ctx, row.ID, row.Config)
	}, 0)
	w.work(t, "w-1")
}

// work has an engine work until it is stopped or the test ends.
func (w *world) work(t testing.TB, worker string) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	kinds := append(w.orders.Kinds(), job.Kind{Name: leafward.DeployJob}, job.Kind{Name: leafward.ProveJob})
	var err error
	w.engine, err = job.New(job.Config{DB: w.db, Log: log, Points: w.points, Worker: worker, Kinds: kinds, Workers: 4, Grace: time.Millisecond})
	check(t, err)
	w.Service = lifecycle.New(w.engine, w.orders, log)
	run, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.engine.Run(run) }()
	w.stop = sync.OnceFunc(func() { stop(); check(t, <-done) })
	t.Cleanup(w.stop)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused fails the test unless the error is of the kind.
func refused(t testing.TB, err error, kind leafward.Kind) {
	t.Helper()
	if err == nil || leafward.KindOf(err) != kind {
		t.Fatalf("the error is %v, wanted one of kind %s", err, kind)
	}
}

// about fails the test unless the error names the field.
func about(t testing.TB, err error, field string) {
	t.Helper()
	if e, ok := errors.AsType[*leafward.Error](err); ok {
		for _, f := range e.Fields {
			if f.Field == field {
				return
			}
		}
	}
	t.Fatalf("the error is %v, wanted one about %s", err, field)
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := pki.GenerateKey(pki.KeyKind{Algorithm: pki.ECDSA, Size: 256})
	check(t, err)
	return key
}

// csr is a request in PEM for names, the first of which is the common name.
func csr(t testing.TB, key crypto.Signer, names ...string) string {
	t.Helper()
	all, err := pki.ParseNames(names)
	check(t, err)
	der, err := pki.MakeCSR(key, names[0], all)
	check(t, err)
	return string(pki.EncodeCSR(der))
}

// of writes a certificate for a name, changed as said.
func of(name string, changes ...func(*leafward.Certificate)) func(lifecycle.Shown, *leafward.Certificate) error {
	return func(_ lifecycle.Shown, c *leafward.Certificate) error {
		if name != "" {
			c.CommonName = name
		}
		for _, change := range changes {
			change(c)
		}
		return nil
	}
}

func serverKey(c *leafward.Certificate) { c.KeySource = leafward.ServerKey }

// issued makes a certificate and waits until it is issued.
func (w *world) issued(t testing.TB, fill func(lifecycle.Shown, *leafward.Certificate) error, asked lifecycle.Asked) lifecycle.Shown {
	t.Helper()
	made, err := w.Create(w.ctx, fill, asked, lifecycle.Once{})
	check(t, err)
	made.Version = nil // it may be issued already, which is what is waited for
	return w.version(t, made)
}

// version waits for the next version of a certificate.
func (w *world) version(t testing.TB, shown lifecycle.Shown) lifecycle.Shown {
	t.Helper()
	now := w.until(t, shown.ID, func(s lifecycle.Shown) bool {
		return s.Version != nil && (shown.Version == nil || shown.Version.ID != s.Version.ID) || !s.FailedAt.IsZero() && s.OpenJob == ""
	})
	if now.Version == nil || shown.Version != nil && shown.Version.ID == now.Version.ID {
		t.Fatalf("nothing was issued: %s %s %v", now.Status, now.LastError, w.jobs(t, shown.ID))
	}
	return w.until(t, now.ID, func(s lifecycle.Shown) bool { return s.OpenJob == "" || len(s.Targets) > 0 })
}

// until waits until the certificate is as wanted.
func (w *world) until(t testing.TB, id string, wanted func(lifecycle.Shown) bool) lifecycle.Shown {
	t.Helper()
	var shown lifecycle.Shown
	w.wait(t, "the certificate", func() bool {
		var err error
		shown, err = w.Get(w.ctx, id)
		check(t, err)
		return wanted(shown)
	})
	return shown
}

// wait looks after every commit until it sees what is wanted.
func (w *world) wait(t testing.TB, what string, wanted func() bool) {
	t.Helper()
	over := time.NewTimer(patience)
	defer over.Stop()
	for {
		changed := w.db.Changed()
		if wanted() {
			return
		}
		select {
		case <-changed:
		case <-over.C:
			t.Fatalf("%s does not become what it should be", what)
		}
	}
}

func (w *world) view(t testing.TB, read func(*store.View) error) {
	t.Helper()
	check(t, w.db.View(w.ctx, read))
}

func (w *world) write(t testing.TB, change func(*store.Tx) error) {
	t.Helper()
	check(t, w.db.Write(w.ctx, change))
}

// jobs are all jobs of a certificate, in words.
func (w *world) jobs(t testing.TB, id string) (all []string) {
	t.Helper()
	for _, j := range w.jobsOf(t, id) {
		all = append(all, fmt.Sprintf("%s %s %s %s %s", j.Kind, j.Subject, j.Status, j.WaitingFor, j.LastError))
	}
	return all
}

// jobsOf are all jobs of a certificate, roots with the jobs below them.
func (w *world) jobsOf(t testing.TB, id string) (all []leafward.Job) {
	t.Helper()
	w.view(t, func(v *store.View) error {
		list, err := v.Jobs(leafward.Query{PerPage: leafward.MaxPerPage, Sort: "created_at", Where: map[string]string{"certificate_id": id}})
		for _, j := range list.Items {
			all = append(all, j)
			if j.Kind == leafward.RootJob {
				children, err := v.Children(j.ID)
				if err != nil {
					return err
				}
				for _, child := range children {
					if child.Kind == leafward.OrderJob {
						all = append(all, child)
					}
				}
			}
		}
		return err
	})
	return all
}

// open are the open jobs of a kind.
func (w *world) open(t testing.TB, id string, kind leafward.JobKind) (all []leafward.Job) {
	t.Helper()
	for _, j := range w.jobsOf(t, id) {
		if j.Kind == kind && j.Status.Open() {
			all = append(all, j)
		}
	}
	return all
}

// events are what was recorded of a certificate, oldest first.
func (w *world) events(t testing.TB, id string) (actions []leafward.Action) {
	t.Helper()
	w.view(t, func(v *store.View) error {
		list, err := v.Events(leafward.Query{PerPage: leafward.MaxPerPage, Sort: "timestamp", Where: map[string]string{"resource_id": id}})
		for _, e := range list.Items {
			actions = append(actions, e.Action)
		}
		return err
	})
	return actions
}

func count[T comparable](list []T, one T) (n int) {
	for _, item := range list {
		if item == one {
			n++
		}
	}
	return n
}

// status is what OCSP says of a version.
func (w *world) status(t testing.TB, v *leafward.Version) ocsp.Single {
	t.Helper()
	answer, err := w.ca.RespondSerial(w.ctx, v.Authority, v.Serial)
	check(t, err)
	response, err := ocsp.ParseResponse(answer.DER)
	check(t, err)
	if response.Code != ocsp.Successful {
		t.Fatalf("the answer is %v", response.Code)
	}
	return response.Singles[0]
}

func leaf(t testing.TB, s lifecycle.Shown) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(s.Version.DER)
	check(t, err)
	return cert
}

// hosts adds an agent for each name, with a target of the same name.
func (w *world) hosts(t testing.TB, names ...string) {
	t.Helper()
	w.write(t, func(tx *store.Tx) error {
		for _, name := range names {
			tx.Exec(`INSERT INTO agents (id, uuid, revision, created_at, updated_at, team, name, principal, hostname, os, architecture, ip_address, version,
				last_heartbeat_at, registered_at, retired_at, retired_reason, deploy_failed, clock_skew, ours)
				VALUES ($1, $2, 1, 1, 1, '', $3, $4, '', '', '', '', '', 0, 1, 0, '', FALSE, 0, TRUE)`, "ag-"+name, "uuid-"+name, name, "pr-"+name)
			var row leafward.Target
			err := store.Targets().Insert(tx, &row, func(target *leafward.Target) error {
				*target = leafward.Target{Row: leafward.Row{ID: "tgt-" + name}, Name: name, Type: "NGINX", Agent: "ag-" + name, Config: []byte("{}"), Secrets: []string{}, Enabled: true}
				return nil
			}, nil)
			if err != nil {
				return err
			}
		}
		return tx.Err()
	})
}

func at(targets ...string) lifecycle.Asked {
	ids := make([]string, len(targets))
	for i, name := range targets {
		ids[i] = "tgt-" + name
	}
	return lifecycle.Asked{Targets: &ids}
}

// sign has an agent send its CSR for the certificate, with a new key.
func (w *world) sign(t testing.TB, id, agent string, names ...string) {
	t.Helper()
	_, err := w.SubmitCSR(w.ctx, id, "ag-"+agent, csr(t, newKey(t), names...), lifecycle.Once{})
	check(t, err)
}

// prove does what an agent and the prover do: every open deployment at the target is done and seen.
func (w *world) prove(t testing.TB, id, target string) {
	t.Helper()
	var found leafward.Job
	w.wait(t, "the deployment", func() bool {
		for _, j := range w.open(t, id, leafward.DeployJob) {
			if j.Target == "tgt-"+target {
				found = j
				return true
			}
		}
		return false
	})
	w.write(t, func(tx *store.Tx) error {
		j, err := tx.Job(found.ID)
		if err != nil {
			return err
		}
		i, err := tx.Installation(j.Installation)
		if err != nil {
			return err
		}
		i.Deployed, i.DeployedAt, i.Proved, i.ProvedAt, i.Proof = j.Version, tx.Now, j.Version, tx.Now, leafward.ProofServed
		tx.PutInstallation(&i)
		return w.engine.Complete(tx, &j, nil)
	})
}
