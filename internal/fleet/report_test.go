package fleet_test

import (
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/fleet"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestAnAgentOfOursLeasesNotesStepsAndCompletes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		a, own := w.agent(t, "web1", true)
		to := w.nginxAt(t, "a", a.ID)
		w.certificate(t, to)
		j := w.deployment(t, to, w.version(t, a.ID, "", to).ID)
		refused(t, "steps without a lease", w.Steps(own, a.ID, j.ID, 0, []leafward.Step{{Name: "write"}}), leafward.Conflict)
		l, err := w.Lease(own, a.ID, j.ID, time.Minute)
		check(t, err)
		again, err := w.Lease(own, a.ID, j.ID, time.Hour)
		if err != nil || again.Epoch != l.Epoch || !again.Until.After(l.Until) {
			t.Errorf("%+v %+v %v", l, again, err)
		}
		check(t, w.Steps(own, a.ID, j.ID, l.Epoch, []leafward.Step{{Name: "write", OK: true, Message: "two files"}, {Name: "reload", Message: "no pid"}}))
		refused(t, "steps of an older lease", w.Steps(own, a.ID, j.ID, l.Epoch+1, []leafward.Step{{Name: "x"}}), leafward.Conflict)
		check(t, w.Report(own, a.ID, j.ID, fleet.Report{Status: "Completed", Epoch: l.Epoch}))
		check(t, w.Report(own, a.ID, j.ID, fleet.Report{Status: "Completed", Epoch: l.Epoch}))
		refused(t, "another word behind the end", w.Report(own, a.ID, j.ID, fleet.Report{Status: "Failed"}), leafward.Conflict)
		_, err = w.Lease(own, a.ID, j.ID, time.Minute)
		refused(t, "a lease behind the end", err, leafward.Conflict)
		now := w.job(t, j.ID)
		if now.Status != leafward.JobCompleted || now.Attempt != 1 {
			t.Errorf("%+v", now)
		}
		w.view(t, func(v *store.View) error {
			steps, err := v.Steps(j.ID)
			if len(steps) != 2 || steps[0].Name != "write" || steps[0].Message != "two files" || steps[0].Attempt != 1 || !steps[0].OK || steps[1].OK {
				t.Errorf("%+v", steps)
			}
			return err
		})
	})
}

func TestTheWordRunningOfAnotherMakeIsALeaseOfAQuarterHour(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		a, own := w.agent(t, "edge", false)
		to := w.nginxAt(t, "a", a.ID)
		w.certificate(t, to)
		j := w.deployment(t, to, w.version(t, a.ID, "", to).ID)
		check(t, w.Report(own, a.ID, j.ID, fleet.Report{Status: "Running"}))
		now := w.job(t, j.ID)
		if now.Status != leafward.JobRunning || now.Worker != a.ID || now.LeaseUntil.Sub(now.UpdatedAt) != 15*time.Minute {
			t.Errorf("%+v", now)
		}
		check(t, w.Report(own, a.ID, j.ID, fleet.Report{Status: "Failed", Error: "nginx: [emerg] no"}))
		now = w.job(t, j.ID)
		if now.Status != leafward.JobPending || now.LastError != "nginx: [emerg] no" || !now.RunAt.After(now.UpdatedAt) {
			t.Errorf("a failure is tried again later: %+v", now)
		}
		refused(t, "completion of an attempt that is over", w.Report(own, a.ID, j.ID, fleet.Report{Status: "Completed"}), leafward.Conflict)
	})
}

func TestAnotherMakeMayReportWithoutHavingSaidRunning(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, own := w.agent(t, "edge", false)
	to := w.nginxAt(t, "a", a.ID)
	w.certificate(t, to)
	j := w.deployment(t, to, w.version(t, a.ID, "", to).ID)
	check(t, w.Report(own, a.ID, j.ID, fleet.Report{Status: "Completed"}))
	if now := w.job(t, j.ID); now.Status != leafward.JobCompleted || now.Attempt != 1 {
		t.Errorf("%+v", now)
	}
}

