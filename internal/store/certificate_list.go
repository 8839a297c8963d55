package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/leafward/leafward"
)

func certificateList() listing[leafward.Certificate] {
	return listing[leafward.Certificate]{
		table: certificates(), scope: "team", by: "-created_at", total: certificateTotal, plain: certificateStatus,
		floor: certificateFloor, broad: broadFilter, terms: certificateTerms, walk: walkCertificates,
		sorts: map[string]string{"created_at": "created_at", "updated_at": "updated_at", "name": "name", "common_name": "common_name", "expires_at": "expires_at", "id": "id"},
		where: certificateFilters(), given: givenOfCertificates,
	}
}

// certificateFilters are the conditions of the filters of certificates; that of the status depends on more.
func certificateFilters() map[string]string {
	return map[string]string{
		"status": "", "environment": "environment = ?", "owner_id": "owner = ?", "team_id": "team = ?", "issuer_id": "issuer = ?",
		"certificate_profile_id": "profile = ?", "renewal_policy_id": "policy = ?", "name": "name = ?", "common_name": "common_name = ?",
		"version_revoked": "struck_at > 0 AND struck_at > ?",
		"target_id":       "id IN (SELECT certificate FROM installations WHERE target = ?)",
		"agent_id":        "id IN (SELECT i.certificate FROM installations i JOIN targets t ON t.id = i.target WHERE t.agent = ?)",
	}
}

// givenOfCertificates has those found of which a version in use was revoked after never.
func givenOfCertificates(name, value string) (any, error) {
	switch {
	case name != "version_revoked":
		return value, nil
	case value == "true":
		return 0, nil
	}
	return nil, errors.New("is not true")
}

// broadFilter tells of the filters, and by "" of the actor's scope, that many certificates fit beside a filter that few fit.
func broadFilter(q leafward.Query, filter string) bool {
	switch status := leafward.CertificateStatus(q.Where["status"]); {
	case struckOnly(q) && filter == "":
		return true
	case !struckOnly(q) && (status == "" || status == leafward.StatusActive):
		return false
	}
	return slices.Contains([]string{"environment", "owner_id", "team_id", "issuer_id", "certificate_profile_id", "renewal_policy_id"}, filter)
}

// struckOnly tells whether a list is of those that lost a version, which are fewer than those of any status.
func struckOnly(q leafward.Query) bool { return q.Where["version_revoked"] != "" }

// certificateStatus is the condition for the asked status; without one, archived certificates are left out.
func certificateStatus(v *View, q leafward.Query) (string, []any, error) {
	condition, args, err := statusAsked(v, q)
	if err == nil && struckOnly(q) {
		condition = v.plus + "(" + condition + ")"
	}
	return condition, args, err
}

func statusAsked(v *View, q leafward.Query) (string, []any, error) {
	const (
		open    = "archived_at = 0 AND revoked_at = 0"
		living  = open + " AND NOT (expires_at > 0 AND expires_at <= ?)" // in no form for which SQLite would take two indexes
		settled = living + " AND (open_job = '' OR version = '')"
		whole   = settled + " AND failed_at = 0"
	)
	now := micros(v.Now)
	switch status := leafward.CertificateStatus(q.Where["status"]); status {
	case "":
		return "archived_at = 0", nil, nil
	case leafward.StatusArchived:
		return "archived_at > 0", nil, nil
	case leafward.StatusRevoked:
		return "archived_at = 0 AND revoked_at > 0", nil, nil
	case leafward.StatusExpired:
		return open + " AND expires_at > 0 AND expires_at <= ?", []any{now}, nil
	case leafward.StatusInProgress:
		return living + " AND open_job <> '' AND version <> ''", []any{now}, nil
	case leafward.StatusFailed:
		return settled + " AND failed_at > 0", []any{now}, nil
	case leafward.StatusExpiring:
		return whole + " AND window_at > 0 AND window_at <= ?", []any{now, now}, nil
	case leafward.StatusActive:
		return whole + " AND version <> '' AND (window_at = 0 OR window_at > ?)", []any{now, now}, nil
	case leafward.StatusPending:
		return whole + " AND version = '' AND (window_at = 0 OR window_at > ?)", []any{now, now}, nil
	default:
		var p leafward.Problems
		p.Add("status", fmt.Sprintf("%.40q is not a status of a certificate", status), fmt.Sprintf("use one of %v", leafward.CertificateStatuses()))
		return "", nil, p.Err()
	}
}

