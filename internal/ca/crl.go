package ca

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// crlHours is how long a CRL is valid, whoever it is of.
const crlHours = 24

const (
	crlPoll    = 500 * time.Millisecond // how often other replicas' revocations are looked for
	crlPause   = 50 * time.Millisecond  // revocations that come together share a CRL
	crlMost    = time.Second            // of a pause
	crlLease   = time.Second            // how long others wait for a replica that publishes, should it vanish
	crlRemoved = 500                    // rows that one transaction removes

	patience = 3 * time.Second // with the database, before a relying party is given the last known list, or told to try later
)

// Run publishes CRLs until the context ends: within a second of a revocation, and when half of a list's life is over.
// Every replica runs it; one at a time publishes.
func (c *CA) Run(ctx context.Context) error {
	ctx = system(ctx)
	told := ""
	for {
		changed := c.db.Changed()
		begun := time.Now()
		err := c.publishDue(ctx)
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case err != nil && err.Error() != told:
			told = err.Error()
			c.log.ErrorContext(ctx, "CRLs cannot be published; the last ones stay", "error", err)
		case err == nil && told != "":
			told = ""
			c.log.InfoContext(ctx, "CRLs are published again")
		}
		pause := min(max(8*time.Since(begun), crlPause), crlMost) // a long list leaves the machine to others
		if !sleep(ctx, pause, nil) || !sleep(ctx, crlPoll, changed) {
			return nil
		}
	}
}

// sleep waits for a while or until woken; it is false when the context ended.
func sleep(ctx context.Context, d time.Duration, woken <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-woken:
	case <-ctx.Done():
		return false
	}
	return true
}

// publishDue publishes every CRL that is due, unless another replica does.
func (c *CA) publishDue(ctx context.Context) error {
	var due []string
	err := c.db.View(ctx, func(v *store.View) (err error) {
		if due, err = v.DueCRLs(); err != nil {
			return err
		}
		return c.forgetKeys(v)
	})
	if err != nil || len(due) == 0 {
		return err
	}
	ours, err := c.lease(ctx, crlLease)
	if err != nil || !ours {
		return err
	}
	var errs []error
	for _, id := range due {
		if err := c.publish(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("the CRL of %s: %w", id, err))
		}
	}
	_, err = c.lease(ctx, 0)
	return errors.Join(append(errs, err)...)
}

// lease takes the right to publish for a while, or gives it back. It spares replicas the same work; that no list replaces
// one it does not know is for PutCRL to see.
func (c *CA) lease(ctx context.Context, hold time.Duration) (ours bool, err error) {
	err = c.db.Write(ctx, func(tx *store.Tx) error {
		epoch, err := tx.Lease("crl", c.holder, hold)
		ours = epoch > 0
		return err
	})
	return ours, err
}

// unpublished is what a snapshot says that the next CRL of an authority must tell.
type unpublished struct {
	authority *authority
	now       time.Time
	last      leafward.CRL // the one before; zero without one
	seqs      []int64      // the revocations and releases that the list is made for
	ends      time.Time    // what expired before has been told of for long enough
	amends    bool         // entries are what changed since the last list, beside what is gone from it; else all there are
	before    time.Time    // such a moment of the last list
	whole     time.Time    // when a list was last made of all there are
	entries   []pki.Revoked
	gone      []pki.Revoked
}

