package fleet_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/fleet"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/plugin"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
	"github.com/leafward/leafward/internal/target"
	"github.com/leafward/leafward/internal/target/nginx"
)

// world is the verb over a real store. Its engine settles what is reported and works nothing.
type world struct {
	*fleet.Service
	db     *store.DB
	engine *job.Engine
	master *keys.Master
	ctx    context.Context // an administrator's
}

// locker is a type of target with a secret, beside nginx.
type locker struct {
	Path     string          `json:"path" doc:"Where." required:"true"`
	Password leafward.Secret `json:"password" doc:"Of the store." secret:"true"`
	PIN      leafward.Secret `json:"pin" doc:"Of the key." secret:"true"`
}

// lockerPlugin stands in for the types that have secrets: it is configured only, never deployed to.
func lockerPlugin() target.Plugin {
	return target.Plugin{Type: "JavaKeystore", Title: "locker", Doc: "Has secrets.", Config: locker{}, Parse: parseLocker}
}

func newWorld(t *testing.T, db *store.DB) *world {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	kinds := append(fleet.Kinds(), job.Kind{Name: leafward.RootJob}, job.Kind{Name: leafward.OrderJob}, job.Kind{Name: leafward.DeployJob}, job.Kind{Name: leafward.ProveJob})
	engine, err := job.New(job.Config{DB: db, Log: log, Worker: "server-1", Workers: 1, Kinds: kinds})
	check(t, err)
	w := &world{db: db, engine: engine, master: keys.GenerateMaster(), ctx: storetest.Admin(t.Context())}
	w.Service = fleet.New(db, engine, w.master, []target.Plugin{nginx.Plugin(), lockerPlugin()}, log)
	return w
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused fails the test unless the error is of the kind.
func refused(t *testing.T, what string, err error, kind leafward.Kind) {
	t.Helper()
	if leafward.KindOf(err) != kind {
		t.Errorf("%s: %v, want %s", what, err, kind)
	}
}

func (w *world) write(t *testing.T, change func(tx *store.Tx)) {
	t.Helper()
	check(t, w.db.Write(w.ctx, func(tx *store.Tx) error { change(tx); return tx.Err() }))
}

func (w *world) view(t *testing.T, read func(v *store.View) error) {
	t.Helper()
	check(t, w.db.View(w.ctx, read))
}

// agent registers an agent, of ours or another make, and returns it with its context.
func (w *world) agent(t *testing.T, name string, ours bool) (leafward.Agent, context.Context) {
	t.Helper()
	facts := fleet.Facts{Hostname: name}
	if ours {
		facts.Protocol = leafward.AgentProtocol
	}
	a, _, err := w.Register(w.ctx, fleet.Registration{Name: name, Facts: facts})
	check(t, err)
	return a, as(t, a.ID)
}

// as is the context of an agent's own request.
func as(t *testing.T, agent string) context.Context {
	t.Helper()
	return leafward.WithActor(t.Context(), leafward.Actor{ID: agent, Name: agent, Type: leafward.ActorAgent, Role: leafward.RoleAgent})
}

// nginxAt makes a target of an agent.
func (w *world) nginxAt(t *testing.T, name, agent string) leafward.Target {
	t.Helper()
	made, err := w.CreateTarget(w.ctx, targetOf(name, "NGINX", agent), json.RawMessage(`{"cert_path":"/etc/tls/c.pem","key_path":"/etc/tls/k.pem","port":8443}`))
	check(t, err)
	return made
}

func targetOf(name, kind, agent string) func(*leafward.Target) error {
	return func(t *leafward.Target) error {
		t.Name, t.Type, t.Agent, t.Enabled = name, kind, agent, true
		return nil
	}
}

const shop = "mc-shop"

// certificate stores the certificate shop, bound to targets.
func (w *world) certificate(t *testing.T, targets ...leafward.Target) {
	t.Helper()
	w.write(t, func(tx *store.Tx) {
		tx.AddIssuer(&leafward.Issuer{Row: leafward.Row{ID: "iss-test"}, Name: "test", Type: "GenericCA", Config: json.RawMessage("{}"), Secrets: []string{}, Enabled: true})
		tx.AddCertificate(&leafward.Certificate{
			Row: leafward.Row{ID: shop}, Team: leafward.DefaultTeam, Name: "shop", CommonName: "shop.example", SANs: []string{"shop.example", "www.shop.example"},
			Owner: leafward.DefaultOwner, Profile: leafward.ServerProfile, Issuer: "iss-test", Policy: leafward.DefaultPolicy, Tags: map[string]string{}, KeySource: leafward.AgentKey, Spec: 1,
		})
		for _, to := range targets {
			tx.AddInstallation(&leafward.Installation{Row: leafward.Row{ID: "in-" + to.ID}, Certificate: shop, Target: to.ID, Proof: leafward.ProofNone})
		}
	})
}

// version stores a version of shop for a slot and makes it the desired one of the installations.
func (w *world) version(t *testing.T, slot, key string, targets ...leafward.Target) (v leafward.Version) {
	t.Helper()
	der := selfSigned(t)
	w.write(t, func(tx *store.Tx) {
		v = leafward.Version{
			Certificate: shop, Team: leafward.DefaultTeam, Slot: slot, Key: key, Issuer: "iss-test", Authority: "iss-test", Serial: fmt.Sprintf("%x", pki.NewSerial()),
			SHA256: pki.Fingerprint(der), NotBefore: tx.Now, NotAfter: tx.Now.Add(time.Hour), DER: der, Chain: tx.AddChain([][]byte{selfSigned(t)}), Source: "issued",
		}
		tx.AddVersion(&v)
		for _, to := range targets {
			i, err := tx.Installation("in-" + to.ID)
			tx.Fail(err)
			i.Desired = v.ID
			tx.PutInstallation(&i)
		}
	})
	return v
}

// enqueue adds a job.
func (w *world) enqueue(t *testing.T, j leafward.Job) leafward.Job {
	t.Helper()
	var made leafward.Job
	w.write(t, func(tx *store.Tx) {
		made = j
		added, err := job.Enqueue(tx, &made)
		if err == nil && !added {
			err = fmt.Errorf("%s %s is open already", j.Kind, j.Subject)
		}
		tx.Fail(err)
	})
	return made
}

// deployment is a job that brings the version to the target.
func (w *world) deployment(t *testing.T, to leafward.Target, version string) leafward.Job {
	t.Helper()
	return w.enqueue(t, leafward.Job{
		Kind: leafward.DeployJob, Type: leafward.Deployment, Subject: "in-" + to.ID, Team: leafward.DefaultTeam, Certificate: shop, Target: to.ID,
		Agent: to.Agent, Installation: "in-" + to.ID, Version: version,
	})
}

// order is a job that waits for the agent's CSR.
func (w *world) order(t *testing.T, agent string) leafward.Job {
	t.Helper()
	return w.enqueue(t, leafward.Job{
		Kind: leafward.OrderJob, Type: leafward.Issuance, Subject: shop + "/" + agent, Team: leafward.DefaultTeam, Certificate: shop, Agent: agent, Status: leafward.JobAwaitingCSR,
	})
}

func (w *world) job(t *testing.T, id string) (j leafward.Job) {
	t.Helper()
	w.view(t, func(v *store.View) (err error) {
		j, err = v.Job(id)
		return err
	})
	return j
}

// events counts the events of an action on a resource.
func (w *world) events(t *testing.T, action leafward.Action, id string) (n int64) {
	t.Helper()
	w.view(t, func(v *store.View) error {
		page, err := v.Events(leafward.Query{Where: map[string]string{"action": string(action), "resource_id": id}})
		n = page.Total
		return err
	})
	return n
}

// parseLocker checks a locker's configuration as the plugins do theirs.
func parseLocker(raw json.RawMessage) error {
	var c locker
	return plugin.Decode(raw, &c)
}

// selfSigned is a certificate that nobody trusts.
func selfSigned(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: pki.NewSerial(), Subject: pkix.Name{CommonName: "shop.example"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	return der
}
