package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/leafward/leafward"
)

// Agent is leafward on a host as the API answers it.
type Agent struct {
	ID              string     `json:"id"`
	UUID            string     `json:"uuid"`
	Revision        int64      `json:"revision"`
	TeamID          string     `json:"team_id" doc:"Team it belongs to; empty when all teams share it"`
	Name            string     `json:"name"`
	Hostname        string     `json:"hostname"`
	Status          string     `json:"status" enum:"Online,Offline,Degraded" doc:"Offline: silent for 5 minutes; Degraded: its last deployment failed, or its clock is off by more than a minute"`
	LastHeartbeatAt *time.Time `json:"last_heartbeat_at,omitempty"`
	RegisteredAt    *time.Time `json:"registered_at,omitempty"`
	OS              string     `json:"os"`
	Architecture    string     `json:"architecture"`
	IPAddress       string     `json:"ip_address"`
	Version         string     `json:"version"`
	RetiredAt       *time.Time `json:"retired_at"`
	RetiredReason   *string    `json:"retired_reason"`
	DeployFailed    bool       `json:"deploy_failed" doc:"Its last deployment failed"`
	ClockSkew       int64      `json:"clock_skew_seconds" doc:"How far its clock is ahead of the server's, at the last heartbeat"`
	Leafward        bool       `json:"leafward" doc:"It speaks leafward's additions to the protocol: leases, steps, dry runs and proofs"`
	CreatedAt       time.Time  `json:"created_at"`
	UpdatedAt       time.Time  `json:"updated_at"`
}

// ETag is the revision.
func (a Agent) ETag() int64 { return a.Revision }

// AgentOf is the agent on the wire, as it stands at the instant.
func AgentOf(a *leafward.Agent, now time.Time) Agent {
	out := Agent{
		ID: a.ID, UUID: a.UUID, Revision: a.Revision, TeamID: a.Team, Name: a.Name, Hostname: a.Hostname, Status: a.Status(now),
		LastHeartbeatAt: instant(a.LastHeartbeat), RegisteredAt: instant(a.RegisteredAt), OS: a.OS, Architecture: a.Architecture,
		IPAddress: a.IPAddress, Version: a.Version, RetiredAt: instant(a.RetiredAt), DeployFailed: a.DeployFailed, ClockSkew: a.ClockSkew,
		Leafward: a.Ours, CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt,
	}
	if a.RetiredReason != "" {
		out.RetiredReason = &a.RetiredReason
	}
	return out
}

// NewAgent is an agent right after it was registered: the only answer with its key.
type NewAgent struct {
	Agent
	APIKey string `json:"api_key" doc:"The agent's API key; it cannot be asked for again"`
}

// AgentRegister is what a new agent, or an administrator for it, says. What is not listed is ignored.
type AgentRegister struct {
	_               struct{}       `additionalProperties:"true"`
	ID              Opt[string]    `json:"id,omitzero" doc:"Id; chosen by the server when it is absent, and by an invitation" maxLength:"128"`
	TeamID          Opt[string]    `json:"team_id,omitzero" doc:"Team it belongs to; none: all teams share it. An invitation has it already" maxLength:"128"`
	Name            Opt[string]    `json:"name,omitzero" doc:"Name, unique in the team; the host name when it is absent" maxLength:"255"`
	Hostname        Opt[string]    `json:"hostname,omitzero" maxLength:"253"`
	OS              Opt[string]    `json:"os,omitzero" maxLength:"64"`
	Architecture    Opt[string]    `json:"architecture,omitzero" maxLength:"64"`
	IPAddress       Opt[string]    `json:"ip_address,omitzero" maxLength:"64"`
	Version         Opt[string]    `json:"version,omitzero" doc:"Version of the agent's program" maxLength:"64"`
	Protocol        Opt[string]    `json:"protocol,omitzero" doc:"leafward/1 from agents that know leases, steps and long polls" maxLength:"64"`
	Status          Opt[string]    `json:"status,omitzero" doc:"Told by heartbeats; ignored" maxLength:"64"`
	LastHeartbeatAt Opt[time.Time] `json:"last_heartbeat_at,omitzero" doc:"Set by the server; ignored"`
	RegisteredAt    Opt[time.Time] `json:"registered_at,omitzero" doc:"Set by the server; ignored"`
	RetiredAt       Opt[time.Time] `json:"retired_at,omitzero" doc:"Set by the server; ignored"`
	RetiredReason   Opt[string]    `json:"retired_reason,omitzero" doc:"Set by the server; ignored" maxLength:"2000"`
}

