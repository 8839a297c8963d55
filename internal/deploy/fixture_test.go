package deploy_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/deploy"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/outbound"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
	"github.com/leafward/leafward/internal/target"
	"github.com/leafward/leafward/internal/target/nginx"
)

const certificate = "mc-shop"

// house is the verb over a real store, with its engine running.
type house struct {
	*deploy.Service
	db     *store.DB
	engine *job.Engine
	ctx    context.Context
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// loopback lets the server look at this machine.
func loopback() outbound.Config {
	return outbound.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
}

// newHouse opens the house; its server looks where the configuration lets it.
func newHouse(t *testing.T, db *store.DB, allow outbound.Config) *house {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	prover := deploy.New(db, []target.Plugin{nginx.Plugin()}, outbound.New(allow).DialContext)
	engine, err := job.New(job.Config{DB: db, Log: log, Worker: "server-1", Workers: 4, Kinds: append(prover.Kinds(), job.Kind{Name: leafward.RootJob}), Schedules: prover.Schedules()})
	check(t, err)
	h := &house{Service: deploy.NewService(db, engine), db: db, engine: engine, ctx: storetest.Admin(t.Context())}
	running, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { _ = engine.Run(running) })
	t.Cleanup(func() {
		stop()
		all.Wait()
	})
	h.write(t, func(tx *store.Tx) {
		tx.AddIssuer(&leafward.Issuer{Row: leafward.Row{ID: "iss-test"}, Name: "test", Type: "GenericCA", Config: json.RawMessage("{}"), Secrets: []string{}, Enabled: true})
		tx.AddCertificate(&leafward.Certificate{
			Row: leafward.Row{ID: certificate}, Team: leafward.DefaultTeam, Name: "shop", CommonName: "shop.example", SANs: []string{"shop.example"},
			Owner: leafward.DefaultOwner, Profile: leafward.ServerProfile, Issuer: "iss-test", Policy: leafward.DefaultPolicy, Tags: map[string]string{}, KeySource: leafward.AgentKey, Spec: 1,
		})
	})
	return h
}

func (h *house) write(t *testing.T, change func(tx *store.Tx)) {
	t.Helper()
	check(t, h.db.Write(h.ctx, func(tx *store.Tx) error { change(tx); return tx.Err() }))
}

// until waits for what another goroutine commits.
func (h *house) until(t *testing.T, what string, holds func(v *store.View) (bool, error)) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		changed, ok := h.db.Changed(), false
		check(t, h.db.View(h.ctx, func(v *store.View) (err error) {
			ok, err = holds(v)
			return err
		}))
		if ok {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("it did not come about that %s", what)
		}
	}
}

// job reads a job.
func (h *house) job(t *testing.T, id string) (j leafward.Job) {
	t.Helper()
	check(t, h.db.View(h.ctx, func(v *store.View) (err error) {
		j, err = v.Job(id)
		return err
	}))
	return j
}

// steps are what was done in a job.
func (h *house) steps(t *testing.T, id string) []leafward.Step {
	t.Helper()
	d, err := h.Job(h.ctx, id)
	check(t, err)
	return d.Steps
}

// becomes waits until the job has the status.
func (h *house) becomes(t *testing.T, id string, status leafward.JobStatus) (j leafward.Job) {
	t.Helper()
	h.until(t, fmt.Sprintf("job %s is %s", id, status), func(v *store.View) (_ bool, err error) {
		j, err = v.Job(id)
		return j.Status == status, err
	})
	return j
}

// hurry makes a job due now that was to wait.
func (h *house) hurry(t *testing.T, id string) {
	t.Helper()
	h.write(t, func(tx *store.Tx) {
		j, err := tx.Job(id)
		tx.Fail(err)
		if j.Status == leafward.JobPending {
			j.RunAt = tx.Now
			tx.PutJob(&j)
		}
	})
}

func (h *house) installation(t *testing.T, id string) (i leafward.Installation) {
	t.Helper()
	check(t, h.db.View(h.ctx, func(v *store.View) (err error) {
		i, err = v.Installation(id)
		return err
	}))
	return i
}

func (h *house) certificate(t *testing.T) (c leafward.Certificate) {
	t.Helper()
	check(t, h.db.View(h.ctx, func(v *store.View) (err error) {
		c, err = v.Certificate(certificate)
		return err
	}))
	return c
}

// agent is a host with a target on it.
type agent struct {
	*house
	id, target, installation string
}

// agent adds an agent with a target that serves the certificate at an address.
func (h *house) agent(t *testing.T, name string, ours bool, address string) *agent {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	check(t, err)
	a := &agent{house: h, id: "ag-" + name, target: "tgt-" + name}
	h.write(t, func(tx *store.Tx) {
		tx.Exec(`INSERT INTO agents (id, uuid, revision, created_at, updated_at, team, name, principal, hostname, os, architecture, ip_address, version,
			last_heartbeat_at, registered_at, retired_at, retired_reason, deploy_failed, clock_skew, ours)
			VALUES ($1, $1, 1, 1, 1, '', $1, $1, '', '', '', '', '', 0, 1, 0, '', $2, 0, $3)`, a.id, false, ours)
	})
	config := fmt.Sprintf(`{"cert_path":"/etc/nginx/a.crt","key_path":"/etc/nginx/a.key","address":%q,"port":%s}`, host, port)
	_, err = store.Targets().Create(h.ctx, h.db, func(row *leafward.Target) error {
		row.ID, row.Name, row.Type, row.Agent, row.Config, row.Secrets, row.Enabled = a.target, name, "NGINX", a.id, json.RawMessage(config), []string{}, true
		return nil
	}, nil)
	check(t, err)
	i := leafward.Installation{Certificate: certificate, Target: a.target, Proof: leafward.ProofNone}
	h.write(t, func(tx *store.Tx) { tx.AddInstallation(&i) })
	a.installation = i.ID
	return a
}

