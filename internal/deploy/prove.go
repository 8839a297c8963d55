package deploy

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/probe"
	"github.com/leafward/leafward/internal/store"
)

// errMeanwhile says that what was looked for is no longer what must be there.
var errMeanwhile = errors.New("the installation changed meanwhile")

// proof is everything that one attempt to prove needs.
type proof struct {
	place
	state
	expectation
	endpoints []leafward.Endpoint
	newer     bool // a newer version must be there
	ours      bool // the target's agent looks when it is asked
	now       time.Time
}

// work is the server's part of a proof: it looks where it may, and decides from that and from what the agent said.
func (p *Prover) work(ctx context.Context, run *job.Run) error {
	t, found, err := p.read(ctx, run.Job)
	if err != nil {
		return err
	}
	if !found {
		return run.Finish(ctx, nil) // nothing must be there any more
	}
	if t.newer {
		return p.superseded(ctx, run)
	}
	if len(t.endpoints) == 0 {
		return p.readBack(ctx, run, &t)
	}
	e := &t.endpoints[0]
	seen := p.look(ctx, e)
	if err := ctx.Err(); err != nil {
		return err
	}
	result, reason := t.judge(seen)
	word := &Verification{By: serverProber, Expected: t.want, Actual: actual(seen, t.want), Verified: result == served, At: t.now, Error: reason}
	told := func(tx *store.Tx) error {
		return observe(tx, &run.Job, e, t.want, serverProber, seen)
	}
	t.Server = word
	byAgent := t.Agent != nil && t.Agent.Verified
	if result == served || byAgent && !t.ofOurs(seen) {
		by := serverProber
		if byAgent {
			by = t.Agent.By
		}
		return p.conclude(ctx, run, &t, leafward.ProofServed, by, told)
	}
	reason = first(t.doubt(), reason)
	return p.keep(ctx, run, word, told, func(tx *store.Tx, j *leafward.Job) error {
		after, awaited := pace(&t), toBeSeen(reason)
		if t.ours && !byAgent {
			j.Agent, after, awaited = t.target.Agent, 0, "the agent "+t.target.Agent+", which did not look; meanwhile, "+reason
		}
		if result == wrong {
			return run.Engine().Fail(tx, j, wrongServed(reason))
		}
		return run.Engine().Snooze(tx, j, after, awaited)
	})
}

// takeOver has the server look where agents of ours were to look and did not for a while. What the server does not see
// proved goes back to the agent.
func (p *Prover) takeOver(ctx context.Context) error {
	for ctx.Err() == nil {
		n := 0
		err := p.db.Write(ctx, func(tx *store.Tx) error {
			left, err := tx.ProofsLeft(tx.Now.Add(-agentFirst), overdueBatch)
			for _, j := range left {
				j.Agent, j.RunAt = "", tx.Now
				tx.PutJob(&j)
			}
			n = len(left)
			return err
		})
		if err != nil || n < overdueBatch {
			return err
		}
	}
	return ctx.Err()
}

const (
	overdueEvery = 30 * time.Second
	overdueBatch = 100
)

// read reads everything one attempt needs; found is false when the installation was removed.
func (p *Prover) read(ctx context.Context, j leafward.Job) (t proof, found bool, err error) {
	err = p.db.View(ctx, func(v *store.View) error {
		t.now = v.Now
		if t.place, found, err = placeOf(v, &j); err != nil || !found {
			return err
		}
		t.newer = t.installation.Desired != j.Version
		if t.ours, _, err = v.AgentIsOurs(t.target.Agent); err != nil {
			return err
		}
		if t.endpoints, err = v.Endpoints(t.installation.ID); err != nil {
			return err
		}
		if t.expectation, err = expect(v, &t.place); err != nil {
			return err
		}
		t.state, err = stateOf(&j)
		return err
	})
	return t, found, err
}

