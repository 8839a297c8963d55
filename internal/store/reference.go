package store

import "github.com/leafward/leafward"

// References counts the rows that refer to a noun's id, by the kind of row; kinds without any are left out.
func (v *View) References(noun, id string) (map[string]int, error) {
	counts := make(map[string]int)
	for _, r := range references()[noun] {
		var n int
		query := "SELECT count(*) FROM " + r.table + " WHERE " + r.column + " = $1"
		if r.only != "" {
			query += " AND " + r.only
		}
		if _, err := v.one(query, []any{id}, &n); err != nil {
			return nil, err
		}
		if n > 0 {
			counts[r.table] = n
		}
	}
	return counts, nil
}

// reference is a column that holds another noun's id; only, when not empty, says which of the rows count.
type reference struct{ table, column, only string }

// references lists what may refer to a noun and so keeps it from being deleted.
func references() map[string][]reference {
	const open = "status IN ('Pending', 'AwaitingCSR', 'AwaitingApproval', 'Running')"
	return map[string][]reference{
		"team": {
			{"owners", "team", ""},
			{"credentials", "team", "revoked_at = 0"},
			{"profiles", "team", ""},
			{"renewal_policies", "team", ""},
			{"issuers", "team", ""},
			{"agents", "team", ""},
			{"targets", "team", ""},
			{"certificates", "team", ""},
		},
		"owner":          {{"certificates", "owner", ""}},
		"profile":        {{"certificates", "profile", ""}},
		"renewal_policy": {{"certificates", "policy", ""}},
		"issuer":         {{"certificates", "issuer", ""}, {"versions", "issuer", ""}},
		"agent":          {{"targets", "agent", ""}},
		"target":         {{"installations", "target", ""}, {"jobs", "target", open}},
	}
}

// UsedOutside counts the certificates of other teams that use a profile, policy, issuer or target: what they would lose if
// it belonged to the team alone.
func (v *View) UsedOutside(noun, id, team string) (n int, err error) {
	column := map[string]string{"profile": "profile", "renewal_policy": "policy", "issuer": "issuer"}[noun]
	query := "SELECT count(*) FROM certificates WHERE " + column + " = $1 AND team <> $2"
	if noun == "target" {
		query = "SELECT count(*) FROM installations i JOIN certificates c ON c.id = i.certificate WHERE i.target = $1 AND c.team <> $2"
	}
	_, err = v.one(query, []any{id, team}, &n)
	return n, err
}

// CheckTeam refuses a team that does not exist in the actor's scope, and one that would take a shared or moved row away
// from certificates of other teams; "" is all teams.
func (v *View) CheckTeam(noun, id, team string) error {
	if team == "" {
		return nil
	}
	if _, err := v.Team(team); err != nil {
		if leafward.KindOf(err) != leafward.NotFound {
			return err
		}
		var p leafward.Problems
		p.Add("team_id", "names a team that does not exist", "use the id of a team from GET /api/v1/teams")
		return p.Err()
	}
	if id == "" {
		return nil
	}
	n, err := v.UsedOutside(noun, id, team)
	if err == nil && n > 0 {
		return &leafward.Error{Kind: leafward.Conflict, Message: "certificates of other teams use it, so it cannot belong to " + team + " alone", Fix: "move those certificates first", Counts: map[string]int{"certificates": n}}
	}
	return err
}
