package lifecycle

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/store"
)

// How often the schedules look, and how much they change in one transaction.
const (
	sweepEvery  = 10 * time.Second
	noteEvery   = 30 * time.Second
	struckEvery = time.Minute
	foldEvery   = 10 * time.Second
	sweepBatch  = 50

	sweepMost = 10_000                // that one look at what is due takes up
	sweepPace = 20 * time.Millisecond // between what one look begins, so that what people ask for meanwhile comes in between
)

// Schedules are what happens to certificates by the clock.
func (o *Orders) Schedules() []job.Schedule {
	return []job.Schedule{
		{Name: "renewals", Every: sweepEvery, Run: o.Sweep},
		{Name: "clock", Every: time.Hour, Settled: true, Run: o.setBack},
		{Name: "expiry", Every: noteEvery, Run: o.Note},
		{Name: "struck", Every: struckEvery, Run: o.restrike},
		{Name: "counts", Every: foldEvery, Run: o.fold},
		{Name: "idempotency", Every: time.Hour, Run: o.forget},
	}
}

// Sweep opens a root for every certificate whose moment of renewal has come, in batches, those that end first first, but no
// more renewals than may begin in an hour: the rest stays due. One that cannot be opened fails alone and is tried again after
// its policy's wait.
func (o *Orders) Sweep(ctx context.Context) error {
	for ctx.Err() == nil {
		var due []string
		err := o.db.View(ctx, func(v *store.View) (err error) {
			due, err = o.due(v)
			return err
		})
		if err != nil {
			return err
		}
		begun := 0
		for batch := range slices.Chunk(due, sweepBatch) {
			delay := time.Duration(begun) * sweepPace
			n, err := o.begin(ctx, batch, delay, false)
			if err != nil && ctx.Err() == nil {
				n, err = o.begin(ctx, batch, delay, true)
			}
			if err != nil {
				return err
			}
			if begun += n; n == 0 {
				break
			}
		}
		if begun == 0 || len(due) < sweepMost {
			return nil
		}
	}
	return ctx.Err()
}

// due are certificates whose moment has come, in the order in which they have their turn. What fails again and again may not keep
// the others waiting: it gets half of an hour, and what the others leave.
func (o *Orders) due(v *store.View) ([]string, error) {
	first, err := v.DueStruck(sweepMost)
	if err != nil {
		return nil, err
	}
	others, err := v.DueCertificates(false, sweepMost)
	if err != nil {
		return nil, err
	}
	others = append(first, others...)
	failed, err := v.DueCertificates(true, sweepMost)
	if err != nil || o.hourly == 0 || len(failed) == 0 {
		return turns(others, failed, len(failed)), err
	}
	had, err := v.FailingRenewals(v.Now.Add(-time.Hour))
	return turns(others, failed, max((o.hourly+1)/2-had, 0)), err
}

// turns puts those that wait for no turn first, then so many of the failed and the others by turns, then the rest.
func turns(others, failed []store.Due, half int) (ids []string) {
	var rest [2][]string
	for i, group := range [][]store.Due{others, failed} {
		for _, d := range group {
			if d.First {
				ids = append(ids, d.ID)
			} else {
				rest[i] = append(rest[i], d.ID)
			}
		}
	}
	half = min(half, len(rest[1]))
	for i := range half {
		ids = append(ids, rest[1][i])
		if i < len(rest[0]) {
			ids = append(ids, rest[0][i])
		}
	}
	ids = append(ids, rest[0][min(half, len(rest[0])):]...)
	return append(ids, rest[1][half:]...)
}

// begin opens a root for each of the certificates that is still due and whose turn it is, one after the other from the delay
// on, and tells how many there were. Each may be refused by itself when they are begun apart, for which the database keeps a
// copy of every page; else one that is refused keeps all from it.
func (o *Orders) begin(ctx context.Context, due []string, delay time.Duration, apart bool) (n int, err error) {
	err = o.db.Write(ctx, func(tx *store.Tx) (err error) {
		n, err = o.beginAll(tx, due, delay, apart)
		return err
	})
	return n, err
}

