package api

import (
	"net/http"
	"time"

	"github.com/leafward/leafward"
)

// Job is a piece of work as the API answers it.
type Job struct {
	ID            string     `json:"id"`
	UUID          string     `json:"uuid"`
	Revision      int64      `json:"revision"`
	Type          string     `json:"type" enum:"Issuance,Renewal,Deployment,Validation"`
	Kind          string     `json:"kind" doc:"Its part: root, order, deploy or prove"`
	Status        string     `json:"status" enum:"Pending,AwaitingCSR,AwaitingApproval,Running,Completed,Failed,Cancelled"`
	CertificateID string     `json:"certificate_id"`
	TargetID      string     `json:"target_id"`
	AgentID       string     `json:"agent_id" doc:"Who works it; empty: the server"`
	VersionID     string     `json:"version_id" doc:"Version that is deployed or proved"`
	TeamID        string     `json:"team_id"`
	ParentID      string     `json:"parent_id" doc:"Job that it is a part of"`
	BatchID       string     `json:"batch_id"`
	Attempts      int        `json:"attempts" doc:"Attempts that were begun and count"`
	MaxAttempts   int        `json:"max_attempts"`
	WaitingFor    string     `json:"waiting_for" doc:"What must happen before it goes on; empty when nothing is waited for"`
	LastError     string     `json:"last_error"`
	ScheduledAt   *time.Time `json:"scheduled_at,omitempty" doc:"Not worked before this time"`
	NextAttemptAt *time.Time `json:"next_attempt_at" doc:"When it is worked next; null while it is worked, waits for somebody or has ended"`
	Deadline      *time.Time `json:"deadline" doc:"It has failed when it is still open then"`
	StartedAt     *time.Time `json:"started_at,omitempty"`
	CompletedAt   *time.Time `json:"completed_at,omitempty"`
	CreatedAt     time.Time  `json:"created_at"`
	UpdatedAt     time.Time  `json:"updated_at"`
}

// ETag is the revision.
func (j Job) ETag() int64 { return j.Revision }

// JobOf is the job on the wire.
func JobOf(j *leafward.Job) Job {
	out := Job{
		ID: j.ID, UUID: j.UUID, Revision: j.Revision, Type: string(j.Type), Kind: string(j.Kind), Status: string(j.Status), CertificateID: j.Certificate,
		TargetID: j.Target, AgentID: j.Agent, VersionID: j.Version, TeamID: j.Team, ParentID: j.Parent, BatchID: j.Batch, Attempts: j.Attempt,
		MaxAttempts: j.MaxAttempts, WaitingFor: j.WaitingFor, LastError: j.LastError, ScheduledAt: instant(j.RunAt), Deadline: instant(j.Deadline),
		StartedAt: instant(j.StartedAt), CompletedAt: instant(j.CompletedAt), CreatedAt: j.CreatedAt, UpdatedAt: j.UpdatedAt,
	}
	if j.Status == leafward.JobPending {
		out.NextAttemptAt = out.ScheduledAt
	}
	return out
}

// JobStep is something that was done or seen within a job.
type JobStep struct {
	Number  int       `json:"number"`
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at"`
	Name    string    `json:"name"`
	OK      bool      `json:"ok"`
	Message string    `json:"message"`
}

// JobStepOf is the step on the wire.
func JobStepOf(s *leafward.Step) JobStep {
	return JobStep{Number: s.Number, Attempt: s.Attempt, At: s.At, Name: s.Name, OK: s.OK, Message: s.Message}
}

// JobAttempt is one worker's turn at a job.
type JobAttempt struct {
	Number    int        `json:"number"`
	Worker    string     `json:"worker"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at"`
	Outcome   string     `json:"outcome" doc:"completed, failed, lost, snoozed, waiting, given back or cancelled; empty while it runs"`
	Error     string     `json:"error"`
}

// JobDetail is a job with what was done in it.
type JobDetail struct {
	Job
	Steps   []JobStep    `json:"steps" nullable:"false" doc:"What was done and seen, in order"`
	History []JobAttempt `json:"history" nullable:"false" doc:"Each attempt and what came of it"`
}

