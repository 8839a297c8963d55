package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/issuer"
	"github.com/leafward/leafward/internal/issuer/local"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// bounded has the clock begin so many renewals an hour from here on.
func (w *world) bounded(t *testing.T, hourly int) {
	t.Helper()
	w.stop()
	plugin := local.Plugin(w.ca)
	w.orders = lifecycle.NewOrders(w.db, w.master, func(ctx context.Context, row leafward.Issuer) (issuer.Issuer, error) {
		return plugin.Open(ctx, row.ID, row.Config)
	}, hourly)
	w.work(t, "w-bounded")
}

// overdue makes certificates that end one after the other and are all due, in no order.
func (w *world) overdue(t *testing.T, n int) (ids []string) {
	t.Helper()
	for i := range n {
		made := w.issued(t, of(fmt.Sprintf("d%d.example.com", i), serverKey), lifecycle.Asked{})
		w.settled(t, made.ID)
		ids = append(ids, made.ID)
	}
	w.write(t, func(tx *store.Tx) error {
		for i, id := range ids {
			c, err := tx.Certificate(id)
			if err != nil {
				return err
			}
			place := time.Duration((i*3)%n) * time.Hour // the renewal that was to be first is not that of what ends first
			c.RenewAt, c.ExpiresAt = tx.Now.Add(-place-time.Minute), tx.Now.Add(24*time.Hour+time.Duration(i)*time.Hour)
			tx.PutCertificate(&c)
		}
		return tx.Err()
	})
	return ids
}

// renewing are those of the certificates that a renewal was begun for.
func (w *world) renewing(t *testing.T, ids []string) (some []string) {
	t.Helper()
	for _, id := range ids {
		if slices.ContainsFunc(w.jobsOf(t, id), func(j leafward.Job) bool { return j.Kind == leafward.RootJob && j.Type == leafward.Renewal }) {
			some = append(some, id)
		}
	}
	return some
}

func TestRenewalsBeyondTheHoursNumberWaitForTheNextAndSayWhy(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		ids := w.overdue(t, 8)
		w.bounded(t, 3)
		check(t, w.orders.Sweep(w.ctx))
		check(t, w.orders.Sweep(w.ctx))
		if begun := w.renewing(t, ids); !slices.Equal(begun, ids[:3]) {
			t.Errorf("begun are %v of %v, not those that end first", begun, ids)
		}
		last, err := w.Get(w.ctx, ids[7])
		check(t, err)
		if !strings.Contains(last.Waits, "--max-renewals-per-hour allows 3") {
			t.Errorf("the last one waits for %q", last.Waits)
		}
		page, err := w.List(w.ctx, leafward.Query{Page: 1, PerPage: 50})
		check(t, err)
		for _, row := range page.Items {
			if waits := !slices.Contains(ids[:3], row.ID); (row.Waits != "") != waits {
				t.Errorf("%s waits for %q", row.Name, row.Waits)
			}
		}
		_, err = w.Renew(w.ctx, ids[6], lifecycle.Once{}) // whoever asks for one does not wait
		check(t, err)
		w.hourLater(t)
		check(t, w.orders.Sweep(w.ctx))
		if begun := w.renewing(t, ids); !slices.Equal(begun, []string{ids[0], ids[1], ids[2], ids[3], ids[4], ids[5], ids[6]}) {
			t.Errorf("an hour later %v of %v are begun", begun, ids)
		}
		w.hourLater(t)
		check(t, w.orders.Sweep(w.ctx))
		if begun := w.renewing(t, ids); len(begun) != len(ids) {
			t.Errorf("two hours later %v of %v are begun", begun, ids)
		}
	})
}

// hourLater lets what was begun have been begun an hour ago.
func (w *world) hourLater(t *testing.T) {
	t.Helper()
	w.write(t, func(tx *store.Tx) error {
		tx.Exec("UPDATE jobs SET created_at = created_at - 3600000001")
		return tx.Err()
	})
}

