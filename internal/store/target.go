package store

import "github.com/leafward/leafward"

// Targets is how targets are kept.
func Targets() Resource[leafward.Target, *leafward.Target] {
	return Resource[leafward.Target, *leafward.Target]{
		prefix:  "tgt",
		created: leafward.TargetCreated, updated: leafward.TargetUpdated, deleted: leafward.TargetDeleted,
		listing: listing[leafward.Target]{
			table: tableOf[leafward.Target]("target", "targets"), scope: "team", by: "name",
			sorts: map[string]string{"name": "name", "created_at": "created_at", "id": "id"},
			where: map[string]string{"name": "name = ?", "team_id": "team = ?", "type": "type = ?", "agent_id": "agent = ?"},
		},
	}
}

// PutTarget writes a target that was read in this transaction, without an event.
func (tx *Tx) PutTarget(t *leafward.Target) { put(tx, Targets().listing.table, t) }

// TargetOfAny reads a target whoever asks: for the agent that serves it.
func (v *View) TargetOfAny(id string) (leafward.Target, bool, error) {
	return selectOne(v, Targets().listing.table, "WHERE id = $1", id)
}
