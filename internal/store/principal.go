package store

import (
	"time"

	"github.com/leafward/leafward"
)

func principals() table[leafward.Principal] {
	return tableOf[leafward.Principal]("principal", "principals")
}

func credentials() table[leafward.Credential] {
	return tableOf[leafward.Credential]("key", "credentials")
}

// Key is an API key with the role it opens.
type Key struct {
	leafward.Credential
	Role leafward.Role `db:"role"`
}

// keysView joins what a list of keys shows.
const keysView = `(SELECT c.*, g.role AS role FROM credentials c JOIN grants g ON g.principal = c.principal WHERE c.kind = 'key') AS keys`

// Keys lists API keys.
func (v *View) Keys(q leafward.Query) (leafward.List[Key], error) {
	return list[Key, *Key](v, listing[Key]{
		table: tableOf[Key]("key", keysView), scope: "team", by: "-id",
		sorts: map[string]string{"id": "id", "name": "name"},
		where: map[string]string{"name": "name = ?", "team_id": "team = ?"},
	}, q)
}

// Key reads an API key by id or by name; a revoked one has no name any more.
func (v *View) Key(id string) (leafward.Credential, error) {
	s := newSelection(v.Actor, "team")
	s.and("kind = 'key' AND (id = ? OR name = ? AND revoked_at = 0)", id, id)
	key, found, err := selectOne(v, credentials(), s.where(), s.args...)
	if err == nil && !found {
		err = leafward.Missing("key", id)
	}
	return key, err
}

// KeyNamed tells whether an API key that is not revoked has the name.
func (v *View) KeyNamed(name string) (taken bool, err error) {
	var n int
	taken, err = v.one("SELECT 1 FROM credentials WHERE kind = 'key' AND name = $1 AND revoked_at = 0", []any{name}, &n)
	return taken, err
}

// CredentialByHash finds a credential by the SHA-256 of its secret, whoever asks.
func (v *View) CredentialByHash(hash []byte) (leafward.Credential, bool, error) {
	return selectOne(v, credentials(), "WHERE hash = $1", hash)
}

// ActorOf is who acts with the credential: its principal with the role and teams of its grants.
func (v *View) ActorOf(c leafward.Credential) (leafward.Actor, error) {
	p, found, err := selectOne(v, principals(), "WHERE id = $1", c.Principal)
	if err != nil || !found {
		return leafward.Actor{}, err
	}
	grants, err := selectAll(v, tableOf[leafward.Grant]("grant", "grants"), "WHERE principal = $1 ORDER BY team", p.ID)
	if err != nil || len(grants) == 0 {
		return leafward.Actor{}, err
	}
	actor := leafward.Actor{ID: p.ID, Name: p.Name, Type: leafward.ActorUser, Role: grants[0].Role}
	if p.Kind == leafward.AgentPrincipal {
		actor.Type = leafward.ActorAgent
	}
	for _, g := range grants {
		if g.Team == "" {
			actor.Teams = nil
			break
		}
		actor.Teams = append(actor.Teams, g.Team)
	}
	return actor, nil
}

// AddPrincipal inserts a principal with its grant.
func (tx *Tx) AddPrincipal(p *leafward.Principal, g leafward.Grant) {
	add(tx, principals(), "pr", p)
	g.Principal, g.CreatedAt = p.ID, tx.Now
	insertRow(tx, tableOf[leafward.Grant]("grant", "grants"), &g)
}

// AddCredential inserts a credential.
func (tx *Tx) AddCredential(c *leafward.Credential) { add(tx, credentials(), "key", c) }

// PutCredential writes a credential that was read in this transaction.
func (tx *Tx) PutCredential(c *leafward.Credential) { put(tx, credentials(), c) }

// TouchCredentials notes when credentials were used last.
func (tx *Tx) TouchCredentials(used map[string]time.Time) {
	for _, id := range sortedKeys(used) {
		tx.send("UPDATE credentials SET last_used_at = $2 WHERE id = $1 AND last_used_at < $2", id, micros(used[id]))
	}
}

// Team reads one team inside the actor's scope.
func (v *View) Team(id string) (leafward.Team, error) { return Teams().Read(v, id) }

// RevokeCredential closes a credential from a moment on; changed is false when there is none, or it is closed already.
func (tx *Tx) RevokeCredential(id string, at time.Time) (changed bool, err error) {
	c, found, err := selectOne(&tx.View, credentials(), "WHERE id = $1 AND revoked_at = 0", id)
	if err != nil || !found {
		return false, err
	}
	c.RevokedAt = at
	tx.PutCredential(&c)
	return true, tx.err
}
