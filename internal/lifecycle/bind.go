package lifecycle

import (
	"slices"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
)

// rebind binds and unbinds targets of a certificate whose change is written already, and leaves it as it is written then.
// What is needed to serve a new target is begun: a deployment where its agent's key is certified, else an order for that
// agent, which joins the open root.
func (s *Service) rebind(tx *store.Tx, c *leafward.Certificate, a around, have, want []string) (root string, err error) {
	installations, err := tx.Installations(c.ID)
	if err != nil {
		return "", err
	}
	for _, i := range installations {
		if !slices.Contains(want, i.Target) {
			if err := s.unbind(tx, &i); err != nil {
				return "", err
			}
		}
	}
	var added []leafward.Target
	for _, t := range a.targets {
		if !slices.Contains(have, t.ID) {
			tx.AddInstallation(&leafward.Installation{Certificate: c.ID, Target: t.ID, Proof: leafward.ProofNone})
			added = append(added, t)
		}
	}
	if *c, err = tx.Certificate(c.ID); err != nil { // a job that ended may have written it
		return "", err
	}
	if err := s.unneeded(tx, c); err != nil {
		return "", err
	}
	if *c, err = tx.Certificate(c.ID); err != nil || len(added) == 0 {
		return "", err
	}
	if root, err = s.serve(tx, c, a, added); err != nil {
		return "", err
	}
	tx.PutCertificate(c)
	return root, tx.Err()
}

// unbind takes a certificate off a target: nothing is deployed there any more. What is under way for it ends after the
// installation is gone, so that its root is judged by what remains.
func (s *Service) unbind(tx *store.Tx, i *leafward.Installation) error {
	fresh, err := tx.Installation(i.ID) // what ended another job may have written it
	if err != nil {
		return err
	}
	tx.RemoveInstallation(&fresh)
	for _, kind := range []leafward.JobKind{leafward.DeployJob, leafward.ProveJob} {
		open, found, err := tx.OpenJob(kind, i.ID)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		if err := s.engine.Cancel(tx, &open, tx.Actor.Name); err != nil {
			return err
		}
	}
	return tx.Err()
}

// unneeded sees to the orders that wait for the CSR of somebody who serves no target of the certificate any more: each
// goes to a holder that has neither a version nor an order, else it ends.
func (s *Service) unneeded(tx *store.Tx, c *leafward.Certificate) error {
	if c.OpenJob == "" {
		return nil
	}
	targets, err := tx.TargetsOf(c.ID)
	if err != nil {
		return err
	}
	children, err := tx.Children(c.OpenJob)
	if err != nil {
		return err
	}
	signed, err := valid(tx, c)
	if err != nil {
		return err
	}
	slots := slotsOf(c, targets)
	free := slices.DeleteFunc(slices.Clone(slots), func(slot string) bool {
		busy := slices.ContainsFunc(children, func(j leafward.Job) bool {
			return j.Kind == leafward.OrderJob && j.Status.Open() && slotOf(j) == slot
		})
		return busy || signed[slot] != nil
	})
	for _, j := range children {
		if j.Kind != leafward.OrderJob || j.Status != leafward.JobAwaitingCSR || slices.Contains(slots, slotOf(j)) {
			continue
		}
		if len(free) == 0 {
			err = s.engine.Complete(tx, &j, map[string]string{"skipped": "no target of the certificate needs this key any more"})
		} else {
			err = s.readdress(tx, c, &j, free[0])
			free = free[1:]
		}
		if err != nil {
			return err
		}
	}
	return tx.Err()
}

// readdress gives an order that waits for a CSR to another holder of a key.
func (s *Service) readdress(tx *store.Tx, c *leafward.Certificate, j *leafward.Job, slot string) error {
	j.Subject, j.Agent = c.ID+"/"+slot, ""
	switch slot {
	case serverSlot:
		return s.engine.Snooze(tx, j, 0, "")
	case clientSlot:
		return s.engine.Await(tx, j, leafward.JobAwaitingCSR, waitsForCSR(c))
	}
	j.Agent = slot
	return s.engine.Await(tx, j, leafward.JobAwaitingCSR, "the agent "+slot)
}

// valid are the newest versions that can still be used, by slot.
func valid(tx *store.Tx, c *leafward.Certificate) (map[string]*leafward.Version, error) {
	current, err := tx.CurrentVersions(c.ID)
	has := make(map[string]*leafward.Version)
	for i := range current {
		if current[i].RevokedAt.IsZero() && tx.Now.Before(current[i].NotAfter) {
			has[current[i].Slot] = &current[i]
		}
	}
	return has, err
}

// serve begins what new targets need.
func (s *Service) serve(tx *store.Tx, c *leafward.Certificate, a around, added []leafward.Target) (string, error) {
	has, err := valid(tx, c)
	if err != nil {
		return "", err
	}
	var slots []string
	for _, t := range added {
		slot := t.Agent
		if c.KeySource == leafward.ServerKey {
			slot = serverSlot
		}
		if v := has[slot]; v != nil {
			if err := s.bring(tx, c, v, &t, &a.policy); err != nil {
				return "", err
			}
		} else if !slices.Contains(slots, slot) {
			slots = append(slots, slot)
		}
	}
	if c.OpenJob != "" {
		return c.OpenJob, s.join(tx, c, a, slots)
	}
	if len(slots) == 0 {
		return "", nil
	}
	root, err := begin(tx, c, a, start{typ: leafward.Issuance, slots: slots})
	return root.ID, err
}

// bring deploys a version at one target, as a part of the open root when there is one. The root's own order brings a
// newer version afterwards.
func (s *Service) bring(tx *store.Tx, c *leafward.Certificate, v *leafward.Version, t *leafward.Target, policy *leafward.RenewalPolicy) error {
	installations, err := tx.Installations(c.ID)
	if err != nil {
		return err
	}
	for _, i := range installations {
		if i.Target != t.ID {
			continue
		}
		i.Desired = v.ID
		tx.PutInstallation(&i)
		if _, err := deployment(tx, c, &i, t, policy, c.OpenJob, ""); err != nil {
			return err
		}
	}
	return tx.Err()
}

// join adds orders to the open root for holders that have none there.
func (s *Service) join(tx *store.Tx, c *leafward.Certificate, a around, slots []string) error {
	root, found, err := tx.JobOfAny(c.OpenJob)
	if err != nil || !found {
		return err
	}
	for _, slot := range slots {
		if err := order(tx, c, a, start{typ: root.Type}, &root, slot); err != nil {
			return err
		}
	}
	return tx.Err()
}

// inUse are the newest versions of the slots that serve the certificate as it is now; all its newest ones when none of
// those slots has a version yet.
func inUse(v *store.View, c *leafward.Certificate) (live []leafward.Version, err error) {
	live, _, err = served(v, c)
	return live, err
}

// served are those, and with them the revoked ones that still serve it at a target.
func served(v *store.View, c *leafward.Certificate) (live, all []leafward.Version, err error) {
	targets, err := v.TargetsOf(c.ID)
	if err != nil {
		return nil, nil, err
	}
	current, err := v.CurrentVersions(c.ID)
	if err != nil {
		return nil, nil, err
	}
	slots := slotsOf(c, targets)
	live = slices.DeleteFunc(slices.Clone(current), func(v leafward.Version) bool { return !slices.Contains(slots, v.Slot) })
	if len(live) == 0 {
		live = current
	}
	if len(targets) == 0 {
		return live, live, nil
	}
	revoked, err := v.StruckVersions(c.ID)
	return live, append(revoked, live...), err
}
