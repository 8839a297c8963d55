package deploy

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/target"
)

// Lane is the lane of the server's own looks, so that they can be bounded apart from other work.
const Lane = "probe"

const (
	agentFirst  = 5 * time.Minute  // how long the server waits for the word of an agent before it looks itself
	proveTime   = 30 * time.Second // bounds one attempt of the server
	minLookWait = time.Second      // between two looks, growing with the time since the deployment
	maxLookWait = 5 * time.Minute
)

// Dial opens the connections of the server's own looks.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Prover draws the consequences of finished deployments and looks at what is served.
type Prover struct {
	db      *store.DB
	plugins map[string]target.Plugin
	dial    Dial
}

// New returns the work side. The plugins say where a target's certificate can be seen; dial is the guarded dialer, since
// the addresses are written by those who configure targets.
func New(db *store.DB, plugins []target.Plugin, dial Dial) *Prover {
	p := &Prover{db: db, plugins: make(map[string]target.Plugin), dial: dial}
	for _, plugin := range plugins {
		p.plugins[plugin.Type] = plugin
	}
	return p
}

// Kinds are the kinds of jobs that package deploy understands.
func (p *Prover) Kinds() []job.Kind {
	return []job.Kind{
		{Name: leafward.DeployJob, Settled: p.deploySettled, Moot: unbound},
		{Name: leafward.ProveJob, Work: p.work, Timeout: proveTime, Settled: p.proveSettled, Moot: unbound},
	}
}

// Schedules are what happens to proofs by the clock.
func (p *Prover) Schedules() []job.Schedule {
	return []job.Schedule{{Name: "proofs", Every: overdueEvery, Run: p.takeOver}}
}

// unbound tells whether the certificate was taken off the target that a deployment or proof was for.
func unbound(v *store.View, j *leafward.Job) (bool, error) {
	_, err := v.Installation(j.Installation)
	if leafward.KindOf(err) == leafward.NotFound {
		return true, nil
	}
	return false, err
}

// place is an installation with what it connects.
type place struct {
	installation leafward.Installation
	certificate  leafward.Certificate
	target       leafward.Target
	version      leafward.Version // of the job
}

// placeOf reads what a deployment or proof is about; found is false when the installation was removed.
func placeOf(v *store.View, j *leafward.Job) (p place, found bool, err error) {
	if p.installation, err = v.Installation(j.Installation); err != nil {
		if leafward.KindOf(err) == leafward.NotFound {
			return p, false, nil
		}
		return p, false, err
	}
	if p.certificate, err = v.Certificate(p.installation.Certificate); err != nil {
		return p, false, err
	}
	targets, err := v.TargetsOf(p.certificate.ID)
	if err != nil {
		return p, false, err
	}
	p.target = targets[p.installation.Target]
	p.version, err = v.Version(j.Version)
	return p, err == nil, err
}

// deploySettled notes what became of a deployment, and adds its proof.
func (p *Prover) deploySettled(tx *store.Tx, j *leafward.Job) error {
	at, found, err := placeOf(&tx.View, j)
	if err != nil || !found {
		return err
	}
	switch j.Status {
	case leafward.JobCompleted:
		return p.deployed(tx, j, &at)
	case leafward.JobFailed:
		tx.NoteDeployment(at.target.Agent, true)
		return missed(tx, j, &at)
	}
	return nil
}

// deployed notes that the version was written at the target, and adds the job that proves it.
func (p *Prover) deployed(tx *store.Tx, j *leafward.Job, at *place) error {
	i, c := &at.installation, &at.certificate
	i.Deploy(j.Version, tx.Now)
	tx.PutInstallation(i)
	tx.NoteDeployment(at.target.Agent, false)
	c.DeployedAt = tx.Now
	tx.PutCertificate(c)
	tx.Record(leafward.CertificateDeployed, c.ID, c.Team, leafward.Details{
		"installation": i.ID, "target": at.target.ID, "version": at.version.ID, "sha256": at.version.SHA256, "job": j.ID,
	})
	if i.Desired != j.Version {
		return tx.Err() // a newer version is on its way, with a deployment of its own
	}
	if err := p.refresh(tx, at); err != nil {
		return err
	}
	return p.enqueue(tx, j, at)
}

// refresh brings the installation's endpoint to what the target's configuration says now. What was seen at another
// place is dropped with it.
func (p *Prover) refresh(tx *store.Tx, at *place) error {
	want, has := p.endpoint(at)
	known, err := tx.Endpoints(at.installation.ID)
	if err != nil {
		return err
	}
	for _, e := range known {
		if has && e.Address == want.Address && e.Port == want.Port && e.ServerName == want.ServerName {
			has = false
			continue
		}
		tx.RemoveEndpoint(&e)
	}
	if has {
		tx.AddEndpoint(&want)
	}
	return tx.Err()
}

