package leafward

import (
	"fmt"
	"slices"
	"time"
)

// PrincipalKind says what sort of caller a principal is.
type PrincipalKind string

// The sorts of principals.
const (
	PersonPrincipal  PrincipalKind = "person"
	ServicePrincipal PrincipalKind = "service"
	AgentPrincipal   PrincipalKind = "agent"
)

// Principal is somebody who can act. What it may do stands in its grants.
type Principal struct {
	Row
	Kind PrincipalKind `db:"kind"`
	Name string        `db:"name"`
	Team string        `db:"team"`
}

// CredentialKind says how a credential is presented.
type CredentialKind string

// The sorts of credentials.
const (
	KeyCredential  CredentialKind = "key"  // an API key, presented as Bearer
	JoinCredential CredentialKind = "join" // an invitation for one agent
)

// word is what people call it.
func (k CredentialKind) word() string {
	if k == JoinCredential {
		return "invitation"
	}
	return string(k)
}

// Credential proves a principal. Only the SHA-256 of the secret is kept.
type Credential struct {
	Row
	Number     int64          `db:"number,auto"`
	Principal  string         `db:"principal"`
	Kind       CredentialKind `db:"kind"`
	Name       string         `db:"name"`
	Team       string         `db:"team"`
	Hash       []byte         `db:"hash"`
	Subject    string         `db:"subject"` // join: the agent that gets a new key, "" for a new agent
	ExpiresAt  time.Time      `db:"expires_at"`
	UsesLeft   int            `db:"uses_left"` // -1: no limit
	LastUsedAt time.Time      `db:"last_used_at"`
	RevokedAt  time.Time      `db:"revoked_at"`
}

// Usable says why the credential does not open anything at the instant, or nil.
func (c *Credential) Usable(now time.Time) error {
	switch {
	case !c.RevokedAt.IsZero():
		return Errorf(Unauthorized, "ask an administrator for a new one", "the %s was revoked", c.Kind.word())
	case !c.ExpiresAt.IsZero() && c.CreatedAt.After(now.Add(Ahead)):
		return Errorf(Unauthorized, "ask an administrator for a new one", "the %s was made by a clock that was ahead", c.Kind.word())
	case !c.ExpiresAt.IsZero() && !now.Before(c.ExpiresAt):
		return Errorf(Unauthorized, "ask an administrator for a new one", "the %s expired at %s", c.Kind.word(), c.ExpiresAt.UTC().Format(time.RFC3339))
	case c.UsesLeft == 0:
		return Errorf(Unauthorized, "ask an administrator for a new one", "the %s was used already", c.Kind.word())
	}
	return nil
}

// Grant gives a principal a role, in one team or ("") in all.
type Grant struct {
	Principal string    `db:"principal"`
	Role      Role      `db:"role"`
	Team      string    `db:"team"`
	CreatedAt time.Time `db:"created_at"`
}

// ParseRole refuses a role that does not exist.
func ParseRole(text string) (Role, error) {
	if r := Role(text); slices.Contains(Roles(), r) {
		return r, nil
	}
	var p Problems
	p.Add("role", fmt.Sprintf("%.40q is not a role", text), "use viewer, operator or admin")
	return "", p.Err()
}