func TestRenewalsThatFailAgainAndAgainLeaveHalfOfTheHourToOthers(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		ids := w.overdue(t, 12) // of which the first seven failed, and end before all others
		w.bounded(t, 4)
		w.stop() // so that what begins stays open
		w.write(t, func(tx *store.Tx) error {
			for _, id := range ids[:7] {
				tx.Exec("UPDATE certificates SET failed_at = renew_at, tries = 9 WHERE id = $1", id)
				tx.Exec("UPDATE jobs SET status = 'Failed', type = 'Renewal' WHERE certificate = $1", id)
			}
			return tx.Err()
		})
		w.hourLater(t)
		check(t, w.orders.Sweep(w.ctx))
		if begun := w.under(t, ids); !slices.Equal(begun, []int{0, 1, 7, 8}) {
			t.Errorf("begun are %v", begun)
		}
		last, err := w.Get(w.ctx, ids[6])
		check(t, err)
		if !strings.Contains(last.Waits, "failed before") {
			t.Errorf("one that failed waits for %q", last.Waits)
		}
		w.write(t, func(tx *store.Tx) error { // an hour later, but two that fail began in it already
			tx.Exec("UPDATE jobs SET created_at = created_at - 3600000001 WHERE certificate NOT IN ($1, $2)", ids[0], ids[1])
			return tx.Err()
		})
		check(t, w.orders.Sweep(w.ctx))
		if begun := w.under(t, ids); !slices.Equal(begun, []int{0, 1, 7, 8, 9, 10}) {
			t.Errorf("after those that fail had their half, begun are %v", begun)
		}
		w.hourLater(t)
		check(t, w.orders.Sweep(w.ctx))
		if begun := w.under(t, ids); !slices.Equal(begun, []int{0, 1, 2, 3, 4, 7, 8, 9, 10, 11}) { // what the others leave is theirs
			t.Errorf("an hour later begun are %v", begun)
		}
	})
}

// under are the places in the list of the certificates that something is under way for.
func (w *world) under(t *testing.T, ids []string) (places []int) {
	t.Helper()
	for i, id := range ids {
		if shown, err := w.Get(w.ctx, id); err != nil {
			t.Error(err)
		} else if shown.OpenJob != "" {
			places = append(places, i)
		}
	}
	return places
}

func TestWhatPeopleAskForTakesNoTurnOfOthers(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		ids := w.overdue(t, 5)
		w.bounded(t, 2)
		w.stop() // so that what begins stays open
		for _, id := range ids[3:] {
			for range 3 {
				root, err := w.Renew(w.ctx, id, lifecycle.Once{})
				check(t, err)
				w.write(t, func(tx *store.Tx) error {
					j, _, err := tx.JobOfAny(root)
					return errors.Join(err, w.engine.Cancel(tx, &j, "somebody"))
				})
			}
		}
		check(t, w.orders.Sweep(w.ctx))
		if begun := w.under(t, ids); !slices.Equal(begun, []int{0, 1}) {
			t.Errorf("begun are %v", begun)
		}
	})
}

func TestWhatIsRevokedWaitsForNoTurnAndTakesNone(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		ids := w.overdue(t, 6)
		w.bounded(t, 2)
		w.stop()
		w.write(t, func(tx *store.Tx) error {
			for _, id := range ids[3:] {
				tx.Exec("UPDATE certificates SET struck_at = renew_at WHERE id = $1", id)
			}
			tx.Exec("UPDATE certificates SET failed_at = struck_at WHERE id = $1", ids[5])     // it had its chance
			tx.Exec("UPDATE certificates SET failed_at = struck_at - 1 WHERE id = $1", ids[4]) // it failed before
			tx.Exec("UPDATE jobs SET status = 'Failed', type = 'Renewal' WHERE certificate IN ($1, $2)", ids[4], ids[5])
			return tx.Err()
		})
		check(t, w.orders.Sweep(w.ctx))
		if begun := w.under(t, ids); !slices.Equal(begun, []int{0, 3, 4, 5}) {
			t.Errorf("begun are %v", begun)
		}
		waits, err := w.Get(w.ctx, ids[1])
		check(t, err)
		if !strings.Contains(waits.Waits, "allows 2") {
			t.Errorf("another one waits for %q", waits.Waits)
		}
	})
}

func TestServersThatLookAtOnceBeginNoMoreThanTheHoursNumber(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		ids := w.overdue(t, 9)
		w.bounded(t, 4)
		var looks sync.WaitGroup
		wrong := make([]error, 3)
		for i := range wrong {
			looks.Go(func() { wrong[i] = w.orders.Sweep(w.ctx) })
		}
		looks.Wait()
		check(t, errors.Join(wrong...))
		if begun := w.renewing(t, ids); len(begun) != 4 {
			t.Errorf("%d renewals are begun", len(begun))
		}
	})
}

func TestARenewalThatCannotBeginKeepsNoOtherFromIt(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		ids := w.overdue(t, 4)
		w.stop()
		w.write(t, func(tx *store.Tx) error {
			_, err := job.Enqueue(tx, &leafward.Job{Kind: leafward.RootJob, Type: leafward.Issuance, Subject: ids[1], Certificate: ids[1]}) // in its way
			return err
		})
		check(t, w.orders.Sweep(w.ctx))
		if begun := w.renewing(t, ids); !slices.Equal(begun, []string{ids[0], ids[2], ids[3]}) {
			t.Errorf("begun are %v of %v", begun, ids)
		}
		failed, err := w.Get(w.ctx, ids[1])
		check(t, err)
		if !strings.Contains(failed.LastError, "already") || !failed.RenewAt.After(time.Now()) {
			t.Errorf("the failure is %q, the next try at %v", failed.LastError, failed.RenewAt)
		}
	})
}
