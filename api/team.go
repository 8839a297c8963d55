package api

import (
	"time"

	"github.com/leafward/leafward"
)

// Team is a tenant as the API answers it.
type Team struct {
	ID          string    `json:"id"`
	Number      int64     `json:"number"`
	UUID        string    `json:"uuid"`
	Revision    int64     `json:"revision"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

// ETag is the revision.
func (t Team) ETag() int64 { return t.Revision }

// TeamOf is the team on the wire.
func TeamOf(t *leafward.Team) Team {
	return Team{ID: t.ID, Number: t.Number, UUID: t.UUID, Revision: t.Revision, Name: t.Name, Description: t.Description, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt}
}

// TeamWrite is what a client writes of a team.
type TeamWrite struct {
	Stored
	Name        Opt[string] `json:"name,omitzero" doc:"Unique name"`
	Description Opt[string] `json:"description,omitzero" doc:"What the team does"`
}

// ListTeamsInput filters teams.
type ListTeamsInput struct {
	Listing
	Name string `query:"name" maxLength:"255" doc:"Exactly this name"`
}

const teamsPath = "/api/v1/teams"

// The operations on teams.
var (
	ListTeams  = list[ListTeamsInput, Team](teamsPath, "listTeams", "Teams", "List teams")
	CreateTeam = post[Make[TeamWrite], Team](teamsPath, "createTeam", "Teams", "Create a team", 201, leafward.RoleAdmin, 409)
	GetTeam    = get[ByID, Team](teamsPath+"/{id}", "getTeam", "Teams", "Get a team")
	UpdateTeam = put[Update[TeamWrite], Team](teamsPath+"/{id}", "updateTeam", "Teams", "Change a team", leafward.RoleAdmin)
	DeleteTeam = remove(teamsPath+"/{id}", "deleteTeam", "Teams", "Delete a team that nothing refers to", leafward.RoleAdmin)
)

func teamOperations() []Info {
	return []Info{ListTeams.Info, CreateTeam.Info, GetTeam.Info, UpdateTeam.Info, DeleteTeam.Info}
}
