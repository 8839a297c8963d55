package job_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// root adds a root with children of the kinds, which agents work, and returns their ids, the root's first.
func (w *world) root(subject string, kinds ...leafward.JobKind) (ids []string) {
	w.t.Helper()
	w.change(func(tx *store.Tx) error {
		root := pending(leafward.RootJob, subject)
		root.Type = leafward.Renewal
		if _, err := job.Enqueue(tx, &root); err != nil {
			return err
		}
		ids = []string{root.ID}
		for i, kind := range kinds {
			child := pending(kind, fmt.Sprint(subject, "/", i))
			child.Parent, child.Agent = root.ID, "ag-1"
			if kind == leafward.DeployJob {
				child.Type = leafward.Deployment
			}
			if _, err := job.Enqueue(tx, &child); err != nil {
				return err
			}
			ids = append(ids, child.ID)
		}
		return nil
	})
	return ids
}

// end settles a job as its worker would.
func (w *world) end(e *job.Engine, id string, cause error) error {
	return w.db.Write(w.ctx, func(tx *store.Tx) error {
		j, err := tx.Job(id)
		switch {
		case err != nil:
			return err
		case cause != nil:
			return e.Fail(tx, &j, cause)
		}
		return e.Complete(tx, &j, nil)
	})
}

func TestARootIsWhatItsChildrenMakeOfIt(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		e := w.engine(w.config("none"))
		bad := leafward.Errorf(leafward.Invalid, "mend the configuration", "nginx -t failed")
		for name, c := range map[string]struct {
			first, second error
			want          leafward.JobStatus
			reason        string
		}{
			"all well":   {nil, nil, leafward.JobCompleted, ""},
			"one failed": {bad, nil, leafward.JobFailed, "nginx -t failed"},
			"all failed": {bad, bad, leafward.JobFailed, "(and 1 more)"},
		} {
			ids := w.root(name, leafward.ProveJob, leafward.DeployJob)
			w.check(w.end(e, ids[1], c.first))
			if root := w.of(ids[0]); root.Status != leafward.JobRunning || !root.CompletedAt.IsZero() {
				t.Errorf("%s: with one child left the root is %+v", name, root)
			}
			w.check(w.end(e, ids[2], c.second))
			root := w.of(ids[0])
			if root.Status != c.want || !strings.Contains(root.LastError, c.reason) || root.CompletedAt.IsZero() {
				t.Errorf("%s: %+v", name, root)
			}
		}
	})
}

func TestAPartWhosePurposeIsGoneDoesNotCount(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		gone := job.Kind{Name: leafward.DeployJob, Moot: func(_ *store.View, j *leafward.Job) (bool, error) {
			return strings.HasPrefix(j.Subject, "gone") || strings.HasSuffix(j.Subject, "/0"), nil
		}}
		e := w.engine(w.config("none", gone))
		bad := leafward.Errorf(leafward.Invalid, "", "the host is gone")
		for subject, want := range map[string]leafward.JobStatus{"one remains": leafward.JobCompleted, "gone altogether": leafward.JobCancelled} {
			ids := w.root(subject, leafward.DeployJob, leafward.DeployJob)
			w.check(w.end(e, ids[1], bad))
			if want == leafward.JobCancelled {
				w.check(w.end(e, ids[2], bad))
			} else {
				w.check(w.end(e, ids[2], nil))
			}
			if root := w.of(ids[0]); root.Status != want {
				t.Errorf("%s: %+v", subject, root)
			}
		}
		ids := w.root("the other failed", leafward.DeployJob, leafward.DeployJob)
		w.check(w.end(e, ids[1], bad))
		w.check(w.end(e, ids[2], bad))
		if root := w.of(ids[0]); root.Status != leafward.JobFailed || strings.Contains(root.LastError, "more") {
			t.Errorf("%+v", root)
		}
	})
}

func TestARootCallsItsPartsByTheNamesThatPeopleKnow(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		e := w.engine(w.config("none"))
		w.change(func(tx *store.Tx) error {
			tx.Exec(`INSERT INTO agents (id, uuid, revision, created_at, updated_at, team, name, principal, hostname, os, architecture, ip_address, version,
				last_heartbeat_at, registered_at, retired_at, retired_reason, deploy_failed, clock_skew, ours)
				VALUES ('ag-1', 'u-1', 1, 1, 1, '', 'web1', 'pr-1', '', '', '', '', '', 0, 1, 0, '', FALSE, 0, TRUE)`)
			row := leafward.Target{}
			return store.Targets().Insert(tx, &row, func(to *leafward.Target) error {
				*to = leafward.Target{Row: leafward.Row{ID: "tgt-1"}, Name: "shop", Type: "NGINX", Agent: "ag-1", Config: []byte("{}"), Secrets: []string{}, Enabled: true}
				return nil
			}, nil)
		})
		for kind, want := range map[leafward.JobKind]string{leafward.DeployJob: "deploy to shop: no", leafward.ProveJob: "proof at shop: no", leafward.OrderJob: "signature for web1: no"} {
			ids := w.root("named "+string(kind), kind)
			w.change(func(tx *store.Tx) error {
				j, err := tx.Job(ids[1])
				j.Target, j.Subject = "tgt-1", j.Certificate+"/ag-1"
				tx.PutJob(&j)
				return err
			})
			w.check(w.end(e, ids[1], leafward.Errorf(leafward.Invalid, "", "no")))
			if root := w.of(ids[0]); root.LastError != want {
				t.Errorf("the root says %q, not %q", root.LastError, want)
			}
		}
	})
}

