package leafward

import (
	"net/netip"
	"slices"
	"time"
)

// Agent is leafward on a host: it makes keys, deploys and looks.
type Agent struct {
	Row
	Team          string    `db:"team"`
	Name          string    `db:"name"`
	Principal     string    `db:"principal"`
	Hostname      string    `db:"hostname"`
	OS            string    `db:"os"`
	Architecture  string    `db:"architecture"`
	IPAddress     string    `db:"ip_address"`
	Version       string    `db:"version"`
	LastHeartbeat time.Time `db:"last_heartbeat_at"`
	RegisteredAt  time.Time `db:"registered_at"`
	RetiredAt     time.Time `db:"retired_at"`
	RetiredReason string    `db:"retired_reason"`
	DeployFailed  bool      `db:"deploy_failed"` // its last deployment failed
	ClockSkew     int64     `db:"clock_skew"`    // seconds its clock is ahead of ours, at the last heartbeat
	Ours          bool      `db:"ours"`          // speaks our additions to the protocol: leases, steps, long polls
}

// Scope is the team, "" for an agent that all teams share.
func (a *Agent) Scope() string { return a.Team }

// Terms are the words the agent is found by.
func (a *Agent) Terms() []string { return []string{a.ID, a.Name, a.Hostname, a.IPAddress} }

// SentinelAgents are those that are not hosts: sources that scan, and the server itself.
func SentinelAgents() []string {
	return []string{ServerAgent, "cloud-aws-sm", "cloud-azure-kv", "cloud-gcp-sm"}
}

// Sentinel tells whether the agent is not a host.
func (a *Agent) Sentinel() bool { return slices.Contains(SentinelAgents(), a.ID) }

// notAgents are the ids that mean somebody else where an agent's id may stand: holders of keys, and the server as actor.
func notAgents() []string { return []string{string(ClientKey), string(ServerKey), "system"} }

// ServerAgent is the agent of targets that the server serves itself.
const ServerAgent = "server-scanner"

// AgentProtocol is what an agent of ours says of itself: it knows leases, steps and long polls.
const AgentProtocol = "leafward/1"

// AgentSilence is how long an agent may be silent before it counts as offline.
const AgentSilence = 5 * time.Minute

// MaxClockSkew is how far an agent's clock may be off before it counts as degraded.
const MaxClockSkew = time.Minute

// Status is what the agent's heartbeats say at the instant: Online, Offline or Degraded.
func (a *Agent) Status(now time.Time) string {
	switch {
	case a.LastHeartbeat.IsZero() || now.Sub(a.LastHeartbeat) > AgentSilence:
		return "Offline"
	case a.DeployFailed || (time.Duration(a.ClockSkew)*time.Second).Abs() > MaxClockSkew:
		return "Degraded"
	default:
		return "Online"
	}
}

// Validate names everything that is wrong with what an agent or a client says of it.
func (a *Agent) Validate() error {
	var p Problems
	CheckID(&p, a.ID)
	p.Check(!slices.Contains(notAgents(), a.ID), "id", "stands for somebody else than an agent", "choose another id")
	CheckName(&p, "name", a.Name)
	a.CheckFacts(&p)
	return p.Err()
}

// CheckFacts bounds what a host says of itself.
func (a *Agent) CheckFacts(p *Problems) {
	CheckText(p, "hostname", a.Hostname, 253)
	CheckText(p, "os", a.OS, 64)
	CheckText(p, "architecture", a.Architecture, 64)
	CheckText(p, "version", a.Version, 64)
	if a.IPAddress != "" {
		_, err := netip.ParseAddr(a.IPAddress)
		p.Check(err == nil, "ip_address", "is not an IP address", "send one address, such as 192.0.2.7")
	}
}
