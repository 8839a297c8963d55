package ca

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// Succeed gives a successor, with a new name and key, to every authority of ours below another of ours that will soon be too
// old for the certificates it signs: less is left of it than twice the longest lifetime of a profile, or than half of its own
// where that is less. From then on it signs CRLs and OCSP responders only, until the last of its serials is over and it is
// retired. It is called every hour or so.
func (c *CA) Succeed(ctx context.Context) error {
	ctx = system(ctx)
	var old, over []*authority
	err := c.db.View(ctx, func(v *store.View) error {
		rows, err := v.Authorities()
		if err != nil {
			return err
		}
		for _, row := range rows {
			if !row.Ours() || row.Certificate == "" {
				continue
			}
			a, err := c.load(v, row)
			if err != nil {
				return err
			}
			switch row.State {
			case leafward.AuthorityActive:
				if ages, err := c.ages(v, a); err != nil {
					return err
				} else if ages {
					old = append(old, a)
				}
			case leafward.AuthorityRetiring:
				if more, err := v.EndsAfter(row.ID, v.Now.Add(-time.Duration(row.CRLHours)*time.Hour)); err != nil {
					return err
				} else if !more {
					over = append(over, a)
				}
			}
		}
		return nil
	})
	for _, a := range old {
		if wrong := c.succeed(ctx, a); wrong != nil {
			err = errors.Join(err, fmt.Errorf("the successor of authority %s: %w", a.Name, wrong))
		}
	}
	for _, a := range over {
		err = errors.Join(err, c.retire(ctx, a))
	}
	return err
}

// ages tells whether an active authority needs a successor that can be made now.
func (c *CA) ages(v *store.View, a *authority) (bool, error) {
	due, _, err := c.successorDue(v, a)
	if err != nil || due.IsZero() || !v.Now.After(due) {
		return false, err
	}
	parent, err := v.Authority(a.Parent)
	return err == nil && parent.Away() == nil, err
}

// successorDue is when an active authority gets a successor here, and the longest lifetime of what it signs; zero when it
// gets none.
func (c *CA) successorDue(v *store.View, a *authority) (due time.Time, longest time.Duration, err error) {
	if a.State != leafward.AuthorityActive || a.Away() != nil || a.root || a.imported || a.Issuer == "" || a.Successor != "" {
		return due, 0, nil
	}
	parent, found, err := v.FindAuthority(a.Parent)
	if err != nil || !found || !parent.Ours() || parent.State != leafward.AuthorityActive {
		return due, 0, err
	}
	if !parent.NotAfter.After(a.cert.NotAfter) {
		return due, 0, nil // a successor would end no later
	}
	issuer, err := v.Issuer(a.Issuer)
	if err != nil || issuer.Authority != a.ID {
		return due, 0, err
	}
	longest, err = v.LongestLife(issuer.Team)
	life := a.cert.NotAfter.Sub(a.cert.NotBefore)
	return a.cert.NotAfter.Add(-min(2*longest, life/2)), longest, err
}

// succeed makes the successor and hands the issuer over to it.
func (c *CA) succeed(ctx context.Context, a *authority) error {
	name := nextName(a.Name)
	key, err := pki.GenerateKey(pki.KeyKind{Algorithm: a.Algorithm, Size: a.Size})
	if err != nil {
		return err
	}
	f, err := c.begin(a.Issuer, name, key, newPlace())
	if err != nil {
		return err
	}
	subject := pki.Subject{CommonName: name}
	if org := a.cert.Subject.Organization; len(org) > 0 {
		subject.Organization = org[0]
	}
	order := orderBelow(a.Parent, f, subject, a.cert.NotAfter.Sub(a.cert.NotBefore)+time.Second)
	order.authority.pathLen = a.cert.MaxPathLen
	issued, err := c.Issue(ctx, order)
	if err != nil {
		return err
	}
	var now time.Time
	if err := c.db.View(ctx, func(v *store.View) error { now = v.Now; return nil }); err != nil {
		return err
	}
	if err := f.certify("issued", a.Parent, issued.Certificate, now); err != nil {
		return err
	}
	return c.db.Write(ctx, func(tx *store.Tx) error {
		before, err := tx.Authority(a.ID)
		if err != nil {
			return err
		}
		issuer, err := tx.Issuer(a.Issuer)
		if err != nil {
			return err
		}
		if before.State != leafward.AuthorityActive || issuer.Authority != a.ID {
			return leafward.Errorf(leafward.Conflict, "", "the authority %s is %s by now", a.Name, before.State)
		}
		made := *f
		if err := made.store(tx, issuer.Team); err != nil {
			return err
		}
		before.State, before.Successor = leafward.AuthorityRetiring, made.authority.ID
		tx.PutAuthority(&before)
		issuer.Authority = made.authority.ID
		tx.PutIssuer(&issuer)
		tx.Record(leafward.AuthoritySucceeded, a.ID, issuer.Team, leafward.Details{"name": a.Name, "successor": made.authority.ID, "successor_name": name, "issuer": issuer.ID})
		return MarkIssued(tx, a.Parent, issued.Serial)
	})
}

// retire ends an authority that has nothing left to answer for.
func (c *CA) retire(ctx context.Context, a *authority) error {
	return c.db.Write(ctx, func(tx *store.Tx) error {
		row, err := tx.Authority(a.ID)
		if err != nil || row.State != leafward.AuthorityRetiring {
			return err
		}
		row.State = leafward.AuthorityRetired
		tx.PutAuthority(&row)
		tx.Record(leafward.AuthorityRetiredEvent, a.ID, "", leafward.Details{"name": a.Name})
		return tx.Err()
	})
}

// nextName is the name of a successor: the same with a number behind it, or the next number.
func nextName(name string) string {
	base, number := name, 2
	if i := strings.LastIndexByte(name, ' '); i > 0 {
		if n, err := strconv.Atoi(name[i+1:]); err == nil && n >= 2 && n < 1000 {
			base, number = name[:i], n+1
		}
	}
	tail := " " + strconv.Itoa(number)
	for len(base)+len(tail) > leafward.MaxCommonName {
		runes := []rune(base)
		base = strings.TrimRight(string(runes[:len(runes)-1]), " ")
	}
	return base + tail
}