// endpoint is where the target's certificate can be seen; ok is false when it has no such place.
func (p *Prover) endpoint(at *place) (e leafward.Endpoint, ok bool) {
	plugin, ok := p.plugins[at.target.Type]
	if !ok || plugin.Endpoint == nil {
		return e, false
	}
	seen, err := plugin.Endpoint(at.target.Config)
	if err != nil || seen.Address == "" {
		return e, false
	}
	host, port, err := net.SplitHostPort(seen.Address)
	if err != nil {
		return e, false
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return e, false
	}
	if seen.ServerName == "" {
		seen.ServerName = target.AskFor(dnsNames(at.certificate.Names()))
	}
	return leafward.Endpoint{
		Installation: at.installation.ID, Certificate: at.certificate.ID, Address: host, Port: int(number), ServerName: seen.ServerName, Enabled: true,
	}, true
}

// dnsNames are those names that a server can be asked for.
func dnsNames(names []string) (dns []string) {
	for _, name := range names {
		if net.ParseIP(name) == nil && !strings.ContainsAny(name, ":/@ ") {
			dns = append(dns, name)
		}
	}
	return dns
}

// enqueue adds the job that proves a deployment. One that is open already for an older version becomes this one.
func (p *Prover) enqueue(tx *store.Tx, j *leafward.Job, at *place) error {
	ours, known, err := tx.AgentIsOurs(at.target.Agent)
	if err != nil {
		return err
	}
	proof := leafward.Job{
		Kind: leafward.ProveJob, Type: leafward.Validation, Subject: at.installation.ID, Team: j.Team, Parent: j.Parent, Batch: j.Batch,
		Certificate: j.Certificate, Target: j.Target, Installation: j.Installation, Version: j.Version, Lane: Lane, Status: leafward.JobPending,
		MaxAttempts: j.MaxAttempts, RetryMax: j.RetryMax, RunAt: tx.Now, Deadline: j.Deadline, WaitingFor: "the server's own look",
	}
	said, err := reported(j)
	switch {
	case err != nil:
		return err
	case said != nil && said.Verified:
		if proof.Checkpoint, err = encode(state{Agent: said}); err != nil {
			return err
		}
	case ours:
		proof.Agent, proof.WaitingFor = at.target.Agent, "the agent "+at.target.Agent
	case known && at.target.Agent != leafward.ServerAgent:
		proof.RunAt, proof.WaitingFor = tx.Now.Add(agentFirst), "the verification by the agent "+at.target.Agent+", else the server's own look"
	}
	wanted := proof
	added, err := job.Enqueue(tx, &proof)
	if err != nil || added {
		return err
	}
	tx.CloseAttempt(&proof, "lost", "another version was deployed meanwhile")
	wanted.Row, wanted.Epoch = proof.Row, proof.Epoch+1 // a worker that has begun with the older version is fenced off
	tx.PutJob(&wanted)
	return tx.Err()
}

// proveSettled notes why a version was not proved. Nothing but something seen completes a proof, whoever reports what.
func (p *Prover) proveSettled(tx *store.Tx, j *leafward.Job) error {
	at, found, err := placeOf(&tx.View, j)
	if err != nil || !found {
		return err
	}
	switch {
	case j.Status == leafward.JobFailed:
		return missed(tx, j, &at)
	case j.Status == leafward.JobCompleted && !at.installation.Proven(j.Version):
		return leafward.Errorf(leafward.Conflict, "say what is served with POST /api/v1/jobs/"+j.ID+"/verify", "job %s is completed by what is seen, not by a report", j.ID)
	}
	return nil
}

// missed notes why the version of a failed job is not where it must be. Below a root, the root tells the certificate.
func missed(tx *store.Tx, j *leafward.Job, at *place) error {
	if at.installation.Desired != j.Version {
		return tx.Err()
	}
	at.installation.LastError = j.LastError
	tx.PutInstallation(&at.installation)
	c := &at.certificate
	if _, closed := c.Closed(); j.Parent != "" || closed || c.OpenJob != "" {
		return tx.Err()
	}
	policy, err := tx.RenewalPolicy(c.Policy)
	if err != nil {
		return err
	}
	c.Fail(j.LastError, &policy, tx.Now)
	tx.PutCertificate(c)
	return tx.Err()
}
