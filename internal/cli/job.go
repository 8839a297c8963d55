package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

type jobCommands struct {
	List   jobList   `cmd:"" help:"List issuances, renewals, deployments and proofs, the newest first."`
	Get    jobGet    `cmd:"" help:"Show a job, its parts and each step."`
	Cancel jobCancel `cmd:"" help:"Cancel a job; a deployment that runs is finished first."`
}

type jobList struct {
	asking
	limited
	Status string `placeholder:"STATE" help:"Only Pending, AwaitingCSR, AwaitingApproval, Running, Completed, Failed or Cancelled."`
	Type   string `placeholder:"TYPE" help:"Only Issuance, Renewal, Deployment or Validation."`
	Cert   string `placeholder:"NAME" help:"Only those of this certificate."`
	Target string `placeholder:"NAME" help:"Only those at this target."`
	Agent  string `placeholder:"NAME" help:"Only those that this agent works."`
	Parent string `placeholder:"JOB" help:"Only the parts of this job."`
}

func (c *jobList) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	in := api.ListJobsInput{Status: c.Status, Type: c.Type, ParentID: c.Parent}
	if in.CertificateID, err = r.certificate(ctx, c.Cert); err != nil {
		return err
	}
	if in.TargetID, err = r.target(ctx, c.Target); err != nil {
		return err
	}
	if in.AgentID, err = r.agent(ctx, c.Agent); err != nil {
		return err
	}
	jobs, err := collect(c.Limit, func(l api.Listing) (api.Page[api.Job], error) {
		in.Paging = paging(l)
		return api.ListJobs.Call(ctx, r.Client, in)
	})
	if err != nil {
		return err
	}
	err = r.answer(jobs, func() {
		if len(jobs.Data) == 0 {
			r.say(good, "leafward status"+r.where.flags(), "there are no such jobs")
			return
		}
		r.print(r.jobTable(ctx, r.names(), jobs.Data))
	})
	tell(r, "job", jobs)
	return err
}

// jobTable shows jobs.
func (r *run) jobTable(ctx context.Context, n *names, jobs []api.Job) *table {
	now := time.Now()
	t := &table{head: []string{"JOB", "TYPE", "STATE", "CERTIFICATE", "WHERE", "TRIES", "SINCE", "NOTE"}, cut: []int{3, 4, 7}}
	for i := range jobs {
		j := &jobs[i]
		t.add(j.ID, j.Type, j.Status, n.certificate(ctx, j.CertificateID), n.place(ctx, j), tries(j), distance(j.CreatedAt.Sub(now)), firstLine(n.text(ctx, jobNote(j))))
	}
	return t
}

// place is where a job is done.
func (n *names) place(ctx context.Context, j *api.Job) string {
	if j.TargetID != "" {
		return n.target(ctx, j.TargetID)
	}
	return n.agent(ctx, j.AgentID)
}

// tries is how often a job was tried; roots are not.
func tries(j *api.Job) string {
	if j.Kind == string(leafward.RootJob) {
		return ""
	}
	return strconv.Itoa(j.Attempts) + "/" + strconv.Itoa(j.MaxAttempts)
}

// jobNote is what one must know of a job besides its state.
func jobNote(j *api.Job) string {
	switch {
	case leafward.JobStatus(j.Status).Open() && j.LastError != "" && j.NextAttemptAt != nil:
		return j.LastError + "; again " + distance(time.Until(*j.NextAttemptAt))
	case leafward.JobStatus(j.Status).Open() && j.WaitingFor != "":
		return "waits for " + j.WaitingFor
	case j.Status == string(leafward.JobCompleted):
		return ""
	}
	return j.LastError
}

// job finds a job by its id, or by the name of a certificate that is worked on.
func (r *run) job(ctx context.Context, given string) (string, error) {
	if strings.HasPrefix(given, "job-") {
		return given, nil
	}
	id, err := r.certificate(ctx, given)
	if explainCode(err) == string(leafward.NotFound) {
		return "", failed(string(leafward.NotFound), "`leafward job list"+r.where.flags()+"` shows the jobs", "%q is no job, and no certificate either", given)
	}
	if err != nil {
		return "", err
	}
	cert, err := api.GetCertificate.Call(ctx, r.Client, api.ByID{ID: id})
	if err != nil || cert.JobID != "" {
		return cert.JobID, err
	}
	last, err := api.ListJobs.Call(ctx, r.Client, api.ListJobsInput{CertificateID: id, Paging: api.Paging{PerPage: leafward.MaxPerPage}})
	if err != nil {
		return "", err
	}
	if len(last.Data) == 0 {
		return "", failed(string(leafward.NotFound), "`leafward job list"+r.where.flags()+"` shows the jobs", "the certificate %s has no job", given)
	}
	if root := slices.IndexFunc(last.Data, func(j api.Job) bool { return j.Kind == string(leafward.RootJob) }); root >= 0 {
		return last.Data[root].ID, nil
	}
	return last.Data[0].ID, nil
}

type jobGet struct {
	asking
	Job string `arg:"" help:"Id of the job, or the name of a certificate: its issuance or renewal in progress, or else the last."`
}

