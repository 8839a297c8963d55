//go:build linux

package e2e_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

// Every route of a running server is asked by everybody, for things of the own team and of another and for what does not
// exist: who may get through gets through, and nobody else.
func TestEveryRouteIsOpenToWhoMayAndToNobodyElse(t *testing.T) {
	eachAlone(t, func(t *testing.T, dsn string) {
		d := newDrill(t, "R31", engineOf(dsn))
		m := &matrix{estate: newEstate(t, serve(t, dsn)), routes: map[string]bool{}}
		for _, op := range api.Operations() {
			m.try(t, op, m.callers)
		}
		m.documented(t)
		d.measured("%d routes, %d callers, %d requests for things of the own team, of another and of nobody, %d of them refused, %d answers that were not right",
			len(m.routes), len(m.callers), m.asked, m.refused, m.wrong)
	})
}

// matrix is one run of the drill.
type matrix struct {
	*estate
	routes  map[string]bool
	asked   int
	refused int
	wrong   int
}

// documented: the operations that were tried are those that the server's document has.
func (m *matrix) documented(t *testing.T) {
	t.Helper()
	law, err := emitted()
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range law.doc.Paths.Map() {
		for method := range item.Operations() {
			if !m.routes[method+" "+path] {
				t.Errorf("nobody tried %s %s", method, path)
			}
		}
	}
}

// try has callers call an operation on what it may be about.
func (m *matrix) try(t *testing.T, op api.Info, callers []caller) {
	t.Helper()
	m.routes[op.Method+" "+op.Path] = true
	base, _, one := strings.Cut(op.Path, "/{")
	switch {
	case op.Elsewhere != nil && op.Role == leafward.RolePublic: // what relying parties ask, without a key; the score-cards look at it
	case !one:
		m.ask(t, op, callers, ownTeam, nil)
	default:
		for _, owner := range []string{ownTeam, otherTeam} {
			m.ask(t, op, callers, owner, func() string { return m.make(t, base, owner) })
		}
		m.ask(t, op, callers, "", func() string { return "no-such" })
	}
	if op.Role == leafward.RoleAgent && base == "/api/v1/agents" {
		for _, who := range []string{"agent", "other agent"} {
			agent := m.caller(who)
			m.ask(t, op, callers, agent.team, func() string { return agent.id })
		}
	}
}

// ask has each caller call it; what a call may have changed is made anew.
func (m *matrix) ask(t *testing.T, op api.Info, callers []caller, owner string, make func() string) {
	t.Helper()
	id := ""
	for _, who := range callers {
		if make != nil && id == "" {
			id = make()
		}
		a := m.attempt(t, op, who, id)
		m.asked++
		if a.status/100 == 4 {
			m.refused++
		}
		want := right(op, who, owner, id)
		if want == nil && !through(op, a.status) || want != nil && !slices.Contains(want, a.status) {
			m.wrong++
			t.Errorf("%s as %s on %q of %q: %d, want %v: %.300s", op.ID, who.name, id, owner, a.status, want, a.body)
		}
		if a.status/100 == 2 && op.Method != http.MethodGet {
			id = ""
		}
	}
}

// right are the statuses that are right for who calls; nil when the call gets through to the operation itself.
func right(op api.Info, who caller, owner, id string) []int {
	switch {
	case op.Role == leafward.RolePublic:
		return nil
	case who.role == "":
		return []int{401}
	case !who.role.Includes(op.Role):
		return []int{403}
	case who.team != "" && op.ID == api.ExportAudit.ID: // the chain of hashes holds for the whole log only
		return []int{403}
	case !strings.Contains(op.Path, "{"):
		return nil
	case who.role == leafward.RoleAgent && id != who.id:
		return []int{403, 404}
	case owner == "" || who.team != "" && owner != who.team:
		return []int{404}
	}
	return nil
}

// through are the statuses of a call that got through, whatever the operation made of it.
func through(op api.Info, status int) bool {
	if strings.Count(op.Path, "{") > 1 && status == http.StatusNotFound { // the second thing that is named
		return true
	}
	return status < 500 && !slices.Contains([]int{401, 403, 404, 405, 429}, status)
}

// attempt calls an operation with as little as it can be called with.
func (m *matrix) attempt(t *testing.T, op api.Info, who caller, id string) answer {
	t.Helper()
	path := op.Path
	for strings.Contains(path, "{") {
		before, rest, _ := strings.Cut(path, "{")
		_, after, _ := strings.Cut(rest, "}")
		path, id = before+id+after, "no-such"
	}
	body := ""
	if op.Method == http.MethodPost || op.Method == http.MethodPut {
		body = map[string]string{
			"agentReportJobStatus": `{"status":"Running"}`, "agentLeaseJob": `{"seconds":60}`, "agentAddJobSteps": `[]`, "agentSubmitCSR": `{"csr_pem":"none"}`, "submitCertificateCSR": `{"csr_pem":"none"}`,
			"copyAuthorityKey": `{"recipients":["none"]}`, "takeAuthorityOffline": `{"copy_sha256":"none"}`, "bringAuthorityOnline": `{"sealed_key":"none"}`,
		}[op.ID]
		if body == "" {
			body = "{}"
		}
	}
	return m.call(t, who, op.Method, path, body)
}
