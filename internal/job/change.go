package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
)

// Bounds of what a job carries.
const (
	MaxSteps = 200       // steps of one job
	MaxText  = 2 << 10   // bytes of a step's message and of an error
	MaxState = 256 << 10 // bytes of a checkpoint or a result
)

const (
	firstRetry = 30 * time.Second
	longest    = 24 * time.Hour // an answer to come back later is obeyed this far
)

// Enqueue adds a job, by default Pending, due at once, with as many attempts as the default renewal policy has. When an
// open job of the kind and subject exists, *j becomes that one and added is false. A child gets its root's team, batch
// and deadline where it has none; below a root that is being cancelled it is born Cancelled.
func Enqueue(tx *store.Tx, j *leafward.Job) (added bool, err error) {
	if err := complete(tx, j); err != nil {
		return false, err
	}
	by := ""
	if j.Parent != "" {
		if by, err = inherit(tx, j); err != nil {
			return false, err
		}
	}
	added = tx.AddJob(j)
	if !added || tx.Err() != nil {
		return false, tx.Err()
	}
	if by != "" {
		j.Status, j.CompletedAt, j.LastError = leafward.JobCancelled, tx.Now, cancelledBy(by)
		j.Worker, j.LeaseUntil, j.Attempt = "", time.Time{}, 0
		tx.PutJob(j)
		return true, tx.Err()
	}
	return true, show(tx, j.Parent)
}

// complete gives a new job what it has where nobody says otherwise.
func complete(tx *store.Tx, j *leafward.Job) error {
	if j.Kind == "" || j.Subject == "" {
		return leafward.Errorf(leafward.Internal, "", "a job needs a kind and a subject")
	}
	j.Status = fallback(j.Status, leafward.JobPending)
	j.MaxAttempts = fallback(j.MaxAttempts, leafward.DefaultMaxRetries+1)
	j.RetryMax = fallback(j.RetryMax, leafward.DefaultRetryInterval)
	if j.RunAt.IsZero() {
		j.RunAt = tx.Now
	}
	return nil
}

// inherit gives a child what it has of its parent, and tells who is cancelling the parent.
func inherit(tx *store.Tx, j *leafward.Job) (by string, err error) {
	parent, found, err := tx.JobOfAny(j.Parent)
	if err == nil && !found {
		err = leafward.Missing("job", j.Parent)
	}
	if err != nil {
		return "", err
	}
	if parent.Kind == leafward.RootJob && !parent.Status.Open() {
		return "", ended(&parent)
	}
	j.Team, j.Batch = fallback(j.Team, parent.Team), fallback(j.Batch, parent.Batch)
	if j.Deadline.IsZero() {
		j.Deadline = parent.Deadline
	}
	if parent.Kind != leafward.RootJob {
		return "", nil
	}
	return tx.CancelRequested(parent.ID)
}

// LeaseFor leases an agent's job to a worker, or moves the end of the lease when the worker has it already; a new lease
// counts as an attempt. It is a Conflict when another holds the job, when it is not due, waits for something or has
// ended, and Gone when its deadline passed.
func LeaseFor(tx *store.Tx, id, worker string, hold time.Duration) (until time.Time, err error) {
	j, err := tx.Job(id)
	if err != nil {
		return until, err
	}
	until = tx.Now.Add(hold)
	live := j.Status == leafward.JobRunning && j.LeaseUntil.After(tx.Now)
	switch {
	case !j.Status.Open():
		return until, ended(&j)
	case late(tx, &j):
		return until, leafward.Errorf(leafward.Gone, "ask for other work", "the deadline of job %s has passed", id)
	case live && j.Worker == worker:
		if !tx.RenewLease(id, worker, j.Epoch, until) && tx.Err() == nil {
			return until, ErrLost
		}
		return until, tx.Err()
	case live:
		return until, leafward.Errorf(leafward.Conflict, "ask for other work", "job %s is worked by another worker until %s", id, j.LeaseUntil.Format(time.RFC3339))
	case j.Kind == leafward.RootJob, j.Status == leafward.JobRunning && j.Attempt >= j.MaxAttempts:
		return until, leafward.Errorf(leafward.Conflict, "ask for other work", "job %s cannot be worked any more", id)
	case j.Status != leafward.JobRunning && j.Status != leafward.JobPending:
		return until, leafward.Errorf(leafward.Conflict, "do first what it waits for", "job %s is %s and waits for %s", id, j.Status, fallback(j.WaitingFor, "something else"))
	case j.RunAt.After(tx.Now):
		return until, leafward.Errorf(leafward.Conflict, "ask again then", "job %s is not due before %s", id, j.RunAt.Format(time.RFC3339))
	}
	tx.CloseAttempt(&j, "lost", vanished(&j))
	j.Status, j.Worker, j.LeaseUntil, j.WaitingFor = leafward.JobRunning, worker, until, ""
	j.Attempt++
	j.Epoch++
	if j.StartedAt.IsZero() {
		j.StartedAt = tx.Now
	}
	tx.PutJob(&j)
	tx.OpenAttempt(&j)
	if err := tx.Err(); err != nil {
		return until, err
	}
	return until, show(tx, j.Parent)
}