func TestAFailedChildDoesNotStopItsSiblings(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		e := w.engine(w.config("none"))
		ids := w.root("two hosts", leafward.DeployJob, leafward.DeployJob)
		w.check(w.end(e, ids[1], leafward.Errorf(leafward.Invalid, "", "no")))
		if sibling := w.of(ids[2]); sibling.Status != leafward.JobPending {
			t.Errorf("%+v", sibling)
		}
	})
}

func TestARootShowsWhatItsFirstOpenChildWaitsFor(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		e := w.engine(w.config("none"))
		ids := w.root("waits", leafward.OrderJob, leafward.OrderJob)
		w.change(func(tx *store.Tx) error {
			j, err := tx.Job(ids[1])
			if err != nil {
				return err
			}
			return e.Await(tx, &j, leafward.JobAwaitingCSR, "the agent ag-1")
		})
		if root := w.of(ids[0]); root.Status != leafward.JobAwaitingCSR || root.WaitingFor != "the agent ag-1" {
			t.Errorf("%+v", root)
		}
	})
}

func TestWhatSettlingAddsKeepsTheRootOpen(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		deploy := job.Kind{Name: leafward.DeployJob, Settled: func(tx *store.Tx, j *leafward.Job) error {
			proof := pending(leafward.ProveJob, j.Subject)
			proof.Parent, proof.Agent = j.Parent, j.Agent
			_, err := job.Enqueue(tx, &proof)
			return err
		}}
		e := w.engine(w.config("none", deploy))
		ids := w.root("proved", leafward.DeployJob)
		w.check(w.end(e, ids[1], nil))
		if root := w.of(ids[0]); !root.Status.Open() {
			t.Fatalf("%+v", root)
		}
		var children []leafward.Job
		w.check(db.View(w.ctx, func(v *store.View) (err error) { children, err = v.Children(ids[0]); return err }))
		if len(children) != 2 {
			t.Fatalf("%+v", children)
		}
		w.check(w.end(e, children[1].ID, nil))
		if root := w.of(ids[0]); root.Status != leafward.JobCompleted {
			t.Errorf("%+v", root)
		}
	})
}

func TestWhatSettlingRefusesUndoesTheEnd(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		e := w.engine(w.config("none", job.Kind{Name: leafward.DeployJob, Settled: func(*store.Tx, *leafward.Job) error { return errors.New("not now") }}))
		ids := w.root("refused", leafward.DeployJob)
		if err := w.end(e, ids[1], nil); err == nil {
			t.Fatal("it is accepted")
		}
		if j := w.of(ids[1]); j.Status != leafward.JobPending || j.Attempt != 0 {
			t.Errorf("%+v", j)
		}
	})
}

func TestOfChildrenThatEndAtOnceTheLastEndsTheRoot(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		settled := job.Kind{Name: leafward.RootJob, Settled: func(tx *store.Tx, j *leafward.Job) error { return mark(tx, "settled/"+j.ID) }}
		e := w.engine(w.config("none", settled))
		for round := range 8 {
			ids := w.root(fmt.Sprint("race", round), leafward.DeployJob, leafward.DeployJob, leafward.DeployJob)
			failed := make(chan error, 3)
			for _, id := range ids[1:] {
				go func() { failed <- w.end(e, id, nil) }()
			}
			for range 3 {
				w.check(<-failed)
			}
			if root := w.of(ids[0]); root.Status != leafward.JobCompleted || w.setting("settled/"+root.ID) != "x" {
				t.Fatalf("%+v, settled %q", root, w.setting("settled/"+root.ID))
			}
		}
	})
}

func TestCancellingEndsWhatIsOpenAndLetsARunningDeploymentFinish(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		e := w.engine(w.config("none"))
		cancel := func(id string) error {
			return db.Write(w.ctx, func(tx *store.Tx) error {
				j, err := tx.Job(id)
				if err != nil {
					return err
				}
				return e.Cancel(tx, &j, "ann")
			})
		}
		ids := w.root("cancelled", leafward.DeployJob, leafward.DeployJob, leafward.ProveJob)
		w.lease(ids[1], "ag-1")
		w.check(cancel(ids[0]))
		if running, idle, proof := w.of(ids[1]), w.of(ids[2]), w.of(ids[3]); running.Status != leafward.JobRunning || idle.Status != leafward.JobCancelled || proof.Status != leafward.JobCancelled {
			t.Fatalf("%s, %s, %s", running.Status, idle.Status, proof.Status)
		}
		if root := w.of(ids[0]); root.Status != leafward.JobRunning {
			t.Fatalf("%+v", root)
		}
		w.check(w.end(e, ids[1], errors.New("the reload failed")))
		if j := w.of(ids[1]); j.Status != leafward.JobCancelled || !strings.Contains(j.LastError, "cancelled by ann") || !strings.Contains(j.LastError, "the reload failed") {
			t.Errorf("%+v", j)
		}
		if root := w.of(ids[0]); root.Status != leafward.JobCancelled || root.LastError != "cancelled by ann" {
			t.Errorf("%+v", root)
		}
		if err := cancel(ids[0]); leafward.KindOf(err) != leafward.Conflict {
			t.Errorf("a second cancel says %v", err)
		}
	})
}