// as is a context in which the agent speaks.
func (a *agent) as() context.Context {
	return leafward.WithActor(a.ctx, leafward.Actor{ID: a.id, Name: a.id, Type: leafward.ActorAgent, Role: leafward.RoleAgent})
}

// version signs a version for the agent and makes it the desired one of its installation.
func (a *agent) version(t *testing.T) (leafward.Version, *tls.Certificate) {
	t.Helper()
	pair := selfSigned(t)
	leaf := pair.Leaf
	v := leafward.Version{
		Certificate: certificate, Team: leafward.DefaultTeam, Slot: a.id, Key: "k", Issuer: "iss-test", Authority: "au", Serial: fmt.Sprintf("%x", leaf.SerialNumber),
		SHA256: pki.Fingerprint(leaf.Raw), NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, DER: leaf.Raw, Spec: 1, Source: "issued",
	}
	a.write(t, func(tx *store.Tx) {
		tx.AddVersion(&v)
		c, err := tx.Certificate(certificate)
		tx.Fail(err)
		policy, err := tx.RenewalPolicy(c.Policy)
		tx.Fail(err)
		c.Activate(&v, []leafward.Version{v}, &policy, tx.Now)
		tx.PutCertificate(&c)
		i, err := tx.Installation(a.installation)
		tx.Fail(err)
		i.Desired = v.ID
		tx.PutInstallation(&i)
	})
	return v, pair
}

// deployment adds the job that brings the desired version to the agent's target.
func (a *agent) deployment(t *testing.T, parent string) string {
	t.Helper()
	i := a.house.installation(t, a.installation)
	j := leafward.Job{
		Kind: leafward.DeployJob, Type: leafward.Deployment, Subject: i.ID, Team: leafward.DefaultTeam, Parent: parent, Certificate: certificate, Target: a.target,
		Agent: a.id, Installation: i.ID, Version: i.Desired, WaitingFor: "the agent " + a.id, MaxAttempts: 2, RetryMax: 60,
	}
	a.write(t, func(tx *store.Tx) {
		_, err := job.Enqueue(tx, &j)
		tx.Fail(err)
		j.Deadline = tx.Now.Add(time.Hour)
		tx.PutJob(&j)
	})
	return j.ID
}

// reports says that the deployment is completed, or why it failed.
func (a *agent) reports(t *testing.T, id string, failure error) {
	t.Helper()
	check(t, a.db.Write(a.as(), func(tx *store.Tx) error {
		j, err := tx.Job(id)
		if err != nil {
			return err
		}
		if failure != nil {
			return a.engine.Fail(tx, &j, failure)
		}
		return a.engine.Complete(tx, &j, nil)
	}))
}

// proof is the newest job that proves the version at the agent's target.
func (a *agent) proof(t *testing.T, version string) (j leafward.Job) {
	t.Helper()
	found := false
	check(t, a.db.View(a.ctx, func(v *store.View) (err error) {
		j, found, err = v.ProveJob(a.installation, version)
		return err
	}))
	if !found {
		t.Fatalf("there is no proof of %s at %s", version, a.installation)
	}
	return j
}

// says sends what the agent saw.
func (a *agent) says(t *testing.T, id, expected, actual string) deploy.Verified {
	t.Helper()
	v, err := a.Verify(a.as(), id, deploy.Said{Target: a.target, Expected: expected, Actual: actual, Verified: expected == actual})
	check(t, err)
	return v
}

// root opens a renewal of the certificate.
func (h *house) root(t *testing.T) string {
	t.Helper()
	j := leafward.Job{Kind: leafward.RootJob, Type: leafward.Renewal, Subject: certificate, Team: leafward.DefaultTeam, Certificate: certificate}
	h.write(t, func(tx *store.Tx) {
		_, err := job.Enqueue(tx, &j)
		tx.Fail(err)
		c, err := tx.Certificate(certificate)
		tx.Fail(err)
		c.Begin(j.ID)
		tx.PutCertificate(&c)
	})
	return j.ID
}

// selfSigned is a certificate for shop.example with its key.
func selfSigned(t *testing.T) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "shop.example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour), DNSNames: []string{"shop.example"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	leaf, err := x509.ParseCertificate(der)
	check(t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// shop is a TLS server whose certificate can be changed.
type shop struct {
	address string
	shows   atomic.Pointer[tls.Certificate]
	names   chan string // SNI of each visitor
}

func open(t *testing.T, pair *tls.Certificate) *shop {
	t.Helper()
	s := &shop{names: make(chan string, 100)}
	s.shows.Store(pair)
	config := &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		select {
		case s.names <- hello.ServerName:
		default:
		}
		return s.shows.Load(), nil
	}}
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	check(t, err)
	s.address = l.Addr().String()
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				_ = conn.(*tls.Conn).Handshake()
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return s
}
