package lifecycle

import (
	"context"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/store"
)

// How often the schedules look, and how much they change in one transaction.
const (
	sweepEvery = 10 * time.Second
	noteEvery  = 30 * time.Second
	foldEvery  = 10 * time.Second
	sweepBatch = 50
)

// Schedules are what happens to certificates by the clock.
func (o *Orders) Schedules() []job.Schedule {
	return []job.Schedule{
		{Name: "renewals", Every: sweepEvery, Run: o.Sweep},
		{Name: "expiry", Every: noteEvery, Run: o.Note},
		{Name: "counts", Every: foldEvery, Run: o.fold},
		{Name: "idempotency", Every: time.Hour, Run: o.forget},
	}
}

// Sweep opens a root for every certificate whose moment of renewal has come, in batches.
func (o *Orders) Sweep(ctx context.Context) error {
	return o.repeat(ctx, func(tx *store.Tx) (int, error) {
		due, err := tx.DueCertificates(sweepBatch)
		if err != nil {
			return 0, err
		}
		for _, c := range due {
			if _, err := reopen(tx, &c, start{typ: leafward.Renewal}); err != nil {
				return 0, err
			}
		}
		return len(due), nil
	})
}

// Note records the thresholds and ends that certificates have reached, each once for a version.
func (o *Orders) Note(ctx context.Context) error {
	return o.repeat(ctx, func(tx *store.Tx) (int, error) {
		due, err := tx.NotableCertificates(sweepBatch)
		if err != nil {
			return 0, err
		}
		for _, c := range due {
			policy, err := tx.RenewalPolicy(c.Policy)
			if err != nil {
				return 0, err
			}
			days, expired, ok := c.Note(&policy, tx.Now)
			if !ok {
				continue
			}
			details := leafward.Details{"version": c.Version, "not_after": c.NotAfter.Format(time.RFC3339), "name": c.Name}
			if expired {
				tx.Record(leafward.CertificateExpired, c.ID, c.Team, details)
			} else {
				details["days"] = days
				tx.Record(leafward.CertificateExpiring, c.ID, c.Team, details)
			}
			tx.PutCertificate(&c)
		}
		return len(due), nil
	})
}

// fold adds up the counts that PostgreSQL transactions left.
func (o *Orders) fold(ctx context.Context) error {
	return o.repeat(ctx, func(tx *store.Tx) (int, error) { return tx.FoldCounts() })
}

// forget drops idempotency keys that are over.
func (o *Orders) forget(ctx context.Context) error {
	return o.repeat(ctx, func(tx *store.Tx) (int, error) { return tx.ForgetIdempotency(tx.Now.Add(-idempotencyKept)) })
}

// repeat runs a bounded change until it finds nothing more to do.
func (o *Orders) repeat(ctx context.Context, change func(*store.Tx) (int, error)) error {
	for ctx.Err() == nil {
		n := 0
		err := o.db.Write(ctx, func(tx *store.Tx) (err error) {
			n, err = change(tx)
			return err
		})
		if err != nil || n == 0 {
			return err
		}
	}
	return ctx.Err()
}

// Replan plans the certificates of a renewal policy anew, after the policy changed.
func Replan(tx *store.Tx, policy *leafward.RenewalPolicy) error {
	all, err := tx.CertificatesOfPolicy(policy.ID)
	if err != nil {
		return err
	}
	for _, c := range all {
		c.Plan(policy)
		tx.PutCertificate(&c)
	}
	return tx.Err()
}