func TestNothingIsAddedBelowARootThatHasEnded(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		e := w.engine(w.config("none"))
		ids := w.root("over", leafward.DeployJob)
		w.check(w.end(e, ids[1], nil))
		err := db.Write(w.ctx, func(tx *store.Tx) error {
			child := pending(leafward.ProveJob, "late")
			child.Parent = ids[0]
			_, err := job.Enqueue(tx, &child)
			return err
		})
		if leafward.KindOf(err) != leafward.Conflict {
			t.Error(err)
		}
	})
}

// lease leases a job for an agent.
func (w *world) lease(id, worker string) {
	w.t.Helper()
	w.change(func(tx *store.Tx) error {
		_, err := job.LeaseFor(tx, id, worker, job.DefaultHold)
		return err
	})
}

func TestAJobIsLeasedToOneAgentWhoMayRenew(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		e := w.engine(w.config("none"))
		ids := w.root("leased", leafward.DeployJob)
		w.lease(ids[1], "ag-1")
		first := w.of(ids[1])
		w.lease(ids[1], "ag-1")
		if again := w.of(ids[1]); again.Attempt != 1 || again.Epoch != first.Epoch || !again.LeaseUntil.After(first.LeaseUntil) {
			t.Errorf("renewing: %+v", again)
		}
		refused := func(id, worker string) leafward.Kind {
			return leafward.KindOf(db.Write(w.ctx, func(tx *store.Tx) error {
				_, err := job.LeaseFor(tx, id, worker, job.DefaultHold)
				return err
			}))
		}
		if kind := refused(ids[1], "ag-2"); kind != leafward.Conflict {
			t.Errorf("another agent is told %q", kind)
		}
		if kind := refused(ids[0], "ag-1"); kind != leafward.Conflict {
			t.Errorf("who wants a root is told %q", kind)
		}
		if kind := refused("job-none", "ag-1"); kind != leafward.NotFound {
			t.Errorf("who wants what is not there is told %q", kind)
		}
		w.check(w.end(e, ids[1], nil))
		if kind := refused(ids[1], "ag-1"); kind != leafward.Conflict {
			t.Errorf("who wants what has ended is told %q", kind)
		}
	})
}

func TestStepsAreKeptInOrderAndBounded(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		ids := w.root("steps", leafward.DeployJob)
		w.change(func(tx *store.Tx) error {
			j, err := tx.Job(ids[1])
			for i := range job.MaxSteps + 50 {
				err = errors.Join(err, job.AddStep(tx, &j, fmt.Sprint("step ", i), true, strings.Repeat("é\x00", job.MaxText)))
			}
			return err
		})
		var steps []leafward.Step
		w.check(db.View(w.ctx, func(v *store.View) (err error) { steps, err = v.Steps(ids[1]); return err }))
		if len(steps) != job.MaxSteps || steps[0].Name != "step 0" || steps[job.MaxSteps-1].Name != "more" || len(steps[0].Message) > job.MaxText || strings.Contains(steps[0].Message, "\x00") {
			t.Errorf("%d steps, the last is %+v", len(steps), steps[len(steps)-1])
		}
	})
}

func TestAScheduleThatIsTriggeredRunsWhereNobodyElseRunsIt(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		begun, goOn := make(chan struct{}), make(chan struct{})
		one := w.config("one")
		one.Schedules = []job.Schedule{tick("sweep", func(ctx context.Context) error {
			close(begun)
			<-goOn
			return db.Write(ctx, func(tx *store.Tx) error { return errors.Join(job.CheckLead(ctx, tx), mark(tx, "swept")) })
		})}
		two := w.config("two")
		two.Schedules = []job.Schedule{tick("sweep", nil)}
		first, second := w.engine(one), w.engine(two)
		done := make(chan error, 1)
		go func() { done <- first.Trigger(w.ctx, "sweep") }()
		<-begun
		if err := second.Trigger(w.ctx, "sweep"); leafward.KindOf(err) != leafward.Later {
			t.Errorf("the second is told %v", err)
		}
		close(goOn)
		w.check(<-done)
		if w.setting("swept") != "x" {
			t.Error("it did not run")
		}
		w.check(second.Trigger(w.ctx, "sweep"))
		if err := second.Trigger(w.ctx, "nothing"); leafward.KindOf(err) != leafward.NotFound {
			t.Error(err)
		}
	})
}
