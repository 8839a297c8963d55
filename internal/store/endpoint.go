package store

import (
	"time"

	"github.com/leafward/leafward"
)

func endpoints() table[leafward.Endpoint] {
	return tableOf[leafward.Endpoint]("endpoint", "endpoints")
}

// nodeCoalesced is how long a node's row stays as it is while nothing but the time of the look changes.
const nodeCoalesced = 10 * time.Second

// Endpoints are where an installation's certificate is served, whoever asks.
func (v *View) Endpoints(installation string) ([]leafward.Endpoint, error) {
	return selectAll(v, endpoints(), "WHERE installation = $1 ORDER BY created_at, id", installation)
}

// AddEndpoint inserts an endpoint.
func (tx *Tx) AddEndpoint(e *leafward.Endpoint) { add(tx, endpoints(), "hc", e) }

// RemoveEndpoint removes an endpoint that was read in this transaction, and what was seen there.
func (tx *Tx) RemoveEndpoint(e *leafward.Endpoint) {
	tx.Exec("DELETE FROM nodes WHERE endpoint = $1", e.ID)
	remove(tx, endpoints(), e)
}

// Nodes are what the probers saw at an endpoint.
func (v *View) Nodes(endpoint string) ([]leafward.Node, error) {
	return selectAll(v, tableOf[leafward.Node]("node", "nodes"), "WHERE endpoint = $1 ORDER BY ip, prober", endpoint)
}

// PutNode keeps what a prober saw last at one address; a row that would change in nothing but a few seconds stays.
func (tx *Tx) PutNode(n *leafward.Node) {
	tx.Exec(`INSERT INTO nodes (endpoint, ip, prober, fingerprint, outcome, seen_at, gone_at) VALUES ($1, $2, $3, $4, $5, $6, 0)
		ON CONFLICT (endpoint, ip, prober) DO UPDATE SET fingerprint = excluded.fingerprint, outcome = excluded.outcome, seen_at = excluded.seen_at, gone_at = 0
		WHERE nodes.fingerprint <> excluded.fingerprint OR nodes.outcome <> excluded.outcome OR nodes.gone_at > 0 OR nodes.seen_at <= $7`,
		n.Endpoint, n.IP, n.Prober, n.Fingerprint, n.Outcome, micros(n.SeenAt), micros(n.SeenAt.Add(-nodeCoalesced)))
}

// LeaveNodes notes that the prober found none but the given addresses behind the endpoint.
func (tx *Tx) LeaveNodes(endpoint, prober string, ips []string) {
	args := []any{endpoint, prober, micros(tx.Now)}
	where := "endpoint = $1 AND prober = $2 AND gone_at = 0"
	if len(ips) > 0 {
		where += " AND ip NOT IN (" + marks(4, len(ips)) + ")"
		for _, ip := range ips {
			args = append(args, ip)
		}
	}
	tx.Exec("UPDATE nodes SET gone_at = $3 WHERE "+where, args...)
}

// AgentIsOurs tells whether the agent exists, and whether it speaks our additions to the protocol, whoever asks.
func (v *View) AgentIsOurs(id string) (ours, found bool, err error) {
	found, err = v.one("SELECT ours FROM agents WHERE id = $1", []any{id}, &ours)
	return ours, found, err
}

// Names are what a target and an agent are called, "" for what does not exist, whoever asks.
func (v *View) Names(target, agent string) (targetName, agentName string, err error) {
	if _, err = v.one("SELECT name FROM targets WHERE id = $1", []any{target}, &targetName); err == nil {
		_, err = v.one("SELECT name FROM agents WHERE id = $1", []any{agent}, &agentName)
	}
	return targetName, agentName, err
}

// NoteDeployment notes whether the agent's last deployment failed.
func (tx *Tx) NoteDeployment(agent string, failed bool) {
	tx.Exec("UPDATE agents SET deploy_failed = $2, revision = revision + 1, updated_at = $3 WHERE id = $1 AND deploy_failed <> $2", agent, failed, micros(tx.Now))
}

// ProofsLeft reads up to limit proofs that an agent was to look after and that nobody took up since the instant.
func (v *View) ProofsLeft(since time.Time, limit int) ([]leafward.Job, error) {
	return selectAll(v, jobs(), "WHERE agent <> '' AND "+openJobs+" AND kind = 'prove' AND status = 'Pending' AND run_at <= $1 ORDER BY run_at, id LIMIT $2", micros(since), limit)
}

// ProveJob reads the newest job that proves a version at an installation, whoever asks.
func (v *View) ProveJob(installation, version string) (leafward.Job, bool, error) {
	return selectOne(v, jobs(), "WHERE installation = $1 AND installation <> '' AND kind = $2 AND version = $3 ORDER BY created_at DESC, id DESC LIMIT 1",
		installation, string(leafward.ProveJob), version)
}

// FingerprintsOf are the SHA-256 fingerprints of every version of a certificate, by version.
func (v *View) FingerprintsOf(certificate string) (map[string]string, error) {
	prints := make(map[string]string)
	err := v.rows(func(scan func(...any) error) error {
		var id, sum string
		err := scan(&id, &sum)
		prints[id] = sum
		return err
	}, "SELECT id, sha256 FROM versions WHERE certificate = $1 ORDER BY created_at DESC LIMIT 1000", certificate)
	return prints, err
}

// EndInUse is when the certificate in use ends: the earliest of the versions proved where it is installed, else of the
// current versions of its slots; zero when there is none.
func (v *View) EndInUse(certificate string) (time.Time, error) {
	end, err := v.EarliestProved(certificate)
	if err != nil || !end.IsZero() {
		return end, err
	}
	var us int64
	_, err = v.one("SELECT coalesce(min(not_after), 0) FROM versions WHERE certificate = $1 AND current", []any{certificate}, &us)
	return instant(us), err
}
