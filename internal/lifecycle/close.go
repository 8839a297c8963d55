package lifecycle

import (
	"context"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
)

// Archive takes the certificate out of the lists, off its targets, and cancels what is open; its history stays.
func (s *Service) Archive(ctx context.Context, id, match string) error {
	return s.db.Write(ctx, func(tx *store.Tx) error {
		c, err := s.mine(tx, id)
		if err != nil {
			return err
		}
		if err := store.Match(&c.Row, match); err != nil || !c.ArchivedAt.IsZero() {
			return err
		}
		if err := s.stop(tx, &c); err != nil {
			return err
		}
		installations, err := tx.Installations(id)
		if err != nil {
			return err
		}
		targets := []string{}
		for _, i := range installations {
			targets = append(targets, i.Target)
			if err := s.unbind(tx, &i); err != nil {
				return err
			}
		}
		if c, err = tx.Certificate(id); err != nil {
			return err
		}
		c.Archive(tx.Now)
		tx.PutCertificate(&c)
		tx.Record(leafward.CertificateArchived, c.ID, c.Team, leafward.Details{"name": c.Name, "targets": targets})
		return nil
	})
}

// mine reads a certificate that the actor may change.
func (s *Service) mine(tx *store.Tx, id string) (leafward.Certificate, error) {
	c, err := tx.Certificate(id)
	if err == nil {
		err = ours(tx.Actor, &c)
	}
	return c, err
}

// stop cancels every open job of the certificate.
func (s *Service) stop(tx *store.Tx, c *leafward.Certificate) error {
	open, err := tx.OpenJobsOf(c.ID)
	if err != nil {
		return err
	}
	c.OpenJob = ""
	tx.PutCertificate(c)
	for _, j := range open {
		now, _, err := tx.JobOfAny(j.ID) // what ended another may have ended this one
		if err != nil {
			return err
		}
		if j.Parent != "" || !now.Status.Open() {
			continue
		}
		if err := s.engine.Cancel(tx, &now, tx.Actor.Name); err != nil {
			return err
		}
	}
	*c, err = tx.Certificate(c.ID)
	return err
}
