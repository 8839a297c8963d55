package fleet

import (
	"context"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
)

// Retirement is what became of a request to retire an agent.
type Retirement struct {
	At      time.Time
	Already bool // it was retired before; nothing happened
	Cascade bool
	Counts  store.Dependencies // what hung on it
}

// Retire ends an agent: its keys open nothing any more and it is told so. What hangs on it keeps it, unless force is set:
// then its open jobs are cancelled, certificates are unbound from its targets, and the targets are switched off.
func (s *Service) Retire(ctx context.Context, id string, force bool, reason string) (r Retirement, err error) {
	reason = strings.TrimSpace(reason)
	var p leafward.Problems
	p.Check(!force || reason != "", "reason", "is missing, and force is set", "say why, for the record")
	leafward.CheckText(&p, "reason", reason, leafward.MaxDescription)
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		r = Retirement{Cascade: force}
		a, err := tx.Agent(id)
		switch {
		case err != nil:
			return err
		case a.Sentinel():
			return leafward.Errorf(leafward.Denied, "retire agents on hosts only", "%s stands for the server itself or a source and is never retired", id)
		case !tx.Actor.MayWrite(a.Team):
			return shared()
		case p.Err() != nil:
			return p.Err()
		case !a.RetiredAt.IsZero():
			r.At, r.Already = a.RetiredAt, true
			return nil
		}
		if r.Counts, err = tx.AgentDependencies(id); err != nil {
			return err
		}
		if r.Counts != (store.Dependencies{}) {
			if !force {
				return blocked(id, r.Counts)
			}
			if err := s.cascade(tx, id); err != nil {
				return err
			}
		}
		a.RetiredAt, a.RetiredReason = tx.Now, reason
		tx.PutAgent(&a)
		open, err := tx.CredentialsOf(a.Principal)
		if err != nil {
			return err
		}
		for _, c := range open {
			revoke(tx, &c)
		}
		r.At = tx.Now
		tx.Record(leafward.AgentRetired, id, a.Team, leafward.Details{"name": a.Name, "reason": reason, "cascade": force, "counts": CountsOf(r.Counts)})
		return nil
	})
	return r, err
}

// CountsOf are the dependencies in the words of the contract.
func CountsOf(d store.Dependencies) map[string]int {
	return map[string]int{"active_targets": d.Targets, "active_certificates": d.Certificates, "pending_jobs": d.Jobs}
}

func blocked(id string, d store.Dependencies) error {
	e := leafward.Errorf(leafward.BlockedDependency, "move its targets to another agent, or retire it with force=true and a reason", "the agent %s still has work to do", id)
	e.Counts = CountsOf(d)
	return e
}

// cascade takes everything off an agent: certificates off its targets, the targets off the air, and then what is open for
// either, so that roots in which other agents have a part are judged by what remains.
func (s *Service) cascade(tx *store.Tx, agent string) error {
	open, err := tx.OpenJobsOfAgent(agent)
	if err != nil {
		return err
	}
	targets, err := tx.TargetsOfAgent(agent)
	if err != nil {
		return err
	}
	for _, t := range targets {
		proofs, err := unbind(tx, &t)
		if err != nil {
			return err
		}
		open = append(open, proofs...)
		if t.Enabled {
			t.Enabled = false
			tx.PutTarget(&t)
			tx.Record(leafward.TargetUpdated, t.ID, t.Team, leafward.Details{"changed": []string{"enabled"}, "agent": agent})
		}
	}
	for _, j := range open {
		now, _, err := tx.JobOfAny(j.ID) // what ended another may have ended this one
		if err != nil {
			return err
		}
		if now.Status.Open() {
			if err := s.engine.Cancel(tx, &now, tx.Actor.Name); err != nil {
				return err
			}
		}
	}
	return tx.Err()
}

// unbind takes all certificates off a target, and returns the proofs that are open for it.
func unbind(tx *store.Tx, t *leafward.Target) (proofs []leafward.Job, err error) {
	bound, err := tx.InstallationsAt(t.ID)
	if err != nil {
		return nil, err
	}
	for _, i := range bound {
		proof, found, err := tx.OpenJob(leafward.ProveJob, i.ID)
		if err != nil {
			return nil, err
		}
		if found {
			proofs = append(proofs, proof)
		}
		c, _, err := tx.CertificateOfAny(i.Certificate)
		if err != nil {
			return nil, err
		}
		tx.RemoveInstallation(&i)
		tx.Record(leafward.CertificateUpdated, i.Certificate, c.Team, leafward.Details{"unbound": t.ID, "agent": t.Agent})
	}
	return proofs, tx.Err()
}
