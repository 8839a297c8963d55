package api

import (
	"net/http"
	"time"

	"github.com/leafward/leafward"
)

// Key is an API key as it is listed: never with its secret.
type Key struct {
	ID         string     `json:"id"`
	Number     int64      `json:"number"`
	Name       string     `json:"name"`
	Role       string     `json:"role" enum:"viewer,operator,admin,agent"`
	TeamID     string     `json:"team_id" doc:"Team it is for; empty for all teams"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at"`
	LastUsedAt *time.Time `json:"last_used_at" doc:"To about ten minutes"`
	RevokedAt  *time.Time `json:"revoked_at"`
}

// KeyOf is the key on the wire.
func KeyOf(c *leafward.Credential, role leafward.Role) Key {
	return Key{
		ID: c.ID, Number: c.Number, Name: c.Name, Role: string(role), TeamID: c.Team, CreatedAt: c.CreatedAt,
		ExpiresAt: instant(c.ExpiresAt), LastUsedAt: instant(c.LastUsedAt), RevokedAt: instant(c.RevokedAt),
	}
}

// instant is null for a time that is not known yet.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// NewKey is an API key right after it was made: the only answer with its secret.
type NewKey struct {
	Key
	Secret string `json:"key" doc:"The key itself; it cannot be asked for again"`
}

// KeyWrite is what a client asks of a new API key.
type KeyWrite struct {
	Name   Opt[string] `json:"name,omitzero" doc:"Unique name"`
	Role   Opt[string] `json:"role,omitzero" doc:"viewer, operator or admin"`
	TeamID Opt[string] `json:"team_id,omitzero" doc:"Team it is for; none: all teams" maxLength:"128"`
}

// ListKeysInput filters API keys.
type ListKeysInput struct {
	Paging
	Name   string `query:"name" maxLength:"255" doc:"Exactly this name"`
	TeamID string `query:"team_id" maxLength:"128" doc:"Of this team"`
}

// KeyID is the input of an operation on one API key.
type KeyID struct {
	ID string `path:"id" maxLength:"255" doc:"Id of the key, or its name"`
}

const keysPath = "/api/v1/keys"

// The operations on API keys.
var (
	ListKeys  = Operation[ListKeysInput, Page[Key]]{Info{Method: http.MethodGet, Path: keysPath, ID: "listKeys", Tag: "Keys", Summary: "List API keys", Status: 200, Role: leafward.RoleAdmin}}
	CreateKey = post[Make[KeyWrite], NewKey](keysPath, "createKey", "Keys", "Create an API key", 201, leafward.RoleAdmin, 409)
	RevokeKey = Operation[KeyID, None]{Info{Method: http.MethodDelete, Path: keysPath + "/{id}", ID: "revokeKey", Tag: "Keys", Summary: "Revoke an API key for ever", Status: 204, Role: leafward.RoleAdmin}}
)

func keyOperations() []Info { return []Info{ListKeys.Info, CreateKey.Info, RevokeKey.Info} }