// AddStep notes something a worker did or saw in the job's present attempt. A job keeps MaxSteps; the last says that
// more follow.
func AddStep(tx *store.Tx, j *leafward.Job, name string, ok bool, message string) error {
	n, err := tx.CountSteps(j.ID)
	if err != nil || n >= MaxSteps {
		return err
	}
	if n == MaxSteps-1 {
		name, ok, message = "more", true, "more steps follow than are kept"
	}
	tx.AddStep(&leafward.Step{Job: j.ID, Attempt: j.Attempt, Name: clip(name, leafward.MaxName), OK: ok, Message: clip(message, MaxText)})
	return tx.Err()
}

// Complete ends a job well; the result, which may be nil, is kept as JSON. Like all methods that change a job it takes
// the row as it was read in this transaction, and writes it only if nobody changed it since.
func (e *Engine) Complete(tx *store.Tx, j *leafward.Job, result any) error {
	if !j.Status.Open() {
		return ended(j)
	}
	if result != nil {
		text, err := encode(result)
		if err != nil {
			return err
		}
		j.Result = text
	}
	count(tx, j)
	return e.end(tx, j, leafward.JobCompleted, "")
}

// Done adds a root and its one part as both are after the part was completed at its first attempt: for what was done before
// anybody could be told of it.
func (e *Engine) Done(tx *store.Tx, root, part *leafward.Job) error {
	for _, j := range []*leafward.Job{root, part} {
		j.Status, j.Attempt, j.Epoch = leafward.JobCompleted, 1, 1
		j.MaxAttempts = fallback(j.MaxAttempts, leafward.DefaultMaxRetries+1)
		j.RetryMax = fallback(j.RetryMax, leafward.DefaultRetryInterval)
		j.RunAt, j.StartedAt, j.CompletedAt = tx.Now, tx.Now, tx.Now
	}
	tx.AddJob(root)
	part.Parent = root.ID
	tx.AddJob(part)
	tx.AddAttempt(store.Attempt{Job: part.ID, Number: 1, Worker: e.config.Worker, StartedAt: tx.Now, EndedAt: tx.Now, Outcome: "completed"})
	return tx.Err()
}

// Fail ends an attempt badly: the job is due again after a while when it has attempts left, the next would come before
// the deadline and the cause can pass; else it has Failed. A deployment that was to be cancelled is Cancelled now.
func (e *Engine) Fail(tx *store.Tx, j *leafward.Job, cause error) error {
	if !j.Status.Open() {
		return ended(j)
	}
	reason := say(cause)
	count(tx, j)
	tx.CloseAttempt(j, "failed", reason)
	if by, err := tx.CancelRequested(j.ID); err != nil {
		return err
	} else if by != "" {
		return e.end(tx, j, leafward.JobCancelled, cancelledBy(by)+"; the attempt under way failed: "+reason)
	}
	wait := backoff(j, cause)
	if permanent(cause) || j.Attempt >= j.MaxAttempts || !j.Deadline.IsZero() && !tx.Now.Add(wait).Before(j.Deadline) {
		return e.end(tx, j, leafward.JobFailed, reason)
	}
	j.LastError = reason
	return e.pending(tx, j, leafward.JobPending, wait, "")
}

