//go:build testhooks

package lifecycle_test

import (
	"context"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/hook"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// eachClock runs the test on both engines with a clock that it can move.
func eachClock(t *testing.T, test func(*testing.T, *world, *hook.Clock)) {
	t.Helper()
	for name, open := range map[string]func(testing.TB, *hook.Clock) *store.DB{"sqlite": storetest.SQLite, "postgres": storetest.Postgres} {
		t.Run(name, func(t *testing.T) {
			clock := hook.NewClock(time.Time{})
			test(t, start(t, open(t, clock)), clock)
		})
	}
}

// pass moves the clock on and runs the schedules of a day.
func (w *world) pass(t *testing.T, clock *hook.Clock, d time.Duration) {
	t.Helper()
	clock.Advance(d)
	check(t, w.orders.Sweep(w.ctx))
	check(t, w.orders.Note(w.ctx))
}

func TestACertificateIsRenewedAtItsMomentAndOnce(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		first := w.issued(t, of("a.example.com", serverKey), lifecycle.Asked{})
		left := first.RenewAt.Sub(clock.Now())
		if day := first.RenewAt.Sub(first.Version.NotBefore).Hours() / 24; day < 58.9 || day > 60 {
			t.Fatalf("it is renewed on day %.2f", day)
		}
		w.pass(t, clock, left-time.Minute)
		if now := w.settled(t, first.ID); now.Version.ID != first.Version.ID || now.Status != leafward.StatusActive {
			t.Fatalf("it was renewed early: %s", now.Status)
		}
		w.pass(t, clock, 2*time.Minute)
		second := w.until(t, first.ID, func(s lifecycle.Shown) bool { return s.OpenJob == "" && s.Version.ID != first.Version.ID })
		w.pass(t, clock, 0)
		last := w.settled(t, first.ID)
		if last.Version.ID != second.Version.ID || !last.RenewAt.After(first.RenewAt.Add(50*24*time.Hour)) || count(w.events(t, first.ID), leafward.CertificateRenewed) != 1 {
			t.Errorf("renewed: %v; again at %v", w.events(t, first.ID), last.RenewAt)
		}
	})
}

func TestAWarningIsRecordedOnceForEachThresholdAndVersion(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		settings := lifecycle.NewSettings(w.db, lifecycle.Replan)
		_, err := settings.CreateRenewalPolicy(w.ctx, func(p *leafward.RenewalPolicy) error {
			p.ID, p.Name, p.AutoRenew, p.Thresholds = "rp-off", "off", false, []int{20, 5}
			return nil
		})
		check(t, err)
		first := w.issued(t, of("a.example.com", serverKey, func(c *leafward.Certificate) { c.Policy = "rp-off" }), lifecycle.Asked{})
		warned := func(expiring, expired int) {
			t.Helper()
			events := w.events(t, first.ID)
			if count(events, leafward.CertificateExpiring) != expiring || count(events, leafward.CertificateExpired) != expired {
				t.Errorf("recorded: %v; want %d warnings and %d ends", events, expiring, expired)
			}
		}
		const day = 24 * time.Hour
		w.pass(t, clock, 69*day)
		warned(0, 0)
		w.pass(t, clock, 2*day) // 19 days are left
		w.pass(t, clock, 0)
		warned(1, 0)
		w.pass(t, clock, 15*day)
		warned(2, 0)
		if now := w.settled(t, first.ID); now.Version.ID != first.Version.ID || now.Status != leafward.StatusExpiring {
			t.Errorf("without auto_renew it is %s", now.Status)
		}
		w.pass(t, clock, 5*day)
		w.pass(t, clock, day)
		warned(2, 1)
		now, err := w.Get(w.ctx, first.ID)
		check(t, err)
		if now.Status != leafward.StatusExpired {
			t.Errorf("it is %s", now.Status)
		}
		b := w.bulk(t, leafward.BatchRenew, leafward.Selector{Certificates: []string{first.ID}}, leafward.Change{})
		is(t, b, 0, 1, 0) // bulk renewal leaves out what has expired
		w.renewed(t, now)
		w.pass(t, clock, 71*day)
		warned(3, 1)
	})
}