// certificateTotal answers from the fold where it can: everything, by team, by issuer, archived or revoked.
func certificateTotal(v *View, q leafward.Query) (n int64, ok bool, err error) {
	state := "state <> 'archived'"
	for name, value := range q.Where {
		switch {
		case name == "team_id" || name == "issuer_id":
		case name == "status" && value == string(leafward.StatusArchived):
			state = "state = 'archived'"
		case name == "status" && value == string(leafward.StatusRevoked):
			state = "state = 'revoked'"
		default:
			return 0, false, nil
		}
	}
	if q.Text != "" {
		return 0, false, nil
	}
	n, err = counted(v, q, state)
	return n, true, err
}

// certificateFloor is how many there are of a status at least, by the days of the fold: where that is more than is counted,
// nothing need be counted. A certificate in no trouble is renewed before its window begins.
func certificateFloor(v *View, q leafward.Query) (n int64, err error) {
	today := v.Now.Unix() / 86400
	switch status := q.Where["status"]; {
	case q.Text != "":
		return 0, nil
	case status == string(leafward.StatusActive):
		n, err = counted(v, q, "state = 'active' AND renew_day > ? AND expiry_day > ?", today, today)
	case status == string(leafward.StatusExpired):
		n, err = counted(v, q, "state IN ('active', 'open', 'failed', 'pending') AND expiry_day > 0 AND expiry_day < ?", today)
	}
	if err != nil || n <= leafward.TotalCap {
		return 0, err
	}
	for name, value := range q.Where {
		column, _, simple := strings.Cut(certificateFilters()[name], " = ?")
		switch {
		case name == "status" || name == "team_id" || name == "issuer_id":
		case !simple || len(q.Where) > 2 || v.Actor.Teams != nil:
			return 0, nil
		default:
			return floorOf(v, column, value, n)
		}
	}
	return n, nil
}

// floorOf is how many at least of those that have a value in a column are of a status that so many certificates are of: all
// with the value, less all that are of another status. They are counted no further than need be, and not when it is far.
func floorOf(v *View, column, value string, of int64) (n int64, err error) {
	all, _, err := certificateTotal(v, leafward.Query{})
	others, far := all-of, int64(5*leafward.TotalCap)
	if err != nil || others > far {
		return 0, err
	}
	_, err = v.one(fmt.Sprintf("SELECT count(*) FROM (SELECT 1 FROM certificates WHERE archived_at = 0 AND %s = $1 LIMIT %d) AS counted", column, leafward.TotalCap+others+1), []any{value}, &n)
	return n - others, err
}

// counted adds up the fold inside the actor's scope, of a team and an issuer where they are asked for.
func counted(v *View, q leafward.Query, condition string, args ...any) (n int64, err error) {
	s := newSelection(v.Actor, "team")
	s.and(condition, args...)
	if team := q.Where["team_id"]; team != "" {
		s.and("team = ?", team)
	}
	if issuer := q.Where["issuer_id"]; issuer != "" {
		s.and("issuer = ?", issuer)
	}
	const fold = "SELECT team, issuer, state, expiry_day, renew_day, n FROM "
	_, err = v.one("SELECT coalesce(sum(n), 0) FROM ("+fold+"certificate_counts UNION ALL "+fold+"certificate_deltas) AS counted "+s.where(), s.args, &n)
	return n, err
}