// Snooze makes a job due again after a while: one that runs gives its lease back and uses no attempt, one that waited
// for a CSR or an approval goes on.
func (e *Engine) Snooze(tx *store.Tx, j *leafward.Job, after time.Duration, waitingFor string) error {
	return e.release(tx, j, pause{status: leafward.JobPending, after: after, waitingFor: waitingFor, outcome: "snoozed"})
}

// Await makes a job wait in a status that is open and not Running until it is snoozed, failed, completed or cancelled,
// or its deadline passes. It gives its lease back and uses no attempt.
func (e *Engine) Await(tx *store.Tx, j *leafward.Job, status leafward.JobStatus, waitingFor string) error {
	if !status.Open() || status == leafward.JobRunning {
		return leafward.Errorf(leafward.Internal, "", "a job cannot wait in the status %q", status)
	}
	return e.release(tx, j, pause{status: status, waitingFor: waitingFor, outcome: "waiting"})
}

// Cancel ends a job and everything open below it. A deployment that runs is finished first: it becomes Cancelled when
// its worker reports anything but its completion. A job that ended already is a Conflict.
func (e *Engine) Cancel(tx *store.Tx, j *leafward.Job, by string) error {
	if !j.Status.Open() {
		return ended(j)
	}
	tx.RequestCancel(j.ID, clip(by, leafward.MaxName))
	children, err := tx.Children(j.ID)
	if err != nil {
		return err
	}
	for _, c := range children {
		child, _, err := tx.JobOfAny(c.ID) // what ended another child may have ended this one
		if err != nil {
			return err
		}
		if child.Status.Open() {
			if err := e.Cancel(tx, &child, by); err != nil {
				return err
			}
		}
	}
	if *j, _, err = tx.JobOfAny(j.ID); err != nil || !j.Status.Open() {
		return err // ended with its last child
	}
	if j.Kind == leafward.RootJob {
		if children, err = tx.Children(j.ID); err != nil {
			return err
		}
		if slices.ContainsFunc(children, func(c leafward.Job) bool { return c.Status.Open() }) {
			return nil // it ends with the deployment that runs
		}
	}
	if j.Type == leafward.Deployment && j.Status == leafward.JobRunning {
		j.WaitingFor = "the deployment under way, to be cancelled after it"
		tx.PutJob(j)
		return e.settle(tx, j.Parent)
	}
	return e.end(tx, j, leafward.JobCancelled, cancelledBy(by))
}

// pause is how a job goes on waiting without an attempt used.
type pause struct {
	status     leafward.JobStatus
	after      time.Duration
	waitingFor string
	outcome    string // of the attempt that was given back
}

// release takes the lease off a job and the attempt back.
func (e *Engine) release(tx *store.Tx, j *leafward.Job, p pause) error {
	if !j.Status.Open() {
		return ended(j)
	}
	if j.Status == leafward.JobRunning {
		tx.CloseAttempt(j, p.outcome, "")
		j.Attempt = max(j.Attempt-1, 0)
	}
	if by, err := tx.CancelRequested(j.ID); err != nil {
		return err
	} else if by != "" {
		return e.end(tx, j, leafward.JobCancelled, cancelledBy(by))
	}
	return e.pending(tx, j, p.status, p.after, p.waitingFor)
}

// pending writes a job that nobody holds and that is not to be looked at for a while.
func (e *Engine) pending(tx *store.Tx, j *leafward.Job, status leafward.JobStatus, after time.Duration, waitingFor string) error {
	j.Status, j.RunAt, j.WaitingFor = status, tx.Now.Add(after), clip(waitingFor, leafward.MaxName)
	j.Worker, j.LeaseUntil = "", time.Time{}
	tx.PutJob(j)
	if err := tx.Err(); err != nil {
		return err
	}
	return e.settle(tx, j.Parent)
}

