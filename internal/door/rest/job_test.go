package rest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// queue adds a renewal with an order and a deployment below it, and returns their ids.
func queue(t *testing.T, h house, n int) (root, order, deployment string) {
	t.Helper()
	r := leafward.Job{Kind: leafward.RootJob, Type: leafward.Renewal, Subject: fmt.Sprintf("mc-%d", n), Team: leafward.DefaultTeam, Certificate: fmt.Sprintf("mc-%d", n), Batch: "batch-1"}
	if err := h.db.Write(storetest.Admin(t.Context()), func(tx *store.Tx) error {
		if _, err := job.Enqueue(tx, &r); err != nil {
			return err
		}
		o := leafward.Job{Kind: leafward.OrderJob, Type: leafward.Renewal, Subject: r.Subject + "/ag-1", Parent: r.ID, Certificate: r.Certificate, Agent: "ag-1", Status: leafward.JobAwaitingCSR, WaitingFor: "the agent ag-1"}
		if _, err := job.Enqueue(tx, &o); err != nil {
			return err
		}
		d := leafward.Job{Kind: leafward.DeployJob, Type: leafward.Deployment, Subject: fmt.Sprintf("in-%d", n), Parent: r.ID, Certificate: r.Certificate, Agent: "ag-2", Target: "tgt-2", Version: "cv-2"}
		_, err := job.Enqueue(tx, &d)
		root, order, deployment = r.ID, o.ID, d.ID
		if err == nil {
			err = job.AddStep(tx, &d, "validate", false, "nginx: configuration file test failed")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return root, order, deployment
}

func TestJobsAreListedWithoutTheirOrdersAndFiltered(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db)
		c := h.client("viewer")
		root, order, deployment := queue(t, h, 1)
		for n := range 4 {
			queue(t, h, n+2)
		}
		for name, q := range map[string]struct {
			in    api.ListJobsInput
			total int64
		}{
			"everything": {api.ListJobsInput{}, 10}, "a type": {api.ListJobsInput{Type: "Deployment"}, 5}, "a state": {api.ListJobsInput{Status: "Pending"}, 5},
			"a certificate": {api.ListJobsInput{CertificateID: "mc-1"}, 2}, "a target": {api.ListJobsInput{TargetID: "tgt-2"}, 5},
			"an agent": {api.ListJobsInput{AgentID: "ag-1"}, 0}, "a batch": {api.ListJobsInput{BatchID: "batch-1"}, 10},
			"the parts of a root": {api.ListJobsInput{ParentID: root}, 2}, "nothing": {api.ListJobsInput{Status: "Failed"}, 0},
		} {
			if page, err := api.ListJobs.Call(t.Context(), c, q.in); err != nil || page.Total != q.total || page.Data == nil {
				t.Errorf("%s: %+v %v", name, page, err)
			}
		}
		parts, err := api.ListJobs.Call(t.Context(), c, api.ListJobsInput{ParentID: root, Paging: api.Paging{Sort: "created_at"}})
		if err != nil || parts.Data[0].ID != order || parts.Data[0].WaitingFor != "the agent ag-1" || parts.Data[0].NextAttemptAt != nil || parts.Data[0].AgentID != "ag-1" {
			t.Errorf("%+v %v", parts, err)
		}
		seen := make(map[string]bool)
		for cursor := ""; ; {
			page, err := api.ListJobs.Call(t.Context(), c, api.ListJobsInput{Paging: api.Paging{PerPage: 3, Cursor: cursor}})
			if err != nil {
				t.Fatal(err)
			}
			for _, j := range page.Data {
				seen[j.ID] = true
			}
			if cursor = page.NextCursor; cursor == "" {
				break
			}
		}
		if len(seen) != 10 || seen[order] || !seen[deployment] {
			t.Errorf("the cursor showed %d jobs", len(seen))
		}
		if status, out, _ := h.send(t, "viewer", "GET", "/api/v1/jobs?status=Sleeping", ""); status != 400 {
			t.Errorf("%d %v", status, out)
		}
	})
}