// AgentInvitation is an invitation for one agent.
type AgentInvitation struct {
	ID        string     `json:"id"`
	TeamID    string     `json:"team_id" doc:"Team the agent will belong to; empty for all"`
	Name      string     `json:"name" doc:"Name the agent will have; empty: it names itself"`
	AgentID   string     `json:"agent_id" doc:"Id the agent has or will have"`
	Rejoin    bool       `json:"rejoin" doc:"It gives a known agent a new key"`
	State     string     `json:"state" enum:"open,used,expired,revoked"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt time.Time  `json:"expires_at"`
	RevokedAt *time.Time `json:"revoked_at"`
}

// AgentInvitationOf is the invitation on the wire, as it stands at the instant.
func AgentInvitationOf(c *leafward.Credential, now time.Time) AgentInvitation {
	out := AgentInvitation{
		ID: c.ID, TeamID: c.Team, Name: c.Name, AgentID: c.Principal, Rejoin: c.Subject != "", State: "open",
		CreatedAt: c.CreatedAt, ExpiresAt: c.ExpiresAt, RevokedAt: instant(c.RevokedAt),
	}
	switch {
	case c.UsesLeft == 0:
		out.State = "used"
	case !c.RevokedAt.IsZero():
		out.State = "revoked"
	case !now.Before(c.ExpiresAt):
		out.State = "expired"
	}
	return out
}

// NewAgentInvitation is an invitation right after it was made: the only answer with its token.
type NewAgentInvitation struct {
	AgentInvitation
	Token string `json:"token" doc:"What the agent joins with, once; it cannot be asked for again"`
}

// AgentInvitationWrite is what an administrator asks of an invitation.
type AgentInvitationWrite struct {
	Name       Opt[string] `json:"name,omitzero" doc:"Name the agent will have; none: it names itself" maxLength:"255"`
	TeamID     Opt[string] `json:"team_id,omitzero" doc:"Team it will belong to; none: all teams share it" maxLength:"128"`
	ForAgentID Opt[string] `json:"for_agent_id,omitzero" doc:"Agent that lost its key and gets a new one in its place" maxLength:"128"`
}

// ListAgentInvitationsInput filters invitations.
type ListAgentInvitationsInput struct {
	Paging
	TeamID string `query:"team_id" maxLength:"128" doc:"Of this team"`
}

// ListAgentsInput filters agents.
type ListAgentsInput struct {
	Listing
	Name   string `query:"name" maxLength:"255" doc:"Exactly this name"`
	TeamID string `query:"team_id" maxLength:"128" doc:"Of this team"`
	Status string `query:"status" maxLength:"16" doc:"Online, Offline or Degraded"`
}

// ListRetiredAgentsInput filters retired agents.
type ListRetiredAgentsInput struct {
	Listing
	Name   string `query:"name" maxLength:"255" doc:"Exactly this name"`
	TeamID string `query:"team_id" maxLength:"128" doc:"Of this team"`
}

// Lenient is a switch in a query that counts as false when it cannot be read, so that a mistyped one switches nothing on.
type Lenient string

// Schema is that of a boolean.
func (Lenient) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeBoolean, Default: false}
}

// On tells whether the switch is on.
func (l Lenient) On() bool {
	on, err := strconv.ParseBool(string(l))
	return err == nil && on
}

// RetireAgentInput is the input of retireAgent.
type RetireAgentInput struct {
	ID     string  `path:"id" maxLength:"128" doc:"Id of the agent"`
	Force  Lenient `query:"force" doc:"Cancel its jobs, unbind certificates from its targets and switch the targets off. Needs a reason. What cannot be read counts as false"`
	Reason string  `query:"reason" doc:"Why, for the record"`
}

// AgentDependencyCounts is what hangs on an agent.
type AgentDependencyCounts struct {
	ActiveTargets      int `json:"active_targets" doc:"Its targets that are switched on"`
	ActiveCertificates int `json:"active_certificates" doc:"Certificates in use that are bound to its targets"`
	PendingJobs        int `json:"pending_jobs" doc:"Its open jobs"`
}

// RetireAgentResponse says what was retired.
type RetireAgentResponse struct {
	RetiredAt      time.Time             `json:"retired_at"`
	AlreadyRetired bool                  `json:"already_retired" doc:"Always false: an agent that was retired before is answered without a body"`
	Cascade        bool                  `json:"cascade"`
	Counts         AgentDependencyCounts `json:"counts" doc:"What hung on it before"`
}

// Heartbeat is what an agent says of its host. What is not listed is ignored, what is absent stays.
type Heartbeat struct {
	_            struct{}       `additionalProperties:"true"`
	Version      Opt[string]    `json:"version,omitzero" maxLength:"64"`
	Hostname     Opt[string]    `json:"hostname,omitzero" maxLength:"253"`
	OS           Opt[string]    `json:"os,omitzero" maxLength:"64"`
	Architecture Opt[string]    `json:"architecture,omitzero" maxLength:"64"`
	IPAddress    Opt[string]    `json:"ip_address,omitzero" maxLength:"64"`
	Protocol     Opt[string]    `json:"protocol,omitzero" doc:"leafward/1 from agents that know leases, steps and long polls" maxLength:"64"`
	Clock        Opt[time.Time] `json:"clock,omitzero" doc:"What the host's clock shows"`
}

// Beat answers a heartbeat. The checkpoint is for the agent to keep: a log that was rewritten afterwards does not fit it.
type Beat struct {
	Status     string `json:"status"`
	Checkpoint string `json:"checkpoint,omitempty" doc:"Newest signed checkpoint of the audit log (C2SP tlog-checkpoint); absent before the first"`
}

// HeartbeatInput is the input of agentHeartbeat.
type HeartbeatInput struct {
	ID   string `path:"id" maxLength:"128" doc:"Id of the agent"`
	Body *Heartbeat
}

// WorkInput is the input of agentGetWork.
type WorkInput struct {
	ID   string `path:"id" maxLength:"128" doc:"Id of the agent"`
	Wait int    `query:"wait" minimum:"0" maximum:"60" doc:"Seconds to wait for something when there is nothing"`
}

// Work is what an agent may take up now.
type Work struct {
	Count int        `json:"count"`
	Jobs  []WorkItem `json:"jobs" nullable:"false"`
}

// WorkItem is one thing to do. A job whose status is AwaitingCSR wants a CSR; every other one is to be leased first.
type WorkItem struct {
	ID             string         `json:"id"`
	Type           string         `json:"type,omitempty" enum:"Issuance,Renewal,Deployment,Validation" doc:"Absent for a dry run"`
	Status         string         `json:"status" enum:"Pending,AwaitingCSR,AwaitingApproval,Running,Completed,Failed,Cancelled"`
	Kind           string         `json:"kind" enum:"order,deploy,prove,check" doc:"order: send a CSR; deploy: install; prove: look what is served; check: dry run"`
	CertificateID  string         `json:"certificate_id,omitempty"`
	CommonName     string         `json:"common_name,omitempty"`
	SANs           []string       `json:"sans,omitempty" nullable:"false"`
	KeyAlgorithm   string         `json:"key_algorithm,omitempty" doc:"Of the key to make: ECDSA, RSA or Ed25519"`
	KeySize        int            `json:"key_size,omitempty" doc:"Of the key to make, in bits"`
	TargetID       string         `json:"target_id,omitempty"`
	TargetType     string         `json:"target_type,omitempty"`
	TargetConfig   map[string]any `json:"target_config,omitempty" doc:"Whole, with its secrets"`
	VersionID      string         `json:"version_id,omitempty" doc:"What to install or to see; fetch it by this id"`
	Fingerprint    string         `json:"fingerprint,omitempty" doc:"SHA-256 of that version, lower hex"`
	InstallationID string         `json:"installation_id,omitempty"`
	Attempt        int            `json:"attempt" doc:"Attempts that were made before"`
}

// CSRInput is the input of agentSubmitCSR.
type CSRInput struct {
	ID   string `path:"id" maxLength:"128" doc:"Id of the agent"`
	Body AgentCSR
}

// AgentCSR is a CSR for one order. What is not listed is ignored.
type AgentCSR struct {
	_             struct{} `additionalProperties:"true"`
	CertificateID string   `json:"certificate_id,omitempty" doc:"As in the work item; it may be absent when one order waits" maxLength:"128"`
	CSRPEM        string   `json:"csr_pem" doc:"One CERTIFICATE REQUEST block; it gives the key, and may ask for no name that the certificate does not have" maxLength:"65536"`
}

// PickupInput is the input of agentPickupCertificate.
type PickupInput struct {
	ID        string `path:"id" maxLength:"128" doc:"Id of the agent"`
	CertID    string `path:"cert_id" maxLength:"128" doc:"Id of the certificate"`
	VersionID string `query:"version_id" maxLength:"128" doc:"That version; the one that is wanted at the agent's targets when it is absent"`
}

// Pickup is a signed certificate for the agent that installs it.
type Pickup struct {
	CertificatePEM string `json:"certificate_pem" doc:"Leaf first, then the chain"`
	PrivateKeyPEM  string `json:"private_key_pem,omitempty" doc:"Of a key that the server made"`
	VersionID      string `json:"version_id"`
	Fingerprint    string `json:"fingerprint" doc:"SHA-256 of the leaf, lower hex"`
}

// JobReportInput is the input of agentReportJobStatus.
type JobReportInput struct {
	ID    string `path:"id" maxLength:"128" doc:"Id of the agent"`
	JobID string `path:"job_id" maxLength:"128" doc:"Id of the job"`
	Body  JobReport
}

// JobReport is what an agent says of a job. What is not listed is ignored.
type JobReport struct {
	_      struct{} `additionalProperties:"true"`
	Status string   `json:"status" doc:"Running, Completed or Failed" maxLength:"64"`
	Error  string   `json:"error,omitempty" doc:"Why it failed" maxLength:"65536"`
	Epoch  int64    `json:"epoch,omitempty" doc:"Of the lease; a report under an older one is refused"`
}

// LeaseInput is the input of agentLeaseJob.
type LeaseInput struct {
	ID    string `path:"id" maxLength:"128" doc:"Id of the agent"`
	JobID string `path:"job_id" maxLength:"128" doc:"Id of the job"`
	Body  LeaseAsk
}

// LeaseAsk says for how long an agent wants a job.
type LeaseAsk struct {
	_       struct{} `additionalProperties:"true"`
	Seconds int      `json:"seconds" doc:"5 to 3600"`
}

// Lease is an agent's hold on a job.
type Lease struct {
	LeaseUntil time.Time `json:"lease_until"`
	Epoch      int64     `json:"epoch" doc:"Tells this lease from earlier ones"`
}

// StepsInput is the input of agentAddJobSteps.
type StepsInput struct {
	ID    string `path:"id" maxLength:"128" doc:"Id of the agent"`
	JobID string `path:"job_id" maxLength:"128" doc:"Id of the job"`
	Epoch int64  `query:"epoch" doc:"Of the lease; steps under an older one are refused"`
	Body  []StepWrite
}

// StepWrite is something an agent did or saw.
type StepWrite struct {
	_       struct{} `additionalProperties:"true"`
	Name    string   `json:"name" maxLength:"255"`
	OK      bool     `json:"ok"`
	Message string   `json:"message,omitempty" maxLength:"65536"`
}

const (
	agentsPath      = "/api/v1/agents"
	invitationsPath = agentsPath + "/invitations"
)

// The operations on agents.
var (
	ListAgents             = list[ListAgentsInput, Agent](agentsPath, "listAgents", "Agents", "List agents")
	RegisterAgent          = lax(post[Make[AgentRegister], NewAgent](agentsPath, "registerAgent", "Agents", "Register an agent: an administrator, or the agent with its invitation as the Bearer token", 201, leafward.RoleJoin, 409, 410))
	ListRetiredAgents      = list[ListRetiredAgentsInput, Agent](agentsPath+"/retired", "listRetiredAgents", "Agents", "List retired agents")
	GetAgent               = get[AgentID, Agent](agentsPath+"/{id}", "getAgent", "Agents", "Get an agent")
	RetireAgent            = Operation[RetireAgentInput, RetireAgentResponse]{Info{Method: http.MethodDelete, Path: agentsPath + "/{id}", ID: "retireAgent", Tag: "Agents", Summary: "Retire an agent", Status: 200, Role: leafward.RoleAdmin, Errors: []int{405, 409}}}
	AgentHeartbeat         = lax(post[HeartbeatInput, Beat](agentsPath+"/{id}/heartbeat", "agentHeartbeat", "Agents", "Say that the agent lives", 200, leafward.RoleAgent, 410))
	AgentGetWork           = Operation[WorkInput, Work]{Info{Method: http.MethodGet, Path: agentsPath + "/{id}/work", ID: "agentGetWork", Tag: "Agents", Summary: "Get what the agent may take up now", Status: 200, Role: leafward.RoleAgent, Errors: []int{410}}}
	AgentSubmitCSR         = lax(post[CSRInput, Status](agentsPath+"/{id}/csr", "agentSubmitCSR", "Agents", "Send a CSR and wait until it is signed: csr_signed, or csr_accepted when that takes longer", 202, leafward.RoleAgent, 409, 410))
	AgentPickupCertificate = Operation[PickupInput, Pickup]{Info{Method: http.MethodGet, Path: agentsPath + "/{id}/certificates/{cert_id}", ID: "agentPickupCertificate", Tag: "Agents", Summary: "Fetch a signed certificate to install it", Status: 200, Role: leafward.RoleAgent, Errors: []int{409, 410}}}
	AgentReportJobStatus   = lax(post[JobReportInput, Status](agentsPath+"/{id}/jobs/{job_id}/status", "agentReportJobStatus", "Agents", "Report how a job stands", 200, leafward.RoleAgent, 409, 410))
	AgentLeaseJob          = lax(post[LeaseInput, Lease](agentsPath+"/{id}/jobs/{job_id}/lease", "agentLeaseJob", "Agents", "Take a job, or keep it", 200, leafward.RoleAgent, 409, 410))
	AgentAddJobSteps       = lax(post[StepsInput, Status](agentsPath+"/{id}/jobs/{job_id}/steps", "agentAddJobSteps", "Agents", "Note what was done and seen in a job", 200, leafward.RoleAgent, 409, 410))

	CreateAgentInvitation = post[Make[AgentInvitationWrite], NewAgentInvitation](invitationsPath, "createAgentInvitation", "Agents", "Invite an agent: a token for one use within an hour", 201, leafward.RoleAdmin, 409)
	ListAgentInvitations  = Operation[ListAgentInvitationsInput, Page[AgentInvitation]]{Info{Method: http.MethodGet, Path: invitationsPath, ID: "listAgentInvitations", Tag: "Agents", Summary: "List invitations for agents", Status: 200, Role: leafward.RoleAdmin}}
	RevokeAgentInvitation = Operation[InvitationID, None]{Info{Method: http.MethodDelete, Path: invitationsPath + "/{id}", ID: "revokeAgentInvitation", Tag: "Agents", Summary: "Revoke an invitation", Status: 204, Role: leafward.RoleAdmin}}
)

// AgentID is the input of getAgent.
type AgentID struct {
	ID string `path:"id" maxLength:"128" doc:"Id of the agent"`
}

// InvitationID is the input of an operation on one invitation.
type InvitationID struct {
	ID string `path:"id" maxLength:"128" doc:"Id of the invitation"`
}

// lax is the operation with unknown properties of its body ignored.
func lax[In, Out any](o Operation[In, Out]) Operation[In, Out] {
	o.Lax = true
	return o
}

func agentOperations() []Info {
	return []Info{
		ListAgents.Info, RegisterAgent.Info, ListRetiredAgents.Info, GetAgent.Info, RetireAgent.Info, AgentHeartbeat.Info, AgentGetWork.Info,
		AgentSubmitCSR.Info, AgentPickupCertificate.Info, AgentReportJobStatus.Info, AgentLeaseJob.Info, AgentAddJobSteps.Info,
		CreateAgentInvitation.Info, ListAgentInvitations.Info, RevokeAgentInvitation.Info,
	}
}