// end makes a job final, tells the verb whose kind it is, and computes the job above.
func (e *Engine) end(tx *store.Tx, j *leafward.Job, status leafward.JobStatus, reason string) error {
	tx.CloseAttempt(j, strings.ToLower(string(status)), reason)
	j.Status, j.CompletedAt, j.LastError, j.WaitingFor = status, tx.Now, clip(reason, MaxText), ""
	j.Worker, j.LeaseUntil = "", time.Time{}
	tx.PutJob(j)
	record(tx, j)
	if err := tx.Err(); err != nil {
		return err
	}
	if settled := e.kinds[j.Kind].Settled; settled != nil {
		if err := settled(tx, j); err != nil {
			return fmt.Errorf("settling the %s job %s: %w", j.Kind, j.ID, err)
		}
	}
	return e.settle(tx, j.Parent)
}

// record notes that a job which people know, and which is not part of another, failed or was cancelled.
func record(tx *store.Tx, j *leafward.Job) {
	if j.Parent != "" || j.Type == "" {
		return
	}
	details := leafward.Details{"kind": string(j.Kind), "type": string(j.Type), "subject": j.Subject, "certificate": j.Certificate, "attempts": j.Attempt, "reason": j.LastError}
	switch j.Status {
	case leafward.JobFailed:
		tx.Record(leafward.JobFailedEvent, j.ID, j.Team, details)
	case leafward.JobCancelled:
		tx.Record(leafward.JobCancelledEvent, j.ID, j.Team, details)
	}
}

// count counts the attempt of a job whose worker reports without having leased it.
func count(tx *store.Tx, j *leafward.Job) {
	if j.StartedAt.IsZero() {
		j.StartedAt = tx.Now
	}
	if j.Status != leafward.JobRunning {
		j.Attempt++
		tx.OpenAttempt(j)
	}
}

// backoff is how long to wait after the job's attempt: 30 s, doubled with each and a little random, but no longer than
// the job allows, unless the other side asked for more.
func backoff(j *leafward.Job, cause error) time.Duration {
	d := firstRetry << min(max(j.Attempt-1, 0), 20)
	d = min(d+rand.N(d/5), time.Duration(j.RetryMax)*time.Second)
	if e, ok := errors.AsType[*leafward.Error](cause); ok {
		d = max(d, min(e.After, longest))
	}
	return d
}

// permanent tells a cause that no further attempt can mend.
func permanent(cause error) bool {
	return slices.Contains([]leafward.Kind{leafward.Invalid, leafward.Denied, leafward.Conflict, leafward.Gone, leafward.NotFound}, leafward.KindOf(cause))
}

// say is an error in words for people: the causes that an Error keeps for the log stay away.
func say(err error) string {
	if e, ok := errors.AsType[*leafward.Error](err); ok {
		plain := *e
		plain.Cause = nil
		text := plain.Error()
		if e.Fix != "" {
			text += "; " + e.Fix
		}
		return clip(text, MaxText)
	}
	return clip(err.Error(), MaxText)
}

// clip makes outside text fit to be kept: valid UTF-8 without NUL, of a bounded number of bytes.
func clip(text string, limit int) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	if len(text) <= limit {
		return text
	}
	end := limit - len("…")
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// encode is a value as the JSON that a job keeps.
func encode(value any) (string, error) {
	text, err := json.Marshal(value)
	if err == nil && len(text) > MaxState {
		err = fmt.Errorf("%d bytes of JSON are more than a job keeps, which is %d", len(text), MaxState)
	}
	return string(text), err
}

func ended(j *leafward.Job) error {
	return leafward.Errorf(leafward.Conflict, "read the job to see what became of it", "job %s has ended: it is %s", j.ID, j.Status)
}

func cancelledBy(by string) string { return "cancelled by " + by }

func late(tx *store.Tx, j *leafward.Job) bool {
	return !j.Deadline.IsZero() && !j.Deadline.After(tx.Now)
}

// fallback is the value, or the other when it is zero.
func fallback[T comparable](value, other T) T {
	var zero T
	if value == zero {
		return other
	}
	return value
}
