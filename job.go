package leafward

import (
	"slices"
	"time"
)

// JobType is the contract's sort of job; kinds of the server's own work have none and are not shown.
type JobType string

// The types of the contract.
const (
	Issuance   JobType = "Issuance"
	Renewal    JobType = "Renewal"
	Deployment JobType = "Deployment"
	Validation JobType = "Validation"
)

// JobKind names who works a job. Root jobs are worked by nobody: their children are.
type JobKind string

// The kinds of jobs.
const (
	RootJob   JobKind = "root"   // one issuance or renewal as a whole; subject: the certificate
	OrderJob  JobKind = "order"  // get one CSR signed; subject: certificate/slot
	DeployJob JobKind = "deploy" // bring a version to a target; subject: the installation
	ProveJob  JobKind = "prove"  // look whether it is served; subject: the installation
	CheckJob  JobKind = "check"  // dry run of a deployment; subject: the target
)

// JobStatus is the contract's state of a job.
type JobStatus string

// The states of a job. The first four are open, the last three final.
const (
	JobPending          JobStatus = "Pending"
	JobAwaitingCSR      JobStatus = "AwaitingCSR"
	JobAwaitingApproval JobStatus = "AwaitingApproval"
	JobRunning          JobStatus = "Running"
	JobCompleted        JobStatus = "Completed"
	JobFailed           JobStatus = "Failed"
	JobCancelled        JobStatus = "Cancelled"
)

// Open tells whether something is still to happen.
func (s JobStatus) Open() bool {
	return slices.Contains([]JobStatus{JobPending, JobAwaitingCSR, JobAwaitingApproval, JobRunning}, s)
}

// Job is a piece of work, and the record of what became of it: the table of jobs is the queue.
type Job struct {
	Row
	Kind         JobKind   `db:"kind"`
	Type         JobType   `db:"type"`
	Subject      string    `db:"subject"` // one open job for each (kind, subject)
	Team         string    `db:"team"`
	Parent       string    `db:"parent"`
	Batch        string    `db:"batch"`
	Certificate  string    `db:"certificate"`
	Target       string    `db:"target"`
	Agent        string    `db:"agent"` // who works it; "": the server
	Installation string    `db:"installation"`
	Version      string    `db:"version"`
	Lane         string    `db:"lane"`   // bounds how many run at once
	Hourly       bool      `db:"hourly"` // counts among the renewals of an hour, which are bounded
	Status       JobStatus `db:"status"`
	Attempt      int       `db:"attempt"`
	MaxAttempts  int       `db:"max_attempts"`
	RetryMax     int64     `db:"retry_max"` // longest wait between two attempts, seconds
	RunAt        time.Time `db:"run_at"`    // not before
	Deadline     time.Time `db:"deadline"`  // fails when it is still open then; zero: none
	Worker       string    `db:"worker"`    // lease
	Epoch        int64     `db:"epoch"`     // grows with every lease, so that a lost worker's writes are refused
	LeaseUntil   time.Time `db:"lease_until"`
	WaitingFor   string    `db:"waiting_for"`
	Checkpoint   string    `db:"checkpoint"` // JSON, what a retry resumes from
	Result       string    `db:"result"`     // JSON
	LastError    string    `db:"last_error"`
	StartedAt    time.Time `db:"started_at"`
	CompletedAt  time.Time `db:"completed_at"`
}

// Step is something a worker did or saw within a job.
type Step struct {
	Job     string    `db:"job"`
	Number  int       `db:"number"`
	Attempt int       `db:"attempt"`
	At      time.Time `db:"at"`
	Name    string    `db:"name"`
	OK      bool      `db:"ok"`
	Message string    `db:"message"`
}
