package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/fleet"
	"github.com/leafward/leafward/internal/lifecycle"
)

func (s *server) agents(r *router) {
	bind(r, api.ListAgents, func(ctx context.Context, in api.ListAgentsInput) (api.Page[api.Agent], error) {
		page, err := s.Fleet.Agents(ctx, in.Query(map[string]string{"name": in.Name, "team_id": in.TeamID, "status": in.Status}))
		return s.agentPage(ctx, page, err)
	})
	bind(r, api.ListRetiredAgents, func(ctx context.Context, in api.ListRetiredAgentsInput) (api.Page[api.Agent], error) {
		page, err := s.Fleet.RetiredAgents(ctx, in.Query(map[string]string{"name": in.Name, "team_id": in.TeamID}))
		return s.agentPage(ctx, page, err)
	})
	bind(r, api.GetAgent, func(ctx context.Context, in api.AgentID) (api.Agent, error) {
		agent, err := s.Fleet.Agent(ctx, in.ID)
		if err != nil {
			return api.Agent{}, err
		}
		now, err := s.Fleet.Now(ctx)
		return api.AgentOf(&agent, now), err
	})
	bind(r, api.RegisterAgent, func(ctx context.Context, in api.Make[api.AgentRegister]) (api.NewAgent, error) {
		b := in.Body
		agent, key, err := s.Fleet.Register(ctx, fleet.Registration{ID: b.ID.Value, Name: b.Name.Value, Team: b.TeamID.Value, Facts: fleet.Facts{
			Hostname: b.Hostname.Value, OS: b.OS.Value, Architecture: b.Architecture.Value, IPAddress: b.IPAddress.Value, Version: b.Version.Value, Protocol: b.Protocol.Value,
		}})
		return api.NewAgent{Agent: api.AgentOf(&agent, agent.UpdatedAt), APIKey: key}, err
	})
	s.retireAgent(r)
}

func (s *server) agentPage(ctx context.Context, page leafward.List[leafward.Agent], err error) (api.Page[api.Agent], error) {
	if err != nil {
		return api.Page[api.Agent]{}, err
	}
	now, err := s.Fleet.Now(ctx)
	return api.PageOf(page, func(a *leafward.Agent) api.Agent { return api.AgentOf(a, now) }), err
}

// retirement is the answer of retireAgent: with a body, or 204 without one.
type retirement struct {
	Status int
	Cache  string `header:"Cache-Control"`
	Body   *api.RetireAgentResponse
}

// retireAgent is bound by hand: its status depends on what happened, and a force that cannot be read is false.
func (s *server) retireAgent(r *router) {
	op := api.RetireAgent
	r.query[declare[api.RetireAgentInput](r, op.Info)] = []string{"force", "reason"}
	operation := describe(op.Info)
	operation.SkipValidateParams = true
	operation.Responses = map[string]*huma.Response{"204": {Description: "It was retired before"}}
	huma.Register(r.huma, operation, func(ctx context.Context, in *api.RetireAgentInput) (out *retirement, err error) {
		defer func() { err = r.refused(ctx, op.ID, err) }()
		defer r.recovered(ctx, op.ID, &err)
		done, err := s.Fleet.Retire(ctx, in.ID, in.Force.On(), in.Reason)
		switch {
		case err != nil:
			return nil, err
		case done.Already:
			return &retirement{Status: http.StatusNoContent, Cache: "no-store"}, nil
		}
		counts := api.AgentDependencyCounts{ActiveTargets: done.Counts.Targets, ActiveCertificates: done.Counts.Certificates, PendingJobs: done.Counts.Jobs}
		return &retirement{Status: http.StatusOK, Cache: "no-store", Body: &api.RetireAgentResponse{RetiredAt: done.At, Cascade: done.Cascade, Counts: counts}}, nil
	})
}

func (s *server) invitations(r *router) {
	bind(r, api.CreateAgentInvitation, func(ctx context.Context, in api.Make[api.AgentInvitationWrite]) (api.NewAgentInvitation, error) {
		made, err := s.Fleet.Invite(ctx, fleet.Invite{Name: in.Body.Name.Value, Team: in.Body.TeamID.Value, Agent: in.Body.ForAgentID.Value})
		return api.NewAgentInvitation{AgentInvitation: api.AgentInvitationOf(&made.Credential, made.CreatedAt), Token: made.Token}, err
	})
	bind(r, api.ListAgentInvitations, func(ctx context.Context, in api.ListAgentInvitationsInput) (api.Page[api.AgentInvitation], error) {
		page, err := s.Fleet.Invitations(ctx, in.Query(map[string]string{"team_id": in.TeamID}))
		if err != nil {
			return api.Page[api.AgentInvitation]{}, err
		}
		now, err := s.Fleet.Now(ctx)
		return api.PageOf(page, func(c *leafward.Credential) api.AgentInvitation { return api.AgentInvitationOf(c, now) }), err
	})
	bind(r, api.RevokeAgentInvitation, func(ctx context.Context, in api.InvitationID) (api.None, error) {
		return api.None{}, s.Fleet.RevokeInvitation(ctx, in.ID)
	})
}

