package lifecycle

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/store"
)

// Slots of keys that no agent holds.
const (
	clientSlot = "client"
	serverSlot = "server"
)

// How long an order or a deployment may wait for somebody.
const (
	firstWait   = 30 * 24 * time.Hour // at most
	renewalWait = 24 * time.Hour      // at least; else until what is in use ends
)

// start says why a root is opened and for what.
type start struct {
	typ    leafward.JobType
	root   string   // id that the root gets; "": one of its own
	slots  []string // only these; nil: all
	places []place  // installations that are brought up to date besides
	csr    []byte   // DER, of the caller
	ask    string   // id of the request that goes on with the caller's CSR; "": a new one
	fresh  bool     // with new keys, whatever the certificate says of reuse
	hourly bool     // it counts among the renewals of an hour
	batch  string
	result string // checkpoint of the root: what to do once it is completed
	room   *job.Place
	delay  time.Duration // until its orders are due
	read   *read         // what the transaction read for many; nil: nothing is kept
}

// read is what one transaction reads for many roots together.
type read struct {
	around  map[string]around                     // by what certificates refer to
	targets map[string]map[string]leafward.Target // of certificates, by id
}

// targetsOf are the targets of a certificate, which matter where agents hold its keys, or what is signed is to be deployed.
func (s *start) targetsOf(tx *store.Tx, c *leafward.Certificate) (map[string]leafward.Target, error) {
	if c.KeySource != leafward.AgentKey && len(s.places) == 0 {
		return nil, nil
	}
	if s.read != nil && s.read.targets[c.ID] != nil {
		return s.read.targets[c.ID], nil
	}
	return tx.TargetsOf(c.ID)
}

// place is an installation and the version that must be there.
type place struct {
	leafward.Installation
	version string
}

// begin opens the root job of a certificate, with an order for each slot, and marks the certificate.
// The caller writes the certificate, for which no other root is open: afterwards, or before where the root has its id already.
func begin(tx *store.Tx, c *leafward.Certificate, a around, s start) (root leafward.Job, err error) {
	targets, err := s.targetsOf(tx, c)
	if err != nil {
		return root, err
	}
	root = leafward.Job{
		Row: leafward.Row{ID: s.root}, Kind: leafward.RootJob, Type: s.typ, Subject: c.ID, Team: c.Team, Batch: s.batch, Certificate: c.ID, Hourly: s.hourly,
		Status: leafward.JobPending, MaxAttempts: a.policy.MaxRetries + 1, RunAt: tx.Now, Checkpoint: s.result,
	}
	slots := s.slots
	if slots == nil {
		slots = slotsOf(c, targets)
	}
	orders, csrs := make([]leafward.Job, len(slots)), make([][]byte, len(slots))
	for i, slot := range slots {
		if orders[i], csrs[i], err = orderOf(tx, c, a, s, slot); err != nil {
			return root, err
		}
	}
	if err := s.room.Plant(tx, &root, orders); err != nil {
		return root, err
	}
	for i := range orders {
		s.request(tx, &orders[i], slots[i], csrs[i])
	}
	for _, p := range s.places {
		t := targets[p.Target]
		p.Desired, p.LastError = p.version, ""
		tx.PutInstallation(&p.Installation)
		if _, err := deployment(tx, c, &p.Installation, &t, &a.policy, root.ID, s.batch); err != nil {
			return root, err
		}
	}
	c.Begin(root.ID)
	return root, nil
}

// busy says that a root is open already.
func busy(c *leafward.Certificate, root string) error {
	return leafward.Errorf(leafward.Conflict, "wait for it, or cancel it: `leafward job cancel "+root+"`", "the certificate %s is being issued or renewed already", c.Name)
}

// slotsOf are the holders of the certificate's keys: each agent of its targets, else the server or the caller.
func slotsOf(c *leafward.Certificate, targets map[string]leafward.Target) []string {
	switch c.KeySource {
	case leafward.ServerKey:
		return []string{serverSlot}
	case leafward.ClientKey:
		return []string{clientSlot}
	}
	var agents []string
	for _, t := range targets {
		if !slices.Contains(agents, t.Agent) {
			agents = append(agents, t.Agent)
		}
	}
	slices.Sort(agents)
	if len(agents) == 0 {
		return []string{clientSlot}
	}
	return agents
}

// order adds the order of one slot below a root that is open already.
func order(tx *store.Tx, c *leafward.Certificate, a around, s start, root *leafward.Job, slot string) error {
	j, csr, err := orderOf(tx, c, a, s, slot)
	if err != nil {
		return err
	}
	j.Parent = root.ID
	if _, err := job.Enqueue(tx, &j); err != nil {
		return err
	}
	s.request(tx, &j, slot, csr)
	return tx.Err()
}

// request adds what an order has signed; nil: somebody brings it.
func (s *start) request(tx *store.Tx, order *leafward.Job, slot string, csr []byte) {
	if csr != nil {
		tx.AddRequest(&leafward.Request{Row: leafward.Row{ID: s.ask}, Certificate: order.Certificate, Job: order.ID, Slot: slot, CSR: csr, State: leafward.RequestOpen})
	}
}

