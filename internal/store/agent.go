package store

import (
	"fmt"
	"strings"
	"time"

	"github.com/leafward/leafward"
)

// Agents is how the agents that are not retired are listed, and all are read.
func Agents() Resource[leafward.Agent, *leafward.Agent] {
	return Resource[leafward.Agent, *leafward.Agent]{
		prefix: "ag", created: leafward.AgentJoined,
		listing: listing[leafward.Agent]{
			table: tableOf[leafward.Agent]("agent", "agents"), scope: "team", by: "name",
			sorts: map[string]string{"name": "name", "created_at": "created_at", "last_heartbeat_at": "last_heartbeat_at", "id": "id"},
			where: map[string]string{"name": "name = ?", "team_id": "team = ?", "status": ""},
			fixed: "retired_at = 0 AND id NOT IN ('" + strings.Join(leafward.SentinelAgents(), "', '") + "')",
			plain: agentStatus,
		},
	}
}

// RetiredAgents is how retired agents are listed.
func RetiredAgents() Resource[leafward.Agent, *leafward.Agent] {
	r := Agents()
	r.listing.by, r.listing.fixed, r.listing.plain = "-retired_at", "retired_at > 0", nil
	r.listing.sorts = map[string]string{"name": "name", "retired_at": "retired_at", "id": "id"}
	r.listing.where = map[string]string{"name": "name = ?", "team_id": "team = ?"}
	return r
}

// agentStatus is the condition for the asked status, in the sense of leafward.Agent.Status.
func agentStatus(v *View, q leafward.Query) (string, []any, error) {
	const alive = "last_heartbeat_at >= ?"
	heard := micros(v.Now.Add(-leafward.AgentSilence))
	skew := int64(leafward.MaxClockSkew / time.Second)
	switch status := q.Where["status"]; status {
	case "":
		return "", nil, nil
	case "Offline":
		return "last_heartbeat_at < ?", []any{heard}, nil
	case "Degraded":
		return alive + " AND (deploy_failed OR abs(clock_skew) > ?)", []any{heard, skew}, nil
	case "Online":
		return alive + " AND NOT deploy_failed AND abs(clock_skew) <= ?", []any{heard, skew}, nil
	default:
		var p leafward.Problems
		p.Add("status", fmt.Sprintf("%.40q is not a status of an agent", status), "use Online, Offline or Degraded")
		return "", nil, p.Err()
	}
}

// Agent reads one agent inside the actor's scope, retired or not.
func (v *View) Agent(id string) (leafward.Agent, error) { return Agents().Read(v, id) }

// AgentRetired tells whether the principal is an agent that is retired.
func (v *View) AgentRetired(principal string) (retired bool, err error) {
	var n int
	return v.one("SELECT 1 FROM agents WHERE principal = $1 AND principal <> '' AND retired_at > 0", []any{principal}, &n)
}

// AddAgent inserts an agent.
func (tx *Tx) AddAgent(a *leafward.Agent) { add(tx, Agents().listing.table, "ag", a) }

// PutAgent writes an agent that was read in this transaction.
func (tx *Tx) PutAgent(a *leafward.Agent) { put(tx, Agents().listing.table, a) }

// Beat notes that the agent was heard and how its clock stands. It leaves the revision alone.
func (tx *Tx) Beat(id string, skew int64) {
	tx.Exec("UPDATE agents SET last_heartbeat_at = $2, clock_skew = $3 WHERE id = $1", id, micros(tx.Now), skew)
}

// Dependencies are what hangs on an agent.
type Dependencies struct{ Targets, Certificates, Jobs int }

// AgentDependencies counts the agent's targets that are switched on, the certificates bound to them that are in use, and
// its open jobs.
func (v *View) AgentDependencies(id string) (d Dependencies, err error) {
	for query, to := range map[string]*int{
		"SELECT count(*) FROM targets WHERE agent = $1 AND enabled": &d.Targets,
		`SELECT count(DISTINCT i.certificate) FROM installations i JOIN targets t ON t.id = i.target JOIN certificates c ON c.id = i.certificate
			WHERE t.agent = $1 AND c.archived_at = 0 AND c.revoked_at = 0`: &d.Certificates,
		"SELECT count(*) FROM jobs WHERE agent = $1 AND agent <> '' AND " + openJobs: &d.Jobs,
	} {
		if _, err := v.one(query, []any{id}, to); err != nil {
			return d, err
		}
	}
	return d, nil
}

