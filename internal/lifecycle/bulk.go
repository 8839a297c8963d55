package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/store"
)

// Batch is what became of a batch.
type Batch struct {
	leafward.Batch
	Failures []leafward.BatchItem
	Begun    []leafward.BatchItem // those that began a job
}

// maxID bounds an id that a batch is given, in bytes.
const maxID = 128

// bulkWait is how long a caller waits for the end of a batch, which goes on without the caller.
const bulkWait = time.Minute

// Bulk does something to every certificate that a selector fits, however many, and tells what became of each. What it does
// is a job: it goes on where it was when a server stops, and a caller who waited too long asks again for the batch.
func (s *Service) Bulk(ctx context.Context, kind leafward.BatchKind, sel leafward.Selector, change leafward.Change, once Once) (Batch, error) {
	id := ""
	err := s.db.Write(ctx, func(tx *store.Tx) error {
		replayed, err := once.begin(tx, func(batch string) error { id = batch; return nil })
		if err != nil || replayed {
			return err
		}
		b := leafward.Batch{Kind: kind, Selector: sel, Change: change, Actor: tx.Actor}
		if err := sound(tx, &b); err != nil {
			return err
		}
		tx.AddBatch(&b)
		if _, err := job.Enqueue(tx, &leafward.Job{Kind: batchJob, Subject: b.ID, MaxAttempts: batchAttempts}); err != nil {
			return err
		}
		tx.Record(leafward.BatchStarted, b.ID, home(&b), leafward.Details{"kind": string(kind), "ids": len(sel.Certificates), "reason": change.Reason})
		id = b.ID
		once.end(tx, id)
		return tx.Err()
	})
	if err != nil {
		return Batch{}, err
	}
	var b Batch
	err = s.watch(ctx, id, bulkWait, func() (done bool, err error) {
		err = s.db.View(ctx, func(v *store.View) error { b.Batch, err = v.Batch(id); return err })
		return !b.EndedAt.IsZero(), err
	})
	if err != nil {
		return b, err
	}
	return s.Batch(ctx, id)
}

// Batch reads what became of a batch so far.
func (s *Service) Batch(ctx context.Context, id string) (b Batch, err error) {
	err = s.db.View(ctx, func(v *store.View) error {
		if b.Batch, err = v.Batch(id); err != nil {
			return err
		}
		if b.Failures, err = v.BatchItems(id, leafward.ItemFailed); err != nil || b.Kind != leafward.BatchRenew {
			return err
		}
		b.Begun, err = v.BatchItems(id, leafward.ItemDone)
		return err
	})
	return b, err
}

// home is the team whose log tells of a batch, "" when somebody of all teams asked for it.
func home(b *leafward.Batch) string {
	if len(b.Actor.Teams) == 1 {
		return b.Actor.Teams[0]
	}
	return ""
}

// sound refuses a batch that says nothing, or names what does not exist, before any certificate is touched.
func sound(tx *store.Tx, b *leafward.Batch) error {
	var p leafward.Problems
	if err := p.Merge(b.Selector.Validate()); err != nil {
		return err
	}
	for i, id := range b.Selector.Certificates {
		p.Check(id != "" && len(id) <= maxID, fmt.Sprintf("certificate_ids[%d]", i), "is empty or too long for an id", "use an id of GET /api/v1/certificates")
	}
	if b.Selector.Certificates != nil {
		b.Selector.Certificates = slices.Compact(slices.Sorted(slices.Values(b.Selector.Certificates)))
	}
	var lookUps []error
	look := func(field, id string, read func() error) {
		if id != "" {
			lookUps = append(lookUps, refer(&p, field, id, read))
		}
	}
	look("profile_id", b.Selector.Profile, func() error { _, err := tx.Profile(b.Selector.Profile); return err })
	look("owner_id", b.Selector.Owner, ownerOf(tx, b.Selector.Owner))
	look("agent_id", b.Selector.Agent, func() error { _, err := tx.Agent(b.Selector.Agent); return err })
	look("issuer_id", b.Selector.Issuer, func() error { _, err := tx.Issuer(b.Selector.Issuer); return err })
	look("team_id", b.Selector.Team, func() error { _, err := tx.Team(b.Selector.Team); return err })
	look("owner_id", b.Change.Owner, ownerOf(tx, b.Change.Owner))
	look("team_id", b.Change.Team, func() error { _, err := tx.Team(b.Change.Team); return err })
	switch b.Kind {
	case leafward.BatchReassign:
		p.Check(b.Change.Owner != "", "owner_id", "is missing", "name who answers for the certificates from now on")
	case leafward.BatchRevoke:
		p.Check(b.Change.Reason != "", "reason", "is missing", "say why, for example superseded")
		if err := p.Merge((&Revocation{Reason: b.Change.Reason}).check()); err != nil {
			return err
		}
	}
	return errors.Join(errors.Join(lookUps...), p.Err())
}

