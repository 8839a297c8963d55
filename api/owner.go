package api

import (
	"time"

	"github.com/leafward/leafward"
)

// Owner is who answers for certificates, as the API answers it.
type Owner struct {
	ID        string    `json:"id"`
	UUID      string    `json:"uuid"`
	Revision  int64     `json:"revision"`
	TeamID    string    `json:"team_id"`
	Name      string    `json:"name"`
	Email     string    `json:"email"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// ETag is the revision.
func (o Owner) ETag() int64 { return o.Revision }

// OwnerOf is the owner on the wire.
func OwnerOf(o *leafward.Owner) Owner {
	return Owner{ID: o.ID, UUID: o.UUID, Revision: o.Revision, TeamID: o.Team, Name: o.Name, Email: o.Email, CreatedAt: o.CreatedAt, UpdatedAt: o.UpdatedAt}
}

// OwnerWrite is what a client writes of an owner.
type OwnerWrite struct {
	Stored
	TeamID Opt[string] `json:"team_id,omitzero" doc:"Team that the owner belongs to; the default team unless named" maxLength:"128"`
	Name   Opt[string] `json:"name,omitzero" doc:"Name, unique in the team"`
	Email  Opt[string] `json:"email,omitzero" doc:"E-mail address; the owner is found by it"`
}

// ListOwnersInput filters owners.
type ListOwnersInput struct {
	Listing
	Name   string `query:"name" maxLength:"255" doc:"Exactly this name"`
	TeamID string `query:"team_id" maxLength:"128" doc:"Of this team"`
	Email  string `query:"email" maxLength:"254" doc:"With exactly this address"`
}

const ownersPath = "/api/v1/owners"

// The operations on owners.
var (
	ListOwners  = list[ListOwnersInput, Owner](ownersPath, "listOwners", "Owners", "List owners")
	CreateOwner = post[Make[OwnerWrite], Owner](ownersPath, "createOwner", "Owners", "Create an owner", 201, leafward.RoleAdmin, 409)
	GetOwner    = get[ByID, Owner](ownersPath+"/{id}", "getOwner", "Owners", "Get an owner")
	UpdateOwner = put[Update[OwnerWrite], Owner](ownersPath+"/{id}", "updateOwner", "Owners", "Change an owner", leafward.RoleAdmin)
	DeleteOwner = remove(ownersPath+"/{id}", "deleteOwner", "Owners", "Delete an owner that nothing refers to", leafward.RoleAdmin)
)

func ownerOperations() []Info {
	return []Info{ListOwners.Info, CreateOwner.Info, GetOwner.Info, UpdateOwner.Info, DeleteOwner.Info}
}
