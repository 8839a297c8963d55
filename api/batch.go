package api

import (
	"time"

	"github.com/leafward/leafward"
)

// BulkRenewRequest says which certificates are renewed: those that every criterion fits. At least one is needed.
type BulkRenewRequest struct {
	ProfileID      string   `json:"profile_id,omitempty" maxLength:"128" doc:"Of this profile"`
	OwnerID        string   `json:"owner_id,omitempty" maxLength:"128" doc:"Of this owner"`
	AgentID        string   `json:"agent_id,omitempty" maxLength:"128" doc:"Installed by this agent"`
	IssuerID       string   `json:"issuer_id,omitempty" maxLength:"128" doc:"Of this issuer"`
	TeamID         string   `json:"team_id,omitempty" maxLength:"128" doc:"Owned by an owner of this team"`
	CertificateIDs []string `json:"certificate_ids,omitempty" nullable:"false" doc:"These certificates"`
}

// Selector is the request as the lifecycle takes it.
func (r BulkRenewRequest) Selector() leafward.Selector {
	return leafward.Selector{Certificates: r.CertificateIDs, Profile: r.ProfileID, Owner: r.OwnerID, Agent: r.AgentID, Issuer: r.IssuerID, Team: r.TeamID}
}

// BulkRevokeRequest says why certificates are revoked, and which: those that every criterion fits. At least one is needed.
type BulkRevokeRequest struct {
	BulkRenewRequest
	Reason string `json:"reason" enum:"unspecified,keyCompromise,caCompromise,affiliationChanged,superseded,cessationOfOperation,certificateHold,privilegeWithdrawn" doc:"Reason of RFC 5280"`
}

// BulkReassignRequest says who answers for certificates from now on.
type BulkReassignRequest struct {
	CertificateIDs []string `json:"certificate_ids" nullable:"false" doc:"These certificates"`
	OwnerID        string   `json:"owner_id" maxLength:"128" doc:"Their owner from now on"`
	TeamID         string   `json:"team_id,omitempty" maxLength:"128" doc:"Their team from now on; otherwise it stays"`
}

// BulkError is why a certificate of a batch was not dealt with.
type BulkError struct {
	CertificateID string `json:"certificate_id"`
	Error         string `json:"error"`
}

// BulkJob is a renewal that a batch began.
type BulkJob struct {
	CertificateID string `json:"certificate_id"`
	JobID         string `json:"job_id" doc:"The renewal"`
}

// Bulk is what is told of every batch. What it met is the sum of what it did, skipped and failed to do.
type Bulk struct {
	Replay
	BatchID      string      `json:"batch_id"`
	Status       string      `json:"status" enum:"running,completed,failed" doc:"running: the totals still grow, ask for the batch again; failed: it ended before it had met everything, last_error says why"`
	LastError    string      `json:"last_error"`
	TotalMatched int64       `json:"total_matched" doc:"Certificates that it met, and ids that name none"`
	TotalSkipped int64       `json:"total_skipped" doc:"Of those, with nothing to do"`
	TotalFailed  int64       `json:"total_failed" doc:"Of those, refused; errors says why"`
	Errors       []BulkError `json:"errors" nullable:"false"`
}

// BulkRevokeResult is what became of a bulk revocation.
type BulkRevokeResult struct {
	Bulk
	TotalRevoked int64 `json:"total_revoked"`
}

// BulkRenewResult is what became of a bulk renewal.
type BulkRenewResult struct {
	Bulk
	TotalEnqueued int64     `json:"total_enqueued" doc:"Renewals that were begun"`
	EnqueuedJobs  []BulkJob `json:"enqueued_jobs" nullable:"false" doc:"The renewals that were begun"`
}

// BulkReassignResult is what became of a bulk reassignment.
type BulkReassignResult struct {
	Bulk
	TotalReassigned int64 `json:"total_reassigned"`
}

// Batch is one change to many certificates.
type Batch struct {
	Bulk
	Kind         string     `json:"kind" enum:"revoke,renew,reassign"`
	TotalDone    int64      `json:"total_done"`
	EnqueuedJobs []BulkJob  `json:"enqueued_jobs" nullable:"false" doc:"Renewals that it began"`
	StartedAt    time.Time  `json:"started_at"`
	EndedAt      *time.Time `json:"ended_at,omitempty"`
}

// BatchOf is the batch on the wire, with the items that failed and those that began a job.
func BatchOf(b *leafward.Batch, failures, begun []leafward.BatchItem) Batch {
	out := Batch{
		Bulk: Bulk{
			BatchID: b.ID, Status: "completed", LastError: b.LastError, TotalMatched: b.Done + b.Skipped + b.Failed, TotalSkipped: b.Skipped, TotalFailed: b.Failed,
			Errors: make([]BulkError, len(failures)),
		},
		Kind: string(b.Kind), TotalDone: b.Done, EnqueuedJobs: make([]BulkJob, len(begun)), StartedAt: b.CreatedAt, EndedAt: instant(b.EndedAt),
	}
	switch {
	case b.EndedAt.IsZero():
		out.Status = "running"
	case b.LastError != "":
		out.Status = "failed"
	}
	for i, item := range failures {
		out.Errors[i] = BulkError{CertificateID: item.Certificate, Error: item.Reason}
	}
	for i, item := range begun {
		out.EnqueuedJobs[i] = BulkJob{CertificateID: item.Certificate, JobID: item.Job}
	}
	return out
}

// The operations on many certificates.
var (
	BulkRevokeCertificates   = post[Create[BulkRevokeRequest], BulkRevokeResult](certificatesPath+"/bulk-revoke", "bulkRevokeCertificates", "Certificates", "Revoke every certificate that matches", 200, leafward.RoleAdmin, 409)
	BulkRenewCertificates    = post[Create[BulkRenewRequest], BulkRenewResult](certificatesPath+"/bulk-renew", "bulkRenewCertificates", "Certificates", "Renew every certificate that matches", 200, leafward.RoleOperator, 409)
	BulkReassignCertificates = post[Create[BulkReassignRequest], BulkReassignResult](certificatesPath+"/bulk-reassign", "bulkReassignCertificates", "Certificates", "Give certificates to another owner", 200, leafward.RoleOperator, 409)
	GetBatch                 = get[BatchID, Batch]("/api/v1/batches/{id}", "getBatch", "Certificates", "Get what became of a batch of certificates")
)

// BatchID is the input of an operation on one batch.
type BatchID struct {
	ID string `path:"id" maxLength:"128" doc:"Id of the batch"`
}

func batchOperations() []Info {
	return []Info{BulkRevokeCertificates.Info, BulkRenewCertificates.Info, BulkReassignCertificates.Info, GetBatch.Info}
}