// TargetsOfAgent are all targets of an agent, whoever asks.
func (v *View) TargetsOfAgent(agent string) ([]leafward.Target, error) {
	return selectAll(v, Targets().listing.table, "WHERE agent = $1 ORDER BY id", agent)
}

// InstallationsAt are the certificates' installations at a target, whoever asks.
func (v *View) InstallationsAt(target string) ([]leafward.Installation, error) {
	return selectAll(v, installations(), "WHERE target = $1 ORDER BY id", target)
}

// OpenJobsOfAgent are the open jobs that an agent works, whoever asks.
func (v *View) OpenJobsOfAgent(agent string) ([]leafward.Job, error) {
	return selectAll(v, jobs(), "WHERE agent = $1 AND agent <> '' AND "+openJobs+" ORDER BY created_at, id", agent)
}

// AgentsToTell are the agents for which AgentWork would find something, and those that were retired after the instant.
func (v *View) AgentsToTell(since time.Time) (map[string]bool, error) {
	out := make(map[string]bool)
	err := v.rows(func(scan func(...any) error) error {
		var agent string
		err := scan(&agent)
		out[agent] = true
		return err
	}, `SELECT DISTINCT agent FROM jobs WHERE agent <> '' AND `+openJobs+` AND run_at <= $1 AND (deadline = 0 OR deadline > $1)
		AND (status IN ('Pending', 'AwaitingCSR') OR status = 'Running' AND lease_until <= $1)
		UNION SELECT id FROM agents WHERE retired_at > 0 AND retired_at >= $2`, micros(v.Now), micros(since))
	return out, err
}

// OrdersAwaiting are the orders that wait for a CSR of the agent, whoever asks.
func (v *View) OrdersAwaiting(agent string) ([]leafward.Job, error) {
	return selectAll(v, jobs(), "WHERE agent = $1 AND agent <> '' AND "+openJobs+" AND status = 'AwaitingCSR' ORDER BY created_at, id", agent)
}

func invitationList() listing[leafward.Credential] {
	return listing[leafward.Credential]{
		table: tableOf[leafward.Credential]("invitation", "credentials"), scope: "team", by: "-created_at", fixed: "kind = 'join'",
		sorts: map[string]string{"created_at": "created_at", "id": "id"},
		where: map[string]string{"team_id": "team = ?"},
	}
}

// Invitations lists the invitations for agents.
func (v *View) Invitations(q leafward.Query) (leafward.List[leafward.Credential], error) {
	return list(v, invitationList(), q)
}

// Invitation reads one invitation inside the actor's scope.
func (v *View) Invitation(id string) (leafward.Credential, error) {
	s := newSelection(v.Actor, "team")
	s.and("kind = 'join' AND id = ?", id)
	c, found, err := selectOne(v, credentials(), s.where(), s.args...)
	if err == nil && !found {
		err = leafward.Missing("invitation", id)
	}
	return c, err
}

// InvitationOfAny reads the invitation whoever asks: for the agent that joins with it.
func (v *View) InvitationOfAny(id string) (leafward.Credential, bool, error) {
	return selectOne(v, credentials(), "WHERE kind = 'join' AND id = $1", id)
}

// CredentialsOf are the credentials of a principal that are not revoked.
func (v *View) CredentialsOf(principal string) ([]leafward.Credential, error) {
	return selectAll(v, credentials(), "WHERE principal = $1 AND revoked_at = 0 ORDER BY id", principal)
}

// PrincipalExists tells whether a principal has the id.
func (v *View) PrincipalExists(id string) (exists bool, err error) {
	var n int
	return v.one("SELECT 1 FROM principals WHERE id = $1", []any{id}, &n)
}

// AgentNamed tells whether an agent of the team that is not retired has the name.
func (v *View) AgentNamed(team, name string) (taken bool, err error) {
	var n int
	return v.one("SELECT 1 FROM agents WHERE team = $1 AND name = $2 AND retired_at = 0", []any{team, name}, &n)
}

// InstallationsAtAgent are the installations of a certificate at the targets of an agent, whoever asks.
func (v *View) InstallationsAtAgent(certificate, agent string) ([]leafward.Installation, error) {
	return selectAll(v, installations(), "WHERE certificate = $1 AND target IN (SELECT id FROM targets WHERE agent = $2) ORDER BY id", certificate, agent)
}
