package deploy

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/probe"
	"github.com/leafward/leafward/internal/store"
)

// Verification is one word on whether a deployed version is served.
type Verification struct {
	By       string    `json:"by"` // agent id, or "server"
	Expected string    `json:"expected"`
	Actual   string    `json:"actual,omitempty"`
	Verified bool      `json:"verified"`
	At       time.Time `json:"at"`
	Error    string    `json:"error,omitempty"`
}

// state is the checkpoint of a proof: the last word of each prober.
type state struct {
	Agent  *Verification `json:"agent,omitempty"`
	Server *Verification `json:"server,omitempty"`
}

// doubt is what the server saw against the agent's word; "" when it saw the same, or nothing.
func (s state) doubt() string {
	if s.Agent == nil || !s.Agent.Verified || s.Server == nil || s.Server.Verified || s.Server.Actual == "" {
		return ""
	}
	return "the agent saw the new version, but from the server " + s.Server.Error
}

// word is the one that counts: the agent's, which is nearest, unless only the server saw the version.
func (s state) word() *Verification {
	if s.Agent == nil || !s.Agent.Verified && s.Server != nil && s.Server.Verified {
		return s.Server
	}
	return s.Agent
}

func encode(value any) (string, error) {
	text, err := json.Marshal(value)
	return string(text), err
}

// stateOf is what is known of a proof so far, or was known at its end.
func stateOf(j *leafward.Job) (s state, err error) {
	text := first(j.Result, j.Checkpoint)
	if text == "" {
		return s, nil
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, fmt.Errorf("what is kept of job %s: %w", j.ID, err)
	}
	return s, nil
}

// report is the result of a deployment that was verified before it was said to be complete.
type report struct {
	Verification *Verification `json:"verification,omitempty"`
}

// reported is the verification that came before the deployment's end, nil when none did.
func reported(j *leafward.Job) (*Verification, error) {
	if j.Result == "" {
		return nil, nil
	}
	var r report
	if err := json.Unmarshal([]byte(j.Result), &r); err != nil {
		return nil, fmt.Errorf("the result of job %s: %w", j.ID, err)
	}
	return r.Verification, nil
}

// serverProber is the name of the server's own looks.
const serverProber = "server"

// observe keeps what a prober saw at an endpoint, and makes it steps of the job.
func observe(tx *store.Tx, j *leafward.Job, e *leafward.Endpoint, want, prober string, seen []Seen) error {
	var ips []string
	for _, s := range seen {
		ips = append(ips, s.Address)
		tx.PutNode(&leafward.Node{Endpoint: e.ID, IP: s.Address, Prober: prober, Fingerprint: s.Fingerprint, Outcome: string(s.Outcome), SeenAt: tx.Now})
		message := "serves SHA-256 " + s.Fingerprint
		if s.Fingerprint == "" {
			message = first(s.Problem, string(s.Outcome))
		}
		right := s.Fingerprint == want
		if s.Outcome == probe.NotAllowed {
			right, message = true, "left out: the server may look there once it is started with --probe-allow for that network"
		}
		name := "look at " + net.JoinHostPort(s.Address, strconv.Itoa(e.Port)) + " from " + prober
		if err := stepOnce(tx, j, name, right, message); err != nil {
			return err
		}
	}
	tx.LeaveNodes(e.ID, prober, ips)
	return tx.Err()
}

// stepOnce adds a step unless the last of its name in this attempt says the same, so that looking again and again does
// not fill the job.
func stepOnce(tx *store.Tx, j *leafward.Job, name string, ok bool, message string) error {
	steps, err := tx.Steps(j.ID)
	if err != nil {
		return err
	}
	for _, s := range slices.Backward(steps) {
		if s.Name == name {
			if s.OK == ok && s.Message == message {
				return nil
			}
			break
		}
	}
	return job.AddStep(tx, j, name, ok, message)
}

// prove notes that the place's version was seen there, and moves what follows from it: the end of what is in use, and
// the failure of a deployment outside of a root. The doubt, which may be empty, says who sees something else.
func prove(tx *store.Tx, at *place, proof leafward.Proof, by, doubt string) error {
	i, c := &at.installation, &at.certificate
	if i.Proven(at.version.ID) {
		return nil
	}
	i.Prove(at.version.ID, proof, tx.Now)
	i.LastError = doubt
	tx.PutInstallation(i)
	details := leafward.Details{
		"installation": i.ID, "target": i.Target, "version": at.version.ID, "sha256": at.version.SHA256, "proof": string(proof), "by": by,
	}
	if doubt != "" {
		details["doubt"] = doubt
	}
	tx.Record(leafward.CertificateProved, c.ID, c.Team, details)
	end, err := tx.EndInUse(c.ID)
	if err != nil {
		return err
	}
	policy, err := tx.RenewalPolicy(c.Policy)
	if err != nil {
		return err
	}
	moved := !end.Equal(c.ExpiresAt)
	c.Use(end, &policy)
	if _, closed := c.Closed(); c.OpenJob == "" && !c.FailedAt.IsZero() && !closed {
		all, err := tx.Installations(c.ID)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(all, func(i leafward.Installation) bool { return !i.Done() }) {
			c.Succeed(&policy)
			moved = true
		}
	}
	if moved {
		tx.PutCertificate(c)
	}
	return tx.Err()
}