func (o *Orders) beginAll(tx *store.Tx, due []string, delay time.Duration, apart bool) (n int, err error) {
	room, err := o.room(tx)
	if err != nil {
		return 0, err
	}
	all, err := tx.CertificatesOf(due)
	if err != nil {
		return 0, err
	}
	known := &read{around: make(map[string]around)}
	if known.targets, err = targetsOfAll(tx, all); err != nil {
		return 0, err
	}
	for _, id := range due {
		c, found := all[id]
		hourly := takesTurn(&c)
		if !found || !c.Due(tx.Now) || hourly && room == 0 {
			continue
		}
		if hourly {
			room--
		}
		st := start{typ: leafward.Renewal, hourly: hourly, delay: delay + time.Duration(n)*sweepPace, read: known}
		if !apart {
			err = resume(tx, &c, st)
		} else if err = tx.Try(func() error { return resume(tx, &c, st) }); err != nil && tx.Err() == nil {
			err = cannot(tx, id, err)
		}
		if err != nil {
			return n, err
		}
		n++
	}
	return n, tx.Err()
}

// targetsOfAll are the targets of those certificates whose keys agents hold, of each by id.
func targetsOfAll(tx *store.Tx, all map[string]leafward.Certificate) (map[string]map[string]leafward.Target, error) {
	var ids []string
	for id, c := range all {
		if c.KeySource == leafward.AgentKey {
			ids = append(ids, id)
		}
	}
	return tx.TargetsOfAll(ids)
}

// takesTurn tells whether a certificate that is due waits for its turn in an hour. What has nothing in use, or what is revoked, does
// not, until it fails.
func takesTurn(c *leafward.Certificate) bool {
	return c.Version != "" && !c.StruckAt.After(c.FailedAt)
}

// room is how many more renewals may begin by the clock. What people ask for does not count: nobody may use up the turns of others.
func (o *Orders) room(tx *store.Tx) (int, error) {
	if o.hourly == 0 {
		return math.MaxInt, nil
	}
	n, err := tx.CountRenewals(tx.Now.Add(-time.Hour))
	return max(o.hourly-n, 0), err
}

// waits says of certificates why they are not renewed although they are due; "" where nothing keeps one.
func (o *Orders) waits(v *store.View) func(c *leafward.Certificate) (string, error) {
	begun := sync.OnceValues(func() (int, error) { return v.Renewals(v.Now.Add(-time.Hour)) })
	return func(c *leafward.Certificate) (string, error) {
		if o.hourly == 0 || !takesTurn(c) || !c.Due(v.Now) {
			return "", nil
		}
		if n, err := begun(); err != nil || n < o.hourly {
			return "", err
		}
		turn := "those that end first go first"
		if !c.FailedAt.IsZero() {
			turn = "those that failed before have half of it, and what others leave"
		}
		return fmt.Sprintf("its turn: --max-renewals-per-hour allows %d, as many began in the last hour, and %s", o.hourly, turn), nil
	}
}

// cannot records that no root could be opened for a certificate.
func cannot(tx *store.Tx, id string, why error) error {
	c, policy, err := planned(tx, id)
	if err != nil {
		return err
	}
	c.Fail(why.Error(), &policy, tx.Now)
	tx.PutCertificate(&c)
	return tx.Err()
}

// planned is a certificate with the policy that it is planned by.
func planned(tx *store.Tx, id string) (c leafward.Certificate, policy leafward.RenewalPolicy, err error) {
	if c, err = tx.Certificate(id); err == nil {
		policy, err = tx.RenewalPolicy(c.Policy)
	}
	return c, policy, err
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
			days, expired := c.Note(&policy, tx.Now)
			details := leafward.Details{"version": c.Version, "expires_at": c.ExpiresAt.Format(time.RFC3339), "name": c.Name}
			switch {
			case expired:
				tx.Record(leafward.CertificateExpired, c.ID, c.Team, details)
			case days >= 0:
				details["days"] = days
				tx.Record(leafward.CertificateExpiring, c.ID, c.Team, details)
			}
			tx.PutCertificate(&c)
		}
		return len(due), nil
	})
}

