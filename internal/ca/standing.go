package ca

import (
	"context"
	"fmt"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
)

const (
	listWarning      = 30 * day // before the CRL of an offline authority ends; a third of its life if that is less
	successorWarning = 90 * day // before a successor is due that an offline root must sign; a quarter of a life if that is less
)

// Standings are the authorities that the actor sees, the oldest first, with what they have published and what they need. One
// whose issuer is gone, or that is somebody else's, is seen by actors of all teams.
func (c *CA) Standings(ctx context.Context) (all []leafward.AuthorityStanding, err error) {
	err = c.db.View(ctx, func(v *store.View) error {
		rows, err := v.Authorities()
		if err != nil {
			return err
		}
		for _, row := range rows {
			seen, err := sees(v, row)
			if err != nil {
				return err
			}
			if !seen || row.Certificate == "" {
				continue
			}
			s, err := c.standing(v, row)
			if err != nil {
				return fmt.Errorf("the authority %s: %w", row.ID, err)
			}
			all = append(all, s)
		}
		return nil
	})
	return all, err
}

// Standing is that of one authority.
func (c *CA) Standing(ctx context.Context, id string) (s leafward.AuthorityStanding, err error) {
	err = c.db.View(ctx, func(v *store.View) error {
		row, found, err := v.FindAuthority(id)
		if err != nil {
			return err
		}
		seen := false
		if found && row.Certificate != "" {
			if seen, err = sees(v, row); err != nil {
				return err
			}
		}
		if !seen {
			return leafward.Missing("authority", id)
		}
		s, err = c.standing(v, row)
		return err
	})
	return s, err
}

// MayChange refuses an actor who does not see an authority, or sees it and may not change its issuer.
func (c *CA) MayChange(ctx context.Context, id string) error {
	return c.db.View(ctx, func(v *store.View) error {
		row, found, err := v.FindAuthority(id)
		if err != nil {
			return err
		}
		seen := false
		if found {
			if seen, err = sees(v, row); err != nil {
				return err
			}
		}
		if !seen {
			return leafward.Missing("authority", id)
		}
		team := ""
		if row.Issuer != "" && v.Actor.Teams != nil {
			issuer, err := v.Issuer(row.Issuer)
			if err != nil {
				return err
			}
			team = issuer.Team
		}
		if !v.Actor.MayWrite(team) {
			return leafward.Errorf(leafward.Denied, "ask an administrator whose key is for all teams", "the authority %s is shared by all teams, and your key is for some", row.Name)
		}
		return nil
	})
}

// sees tells whether the actor sees an authority: who sees its issuer does.
func sees(v *store.View, row leafward.Authority) (bool, error) {
	if v.Actor.Teams == nil {
		return true, nil
	}
	_, err := v.Issuer(row.Issuer)
	if leafward.KindOf(err) == leafward.NotFound {
		return false, nil
	}
	return err == nil, err
}

func (c *CA) standing(v *store.View, row leafward.Authority) (s leafward.AuthorityStanding, err error) {
	a, err := c.load(v, row)
	if err != nil {
		return s, err
	}
	own, err := v.CACertificate(row.Certificate)
	if err != nil {
		return s, err
	}
	s = leafward.AuthorityStanding{Authority: row, Root: a.root, SHA256: own.SHA256, NotBefore: own.NotBefore}
	if !row.Ours() {
		return s, nil
	}
	if s.CRL, err = v.CRLHead(row.ID, 0); err != nil {
		return s, err
	}
	waiting, err := v.Unpublished(row.ID)
	if err != nil {
		return s, err
	}
	responder, _, err := v.Responder(row.ID)
	if err != nil {
		return s, err
	}
	s.Waiting, s.Responder = len(waiting), responder.NotAfter
	needOfList(v.Now, &s)
	return s, c.needOfParent(v, a, &s)
}

// needOfList tells when the CRL of an offline authority ends, and of revocations that it does not tell.
func needOfList(now time.Time, s *leafward.AuthorityStanding) {
	if s.Away() == nil || s.State == leafward.AuthorityRetired || !s.NotAfter.After(now) {
		return
	}
	next := s.CRL.NextUpdate
	if next.Sub(now) < min(listWarning, next.Sub(s.CRL.ThisUpdate)/3) {
		need := leafward.Need{
			Code: "crl", At: next, Broken: !next.After(now), Fix: s.Return() + "; leafward ca offline takes it away again with a new one",
			Message: fmt.Sprintf("its CRL ends on %s, and its key is offline: nobody can check afterwards whether what it signed is revoked", next.Format(time.DateOnly)),
		}
		if need.Broken {
			need.Message = fmt.Sprintf("its CRL ended on %s, and its key is offline: nobody can check whether what it signed is revoked", next.Format(time.DateOnly))
		}
		if !s.CRL.ThisUpdate.IsZero() && !next.Before(s.NotAfter.Add(-time.Hour)) && !need.Broken {
			return // it ends with the authority
		}
		s.Needs = append(s.Needs, need)
	}
	if s.Waiting > 0 {
		s.Needs = append(s.Needs, leafward.Need{
			Code: "revocations", At: now, Broken: true, Fix: s.Return(),
			Message: fmt.Sprintf("its CRL does not tell of %d revocations, and its key is offline: who checks the CRL goes on trusting what was revoked", s.Waiting),
		})
	}
}

// needOfParent tells what an authority waits for of an offline one above it.
func (c *CA) needOfParent(v *store.View, a *authority, s *leafward.AuthorityStanding) error {
	due, longest, err := c.successorDue(v, a)
	if err != nil || a.root || a.Parent == "" {
		return err
	}
	s.SuccessorAt = due
	parent, found, err := v.FindAuthority(a.Parent)
	if err != nil || !found || parent.Away() == nil {
		return err
	}
	warn := min(successorWarning, a.cert.NotAfter.Sub(a.cert.NotBefore)/4)
	if !due.IsZero() && v.Now.After(due.Add(-warn)) {
		s.Needs = append(s.Needs, leafward.Need{
			Code: "successor", At: due, Broken: a.cert.NotAfter.Sub(v.Now) < longest, Fix: parent.Return(),
			Message: fmt.Sprintf("it ends on %s and has a successor due on %s, which %s must sign, whose key is offline", a.NotAfter.Format(time.DateOnly), due.Format(time.DateOnly), parent.Name),
		})
	}
	if a.State == leafward.AuthorityActive && !a.imported && c.moved(a) {
		s.Needs = append(s.Needs, leafward.Need{
			Code: "certificate", At: v.Now, Fix: parent.Return(),
			Message: fmt.Sprintf("its certificate does not name %s, and %s must sign another, whose key is offline", c.base, parent.Name),
		})
	}
	return nil
}
