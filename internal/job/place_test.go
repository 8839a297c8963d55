package job_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// placed plants a job in a place, below a root, and starts it when the transaction was committed.
func (w *world) placed(p *job.Place, j leafward.Job, outcome error) (leafward.Job, error) {
	w.t.Helper()
	defer p.Drop()
	err := w.db.Write(w.ctx, func(tx *store.Tx) error {
		p.Clear()
		parts := []leafward.Job{j}
		if err := p.Plant(tx, &leafward.Job{Kind: leafward.RootJob, Subject: j.Subject}, parts); err != nil {
			return err
		}
		j = parts[0]
		return outcome
	})
	if err == nil {
		p.Start()
	}
	return j, err
}

// place waits until an engine that was just started gives places.
func (w *world) place(e *job.Engine) *job.Place {
	w.t.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for range 10000 {
		if p := e.Place(); p != nil {
			return p
		}
		<-look.C
	}
	w.t.Fatal("the engine gives no place")
	return nil
}

func TestAJobThatTakesAPlaceIsBornUnderItsLeaseAndWorkedOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		began := make(chan leafward.Job, 8)
		e, _ := w.run(w.config("w-1", job.Kind{Name: "work", Work: func(_ context.Context, r *job.Run) error { began <- r.Job; return nil }}))
		made, err := w.placed(w.place(e), leafward.Job{Kind: "work", Subject: "a"}, nil)
		w.check(err)
		if made.Status != leafward.JobRunning || made.Worker != "w-1" || made.Attempt != 1 || made.LeaseUntil.IsZero() {
			t.Errorf("it is born as %+v", made)
		}
		if got := <-began; got.ID != made.ID {
			t.Errorf("%s was worked", got.ID)
		}
		w.until(made.ID, func(j leafward.Job) bool { return j.Status == leafward.JobCompleted })
		attempts := w.attempts(made.ID)
		if len(attempts) != 1 || attempts[0].Outcome != "completed" || len(began) > 0 {
			t.Errorf("the attempts are %+v", attempts)
		}
		refused := errors.New("no")
		if _, err := w.placed(w.place(e), leafward.Job{Kind: "work", Subject: "b"}, refused); !errors.Is(err, refused) {
			t.Fatal(err)
		}
		next, err := w.placed(w.place(e), leafward.Job{Kind: "work", Subject: "c"}, nil)
		w.check(err)
		if got := <-began; got.ID != next.ID {
			t.Errorf("a job whose transaction was refused was worked: %s", got.Subject)
		}
	})
}

func TestThereIsNoPlaceWhereNothingIsTakenOrEverythingIsBusy(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, nil))
	release := make(chan struct{})
	config := w.config("w-1", job.Kind{Name: "work", Work: func(context.Context, *job.Run) error { <-release; return nil }})
	config.Workers = 2
	e, stop := w.run(config)
	first, second := w.place(e), w.place(e)
	if first == nil || second == nil || e.Place() != nil {
		t.Error("two workers give two places")
	}
	second.Drop()
	held, err := w.placed(first, leafward.Job{Kind: "work", Subject: "a"}, nil)
	w.check(err)
	third := e.Place()
	if third == nil || e.Place() != nil {
		t.Error("what runs takes one place, what is dropped takes none")
	}
	later, err := w.placed(third, leafward.Job{Kind: "work", Subject: "b", RunAt: held.CreatedAt.AddDate(1, 0, 0)}, nil)
	w.check(err)
	if later.Status != leafward.JobPending {
		t.Errorf("a job that is not due is %s", later.Status)
	}
	close(release)
	stop()
	if e.Place() != nil {
		t.Error("an engine that stopped gives a place")
	}
	waiting, err := w.placed(nil, leafward.Job{Kind: "work", Subject: "c"}, nil)
	w.check(err)
	if waiting.Status != leafward.JobPending {
		t.Errorf("without a place it is %s", waiting.Status)
	}
}

func TestARootWithItsPartsIsPlantedOnceAndShowsWhatTheyWaitFor(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		plant := func(parts ...leafward.Job) (root leafward.Job, err error) {
			err = w.db.Write(w.ctx, func(tx *store.Tx) error {
				root = leafward.Job{Kind: leafward.RootJob, Subject: "r", Team: leafward.DefaultTeam}
				return (*job.Place)(nil).Plant(tx, &root, parts)
			})
			return root, err
		}
		root, err := plant(leafward.Job{Kind: "work", Subject: "r/a", Status: leafward.JobAwaitingCSR, WaitingFor: "a CSR"}, leafward.Job{Kind: "work", Subject: "r/b"})
		w.check(err)
		if root.Status != leafward.JobAwaitingCSR || root.WaitingFor != "a CSR" || root.Revision != 1 {
			t.Errorf("the root is %+v", root)
		}
		_, err = plant(leafward.Job{Kind: "work", Subject: "r/c"})
		if leafward.KindOf(err) != leafward.Conflict {
			t.Errorf("a second root of the same subject: %v", err)
		}
		err = w.db.View(w.ctx, func(v *store.View) error {
			stored, found, err := v.JobOfAny(root.ID)
			if err != nil || !found || stored != root {
				t.Errorf("stored is %+v, not %+v", stored, root)
			}
			parts, err := v.Children(root.ID)
			if len(parts) != 2 || parts[0].Team != leafward.DefaultTeam {
				t.Errorf("the parts are %+v", parts)
			}
			if _, found, _ := v.OpenJob("work", "r/c"); found {
				t.Error("a part of the refused root is there")
			}
			return err
		})
		w.check(err)
	})
}
