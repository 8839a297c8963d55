package lifecycle_test

import (
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// policy makes a renewal policy of the defaults, changed as said.
func (w *world) policy(t *testing.T, id string, change func(*leafward.RenewalPolicy)) func(*leafward.Certificate) {
	t.Helper()
	_, err := lifecycle.NewSettings(w.db, lifecycle.Replan).CreateRenewalPolicy(w.ctx, func(p *leafward.RenewalPolicy) error {
		p.ID, p.Name = id, id
		change(p)
		return nil
	})
	check(t, err)
	return func(c *leafward.Certificate) { c.Policy = id }
}

func TestAChangedPolicyMovesTheRenewalsOfItsCertificates(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		own := w.policy(t, "rp-own", func(*leafward.RenewalPolicy) {})
		first := w.issued(t, of("a.example.com", own, serverKey), lifecycle.Asked{})
		other := w.issued(t, of("b.example.com", serverKey), lifecycle.Asked{})
		change := func(change func(*leafward.RenewalPolicy)) {
			t.Helper()
			_, err := lifecycle.NewSettings(db, lifecycle.Replan).UpdateRenewalPolicy(w.ctx, "rp-own", "", func(p *leafward.RenewalPolicy) error { change(p); return nil })
			check(t, err)
		}
		begins := func(days int) func(lifecycle.Shown) bool {
			return func(s lifecycle.Shown) bool { return s.WindowAt.Equal(s.NotAfter.AddDate(0, 0, -days)) }
		}
		change(func(p *leafward.RenewalPolicy) { p.WindowDays = 10 })
		moved := w.until(t, first.ID, begins(10))
		if early := moved.WindowAt.Sub(moved.RenewAt); early < 0 || early > 24*time.Hour {
			t.Errorf("it is renewed %v before its window", early)
		}
		change(func(p *leafward.RenewalPolicy) { p.WindowDays, p.LiteralWindow = 60, true })
		w.until(t, first.ID, begins(60))
		change(func(p *leafward.RenewalPolicy) { p.LiteralWindow = false })
		w.until(t, first.ID, func(s lifecycle.Shown) bool { return s.NotAfter.Sub(s.WindowAt) == 30*24*time.Hour }) // a third of 90 days
		change(func(p *leafward.RenewalPolicy) { p.AutoRenew = false })
		w.until(t, first.ID, func(s lifecycle.Shown) bool { return s.RenewAt.IsZero() && !s.WindowAt.IsZero() })
		change(func(p *leafward.RenewalPolicy) { p.Thresholds = []int{80} })
		w.until(t, first.ID, func(s lifecycle.Shown) bool { return s.NoteAt.Equal(s.ExpiresAt.AddDate(0, 0, -80)) })
		if same, err := w.Get(w.ctx, other.ID); err != nil || !same.RenewAt.Equal(other.RenewAt) {
			t.Errorf("a certificate of another policy moved to %v: %v", same.RenewAt, err)
		}
		_, err := w.Update(w.ctx, other.ID, "", of("", own), lifecycle.Asked{})
		check(t, err)
		if now, err := w.Get(w.ctx, other.ID); err != nil || !now.RenewAt.IsZero() || now.Policy != "rp-own" {
			t.Errorf("with the other policy it is renewed at %v: %v", now.RenewAt, err)
		}
	})
}

func TestAPolicyBoundsHowOftenAndHowSoonAnOrderIsTried(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.hosts(t, "a")
		often := w.policy(t, "rp-often", func(p *leafward.RenewalPolicy) { p.MaxRetries, p.RetryInterval = 4, 60 })
		made, err := w.Create(w.ctx, of("a.example.com", often), at("a"), lifecycle.Once{})
		check(t, err)
		try := func() (j leafward.Job) {
			t.Helper()
			j = w.open(t, made.ID, leafward.OrderJob)[0]
			w.write(t, func(tx *store.Tx) (err error) {
				if j, err = tx.Job(j.ID); err != nil {
					return err
				}
				return w.engine.Fail(tx, &j, leafward.Errorf(leafward.Later, "", "not now"))
			})
			return j
		}
		for attempt := 1; attempt <= 4; attempt++ {
			j := try()
			if wait := j.RunAt.Sub(j.UpdatedAt); j.Status != leafward.JobPending || wait <= 0 || wait > time.Minute {
				t.Fatalf("after attempt %d it is %s for %v", attempt, j.Status, wait)
			}
		}
		if last := try(); last.Status != leafward.JobFailed || last.Attempt != 5 {
			t.Errorf("after attempt %d it is %s", last.Attempt, last.Status)
		}
		failed := w.settled(t, made.ID)
		if failed.Status != leafward.StatusFailed {
			t.Errorf("the certificate is %s", failed.Status)
		}
		if wait := failed.RenewAt.Sub(failed.FailedAt); wait != time.Minute {
			t.Errorf("the next issuance begins after %v", wait)
		}
	})
}