// ownerOf reads an owner; the default one answers for the certificates of every team that names nobody.
func ownerOf(tx *store.Tx, id string) func() error {
	return func() error {
		if id == leafward.DefaultOwner {
			return nil
		}
		_, err := store.Owners().Read(&tx.View, id)
		return err
	}
}

// batchJob works a batch; subject: the batch.
const batchJob leafward.JobKind = "batch"

const (
	batchAttempts = 100
	batchStep     = 25 // certificates in one transaction, each of which is several rows
)

// stand is how far a batch is: its checkpoint.
type stand struct {
	Given int         // how many of the ids that it was given are through
	At    store.Place // of the walk, when it was given none
	Last  store.Place // where that ends: the youngest certificate when it began
	End   bool
}

// batch goes through a batch step by step, each with its items in one transaction under the job's lease.
func (o *Orders) batch(ctx context.Context, run *job.Run) error {
	var b leafward.Batch
	err := o.db.View(ctx, func(v *store.View) (err error) { b, err = v.Batch(run.Job.Subject); return err })
	if err != nil {
		return err
	}
	ctx = leafward.WithActor(ctx, b.Actor)
	s := &Service{db: o.db, engine: run.Engine(), orders: o}
	var at stand
	if _, err := run.Resume(&at); err != nil {
		return err
	}
	for !at.End {
		var next stand
		err := run.Within(ctx, func(tx *store.Tx, j *leafward.Job) (err error) {
			if next, err = s.step(tx, &b, at); err != nil {
				return err
			}
			text, err := json.Marshal(next)
			j.Checkpoint = string(text)
			tx.PutJob(j)
			return errors.Join(err, tx.Err())
		})
		if err != nil {
			return err
		}
		at = next
	}
	return run.Finish(ctx, nil)
}

// step does what is next in a batch and tells where it stands then.
func (s *Service) step(tx *store.Tx, b *leafward.Batch, at stand) (next stand, err error) {
	var items []leafward.BatchItem
	if b.Selector.Certificates != nil {
		some := b.Selector
		some.Certificates = b.Selector.Certificates[at.Given:min(at.Given+batchStep, len(b.Selector.Certificates))]
		next.Given = at.Given + len(some.Certificates)
		next.End = next.Given == len(b.Selector.Certificates)
		items, err = s.given(tx, b, some)
	} else {
		next.Last = at.Last
		if next.Last.ID == "" {
			if next.Last, err = tx.Youngest(); err != nil {
				return next, err
			}
		}
		var met []leafward.Certificate
		if met, err = tx.Selected(b.Selector, at.At, next.Last, batchStep); err != nil {
			return next, err
		}
		next.End = len(met) < batchStep
		for _, c := range met {
			next.At = store.Place{CreatedAt: c.CreatedAt, ID: c.ID}
			item, err := s.item(tx, b, c.ID)
			if err != nil {
				return next, err
			}
			items = append(items, item)
		}
	}
	if err != nil {
		return next, err
	}
	tx.AddBatchItems(items)
	return next, tx.Err()
}

