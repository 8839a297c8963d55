package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
)

// Renew opens the renewal of a certificate and returns the root job.
func (s *Service) Renew(ctx context.Context, id string, once Once) (root string, err error) {
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		root = ""
		replayed, err := once.begin(tx, func(job string) error { root = job; return nil })
		if err != nil || replayed {
			return err
		}
		c, err := s.mine(tx, id)
		if err != nil {
			return err
		}
		if root, err = s.renew(tx, &c, start{typ: leafward.Renewal}); err != nil {
			return err
		}
		once.end(tx, root)
		return nil
	})
	return root, err
}

// renew opens a renewal inside a transaction. A certificate that has no version yet is issued instead.
func (s *Service) renew(tx *store.Tx, c *leafward.Certificate, st start) (string, error) {
	if why, closed := c.Closed(); closed {
		return "", leafward.Errorf(leafward.Conflict, instead(c), "the certificate %s is not renewed: %s", c.Name, why)
	}
	if c.OpenJob != "" {
		return "", busy(c, c.OpenJob)
	}
	last, found, err := tx.LastRoot(c.ID)
	if err != nil {
		return "", err
	}
	if found {
		st.inherit(&last)
	}
	return reopen(tx, c, st)
}

// inherit takes over what a failed root was to do once it is completed.
func (s *start) inherit(last *leafward.Job) {
	if last.Status == leafward.JobFailed && s.result == "" {
		s.result = last.Checkpoint
		s.fresh = s.fresh || s.result != ""
	}
}

// reopen begins a root for a stored certificate as its record is now.
func reopen(tx *store.Tx, c *leafward.Certificate, st start) (string, error) {
	a, err := st.aroundOf(tx, c)
	if err != nil {
		return "", err
	}
	if c.Version == "" {
		st.typ = leafward.Issuance
	}
	root, err := begin(tx, c, a, st)
	if err != nil {
		return "", err
	}
	tx.PutCertificate(c)
	return root.ID, tx.Err()
}

// resume begins a root for what is due. After a failed root it goes on where that one ended: what is signed and valid is
// not signed again, and when nothing is left to do the failure is over.
func resume(tx *store.Tx, c *leafward.Certificate, st start) error {
	if c.FailedAt.IsZero() {
		_, err := reopen(tx, c, st)
		return err
	}
	last, found, err := tx.LastRoot(c.ID)
	if err != nil {
		return err
	}
	if !found {
		_, err := reopen(tx, c, st)
		return err
	}
	policy, err := tx.RenewalPolicy(c.Policy)
	if err != nil {
		return err
	}
	st.inherit(&last)
	st.typ = last.Type
	if st.slots, st.places, err = unfinished(tx, c, &last, &policy); err != nil {
		return err
	}
	if len(st.slots) == 0 && len(st.places) == 0 {
		return succeed(tx, c, &last, &policy)
	}
	_, err = reopen(tx, c, st)
	return err
}

// unfinished are the slots for which something must be signed after a failed root, and the installations that lack what
// is signed already.
func unfinished(tx *store.Tx, c *leafward.Certificate, last *leafward.Job, policy *leafward.RenewalPolicy) (slots []string, places []place, err error) {
	children, err := tx.Children(last.ID)
	if err != nil {
		return nil, nil, err
	}
	targets, err := tx.TargetsOf(c.ID)
	if err != nil {
		return nil, nil, err
	}
	current, err := tx.CurrentVersions(c.ID)
	if err != nil {
		return nil, nil, err
	}
	signed := make(map[string]leafward.Version)
	for _, v := range current {
		window := policy.Window(v.NotAfter.Sub(v.NotBefore) + time.Second)
		if v.RevokedAt.IsZero() && v.Spec == c.Spec && tx.Now.Before(v.NotAfter.Add(-window)) {
			signed[v.Slot] = v
		}
	}
	for _, j := range children {
		if j.Kind == leafward.OrderJob && j.Status != leafward.JobCompleted {
			delete(signed, slotOf(j))
		}
	}
	slots = slices.DeleteFunc(slotsOf(c, targets), func(slot string) bool { _, done := signed[slot]; return done })
	installations, err := tx.Installations(c.ID)
	for _, i := range installations {
		slot := targets[i.Target].Agent
		if c.KeySource == leafward.ServerKey {
			slot = serverSlot
		}
		if v, ok := signed[slot]; ok && !i.Pinned && i.WaivedBy == "" && (i.Desired != v.ID || i.Proved != v.ID) {
			places = append(places, place{i, v.ID})
		}
	}
	return append([]string{}, slots...), places, err
}