func (s *server) agentWork(r *router) {
	bind(r, api.AgentHeartbeat, func(ctx context.Context, in api.HeartbeatInput) (out api.Beat, err error) {
		var b api.Heartbeat
		if in.Body != nil {
			b = *in.Body
		}
		facts := fleet.Facts{Hostname: b.Hostname.Value, OS: b.OS.Value, Architecture: b.Architecture.Value, IPAddress: b.IPAddress.Value, Version: b.Version.Value, Protocol: b.Protocol.Value}
		if err := s.Fleet.Heartbeat(ctx, in.ID, facts, b.Clock.Value); err != nil {
			return out, err
		}
		last, err := s.checkpoint(ctx, api.Nothing{})
		return api.Beat{Status: "heartbeat_recorded", Checkpoint: last.Checkpoint}, err
	})
	bind(r, api.AgentGetWork, func(ctx context.Context, in api.WorkInput) (api.Work, error) {
		items, err := s.Fleet.Work(ctx, in.ID, time.Duration(in.Wait)*time.Second)
		if err != nil {
			return api.Work{}, err
		}
		out := api.Work{Count: len(items), Jobs: make([]api.WorkItem, len(items))}
		for i := range items {
			if out.Jobs[i], err = workItem(&items[i]); err != nil {
				return api.Work{}, err
			}
		}
		return out, nil
	})
	bind(r, api.AgentSubmitCSR, s.takeCSR)
	bind(r, api.AgentPickupCertificate, func(ctx context.Context, in api.PickupInput) (api.Pickup, error) {
		p, err := s.Fleet.Pickup(ctx, in.ID, in.CertID, in.VersionID)
		return api.Pickup{CertificatePEM: string(p.PEM), PrivateKeyPEM: string(p.Key.Reveal()), VersionID: p.Version.ID, Fingerprint: p.Version.SHA256}, err
	})
	bind(r, api.AgentReportJobStatus, func(ctx context.Context, in api.JobReportInput) (api.Status, error) {
		return api.Status{Status: "updated"}, s.Fleet.Report(ctx, in.ID, in.JobID, fleet.Report{Status: in.Body.Status, Error: in.Body.Error, Epoch: in.Body.Epoch})
	})
	bind(r, api.AgentLeaseJob, func(ctx context.Context, in api.LeaseInput) (api.Lease, error) {
		l, err := s.Fleet.Lease(ctx, in.ID, in.JobID, time.Duration(in.Body.Seconds)*time.Second)
		return api.Lease{LeaseUntil: l.Until, Epoch: l.Epoch}, err
	})
	bind(r, api.AgentAddJobSteps, func(ctx context.Context, in api.StepsInput) (api.Status, error) {
		steps := make([]leafward.Step, len(in.Body))
		for i, step := range in.Body {
			steps[i] = leafward.Step{Name: step.Name, OK: step.OK, Message: step.Message}
		}
		return api.Status{Status: "updated"}, s.Fleet.Steps(ctx, in.ID, in.JobID, in.Epoch, steps)
	})
}

// signWait is how long an agent's CSR waits for its signature before the answer says that it was only taken.
const signWait = 60 * time.Second

// takeCSR brings an agent's CSR to its order and waits until it is signed.
func (s *server) takeCSR(ctx context.Context, in api.CSRInput) (api.Status, error) {
	certificate, err := s.Fleet.OrderFor(ctx, in.ID, in.Body.CertificateID)
	if err != nil {
		return api.Status{}, err
	}
	shown, err := s.Certificates.SubmitCSR(ctx, certificate, in.ID, in.Body.CSRPEM, lifecycle.Once{})
	if err != nil {
		return api.Status{}, err
	}
	signed, err := s.Fleet.Signed(ctx, shown.Job, certificate, in.ID, signWait)
	if err != nil || !signed {
		return api.Status{Status: "csr_accepted"}, err
	}
	return api.Status{Status: "csr_signed"}, nil
}

// workItem is an item on the wire.
func workItem(i *fleet.Item) (api.WorkItem, error) {
	out := api.WorkItem{
		ID: i.ID, Type: string(i.Type), Status: string(i.Status), Kind: string(i.Kind), CertificateID: i.Certificate, CommonName: i.About.CommonName, SANs: i.About.SANs,
		KeyAlgorithm: i.Key.Algorithm, KeySize: i.Key.MinSize, TargetID: i.Target.ID, TargetType: i.Target.Type, VersionID: i.Version,
		Fingerprint: i.Fingerprint, InstallationID: i.Installation, Attempt: i.Attempt,
	}
	if len(i.Config) == 0 {
		return out, nil
	}
	return out, json.Unmarshal(i.Config, &out.TargetConfig)
}