// given does what a batch does to the certificates of some ids, and tells of each id that it names none.
func (s *Service) given(tx *store.Tx, b *leafward.Batch, some leafward.Selector) (items []leafward.BatchItem, err error) {
	met, err := tx.Selected(some, store.Place{}, store.Place{}, len(some.Certificates))
	if err != nil {
		return nil, err
	}
	for _, id := range some.Certificates {
		item := leafward.BatchItem{Batch: b.ID, Certificate: id, Outcome: leafward.ItemFailed}
		if slices.ContainsFunc(met, func(c leafward.Certificate) bool { return c.ID == id }) {
			if item, err = s.item(tx, b, id); err != nil {
				return nil, err
			}
		} else if _, err := tx.Certificate(id); err == nil {
			item.Reason = "it does not fit the other criteria"
		} else if leafward.KindOf(err) == leafward.NotFound {
			item.Reason = plain(err)
		} else {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

// item does what a batch does to one certificate. What is refused there is an outcome; the error is one of the whole step.
func (s *Service) item(tx *store.Tx, b *leafward.Batch, id string) (leafward.BatchItem, error) {
	item := leafward.BatchItem{Batch: b.ID, Certificate: id, Outcome: leafward.ItemDone}
	err := tx.Try(func() error {
		c, err := s.mine(tx, id)
		if err != nil {
			return err
		}
		switch b.Kind {
		case leafward.BatchRevoke:
			item.Reason, err = s.revokeItem(tx, &c, b)
		case leafward.BatchRenew:
			item.Job, item.Reason, err = s.renewItem(tx, &c, b.ID)
		case leafward.BatchReassign:
			item.Reason, err = reassign(tx, &c, b)
		}
		return err
	})
	switch {
	case tx.Err() != nil:
		return item, tx.Err()
	case err != nil:
		item.Outcome, item.Reason, item.Job = leafward.ItemFailed, plain(named(err)), ""
	case item.Reason != "":
		item.Outcome = leafward.ItemSkipped
	}
	return item, nil
}

// plain is an error for people, without the causes that are for the log.
func plain(err error) string {
	e, ok := errors.AsType[*leafward.Error](err)
	if !ok {
		return err.Error()
	}
	said := *e
	said.Cause = nil
	if said.Fix != "" {
		return said.Error() + "; " + said.Fix
	}
	return said.Error()
}

func (s *Service) revokeItem(tx *store.Tx, c *leafward.Certificate, b *leafward.Batch) (skip string, err error) {
	switch {
	case !c.ArchivedAt.IsZero():
		return "it is archived", nil
	case revoked(c, b.Change.Reason):
		return "it is revoked already", nil
	}
	_, err = s.revoke(tx, c.ID, Revocation{Reason: b.Change.Reason, batch: b.ID})
	return "", err
}

func (s *Service) renewItem(tx *store.Tx, c *leafward.Certificate, batch string) (root, skip string, err error) {
	why, closed := c.Closed()
	switch {
	case closed:
		return "", why, nil
	case c.Status(tx.Now) == leafward.StatusExpired:
		return "", "it is expired", nil
	case c.OpenJob != "":
		return "", "it is being issued or renewed already", nil
	}
	root, err = s.renew(tx, c, start{typ: leafward.Renewal, batch: batch})
	return root, "", err
}

// reassign gives a certificate, in whatever state it is, to another owner and, where that is asked, to another team.
func reassign(tx *store.Tx, c *leafward.Certificate, b *leafward.Batch) (skip string, err error) {
	before := *c
	c.Owner = b.Change.Owner
	if b.Change.Team != "" {
		c.Team = b.Change.Team
	}
	if c.Owner == before.Owner && c.Team == before.Team {
		return "it is theirs already", nil
	}
	if c.Team != before.Team {
		if err := movable(tx, c); err != nil {
			return "", err
		}
		tx.MoveCertificate(c.ID, c.Team)
	}
	tx.PutCertificate(c)
	tx.Record(leafward.CertificateReassigned, c.ID, c.Team, leafward.Details{"owner": c.Owner, "team": c.Team, "owner_before": before.Owner, "team_before": before.Team, "batch": b.ID})
	return "", tx.Err()
}

// movable refuses a certificate whose new team is not the actor's, or does not see what the certificate refers to.
func movable(tx *store.Tx, c *leafward.Certificate) error {
	if err := ours(tx.Actor, c); err != nil {
		return err
	}
	a, err := aroundOf(tx, c)
	if err != nil {
		return err
	}
	targets, err := tx.TargetsOf(c.ID)
	if err != nil {
		return err
	}
	var p leafward.Problems
	own := func(field, team string) {
		p.Check(team == "" || team == c.Team, field, "belongs to another team than "+c.Team, "give the certificate one of that team, or one that all teams share, first")
	}
	own("issuer_id", a.issuer.Team)
	own("certificate_profile_id", a.profile.Team)
	own("renewal_policy_id", a.policy.Team)
	for _, t := range targets {
		own("target_ids", t.Team)
	}
	return p.Err()
}

// batchSettled ends the batch with its job, whatever became of that.
func batchSettled(tx *store.Tx, j *leafward.Job) error {
	b, err := tx.Batch(j.Subject)
	if err != nil {
		return err
	}
	why, action := "", leafward.BatchCompleted
	if j.Status != leafward.JobCompleted {
		why, action = j.LastError, leafward.BatchFailed
	}
	tx.EndBatch(b.ID, why)
	tx.Record(action, b.ID, home(&b), leafward.Details{"kind": string(b.Kind), "done": b.Done, "skipped": b.Skipped, "failed": b.Failed, "error": why})
	return tx.Err()
}