// wholeJob is what get answers in JSON.
type wholeJob struct {
	api.JobDetail
	Parts []api.JobDetail `json:"parts"`
}

func (c *jobGet) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	id, err := r.job(ctx, c.Job)
	if err != nil {
		return err
	}
	whole := wholeJob{Parts: []api.JobDetail{}}
	if whole.JobDetail, err = api.GetJob.Call(ctx, r.Client, api.JobID{ID: id}); err != nil {
		return err
	}
	parts, err := r.parts(ctx, id)
	if err != nil {
		return err
	}
	for _, part := range parts {
		detail, err := api.GetJob.Call(ctx, r.Client, api.JobID{ID: part.ID})
		if err != nil {
			return err
		}
		whole.Parts = append(whole.Parts, detail)
	}
	return r.answer(whole, func() { r.showJob(ctx, &whole) })
}

// showJob shows it to a person.
func (r *run) showJob(ctx context.Context, j *wholeJob) {
	n, now := r.names(), time.Now()
	f := &facts{}
	f.add("job", "%s", j.ID)
	f.add("type", "%s", j.Type)
	f.add("state", "%s %s", sign(r.mark(jobTone(&j.Job))), j.Status)
	f.add("note", "%s", n.text(ctx, jobNote(&j.Job)))
	f.add("certificate", "%s", n.certificate(ctx, j.CertificateID))
	f.add("where", "%s", n.place(ctx, &j.Job))
	f.add("tries", "%s", tries(&j.Job))
	f.add("begun", "%s", when(&j.CreatedAt, now))
	f.add("ended", "%s", when(j.CompletedAt, now))
	f.add("given up", "%s", when(j.Deadline, now))
	r.facts(f)
	p := &progress{r: r, names: n}
	r.steps(ctx, n, &j.JobDetail)
	for i := range j.Parts {
		part := &j.Parts[i]
		fmt.Fprintf(r.Out, "\n%s %s: %s%s\n", r.mark(jobTone(&part.Job)), clean(p.what(ctx, &part.Job)), part.Status, indented(n.text(ctx, partNote(part)), "  "))
		r.steps(ctx, n, part)
	}
}

// partNote is what one must know of a part besides its state; errors of its attempts are shown below it.
func partNote(j *api.JobDetail) string {
	told := slices.ContainsFunc(j.History, func(turn api.JobAttempt) bool { return turn.Error == j.LastError })
	switch note := jobNote(&j.Job); {
	case note == "":
		return ""
	case told && j.NextAttemptAt != nil:
		return ", again " + distance(time.Until(*j.NextAttemptAt))
	case told:
		return ""
	default:
		return ", " + note
	}
}

// steps shows why earlier attempts at a job failed, and what was done and seen in the last one.
func (r *run) steps(ctx context.Context, n *names, j *api.JobDetail) {
	line := func(t tone, at time.Time, text string) {
		fmt.Fprintf(r.Out, "  %s %s  %s\n", r.mark(t), at.Local().Format(time.TimeOnly), indented(n.text(ctx, text), "              "))
	}
	last := 0
	for _, step := range j.Steps {
		last = max(last, step.Attempt)
	}
	for _, turn := range j.History {
		if turn.Error != "" && turn.Number < last {
			line(warn, turn.StartedAt, fmt.Sprintf("attempt %d: %s", turn.Number, turn.Error))
		}
	}
	for _, step := range j.Steps {
		if step.Attempt == last {
			line(mood(step.OK), step.At, stepText(&step))
		}
	}
	for _, turn := range j.History {
		if turn.Error != "" && turn.Number >= last {
			line(bad, turn.StartedAt, fmt.Sprintf("attempt %d: %s", turn.Number, turn.Error))
		}
	}
}

// stepText is a step for people: the message, and before it the name where that says more than one word.
func stepText(s *api.JobStep) string {
	switch {
	case s.Message == "":
		return s.Name
	case strings.Contains(s.Name, " "):
		return s.Name + ": " + s.Message
	}
	return s.Message
}

func jobTone(j *api.Job) tone {
	switch status := leafward.JobStatus(j.Status); {
	case status == leafward.JobCompleted:
		return good
	case status.Open() && j.LastError != "":
		return warn
	case status.Open():
		return wait
	}
	return bad
}

type jobCancel struct {
	asking
	Job string `arg:"" help:"Id of the job, or the name of the certificate that is worked on."`
}

func (c *jobCancel) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	id, err := r.job(ctx, c.Job)
	if err != nil {
		return err
	}
	if _, err := api.CancelJob.Call(ctx, r.Client, api.JobID{ID: id}); err != nil {
		return err
	}
	job, err := api.GetJob.Call(ctx, r.Client, api.JobID{ID: id})
	if err != nil {
		return err
	}
	return r.answer(job, func() {
		name := r.names().certificate(ctx, job.CertificateID)
		r.say(good, "what was in use stays; to begin again: leafward cert renew "+quoted(name)+r.where.flags(), "the %s of %s is cancelled", strings.ToLower(job.Type), name)
	})
}
