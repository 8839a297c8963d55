package store

import (
	"time"

	"github.com/leafward/leafward"
)

// LongestLife is the longest lifetime that a profile allows which a team may use; "" is every team.
func (v *View) LongestLife(team string) (time.Duration, error) {
	var seconds int64
	_, err := v.one("SELECT coalesce(max(max_ttl), 0) FROM profiles WHERE enabled AND (team = '' OR team = $1 OR $1 = '')", []any{team}, &seconds)
	return time.Duration(seconds) * time.Second, err
}

// Profiles is how profiles are kept.
func Profiles() Resource[leafward.Profile, *leafward.Profile] {
	return Resource[leafward.Profile, *leafward.Profile]{
		prefix:  "prof",
		created: leafward.ProfileCreated, updated: leafward.ProfileUpdated, deleted: leafward.ProfileDeleted,
		listing: listing[leafward.Profile]{
			table: tableOf[leafward.Profile]("profile", "profiles"), scope: "team", by: "name",
			sorts: map[string]string{"name": "name", "created_at": "created_at", "id": "id"},
			where: map[string]string{"name": "name = ?", "team_id": "team = ?"},
		},
	}
}

// RenewalPolicies is how renewal policies are kept.
func RenewalPolicies() Resource[leafward.RenewalPolicy, *leafward.RenewalPolicy] {
	return Resource[leafward.RenewalPolicy, *leafward.RenewalPolicy]{
		prefix:  "rp",
		created: leafward.RenewalPolicyCreated, updated: leafward.RenewalPolicyUpdated, deleted: leafward.RenewalPolicyDeleted,
		listing: listing[leafward.RenewalPolicy]{
			table: tableOf[leafward.RenewalPolicy]("renewal_policy", "renewal_policies"), scope: "team", by: "name",
			sorts: map[string]string{"name": "name", "created_at": "created_at", "id": "id"},
			where: map[string]string{"name": "name = ?", "team_id": "team = ?"},
		},
	}
}

// Profile reads one profile inside the actor's scope.
func (v *View) Profile(id string) (leafward.Profile, error) { return Profiles().Read(v, id) }

// RenewalPolicy reads one renewal policy inside the actor's scope.
func (v *View) RenewalPolicy(id string) (leafward.RenewalPolicy, error) {
	return RenewalPolicies().Read(v, id)
}

// PolicyNamed tells which renewal policy, of whatever team, has the id.
func (v *View) PolicyNamed(id string) (p leafward.RenewalPolicy, found bool, err error) {
	return selectOne(v, RenewalPolicies().listing.table, "WHERE id = $1", id)
}

// ProfileOfAny reads a profile whoever asks: for the agent that makes a key under it.
func (v *View) ProfileOfAny(id string) (leafward.Profile, bool, error) {
	return selectOne(v, Profiles().listing.table, "WHERE id = $1", id)
}
