package store

import (
	"maps"
	"slices"

	"github.com/leafward/leafward"
)

// Teams is how teams are kept.
func Teams() Resource[leafward.Team, *leafward.Team] {
	return Resource[leafward.Team, *leafward.Team]{
		prefix:  "t",
		created: leafward.TeamCreated, updated: leafward.TeamUpdated, deleted: leafward.TeamDeleted,
		listing: listing[leafward.Team]{
			table: tableOf[leafward.Team]("team", "teams"), scope: "id", by: "name",
			sorts: map[string]string{"name": "name", "created_at": "created_at", "id": "id"},
			where: map[string]string{"name": "name = ?"},
		},
	}
}

// Owners is how owners are kept.
func Owners() Resource[leafward.Owner, *leafward.Owner] {
	return Resource[leafward.Owner, *leafward.Owner]{
		prefix:  "o",
		created: leafward.OwnerCreated, updated: leafward.OwnerUpdated, deleted: leafward.OwnerDeleted,
		listing: listing[leafward.Owner]{
			table: tableOf[leafward.Owner]("owner", "owners"), scope: "team", by: "name",
			sorts: map[string]string{"name": "name", "created_at": "created_at", "id": "id"},
			where: map[string]string{"name": "name = ?", "team_id": "team = ?", "email": "email = ?"},
		},
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