func TestAFailedRenewalIsTriedAgainAfterItsWait(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		w.hosts(t, "a")
		first := w.served(t, "a.example.com", "a")
		w.pass(t, clock, first.RenewAt.Sub(clock.Now())+time.Minute)
		w.fail(t, w.open(t, first.ID, leafward.OrderJob)[0], "no key")
		failed := w.settled(t, first.ID)
		wait := failed.RenewAt.Sub(failed.FailedAt)
		if failed.Status != leafward.StatusFailed || wait != 24*time.Hour || failed.Tries != 1 {
			t.Fatalf("it is %s and waits %v", failed.Status, wait)
		}
		w.pass(t, clock, wait-time.Hour)
		if now := w.settled(t, first.ID); now.Status != leafward.StatusFailed {
			t.Fatalf("it did not wait: %s", now.Status)
		}
		w.pass(t, clock, 2*time.Hour)
		if now, err := w.Get(w.ctx, first.ID); err != nil || now.Status != leafward.StatusInProgress {
			t.Fatalf("nothing was begun: %s %v", now.Status, err)
		}
		w.bringTo(t, first.ID, "a.example.com", "a")
		if last := w.settled(t, first.ID); last.Status != leafward.StatusActive || last.Tries != 0 || last.Version.ID == first.Version.ID {
			t.Errorf("it is %s after %d tries", last.Status, last.Tries)
		}
	})
}

func TestAnOrderThatNobodyServesEndsWithWhatIsInUse(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		w.hosts(t, "a")
		first := w.served(t, "a.example.com", "a")
		w.pass(t, clock, first.RenewAt.Sub(clock.Now())+time.Minute)
		orders := w.open(t, first.ID, leafward.OrderJob)
		if len(orders) != 1 || orders[0].Status != leafward.JobAwaitingCSR || orders[0].Attempt != 0 || orders[0].WaitingFor != "the agent ag-a" {
			t.Fatalf("%v", w.jobs(t, first.ID))
		}
		if d := orders[0].Deadline; d.After(first.ExpiresAt) || d.Before(clock.Now().Add(24*time.Hour)) {
			t.Errorf("it waits until %v, and what is in use ends %v", d, first.ExpiresAt)
		}
	})
}

func TestReplacingWhatHasEndedRevokesNothing(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		now := w.issued(t, of("a.example.com", serverKey), lifecycle.Asked{})
		for _, reason := range []string{leafward.Superseded, leafward.KeyCompromise} {
			clock.Advance(100 * 24 * time.Hour)
			w.revoke(t, now.ID, lifecycle.Revocation{Reason: reason, Replace: true})
			now = w.settled(t, w.version(t, now).ID)
			if events := w.events(t, now.ID); now.Status != leafward.StatusActive || count(events, leafward.CertificateRevoked) != 0 {
				t.Errorf("it is %s, recorded is %v", now.Status, events)
			}
		}
	})
}

func TestAServersKeyIsRepeatedForTenMinutes(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		shown := w.issued(t, of("a.example.com", serverKey), lifecycle.Asked{})
		key, err := w.FirstKey(w.ctx, &shown, false)
		check(t, err)
		clock.Advance(9 * time.Minute)
		again, err := w.FirstKey(w.ctx, &shown, true)
		check(t, err)
		if key == nil || string(again.Reveal()) != string(key.Reveal()) {
			t.Error("a repeated request does not get the key")
		}
		clock.Advance(2 * time.Minute)
		late, err := w.FirstKey(w.ctx, &shown, true)
		check(t, err)
		if late != nil {
			t.Error("after eleven minutes the key is still handed out")
		}
	})
}

func TestARepeatedRequestIsKnownForADay(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		replayed := new(bool)
		once := lifecycle.Once{Operation: "createCertificate", Key: "k", Body: []byte("one"), Replayed: replayed}
		create := func() (lifecycle.Shown, error) {
			*replayed = false
			return w.Create(w.ctx, of("a.example.com", serverKey, func(c *leafward.Certificate) { c.Name = clock.Now().Format(time.RFC3339Nano) }), lifecycle.Asked{}, once)
		}
		first, err := create()
		check(t, err)
		clock.Advance(23 * time.Hour)
		second, err := create()
		check(t, err)
		if !*replayed || second.ID != first.ID {
			t.Error("the repetition made another certificate")
		}
		once.Body = []byte("two")
		_, err = create()
		refused(t, err, leafward.Conflict)
		clock.Advance(2 * time.Hour)
		third, err := create()
		check(t, err)
		if *replayed || third.ID == first.ID {
			t.Error("a key of yesterday is not free")
		}
	})
}