// ListJobsInput filters jobs.
type ListJobsInput struct {
	Paging
	Status        string `query:"status" enum:"Pending,AwaitingCSR,AwaitingApproval,Running,Completed,Failed,Cancelled" doc:"In this state"`
	Type          string `query:"type" enum:"Issuance,Renewal,Deployment,Validation" doc:"Of this type"`
	CertificateID string `query:"certificate_id" maxLength:"128" doc:"Of this certificate"`
	TargetID      string `query:"target_id" maxLength:"128" doc:"At this target"`
	AgentID       string `query:"agent_id" maxLength:"128" doc:"Worked by this agent"`
	BatchID       string `query:"batch_id" maxLength:"128" doc:"Of this batch"`
	ParentID      string `query:"parent_id" maxLength:"128" doc:"Parts of this job; only so are its orders shown"`
}

// JobID is the input of an operation on one job.
type JobID struct {
	ID string `path:"id" maxLength:"128" doc:"Id of the job"`
}

// Address is what an agent saw at one address of the target.
type Address struct {
	_           struct{} `additionalProperties:"true"`
	Address     string   `json:"address" maxLength:"253" doc:"IP address that was dialled"`
	Fingerprint string   `json:"fingerprint,omitempty" maxLength:"95" doc:"SHA-256 of the certificate that was shown, hex; absent when none was"`
	Outcome     string   `json:"outcome" maxLength:"32" doc:"ok with a fingerprint, else what went wrong, such as refused or timeout"`
	Problem     string   `json:"problem,omitempty" maxLength:"2000" doc:"What went wrong, for people"`
}

// VerifyWrite is what an agent saw after a deployment.
type VerifyWrite struct {
	_         struct{}    `additionalProperties:"true"`
	TargetID  string      `json:"target_id,omitempty" maxLength:"128" doc:"Target that was looked at"`
	Expected  string      `json:"expected_fingerprint,omitempty" maxLength:"95" doc:"SHA-256 of the certificate that should be served, hex"`
	Actual    string      `json:"actual_fingerprint,omitempty" maxLength:"95" doc:"SHA-256 of the certificate that is served, hex; empty when none was seen"`
	Verified  bool        `json:"verified,omitempty" doc:"Both are the same"`
	Error     Opt[string] `json:"error,omitzero" doc:"What went wrong"`
	Addresses []Address   `json:"addresses,omitempty" nullable:"false" doc:"Each address behind the target's host, when there are several"`
}

// VerifyInput is the input of a verification.
type VerifyInput struct {
	ID   string `path:"id" maxLength:"128" doc:"Id of the deployment, or of the job that proves it"`
	Body VerifyWrite
}

// Verified is the answer to a verification.
type Verified struct {
	JobID      string    `json:"job_id"`
	Verified   bool      `json:"verified" doc:"Whether what was seen shows the deployed version; the server may still look itself"`
	VerifiedAt time.Time `json:"verified_at"`
	Error      string    `json:"error,omitempty" doc:"Why not"`
}

// Verification is what is known of whether a deployed version is served.
type Verification struct {
	JobID      string     `json:"job_id"`
	TargetID   string     `json:"target_id"`
	Expected   string     `json:"expected_fingerprint"`
	Actual     string     `json:"actual_fingerprint" doc:"Empty when nothing was seen"`
	Verified   bool       `json:"verified"`
	VerifiedAt *time.Time `json:"verified_at,omitempty" doc:"When it was looked at last; absent before the first look"`
	VerifiedBy string     `json:"verified_by" doc:"Agent that looked, or server"`
	Error      string     `json:"error,omitempty" doc:"Why it is not verified, or who sees something else"`
}

const jobsPath = "/api/v1/jobs"

// The operations on jobs and verifications.
var (
	ListJobs           = list[ListJobsInput, Job](jobsPath, "listJobs", "Jobs", "List jobs, the newest first")
	GetJob             = get[JobID, JobDetail](jobsPath+"/{id}", "getJob", "Jobs", "Get a job with its steps")
	CancelJob          = post[JobID, Status](jobsPath+"/{id}/cancel", "cancelJob", "Jobs", "Cancel a job; a deployment that runs is finished first", 200, leafward.RoleOperator, 409)
	VerifyDeployment   = Operation[VerifyInput, Verified]{Info{Method: http.MethodPost, Path: jobsPath + "/{id}/verify", ID: "verifyDeployment", Tag: "Verification", Summary: "Say what is served after a deployment", Status: 200, Role: leafward.RoleAgent, Lax: true}}
	GetJobVerification = get[JobID, Verification](jobsPath+"/{id}/verification", "getJobVerification", "Verification", "Get what is known of whether a deployment is served")
)

func jobOperations() []Info {
	return []Info{ListJobs.Info, GetJob.Info, CancelJob.Info, VerifyDeployment.Info, GetJobVerification.Info}
}
