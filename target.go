package leafward

import (
	"encoding/json"
	"fmt"
	"time"
)

// Target is a place where certificates are installed: a server program on the host of an agent.
type Target struct {
	Row
	Team    string          `db:"team"`
	Name    string          `db:"name"`
	Type    string          `db:"type"`
	Agent   string          `db:"agent"`
	Config  json.RawMessage `db:"config,json"`      // without the secret properties
	Sealed  []byte          `db:"sealed"`           // the secret properties, sealed; empty when there are none
	Secrets []string        `db:"secrets_set,json"` // names of the secret properties that are set
	Enabled bool            `db:"enabled"`
}

// TargetTypes are the types the contract knows.
func TargetTypes() []string {
	return []string{"NGINX", "Apache", "HAProxy", "Traefik", "Caddy", "Envoy", "Postfix", "Dovecot", "IIS", "F5", "SSH", "WinCertStore", "JavaKeystore", "KubernetesSecrets"}
}

// Scope is the team, "" for a target that all teams share.
func (t *Target) Scope() string { return t.Team }

// Terms are the words the target is found by.
func (t *Target) Terms() []string { return []string{t.ID, t.Name, t.Type, t.Agent} }

// Validate names everything a client wrote wrong; the configuration is checked by the target's plugin.
func (t *Target) Validate() error {
	var p Problems
	CheckID(&p, t.ID)
	CheckName(&p, "name", t.Name)
	p.Check(t.Type != "", "type", "is missing", "use one of GET /api/v1/plugins?kind=target")
	p.Check(t.Agent != "", "agent_id", "is missing", "name the agent on the target's host; `leafward agent list` shows them")
	p.Check(len(t.Config) <= MaxConfig, "config", "is too large", fmt.Sprintf("keep it under %d bytes", MaxConfig))
	return p.Err()
}

// Proof says how a deployment was proved.
type Proof string

// The sorts of proof.
const (
	ProofServed Proof = "served" // every live address shows the fingerprint
	ProofFile   Proof = "file"   // read back, where there is no endpoint
	ProofAcked  Proof = "acked"  // the puller said so
	ProofNone   Proof = "none"
)

// Installation says that a certificate must be at a target, and what is known of that.
type Installation struct {
	Row
	Certificate string    `db:"certificate"`
	Target      string    `db:"target"`
	Desired     string    `db:"desired"`  // version that must be there
	Deployed    string    `db:"deployed"` // version that was written there
	DeployedAt  time.Time `db:"deployed_at"`
	Proved      string    `db:"proved"` // version that was seen there
	ProvedAt    time.Time `db:"proved_at"`
	Proof       Proof     `db:"proof"`
	Pinned      bool      `db:"pinned"` // a rollback: desired stays until somebody deploys again
	WaivedBy    string    `db:"waived_by"`
	WaivedWhy   string    `db:"waived_why"`
	LastError   string    `db:"last_error"`
}

// Done tells whether nothing more is to be done for the installation.
func (i *Installation) Done() bool {
	return i.WaivedBy != "" || i.Desired != "" && i.Proved == i.Desired
}

// Deploy notes that the version was written at the target.
func (i *Installation) Deploy(version string, now time.Time) {
	i.Deployed, i.DeployedAt, i.LastError = version, now, ""
}

// Prove notes that the version was seen at the target.
func (i *Installation) Prove(version string, proof Proof, now time.Time) {
	i.Proved, i.ProvedAt, i.Proof, i.LastError = version, now, proof, ""
}

// Proven tells whether the version was seen there since it was written there last.
func (i *Installation) Proven(version string) bool {
	return i.Proved == version && i.Deployed == version && !i.ProvedAt.Before(i.DeployedAt)
}

// Endpoint is an address where a certificate is served.
type Endpoint struct {
	Row
	Installation string `db:"installation"`
	Certificate  string `db:"certificate"`
	Address      string `db:"address"` // host or IP address
	Port         int    `db:"port"`
	ServerName   string `db:"server_name"`
	StartTLS     string `db:"starttls"`
	Enabled      bool   `db:"enabled"`
}

// Node is what one prober saw at one address of an endpoint.
type Node struct {
	Endpoint    string    `db:"endpoint"`
	IP          string    `db:"ip"`
	Prober      string    `db:"prober"` // agent id, or "server"
	Fingerprint string    `db:"fingerprint"`
	Outcome     string    `db:"outcome"`
	SeenAt      time.Time `db:"seen_at"`
	GoneAt      time.Time `db:"gone_at"`
}