func TestAWorkerWhoseJobWasTakenBackIsFencedOff(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, own := w.agent(t, "web1", true)
	to := w.nginxAt(t, "a", a.ID)
	w.certificate(t, to)
	j := w.deployment(t, to, w.version(t, a.ID, "", to).ID)
	l, err := w.Lease(own, a.ID, j.ID, time.Minute)
	check(t, err)
	newer := w.version(t, a.ID, "", to)
	w.write(t, func(tx *store.Tx) { // as lifecycle does when a newer version is to be deployed
		now, err := tx.Job(j.ID)
		tx.Fail(err)
		now.Status, now.Worker, now.LeaseUntil, now.Epoch, now.Version = leafward.JobPending, "", time.Time{}, now.Epoch+1, newer.ID
		tx.PutJob(&now)
	})
	refused(t, "completion of the older version", w.Report(own, a.ID, j.ID, fleet.Report{Status: "Completed"}), leafward.Conflict)
	again, err := w.Lease(own, a.ID, j.ID, time.Minute)
	check(t, err)
	refused(t, "completion under the older lease", w.Report(own, a.ID, j.ID, fleet.Report{Status: "Completed", Epoch: l.Epoch}), leafward.Conflict)
	check(t, w.Report(own, a.ID, j.ID, fleet.Report{Status: "Completed", Epoch: again.Epoch}))
}

func TestAReportOnAnOrderIsTrue(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, own := w.agent(t, "edge", false)
	w.certificate(t)
	j := w.order(t, a.ID)
	check(t, w.Report(own, a.ID, j.ID, fleet.Report{Status: "Running"}))
	refused(t, "completion without a CSR", w.Report(own, a.ID, j.ID, fleet.Report{Status: "Completed"}), leafward.Conflict)
	check(t, w.Report(own, a.ID, j.ID, fleet.Report{Status: "Failed", Error: "no entropy"}))
	now := w.job(t, j.ID)
	if now.Status != leafward.JobAwaitingCSR || now.LastError != "no entropy" || now.Attempt != 1 {
		t.Errorf("an order whose key could not be made waits for it again: %+v", now)
	}
	w.write(t, func(tx *store.Tx) { // as lifecycle does with the CSR
		o, err := tx.Job(j.ID)
		tx.Fail(err)
		o.Agent, o.Status = "", leafward.JobPending
		tx.PutJob(&o)
	})
	check(t, w.Report(own, a.ID, j.ID, fleet.Report{Status: "Completed"}))
	refused(t, "a failure behind the CSR", w.Report(own, a.ID, j.ID, fleet.Report{Status: "Failed"}), leafward.Conflict)
	if now := w.job(t, j.ID); now.Status != leafward.JobPending {
		t.Errorf("the server still has to sign: %+v", now)
	}
}

func TestReportsAreBounded(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	a, own := w.agent(t, "web1", true)
	to := w.nginxAt(t, "a", a.ID)
	w.certificate(t, to)
	j := w.deployment(t, to, w.version(t, a.ID, "", to).ID)
	for _, status := range []string{"", "running", "Cancelled", "Pending"} {
		refused(t, "status "+status, w.Report(own, a.ID, j.ID, fleet.Report{Status: status}), leafward.Invalid)
	}
	for _, hold := range []time.Duration{0, -time.Second, time.Second, 2 * time.Hour} {
		_, err := w.Lease(own, a.ID, j.ID, hold)
		refused(t, hold.String(), err, leafward.Invalid)
	}
	_, err := w.Lease(own, a.ID, j.ID, time.Minute)
	check(t, err)
	steps := make([]leafward.Step, job.MaxSteps+50)
	for i := range steps {
		steps[i] = leafward.Step{Name: strings.Repeat("n", 1000), Message: strings.Repeat("m\x00", 5000)}
	}
	check(t, w.Steps(own, a.ID, j.ID, 0, steps))
	w.view(t, func(v *store.View) error {
		kept, err := v.Steps(j.ID)
		if len(kept) != job.MaxSteps || len(kept[0].Message) > job.MaxText {
			t.Errorf("%d steps", len(kept))
		}
		return err
	})
	check(t, w.Report(own, a.ID, j.ID, fleet.Report{Status: "Failed", Error: strings.Repeat("x", 50000)}))
	if now := w.job(t, j.ID); len(now.LastError) > job.MaxText {
		t.Errorf("%d bytes of error", len(now.LastError))
	}
}
