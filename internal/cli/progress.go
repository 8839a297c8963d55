package cli

import (
	"context"
	"errors"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

// waiting is the flags of commands that begin long work.
type waiting struct {
	Wait    bool          `default:"true" negatable:"" help:"Stay until it is done and show each step; on unless --no-wait."`
	Timeout time.Duration `default:"5m" placeholder:"TIME" help:"How long to stay (${default}). The work goes on by itself after that."`
}

// How often a job is looked at.
const (
	firstLook = 100 * time.Millisecond
	laterLook = time.Second
)

// progress tells what happens in jobs while it happens.
type progress struct {
	r     *run
	names *names
	told  map[string]*told
	gone  time.Time // when the server was first found away; zero while it answers
}

// told is what was told of one job.
type told struct {
	what    string // it is, for people
	step    int    // number of the last step
	attempt int    // that has failed
	waiting string // what it waited for at the last look
	said    string // what it was said to wait for
	ended   bool
}

// follow tells what happens in the job until it has ended, and returns how. A job that waits for a CSR of the caller is
// returned as it is: nothing happens before that one comes. A server that is away for a while, since it is started again,
// ends no wait.
func (r *run) follow(ctx context.Context, id string, w waiting) (api.JobDetail, error) {
	p := &progress{r: r, names: r.names(), told: make(map[string]*told)}
	over := time.NewTimer(w.Timeout)
	defer over.Stop()
	var root api.JobDetail
	for pause := firstLook; ; pause = min(2*pause, laterLook) {
		seen, stuck, err := p.look(ctx, id)
		switch {
		case err == nil:
			root = seen
			p.back()
		case root.ID == "" || ctx.Err() != nil || !p.away(err):
			return root, err
		}
		if !leafward.JobStatus(root.Status).Open() || stuck {
			return root, nil
		}
		next := time.NewTimer(pause)
		select {
		case <-next.C:
		case <-over.C:
			next.Stop()
			return root, r.unfinished(ctx, &root, w.Timeout)
		case <-ctx.Done():
			next.Stop()
			return root, ctx.Err()
		}
	}
}

// away tells whether an error says only that the server does not answer, for no longer than a command is patient.
func (p *progress) away(err error) bool {
	own, ours := errors.AsType[*failure](err)
	_, refused := errors.AsType[*api.Error](err)
	if refused || ours && own.Code != codeNoServer {
		return false
	}
	if p.gone.IsZero() {
		p.gone = time.Now()
		p.r.say(wait, "", "the server does not answer; it is asked again")
	}
	return time.Since(p.gone) < patience
}

// back notes that the server answers.
func (p *progress) back() {
	if !p.gone.IsZero() {
		p.gone = time.Time{}
		p.r.say(good, "", "the server answers again")
	}
}

// unfinished is the failure of a wait that took too long.
func (r *run) unfinished(ctx context.Context, j *api.JobDetail, after time.Duration) error {
	where := "leafward job get " + j.ID + r.where.flags()
	switch {
	case j.LastError != "":
		return failed(codeFailed, "mend that; it is tried again by itself, and `"+where+"` shows where it stands", "it is not done after %s: %s", after, r.names().text(ctx, j.LastError))
	case j.WaitingFor != "":
		return failed(codeFailed, "it goes on by itself once that has come; `"+where+"` shows where it stands", "it is not done after %s: it waits for %s", after, r.names().text(ctx, j.WaitingFor))
	}
	return failed(codeFailed, "it goes on by itself; `"+where+"` shows where it stands", "it is not done after %s", after)
}

// look reads the job and its parts once and tells what is new. It is stuck when all that is left waits for a CSR that no
// agent sends.
func (p *progress) look(ctx context.Context, id string) (root api.JobDetail, stuck bool, err error) {
	if root, err = api.GetJob.Call(ctx, p.r.Client, api.JobID{ID: id}); err != nil {
		return root, false, err
	}
	parts, err := p.r.parts(ctx, id)
	if err != nil {
		return root, false, err
	}
	open, callers := 0, 0
	for _, part := range parts {
		if t := p.told[part.ID]; t != nil && t.ended {
			continue
		}
		detail, err := api.GetJob.Call(ctx, p.r.Client, api.JobID{ID: part.ID})
		if err != nil {
			return root, false, err
		}
		p.tell(ctx, &detail)
		if leafward.JobStatus(detail.Status).Open() {
			open++
		}
		if detail.Status == string(leafward.JobAwaitingCSR) && detail.AgentID == "" {
			callers++
		}
	}
	if root.Kind != string(leafward.RootJob) {
		p.tell(ctx, &root)
	}
	return root, callers > 0 && open == callers, nil
}

// parts are the jobs below a job, in the order in which they were made.
func (r *run) parts(ctx context.Context, id string) ([]api.Job, error) {
	page, err := api.ListJobs.Call(ctx, r.Client, api.ListJobsInput{ParentID: id, Paging: api.Paging{PerPage: leafward.MaxPerPage, Sort: "created_at"}})
	return page.Data, err
}

// tell writes what is new in a part.
func (p *progress) tell(ctx context.Context, j *api.JobDetail) {
	t := p.told[j.ID]
	if t == nil {
		t = &told{what: p.what(ctx, &j.Job)}
		p.told[j.ID] = t
	}
	for _, step := range j.Steps {
		if step.Number > t.step {
			t.step = step.Number
			p.r.say(mood(step.OK), "", "%s: %s", t.what, p.names.text(ctx, stepText(&step)))
		}
	}
	status := leafward.JobStatus(j.Status)
	switch {
	case status == leafward.JobCompleted:
		p.r.say(good, "", "%s: %s", t.what, done(&j.Job))
	case !status.Open():
		p.r.say(bad, "", "%s: %s", t.what, p.names.text(ctx, first(j.LastError, "it was cancelled")))
	case j.LastError != "" && j.Attempts > t.attempt && j.NextAttemptAt != nil:
		t.attempt = j.Attempts
		p.r.say(warn, "", "%s: %s; attempt %d of %d comes %s", t.what, p.names.text(ctx, j.LastError), j.Attempts+1, j.MaxAttempts, distance(time.Until(*j.NextAttemptAt)))
	case j.WaitingFor != "" && j.WaitingFor == t.waiting && t.said != t.waiting:
		t.said = t.waiting // still so at the second look
		p.r.say(wait, "", "%s: waits for %s", t.what, p.names.text(ctx, j.WaitingFor))
	}
	t.waiting, t.ended = j.WaitingFor, !status.Open()
}

// what names a part for people.
func (p *progress) what(ctx context.Context, j *api.Job) string {
	switch leafward.JobKind(j.Kind) {
	case leafward.OrderJob:
		if j.AgentID != "" {
			return "signature for " + p.names.agent(ctx, j.AgentID)
		}
		return "signature"
	case leafward.DeployJob:
		return "deploy to " + p.names.target(ctx, j.TargetID)
	case leafward.ProveJob:
		return "proof at " + p.names.target(ctx, j.TargetID)
	}
	return j.Kind
}

// done is what a part that is completed has come to.
func done(j *api.Job) string {
	switch leafward.JobKind(j.Kind) {
	case leafward.DeployJob:
		return "done"
	case leafward.ProveJob:
		return "the new certificate is there"
	}
	return "signed"
}