// superseded waits for the deployment of the newer version, which takes this job over, or ends it when there is none.
func (p *Prover) superseded(ctx context.Context, run *job.Run) error {
	coming := false
	err := p.db.View(ctx, func(v *store.View) (err error) {
		_, coming, err = v.OpenJob(leafward.DeployJob, run.Job.Installation)
		return err
	})
	if err != nil {
		return err
	}
	if coming {
		return job.Snooze{After: maxLookWait, WaitingFor: "the deployment of a newer version"}
	}
	return errObsolete()
}

// readBack decides where there is no endpoint to look at: the agent, who wrote the files, says what they hold.
func (p *Prover) readBack(ctx context.Context, run *job.Run, t *proof) error {
	if t.Agent == nil || !t.Agent.Verified {
		return job.Snooze{After: maxLookWait, WaitingFor: "the word of the agent " + t.target.Agent + ": the target has no endpoint that the server could look at"}
	}
	return p.conclude(ctx, run, t, leafward.ProofFile, t.Agent.By, nil)
}

// conclude completes the job and notes the proof, unless another version must be there by now.
func (p *Prover) conclude(ctx context.Context, run *job.Run, t *proof, how leafward.Proof, by string, told func(*store.Tx) error) error {
	run.Result = t.state
	err := run.Finish(ctx, func(tx *store.Tx) error {
		at, found, err := placeOf(&tx.View, &run.Job)
		switch {
		case err != nil:
			return err
		case !found || at.installation.Desired != run.Job.Version || at.installation.Deployed != run.Job.Version:
			return errMeanwhile
		}
		if told != nil {
			if err := told(tx); err != nil {
				return err
			}
		}
		return prove(tx, &at, how, by, t.doubt())
	})
	if errors.Is(err, errMeanwhile) {
		return job.Snooze{After: minLookWait, WaitingFor: "what must be there now"}
	}
	return err
}

// keep writes what the server saw into the checkpoint, beside what the agent said meanwhile, and then lets go of the job.
func (p *Prover) keep(ctx context.Context, run *job.Run, word *Verification, told func(*store.Tx) error, then func(*store.Tx, *leafward.Job) error) error {
	return run.Within(ctx, func(tx *store.Tx, j *leafward.Job) error {
		if _, err := tx.Installation(j.Installation); err != nil {
			if leafward.KindOf(err) == leafward.NotFound {
				return run.Engine().Complete(tx, j, nil) // removed while looking: nothing must be there any more
			}
			return err
		}
		if err := told(tx); err != nil {
			return err
		}
		s, err := stateOf(j)
		if err != nil {
			return err
		}
		s.Server = word
		if j.Checkpoint, err = encode(s); err != nil {
			return err
		}
		return then(tx, j)
	})
}

// look looks at every address of the endpoint, through the guard.
func (p *Prover) look(ctx context.Context, e *leafward.Endpoint) []Seen {
	results := probe.LookAll(ctx, probe.Request{
		Address: net.JoinHostPort(e.Address, strconv.Itoa(e.Port)), ServerName: e.ServerName, StartTLS: probe.StartTLS(e.StartTLS), Dial: p.dial,
	})
	seen := make([]Seen, len(results))
	for i, r := range results {
		host, _, err := net.SplitHostPort(r.Address)
		if err != nil {
			host = e.Address
		}
		seen[i] = Seen{Address: host, Fingerprint: strings.ToLower(r.Fingerprint), Outcome: r.Outcome, Problem: r.Problem}
	}
	return seen
}

// actual is the fingerprint to name for all that was seen: one that differs from what is wanted, if there is any.
func actual(seen []Seen, want string) (sum string) {
	for _, s := range seen {
		if s.Fingerprint != "" && (sum == "" || sum == want) {
			sum = s.Fingerprint
		}
	}
	return sum
}

// pace is how long to wait before the next look: a quarter of the time since the deployment, within bounds.
func pace(t *proof) time.Duration {
	return wait(t.now.Sub(t.installation.DeployedAt))
}

func wait(since time.Duration) time.Duration { return max(minLookWait, min(maxLookWait, since/4)) }
