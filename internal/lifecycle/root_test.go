package lifecycle_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/issuer"
	"github.com/leafward/leafward/internal/issuer/local"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// roots are the roots of a certificate, the oldest first.
func (w *world) roots(t *testing.T, id string) (all []leafward.Job) {
	t.Helper()
	for _, j := range w.jobsOf(t, id) {
		if j.Kind == leafward.RootJob {
			all = append(all, j)
		}
	}
	return all
}

func TestTheFirstRootIsAnIssuanceAndTheOthersAreRenewals(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.hosts(t, "a", "b")
		made, err := w.Create(w.ctx, of("a.example.com"), at("a", "b"), lifecycle.Once{})
		check(t, err)
		for _, typ := range []leafward.JobType{leafward.Issuance, leafward.Renewal, leafward.Renewal} {
			root := w.roots(t, made.ID)[len(w.roots(t, made.ID))-1]
			orders := w.open(t, made.ID, leafward.OrderJob)
			if root.Type != typ || root.Subject != made.ID || root.Worker != "" || !root.LeaseUntil.IsZero() || len(orders) != 2 {
				t.Errorf("the root is %+v, with %d orders", root, len(orders))
			}
			for _, o := range orders {
				if o.Type != typ || o.Subject != made.ID+"/"+o.Agent || o.Parent != root.ID || o.Deadline.IsZero() {
					t.Errorf("an order is %+v", o)
				}
			}
			w.sign(t, made.ID, "a", "a.example.com")
			w.wait(t, "the deployment at a", func() bool { return len(w.open(t, made.ID, leafward.DeployJob)) == 1 })
			if d := w.open(t, made.ID, leafward.DeployJob)[0]; d.Type != leafward.Deployment || d.Subject != d.Installation || d.Parent != root.ID || d.Target != "tgt-a" {
				t.Errorf("a deployment is %+v", d)
			}
			w.prove(t, made.ID, "a")
			if now := w.roots(t, made.ID); now[len(now)-1].Status != leafward.JobRunning {
				t.Errorf("with one of two hosts proved the root is %s", now[len(now)-1].Status)
			}
			w.bringTo(t, made.ID, "a.example.com", "b")
			w.settled(t, made.ID)
			if now := w.roots(t, made.ID); now[len(now)-1].Status != leafward.JobCompleted {
				t.Errorf("with both proved the root is %s", now[len(now)-1].Status)
			}
			_, err := w.Renew(w.ctx, made.ID, lifecycle.Once{})
			check(t, err)
		}
	})
}

func TestWhatFailedStaysDueUntilItIsRevokedArchivedOrSwitchedOff(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.hosts(t, "revoked", "archived", "off", "left")
		for _, end := range []string{"revoked", "archived", "off", "left"} {
			own := w.policy(t, "rp-"+end, func(*leafward.RenewalPolicy) {})
			made, err := w.Create(w.ctx, of(end+".example.com", own), at(end), lifecycle.Once{})
			check(t, err)
			w.bringTo(t, made.ID, end+".example.com", end)
			first := w.settled(t, made.ID)
			_, err = w.Renew(w.ctx, first.ID, lifecycle.Once{})
			check(t, err)
			w.fail(t, w.open(t, first.ID, leafward.OrderJob)[0], "no key")
			failed := w.settled(t, first.ID)
			if failed.Status != leafward.StatusFailed || failed.RenewAt.IsZero() || w.failures(t) == 0 {
				t.Fatalf("%s: it is %s and goes on at %v", end, failed.Status, failed.RenewAt)
			}
			switch end {
			case "revoked":
				_, err = w.Revoke(w.ctx, first.ID, lifecycle.Revocation{Reason: "superseded"}, lifecycle.Once{})
			case "archived":
				err = w.Archive(w.ctx, first.ID, "")
			case "off":
				_, err = lifecycle.NewSettings(db, lifecycle.Replan).UpdateRenewalPolicy(w.ctx, "rp-off", "", func(p *leafward.RenewalPolicy) error { p.AutoRenew = false; return nil })
			case "left":
				w.due(t, first.ID)
			}
			check(t, err)
			w.until(t, first.ID, func(s lifecycle.Shown) bool { return s.RenewAt.IsZero() == (end != "left") })
			check(t, w.orders.Sweep(w.ctx))
			if open := len(w.open(t, first.ID, leafward.RootJob)); open != map[bool]int{true: 1, false: 0}[end == "left"] {
				t.Errorf("%s: %d roots are open", end, open)
			}
		}
		if n := w.failures(t); n != 4 {
			t.Errorf("four roots failed, and %d failures are on record", n)
		}
	})
}

// failures are how many failed jobs are on record.
func (w *world) failures(t *testing.T) (n int64) {
	t.Helper()
	w.view(t, func(v *store.View) error {
		list, err := v.Events(leafward.Query{Where: map[string]string{"action": string(leafward.JobFailedEvent)}})
		n = list.Total
		return err
	})
	return n
}

// later is a CA that takes an order and signs when it is asked again with it.
type later struct {
	issuer.Issuer
	asked func(order string)
}

func (l later) Issue(ctx context.Context, r issuer.Request) (issuer.Chain, error) {
	l.asked(r.Order)
	if r.Order == "" {
		return issuer.Chain{}, &issuer.Pending{Order: "upstream-7", After: time.Hour}
	}
	return l.Issuer.Issue(ctx, r)
}

func TestACAThatAnswersLaterIsAskedAgainWithItsOrder(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.stop()
		var mu sync.Mutex
		var orders []string
		plugin := local.Plugin(w.ca)
		w.orders = lifecycle.NewOrders(db, w.master, func(ctx context.Context, row leafward.Issuer) (issuer.Issuer, error) {
			inner, err := plugin.Open(ctx, row.ID, row.Config)
			return later{inner, func(order string) {
				mu.Lock()
				defer mu.Unlock()
				orders = append(orders, order)
			}}, err
		}, 0)
		w.work(t, "w-2")
		made, err := w.Create(w.ctx, of("", func(c *leafward.Certificate) { c.CommonName = "a.example.com" }), lifecycle.Asked{CSR: csr(t, newKey(t), "a.example.com")}, lifecycle.Once{})
		check(t, err)
		var order leafward.Job
		w.wait(t, "the order", func() bool {
			open := w.open(t, made.ID, leafward.OrderJob)
			if len(open) == 1 {
				order = open[0]
			}
			return strings.HasPrefix(order.WaitingFor, "the issuer ")
		})
		if wait := order.RunAt.Sub(order.UpdatedAt); order.Status != leafward.JobPending || order.Attempt != 0 || wait != time.Hour || !strings.Contains(order.Checkpoint, "upstream-7") {
			t.Errorf("while the CA thinks the order is %+v", order)
		}
		w.write(t, func(tx *store.Tx) error {
			j, err := tx.Job(order.ID)
			j.RunAt = tx.Now
			tx.PutJob(&j)
			return err
		})
		w.until(t, made.ID, func(s lifecycle.Shown) bool { return s.Version != nil && s.OpenJob == "" })
		mu.Lock()
		defer mu.Unlock()
		if got := fmt.Sprint(orders); got != "[ upstream-7]" {
			t.Errorf("it was asked with the orders %s", got)
		}
	})
}
