package rest

import (
	"context"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/deploy"
)

func (s *server) jobs(r *router) {
	bind(r, api.ListJobs, func(ctx context.Context, in api.ListJobsInput) (api.Page[api.Job], error) {
		page, err := s.Deploy.Jobs(ctx, in.Query(map[string]string{
			"status": in.Status, "type": in.Type, "certificate_id": in.CertificateID, "target_id": in.TargetID,
			"agent_id": in.AgentID, "batch_id": in.BatchID, "parent_id": in.ParentID,
		}))
		return api.PageOf(page, api.JobOf), err
	})
	bind(r, api.GetJob, func(ctx context.Context, in api.JobID) (api.JobDetail, error) {
		d, err := s.Deploy.Job(ctx, in.ID)
		return jobDetail(&d), err
	})
	bind(r, api.CancelJob, func(ctx context.Context, in api.JobID) (api.Status, error) {
		j, err := s.Deploy.Cancel(ctx, in.ID)
		status := "cancelled"
		if j.Status.Open() {
			status = "cancelling"
		}
		return api.Status{Status: status}, err
	})
	bind(r, api.VerifyDeployment, func(ctx context.Context, in api.VerifyInput) (api.Verified, error) {
		said := deploy.Said{Target: in.Body.TargetID, Expected: in.Body.Expected, Actual: in.Body.Actual, Verified: in.Body.Verified, Error: in.Body.Error.Value}
		for _, a := range in.Body.Addresses {
			said.Addresses = append(said.Addresses, deploy.Seen{Address: a.Address, Fingerprint: a.Fingerprint, Outcome: deploy.Outcome(a.Outcome), Problem: a.Problem})
		}
		v, err := s.Deploy.Verify(ctx, in.ID, said)
		return api.Verified{JobID: v.Job, Verified: v.Verified, VerifiedAt: v.At, Error: v.Error}, err
	})
	bind(r, api.GetJobVerification, func(ctx context.Context, in api.JobID) (api.Verification, error) {
		v, err := s.Deploy.Verification(ctx, in.ID)
		out := api.Verification{JobID: v.Job, TargetID: v.Target, Expected: v.Expected, Actual: v.Actual, Verified: v.Verified, VerifiedBy: v.By, Error: v.Error}
		if !v.At.IsZero() {
			out.VerifiedAt = &v.At
		}
		if out.Error == "" {
			out.Error = v.Doubt
		}
		return out, err
	})
}

func jobDetail(d *deploy.Detail) api.JobDetail {
	out := api.JobDetail{Job: api.JobOf(&d.Job), Steps: make([]api.JobStep, len(d.Steps)), History: make([]api.JobAttempt, len(d.Attempts))}
	for i := range d.Steps {
		out.Steps[i] = api.JobStepOf(&d.Steps[i])
	}
	for i, a := range d.Attempts {
		out.History[i] = api.JobAttempt{Number: a.Number, Worker: a.Worker, StartedAt: a.StartedAt, Outcome: a.Outcome, Error: a.Error}
		if !a.EndedAt.IsZero() {
			out.History[i].EndedAt = &a.EndedAt
		}
	}
	return out
}