// aroundOf is what the certificate refers to, read once.
func (s *start) aroundOf(tx *store.Tx, c *leafward.Certificate) (around, error) {
	if s.read == nil {
		return aroundOf(tx, c)
	}
	key := c.Profile + " " + c.Issuer + " " + c.Policy
	if a, ok := s.read.around[key]; ok {
		return a, nil
	}
	a, err := aroundOf(tx, c)
	if err == nil {
		s.read.around[key] = a
	}
	return a, err
}

// aroundOf reads what the certificate refers to.
func aroundOf(tx *store.Tx, c *leafward.Certificate) (a around, err error) {
	if a.profile, err = tx.Profile(c.Profile); err != nil {
		return a, err
	}
	if a.issuer, err = tx.Issuer(c.Issuer); err != nil {
		return a, err
	}
	a.policy, err = tx.RenewalPolicy(c.Policy)
	return a, err
}

// Deploy brings a version to the certificate's targets again: the current one, or an earlier one, which pins it there. It
// returns the ids of the deployments.
func (s *Service) Deploy(ctx context.Context, id, target, version string, once Once) (jobs []string, err error) {
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		jobs = nil
		replayed, err := once.begin(tx, func(ids string) error { jobs = strings.Fields(ids); return nil })
		if err != nil || replayed {
			return err
		}
		c, err := s.mine(tx, id)
		if err != nil {
			return err
		}
		if why, closed := c.Closed(); closed {
			return leafward.Errorf(leafward.Conflict, instead(&c), "the certificate %s is not deployed: %s", c.Name, why)
		}
		if jobs, err = redeploy(tx, &c, target, version); err != nil {
			return err
		}
		if len(jobs) == 0 {
			return nowhere(&c, target)
		}
		once.end(tx, strings.Join(jobs, " "))
		return nil
	})
	return jobs, err
}

// redeploy adds a deployment of the version, or of the newest one that serves it, for each target or the named one.
func redeploy(tx *store.Tx, c *leafward.Certificate, target, version string) (jobs []string, err error) {
	policy, err := tx.RenewalPolicy(c.Policy)
	if err != nil {
		return nil, err
	}
	installations, err := tx.Installations(c.ID)
	if err != nil {
		return nil, err
	}
	targets, err := tx.TargetsOf(c.ID)
	if err != nil {
		return nil, err
	}
	for _, i := range installations {
		t := targets[i.Target]
		if target != "" && target != t.ID {
			continue
		}
		v, err := choose(tx, c, &t, version)
		if err != nil {
			return nil, err
		}
		i.Desired, i.Pinned, i.LastError = v.ID, version != "" && !v.Current, ""
		tx.PutInstallation(&i)
		j, err := deployment(tx, c, &i, &t, &policy, "", "")
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, j.ID)
	}
	return jobs, tx.Err()
}

func nowhere(c *leafward.Certificate, target string) error {
	var p leafward.Problems
	if target != "" {
		p.Add("target_id", fmt.Sprintf("%.130q is not a target of the certificate", target), "bind it with PUT target_ids first")
		return p.Err()
	}
	return leafward.Errorf(leafward.Conflict, "bind a target with PUT target_ids first", "the certificate %s has no targets", c.Name)
}

// choose is the version for a target: the named one, else the newest of the slot that serves it.
func choose(tx *store.Tx, c *leafward.Certificate, t *leafward.Target, id string) (leafward.Version, error) {
	serves := func(v leafward.Version) bool { return v.Slot == serverSlot || v.Slot == t.Agent }
	if id != "" {
		var p leafward.Problems
		v, err := tx.Version(id)
		if leafward.KindOf(err) == leafward.NotFound {
			p.Add("version_id", fmt.Sprintf("names %.130q, which does not exist", id), "use one of GET versions")
			return v, p.Err()
		}
		if err != nil {
			return v, err
		}
		p.Check(v.Certificate == c.ID, "version_id", "is not a version of the certificate", "use one of GET versions")
		p.Check(serves(v), "version_id", "was signed for a key that the target's agent does not hold", "use a version of that agent")
		p.Check(v.RevokedAt.IsZero(), "version_id", "is revoked", "use another version")
		p.Check(tx.Now.Before(v.NotAfter), "version_id", "is expired", "use another version")
		return v, p.Err()
	}
	current, err := tx.CurrentVersions(c.ID)
	if err != nil {
		return leafward.Version{}, err
	}
	for _, v := range current {
		if serves(v) && v.RevokedAt.IsZero() && tx.Now.Before(v.NotAfter) {
			return v, nil
		}
	}
	return leafward.Version{}, leafward.Errorf(leafward.Conflict, "wait for its order, or renew the certificate", "nothing valid was issued yet for the agent %s of the target %s", t.Agent, t.Name)
}

// instead is what to do for names whose certificate is closed.
func instead(c *leafward.Certificate) string {
	if !c.ArchivedAt.IsZero() {
		return "make a new certificate"
	}
	return "make a new certificate; archiving this one frees its name"
}
