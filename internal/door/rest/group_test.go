package rest

import (
	"net/http"
	"slices"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

// group is the operations of the given contract with one tag: how many there are, and which are still to come.
type group struct {
	operations int
	waiting    []string
}

// groups are those that are there, by tag.
func groups() map[string]group {
	return map[string]group{
		"Health": {5, nil}, "Certificates": {15, []string{"exportCertificatePKCS12"}}, "Issuers": {6, nil}, "Targets": {6, nil}, "Agents": {10, nil},
		"Jobs": {5, []string{"approveJob", "rejectJob"}}, "Verification": {2, nil}, "RenewalPolicies": {5, nil}, "Profiles": {5, nil}, "Teams": {5, nil}, "Owners": {5, nil},
		"Audit": {2, nil}, "CRL & OCSP": {4, nil},
	}
}

// each calls back for every operation of a document.
func each(doc *openapi3.T, call func(method, path string, op *openapi3.Operation)) {
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			call(method, path, op)
		}
	}
}

func TestEveryGroupOfOperationsIsWhole(t *testing.T) {
	given := loadDocument(t, "contract", read(t, "../../../api/testdata/contract.json")).Spec
	emitted := loadDocument(t, "emitted", read(t, "../../../api/openapi.json")).Spec
	waiting := later(t)
	have := map[string]int{}
	all := 0
	each(given, func(method, path string, op *openapi3.Operation) {
		all++
		want, ours := groups()[op.Tags[0]]
		if !ours {
			if !slices.Contains(waiting, op.OperationID) {
				t.Errorf("%s of %s is neither there nor still to come", op.OperationID, op.Tags[0])
			}
			return
		}
		have[op.Tags[0]]++
		if slices.Contains(want.waiting, op.OperationID) != slices.Contains(waiting, op.OperationID) {
			t.Errorf("%s of %s must stand in later.txt if it is still to come, and only then", op.OperationID, op.Tags[0])
		}
		item := emitted.Paths.Find(path)
		if there := item != nil && item.GetOperation(method) != nil && item.GetOperation(method).OperationID == op.OperationID; there == slices.Contains(want.waiting, op.OperationID) {
			t.Errorf("%s %s (%s) is in the document: %t", method, path, op.OperationID, there)
		}
	})
	there := 0
	for tag, want := range groups() {
		if have[tag] != want.operations {
			t.Errorf("%s has %d operations, not %d", tag, have[tag], want.operations)
		}
		there += want.operations - len(want.waiting)
	}
	if all != 129 || all-there != len(waiting) {
		t.Errorf("of %d operations %d are there, and %d stand in later.txt", all, there, len(waiting))
	}
	if plugins := emitted.Paths.Find("/api/v1/plugins"); plugins == nil || plugins.Get == nil {
		t.Error("GET /api/v1/plugins is not in the document")
	}
}

// public are the operations that ask nobody who he is, byAgents those for agents and administrators, and byAdministrators
// those that read and are for administrators alone.
func public() []string {
	return []string{"getHealth", "getReady", "getAuthInfo", "getVersion", "getDERCRL", "handleOCSP", "handleOCSPPost", "getCACertificate"}
}

func byAgents() []string {
	return []string{"agentHeartbeat", "agentGetWork", "agentSubmitCSR", "agentPickupCertificate", "agentReportJobStatus", "agentLeaseJob", "agentAddJobSteps", "verifyDeployment"}
}

func byAdministrators() []string { return []string{"listCRLCache", "listKeys", "listAgentInvitations"} }

// byOperators are what an operator may do besides reading.
func byOperators() []string {
	return []string{
		"createCertificate", "updateCertificate", "archiveCertificate", "triggerRenewal", "triggerDeployment", "revokeCertificate", "releaseCertificate", "submitCertificateCSR", "takeCertificateKey",
		"bulkRenewCertificates", "bulkReassignCertificates", "importCertificates", "createTarget", "updateTarget", "deleteTarget", "testTargetConnection", "cancelJob",
	}
}

func TestEveryRoleMayDoWhatItIsFor(t *testing.T) {
	for _, op := range api.Operations() {
		want := leafward.RoleAdmin
		switch {
		case slices.Contains(public(), op.ID):
			want = leafward.RolePublic
		case op.ID == "checkAuth":
			want = leafward.RoleAny
		case op.ID == "registerAgent": // an administrator, or whoever holds an invitation
			want = leafward.RoleJoin
		case slices.Contains(byAgents(), op.ID):
			want = leafward.RoleAgent
		case slices.Contains(byOperators(), op.ID):
			want = leafward.RoleOperator
		case op.Method == http.MethodGet && !slices.Contains(byAdministrators(), op.ID):
			want = leafward.RoleViewer
		}
		if op.Role != want {
			t.Errorf("%s is for %q, not %q", op.ID, want, op.Role)
		}
	}
	for _, id := range slices.Concat(public(), byAgents(), byAdministrators(), byOperators()) {
		if !slices.ContainsFunc(api.Operations(), func(i api.Info) bool { return i.ID == id }) {
			t.Errorf("there is no operation %s", id)
		}
	}
}