// publish makes the next CRL of an authority from one snapshot and replaces the last one by it. When another replica
// was faster, nothing changes.
func (c *CA) publish(ctx context.Context, id string) error {
	var u unpublished
	err := c.db.View(ctx, func(v *store.View) (err error) {
		if u, err = c.unpublished(v, id); err != nil {
			return err
		}
		if last, ok := c.made.Load(id); ok && u.goesOn(last.(made)) {
			return u.changed(v)
		}
		return u.all(v)
	})
	if err != nil {
		return err
	}
	signer, err := c.signer(u.authority)
	if err != nil {
		return err
	}
	list, err := buildCRL(u, signer)
	if err != nil {
		c.made.Delete(id) // the next is made whole, whatever is wrong with the last
		return err
	}
	first := u.seqs[:min(len(u.seqs), crlRemoved)]
	done := false
	err = c.db.Write(ctx, func(tx *store.Tx) error {
		if done = tx.PutCRL(&list, u.last.Number); !done {
			return tx.Err()
		}
		tx.Published(first)
		tx.RecordOn(leafward.CRLPublished, "crl", id, "", leafward.Details{"number": list.Number, "entries": list.Entries, "next_update": list.NextUpdate.Format(time.RFC3339)})
		return nil
	})
	if err != nil || !done {
		return err
	}
	c.made.Store(id, made{number: list.Number, ends: u.ends, whole: u.whole})
	c.lists.put(id, list, len(list.DER))
	for rest := u.seqs[len(first):]; len(rest) > 0; {
		n := min(len(rest), crlRemoved)
		if err := c.db.Write(ctx, func(tx *store.Tx) error { tx.Published(rest[:n]); return nil }); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// unpublished reads what the next CRL is made for, without what stands on it. What was revoked and expired stays for as long
// as a CRL lives, and at least until one that was made after the expiry has told of it (RFC 5280 §3.3).
func (c *CA) unpublished(v *store.View, id string) (u unpublished, err error) {
	row, err := v.Authority(id)
	if err != nil {
		return u, err
	}
	if u.authority, err = c.load(v, row); err != nil {
		return u, err
	}
	if u.last, _, err = c.last(v, id); err != nil {
		return u, err
	}
	if u.seqs, err = v.Unpublished(id); err != nil {
		return u, err
	}
	u.now = v.Now
	u.ends = v.Now.Add(-time.Duration(row.CRLHours) * time.Hour)
	if !u.last.ThisUpdate.IsZero() && u.last.ThisUpdate.Before(u.ends) {
		u.ends = u.last.ThisUpdate
	}
	return u, nil
}

// last is the list that an authority published last, from memory where it is that one.
func (c *CA) last(v *store.View, id string) (list leafward.CRL, found bool, err error) {
	number, err := v.CRLNumber(id, 0)
	if err != nil || number == 0 {
		return list, false, err
	}
	if kept, ok := c.lists.get(id); ok && kept.Number == number {
		return kept, true, nil
	}
	if list, found, err = v.CRL(id, 0); found {
		c.lists.put(id, list, len(list.DER))
	}
	return list, found, err
}

// buildCRL signs the list. Its number is greater than every one before it, and than those of a server that was restored
// from an older backup.
func buildCRL(u unpublished, signer crypto.Signer) (leafward.CRL, error) {
	list := leafward.CRL{
		Authority: u.authority.ID, Number: max(u.last.Number+1, u.now.UnixMicro()), Entries: len(u.entries),
		ThisUpdate: u.now.Truncate(time.Second), RevSeq: u.last.RevSeq,
	}
	list.NextUpdate = list.ThisUpdate.Add(time.Duration(u.authority.CRLHours) * time.Hour)
	if n := len(u.seqs); n > 0 {
		list.RevSeq = max(list.RevSeq, u.seqs[n-1])
	}
	says := pki.RevocationList{Number: big.NewInt(list.Number), ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate, Entries: u.entries}
	var err error
	if u.amends {
		list.DER, list.Entries, err = pki.AmendCRL(u.last.DER, says, u.gone, u.authority.cert, signer)
	} else {
		list.DER, err = pki.BuildCRL(says, u.authority.cert, signer)
	}
	return list, err
}

// firstCRL is the empty list that an authority begins with.
func firstCRL(row leafward.Authority, cert *x509.Certificate, signer crypto.Signer, now time.Time) (leafward.CRL, error) {
	return buildCRL(unpublished{authority: &authority{Authority: row, cert: cert}, now: now}, signer)
}

// CRL is the list that the authority of an authority or issuer id published last. While the database cannot be read,
// the one that was published or asked for here last is given.
func (c *CA) CRL(ctx context.Context, id string) (leafward.CRL, error) {
	var list leafward.CRL
	reading, stop := context.WithTimeout(system(ctx), patience)
	defer stop()
	err := c.db.View(reading, func(v *store.View) error {
		row, err := locate(v, id)
		if err != nil {
			return err
		}
		c.named.Store(id, row.ID)
		var found bool
		if list, found, err = c.last(v, row.ID); err == nil && !found {
			err = leafward.Errorf(leafward.Later, "ask again in a moment", "the authority %s has not published a CRL yet", row.Name)
		}
		return err
	})
	if kind := leafward.KindOf(err); err == nil || kind == leafward.NotFound || kind == leafward.UnsupportedType || ctx.Err() != nil {
		return list, err
	}
	authority := id
	if found, ok := c.named.Load(id); ok {
		authority = found.(string)
	}
	if known, ok := c.lists.get(authority); ok {
		return known, nil
	}
	return list, err
}
