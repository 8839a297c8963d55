package fleet

import (
	"context"
	"fmt"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/store"
)

// Leases of agents.
const (
	foreignHold = 15 * time.Minute // what the word Running of another make is worth
	minHold     = 5 * time.Second
	MaxHold     = time.Hour
)

// Lease is an agent's hold on a job. Epoch tells it from earlier ones.
type Lease struct {
	Until time.Time
	Epoch int64
}

// Lease gives the agent the job, or moves the end of the lease it has.
func (s *Service) Lease(ctx context.Context, id, jobID string, hold time.Duration) (l Lease, err error) {
	var p leafward.Problems
	p.Check(hold >= minHold && hold <= MaxHold, "seconds", "is out of range", fmt.Sprintf("use %d to %d", int(minHold.Seconds()), int(MaxHold.Seconds())))
	if err := p.Err(); err != nil {
		return l, err
	}
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		j, err := jobOf(tx, id, jobID)
		if err != nil {
			return err
		}
		if l.Until, err = job.LeaseFor(tx, j.ID, id, hold); err != nil {
			return err
		}
		now, _, err := tx.JobOfAny(j.ID)
		l.Epoch = now.Epoch
		return err
	})
	return l, err
}

// jobOf reads a job that is the agent's: of an order, also after its CSR has gone to the server.
func jobOf(tx *store.Tx, id, jobID string) (j leafward.Job, err error) {
	if _, err := acting(&tx.View, id); err != nil {
		return j, err
	}
	j, found, err := tx.JobOfAny(jobID)
	if err != nil {
		return j, err
	}
	if !found || j.Agent != id && (j.Kind != leafward.OrderJob || slotOf(&j) != id) {
		return j, leafward.Missing("job", jobID)
	}
	return j, nil
}

// Steps notes what the agent did or saw in a job that it holds.
func (s *Service) Steps(ctx context.Context, id, jobID string, epoch int64, steps []leafward.Step) error {
	return s.db.Write(ctx, func(tx *store.Tx) error {
		j, err := jobOf(tx, id, jobID)
		if err != nil {
			return err
		}
		if err := held(&j, id, epoch); err != nil {
			return err
		}
		for _, step := range steps {
			if err := job.AddStep(tx, &j, step.Name, step.OK, step.Message); err != nil {
				return err
			}
		}
		return nil
	})
}

// held refuses a report about a job that the agent does not hold, or holds under another lease than it thinks; epoch 0 is
// any.
func held(j *leafward.Job, agent string, epoch int64) error {
	switch {
	case !j.Status.Open():
		return leafward.Errorf(leafward.Conflict, "read the job to see what became of it", "job %s has ended: it is %s", j.ID, j.Status)
	case j.Status != leafward.JobRunning || j.Worker != agent:
		return leafward.Errorf(leafward.Conflict, "take a lease first, and ask for work again when there is none to be had", "the agent %s does not hold job %s", agent, j.ID)
	case epoch != 0 && epoch != j.Epoch:
		return leafward.Errorf(leafward.Conflict, "leave it: it is being done under a newer lease", "the lease %d of job %s is over", epoch, j.ID)
	}
	return nil
}

// Report is what an agent says of a job.
type Report struct {
	Status string // Running, Completed or Failed
	Error  string
	Epoch  int64 // of the lease; 0: any
}

// Report settles a job as its agent says. What was reported before may be said again.
func (s *Service) Report(ctx context.Context, id, jobID string, r Report) error {
	var p leafward.Problems
	switch leafward.JobStatus(r.Status) {
	case leafward.JobRunning, leafward.JobCompleted, leafward.JobFailed:
	default:
		p.Add("status", fmt.Sprintf("%.40q is not what an agent may report", r.Status), "use Running, Completed or Failed")
	}
	if err := p.Err(); err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *store.Tx) error {
		j, err := jobOf(tx, id, jobID)
		if err != nil {
			return err
		}
		if string(j.Status) == r.Status && !j.Status.Open() {
			return nil
		}
		if j.Kind == leafward.OrderJob {
			return s.reportOrder(tx, &j, r)
		}
		if leafward.JobStatus(r.Status) == leafward.JobRunning {
			if j.Status == leafward.JobRunning && r.Epoch != 0 && r.Epoch != j.Epoch {
				return held(&j, id, r.Epoch)
			}
			_, err := job.LeaseFor(tx, j.ID, id, foreignHold)
			return err
		}
		if j.Status != leafward.JobPending || j.Epoch != 0 { // one that nobody ever took may be reported done without a lease
			if err := held(&j, id, r.Epoch); err != nil {
				return err
			}
		}
		return s.settle(tx, &j, r)
	})
}

// settle ends the job well or badly.
func (s *Service) settle(tx *store.Tx, j *leafward.Job, r Report) error {
	if leafward.JobStatus(r.Status) == leafward.JobFailed {
		return s.engine.Fail(tx, j, failure(j.Agent, r.Error))
	}
	return s.engine.Complete(tx, j, nil)
}

// failure is what an agent reported, for people.
func failure(agent, text string) error {
	if text == "" {
		text = "the agent " + agent + " reported a failure and gave no reason"
	}
	return &leafward.Error{Kind: leafward.Later, Message: text}
}

// reportOrder takes an agent's word on an order: it makes the key and sends the CSR, the rest is the server's.
func (s *Service) reportOrder(tx *store.Tx, j *leafward.Job, r Report) error {
	waiting := j.Status == leafward.JobAwaitingCSR
	switch status := leafward.JobStatus(r.Status); {
	case status == leafward.JobFailed && waiting:
		if err := s.engine.Fail(tx, j, failure(j.Agent, r.Error)); err != nil || j.Status != leafward.JobPending {
			return err
		}
		j.Status, j.WaitingFor = leafward.JobAwaitingCSR, "the agent "+j.Agent
		tx.PutJob(j)
		return tx.Err()
	case status == leafward.JobRunning && waiting:
		return job.AddStep(tx, j, "key", true, "the agent "+j.Agent+" makes the key")
	case status == leafward.JobCompleted && waiting:
		return leafward.Errorf(leafward.Conflict, "send the CSR", "job %s still waits for a CSR", j.ID)
	case status == leafward.JobFailed && j.Status.Open():
		return leafward.Errorf(leafward.Conflict, "wait for the certificate", "the CSR of job %s is here already; the server works on it", j.ID)
	case !j.Status.Open():
		return held(j, slotOf(j), 0)
	}
	return nil // Running or Completed while the server signs: the agent's part is done
}