// orderOf is the order of one slot, and the CSR that it goes on with, nil where it waits for one.
func orderOf(tx *store.Tx, c *leafward.Certificate, a around, s start, slot string) (j leafward.Job, csr []byte, err error) {
	j = leafward.Job{
		Kind: leafward.OrderJob, Type: s.typ, Subject: c.ID + "/" + slot, Team: c.Team, Batch: s.batch, Certificate: c.ID,
		Lane: laneOf(c.Issuer), Status: leafward.JobPending, MaxAttempts: a.policy.MaxRetries + 1, RetryMax: a.policy.RetryInterval,
		RunAt: tx.Now.Add(s.delay), Deadline: deadline(c, tx.Now),
	}
	csr = s.csr
	switch {
	case slot == serverSlot:
	case slot == clientSlot:
		if csr == nil && c.ReuseKey && !s.fresh {
			if csr, err = lastCSR(&tx.View, c.ID, slot); err != nil {
				return j, nil, err
			}
		}
		if csr == nil {
			j.Status, j.WaitingFor = leafward.JobAwaitingCSR, waitsForCSR(c)
		}
	default:
		j.Agent, j.Status, j.WaitingFor = slot, leafward.JobAwaitingCSR, "the agent "+slot
	}
	return j, csr, nil
}

func waitsForCSR(c *leafward.Certificate) string {
	return "a CSR: POST /api/v1/certificates/" + c.ID + "/csr, or bind a target, or ask for key_source server"
}

// deadline is when an order or deployment that still waits has failed: what is in use ends then, or a month is over.
func deadline(c *leafward.Certificate, now time.Time) time.Time {
	least, most := now.Add(renewalWait), now.Add(firstWait)
	switch {
	case c.ExpiresAt.IsZero() || c.ExpiresAt.After(most):
		return most
	case c.ExpiresAt.Before(least):
		return least
	}
	return c.ExpiresAt
}

// lastCSR is the CSR that the slot's current version was signed from, nil without one, or when its key was compromised.
func lastCSR(v *store.View, certificate, slot string) ([]byte, error) {
	current, err := v.CurrentVersions(certificate)
	if err != nil {
		return nil, err
	}
	for _, version := range current {
		if version.Slot != slot {
			continue
		}
		if k, err := v.KeyPair(version.Key); err != nil || !k.CompromisedAt.IsZero() {
			return nil, err
		}
		r, found, err := v.Request(version.Request)
		if err != nil || !found {
			return nil, err
		}
		return r.CSR, nil
	}
	return nil, nil
}

// install makes the version the desired one of the installations that its slot serves, and adds their deployments below
// the parent ("" for one of its own). A pinned one stays as it is, unless its version is revoked or about to be.
func install(tx *store.Tx, c *leafward.Certificate, v *leafward.Version, policy *leafward.RenewalPolicy, parent, batch string) ([]leafward.Job, error) {
	installations, err := tx.Installations(c.ID)
	if err != nil {
		return nil, err
	}
	targets, err := tx.TargetsOf(c.ID)
	if err != nil {
		return nil, err
	}
	var jobs []leafward.Job
	for _, i := range installations {
		t := targets[i.Target]
		if v.Slot != serverSlot && t.Agent != v.Slot {
			continue
		}
		if i.Pinned && parent != "" {
			ends, err := ending(tx, i.Desired, parent)
			if err != nil {
				return nil, err
			}
			if !ends {
				continue
			}
		}
		i.Desired, i.Pinned, i.LastError = v.ID, false, ""
		tx.PutInstallation(&i)
		j, err := deployment(tx, c, &i, &t, policy, parent, batch)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, j)
	}
	return jobs, tx.Err()
}

// ending tells whether a version is revoked, or will be once the root is completed.
func ending(tx *store.Tx, version, root string) (bool, error) {
	v, found, err := tx.VersionOfAny(version)
	if err != nil || !found || !v.RevokedAt.IsZero() {
		return !found || err == nil, err
	}
	j, _, err := tx.JobOfAny(root)
	if err != nil || j.Checkpoint == "" {
		return false, err
	}
	var then after
	err = json.Unmarshal([]byte(j.Checkpoint), &then)
	return slices.Contains(then.Revoke, version), err
}

// deployment adds the job that brings an installation's desired version to its target.
func deployment(tx *store.Tx, c *leafward.Certificate, i *leafward.Installation, t *leafward.Target, policy *leafward.RenewalPolicy, parent, batch string) (leafward.Job, error) {
	j := leafward.Job{
		Kind: leafward.DeployJob, Type: leafward.Deployment, Subject: i.ID, Team: c.Team, Parent: parent, Batch: batch, Certificate: c.ID,
		Target: t.ID, Agent: t.Agent, Installation: i.ID, Version: i.Desired, Status: leafward.JobPending, WaitingFor: "the agent " + t.Agent,
		MaxAttempts: policy.MaxRetries + 1, RetryMax: policy.RetryInterval, RunAt: tx.Now, Deadline: deadline(c, tx.Now),
	}
	wanted := j
	added, err := job.Enqueue(tx, &j)
	if err != nil || added {
		return j, err
	}
	// One is open already, for an older version or without a parent: it becomes this one, and a worker that has begun
	// with the older version is fenced off.
	if j.Version != wanted.Version && j.Status == leafward.JobRunning {
		tx.CloseAttempt(&j, "lost", "another version was wanted meanwhile")
		j.Status, j.Worker, j.LeaseUntil, j.Epoch = leafward.JobPending, "", time.Time{}, j.Epoch+1
	}
	j.Version, j.Deadline = wanted.Version, wanted.Deadline
	if wanted.Parent != "" { // a part of a root stays one
		j.Parent, j.Batch = wanted.Parent, wanted.Batch
	}
	tx.PutJob(&j)
	return j, tx.Err()
}