func TestAKeyOfYesterdayIsFreeForTheSameCSR(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		once := lifecycle.Once{Operation: "createCertificate", Key: "k", Body: []byte("one"), Replayed: new(bool)}
		asked := lifecycle.Asked{CSR: csr(t, newKey(t), "a.example.com")}
		names := map[string]bool{}
		for range 2 {
			made, err := w.Create(w.ctx, of("a.example.com", func(c *leafward.Certificate) { c.Name = clock.Now().Format(time.RFC3339Nano) }), asked, once)
			check(t, err)
			if made.Version == nil {
				t.Error("it did not go straight")
			}
			names[made.Name] = true
			clock.Advance(25 * time.Hour)
		}
		if len(names) != 2 || *once.Replayed {
			t.Errorf("made %v", names)
		}
	})
}

func TestASerialThatWasReservedIsSignedAgainInsteadOfAnother(t *testing.T) {
	crashes := map[string]func(create func() error){
		"error": func(create func() error) { _ = create() }, // it went on by a job, and was answered
		"panic": func(create func() error) {
			defer func() { _ = recover() }()
			_ = create()
			t.Error("who crashed was answered")
		},
	}
	for how, crash := range crashes {
		t.Run(how, func(t *testing.T) {
			eachClock(t, func(t *testing.T, w *world, _ *hook.Clock) {
				before, asked := w.serials(t), lifecycle.Asked{CSR: csr(t, newKey(t), "a.example.com")}
				var made lifecycle.Shown
				create := func() (err error) {
					once := lifecycle.Once{Operation: "createCertificate", Key: "k-1", Body: []byte("body"), Replayed: new(bool)}
					made, err = w.Create(w.ctx, of("a.example.com"), asked, once)
					return err
				}
				check(t, w.points.Set("ca.after-sign", "1*"+how))
				crash(create)
				check(t, create())
				made.Version = nil
				w.version(t, made)
				if n := w.serials(t) - before; n != 1 {
					t.Errorf("%d serials were reserved for one certificate", n)
				}
			})
		})
	}
}

func TestAKeyThatIsLostWithTheServerThatMadeItIsNotCertifiedLater(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, clock *hook.Clock) {
		before := w.serials(t)
		create := func() (lifecycle.Shown, error) {
			once := lifecycle.Once{Operation: "createCertificate", Key: "k-1", Body: []byte("body"), Replayed: new(bool)}
			return w.Create(w.ctx, of("a.example.com", serverKey), lifecycle.Asked{Waits: true}, once)
		}
		check(t, w.points.Set("ca.after-sign", "1*panic"))
		func() {
			defer func() { _ = recover() }()
			_, _ = create()
			t.Error("who crashed was answered")
		}()
		made, err := create()
		check(t, err)
		if n := w.serials(t) - before; n != 2 || made.Version == nil {
			t.Fatalf("%d serials, and the certificate is %s", n, made.Status)
		}
		clock.Advance(2 * ca.Resume)
		closed, err := w.ca.CloseAbandoned(w.ctx)
		check(t, err)
		if n := w.serials(t) - before; n != 1 || closed != 1 {
			t.Errorf("%d serials are open for one certificate, and %d closed", n, closed)
		}
		again, err := create()
		check(t, err)
		if again.ID != made.ID || again.Version.ID != made.Version.ID {
			t.Error("the repeated request made another")
		}
	})
}

func TestWhoHangsUpWhileHisCertificateIsSignedLeavesACertificate(t *testing.T) {
	eachClock(t, func(t *testing.T, w *world, _ *hook.Clock) {
		before := w.serials(t)
		create := func(ctx context.Context) (lifecycle.Shown, error) {
			once := lifecycle.Once{Operation: "createCertificate", Key: "k-1", Body: []byte("body"), Replayed: new(bool)}
			return w.Create(ctx, of("a.example.com", serverKey), lifecycle.Asked{Waits: true}, once)
		}
		check(t, w.points.Set("ca.after-sign", "1*block"))
		ctx, hangUp := context.WithCancel(w.ctx)
		made := make(chan lifecycle.Shown, 1)
		go func() {
			shown, _ := create(ctx)
			made <- shown
		}()
		w.wait(t, "the signature", func() bool { return w.serials(t) > before })
		hangUp()
		w.points.Clear("ca.after-sign")
		first := <-made
		again, err := create(w.ctx)
		check(t, err)
		if again.Version == nil || again.ID != first.ID || w.serials(t)-before != 1 {
			t.Errorf("asked again, it is %s, and of %d serials", again.Status, w.serials(t)-before)
		}
	})
}

// serials counts what all authorities reserved or signed and must answer for.
func (w *world) serials(t *testing.T) (n int) {
	t.Helper()
	w.view(t, func(v *store.View) error {
		authorities, err := v.Authorities()
		for _, a := range authorities {
			of, err := v.LiveSerials(a.ID)
			check(t, err)
			n += of
		}
		return err
	})
	return n
}