func TestAJobIsShownWithItsStepsAndWaits(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	root, _, deployment := queue(t, h, 1)
	d, err := api.GetJob.Call(t.Context(), h.client("viewer"), api.JobID{ID: deployment})
	if err != nil || d.ParentID != root || d.VersionID != "cv-2" || d.NextAttemptAt == nil || d.MaxAttempts != 4 || len(d.Steps) != 1 || d.Steps[0].OK || d.Steps[0].Name != "validate" || d.History == nil {
		t.Errorf("%+v %v", d, err)
	}
	r, err := api.GetJob.Call(t.Context(), h.client("viewer"), api.JobID{ID: root})
	if err != nil || r.WaitingFor != "the agent ag-1" || r.Status != "AwaitingCSR" || r.Kind != "root" || len(r.Steps) != 0 {
		t.Errorf("%+v %v", r, err)
	}
}

func TestAnOperatorCancelsAndAViewerDoesNot(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	id := posted("/api/v1/certificates", `"common_name":"c#.example.com"`)(t, h, "")
	roots, err := api.ListJobs.Call(t.Context(), h.client("viewer"), api.ListJobsInput{CertificateID: id})
	if err != nil || len(roots.Data) != 1 {
		t.Fatalf("%+v %v", roots, err)
	}
	root := roots.Data[0].ID
	orders, err := api.ListJobs.Call(t.Context(), h.client("viewer"), api.ListJobsInput{ParentID: root})
	if err != nil || len(orders.Data) != 1 {
		t.Fatalf("%+v %v", orders, err)
	}
	order := orders.Data[0].ID
	if _, err := api.CancelJob.Call(t.Context(), h.client("viewer"), api.JobID{ID: root}); err == nil {
		t.Error("a viewer cancelled")
	}
	got, err := api.CancelJob.Call(t.Context(), h.client("operator"), api.JobID{ID: root})
	if err != nil || got.Status != "cancelled" {
		t.Errorf("%+v %v", got, err)
	}
	if d, err := api.GetJob.Call(t.Context(), h.client("viewer"), api.JobID{ID: order}); err != nil || d.Status != "Cancelled" || !strings.Contains(d.LastError, "cancelled by operator") {
		t.Errorf("%+v %v", d, err)
	}
	if status, out, _ := h.send(t, "operator", "POST", "/api/v1/jobs/"+root+"/cancel", ""); status != 409 {
		t.Errorf("%d %v", status, out)
	}
}

func TestAVerificationIsTakenAsAgentsOfAnotherMakeSendIt(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	_, order, deployment := queue(t, h, 1)
	sum := strings.Repeat("ab", 32)
	body := fmt.Sprintf(`{"target_id":"tgt-2","expected_fingerprint":%q,"actual_fingerprint":"","verified":false,"error":null,"probe":{"took":5}}`, sum)
	status, out, _ := h.send(t, "admin", "POST", "/api/v1/jobs/"+deployment+"/verify", body)
	if status != 200 || out["job_id"] != deployment || out["verified"] != false || out["verified_at"] == nil {
		t.Errorf("%d %v", status, out)
	}
	for name, c := range map[string]struct {
		path, body string
		status     int
	}{
		"an unknown job":   {"/api/v1/jobs/job-none/verify", body, 404},
		"an order":         {"/api/v1/jobs/" + order + "/verify", body, 400},
		"another target":   {"/api/v1/jobs/" + deployment + "/verify", strings.Replace(body, "tgt-2", "tgt-3", 1), 400},
		"no fingerprint":   {"/api/v1/jobs/" + deployment + "/verify", strings.Replace(body, sum, "nginx", 1), 400},
		"verified as text": {"/api/v1/jobs/" + deployment + "/verify", strings.Replace(body, "false", `"no"`, 1), 400},
		"no body":          {"/api/v1/jobs/" + deployment + "/verify", "", 400},
	} {
		if status, out, _ := h.send(t, "admin", "POST", c.path, c.body); status != c.status {
			t.Errorf("%s: %d %v", name, status, out)
		}
	}
	if status, out, _ := h.send(t, "operator", "POST", "/api/v1/jobs/"+deployment+"/verify", body); status != 403 {
		t.Errorf("an operator is no agent: %d %v", status, out)
	}
	status, out, _ = h.send(t, "viewer", "GET", "/api/v1/jobs/"+deployment+"/verification", "")
	if status != 200 || out["verified"] != false || out["target_id"] != "tgt-2" || out["error"] == nil {
		t.Errorf("%d %v", status, out)
	}
}