// setBack plans what a clock planned that was ahead. It is due after a clock was set back, once that has gone on for a while.
func (o *Orders) setBack(ctx context.Context) error {
	return o.repeat(ctx, func(tx *store.Tx) (int, error) {
		ahead, err := tx.CertificatesAhead(sweepBatch)
		if err != nil {
			return 0, err
		}
		for _, c := range ahead {
			policy, err := tx.RenewalPolicy(c.Policy)
			if err != nil {
				return 0, err
			}
			c.SetBack(&policy, tx.Now)
			tx.PutCertificate(&c)
		}
		return len(ahead), nil
	})
}

// restrike looks whether a version in use is still revoked where one was: another may have been proved, or its target be gone.
func (o *Orders) restrike(ctx context.Context) error {
	for after := (leafward.Row{}); ; {
		var batch []leafward.Certificate
		var over []string
		err := o.db.View(ctx, func(v *store.View) (err error) {
			if batch, err = v.StruckCertificates(after, sweepBatch); err != nil {
				return err
			}
			for i := range batch {
				_, used, err := served(v, &batch[i])
				if err != nil {
					return err
				}
				if leafward.StruckSince(used).IsZero() {
					over = append(over, batch[i].ID)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, id := range over {
			if err := o.db.Write(ctx, func(tx *store.Tx) error { return unstrike(tx, id) }); err != nil {
				return err
			}
		}
		if len(batch) < sweepBatch {
			return nil
		}
		after = batch[len(batch)-1].Row
	}
}

// unstrike plans a certificate by the versions that are in use now.
func unstrike(tx *store.Tx, id string) error {
	c, policy, err := planned(tx, id)
	if err != nil {
		return err
	}
	live, used, err := served(&tx.View, &c)
	if err != nil {
		return err
	}
	c.Follow(live, &policy)
	c.Strike(used, &policy)
	tx.PutCertificate(&c)
	return tx.Err()
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

// replanJob plans the certificates of a renewal policy anew; subject: the policy and its revision.
const replanJob leafward.JobKind = "replan"

// Replan has the certificates of a renewal policy planned anew, in batches, after the policy changed.
func Replan(tx *store.Tx, policy string) error {
	p, err := tx.RenewalPolicy(policy)
	if err != nil {
		return err
	}
	_, err = job.Enqueue(tx, &leafward.Job{Kind: replanJob, Subject: fmt.Sprintf("%s/%d", policy, p.Revision), MaxAttempts: replanAttempts})
	return err
}

const replanAttempts = 100

// replan plans the certificates behind the checkpoint.
func (o *Orders) replan(ctx context.Context, run *job.Run) error {
	id, _, _ := strings.Cut(run.Job.Subject, "/")
	var at struct{ After string }
	if _, err := run.Resume(&at); err != nil {
		return err
	}
	for {
		n := 0
		next := at
		err := run.Within(ctx, func(tx *store.Tx, j *leafward.Job) error {
			policy, found, err := tx.PolicyNamed(id)
			if err != nil || !found {
				return err
			}
			batch, err := tx.CertificatesOfPolicy(id, at.After, sweepBatch)
			if err != nil {
				return err
			}
			for _, c := range batch {
				c.Plan(&policy)
				tx.PutCertificate(&c)
				next.After = c.ID
			}
			n = len(batch)
			j.Checkpoint = fmt.Sprintf(`{"After":%q}`, next.After)
			tx.PutJob(j)
			return tx.Err()
		})
		if err != nil || n < sweepBatch {
			return err
		}
		at = next
	}
}
