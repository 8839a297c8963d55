package api

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/leafward/leafward"
)

// Target is a place where certificates are installed, as the API answers it.
type Target struct {
	ID         string         `json:"id"`
	UUID       string         `json:"uuid"`
	Revision   int64          `json:"revision"`
	TeamID     string         `json:"team_id" doc:"Team it belongs to; empty when all teams share it"`
	Name       string         `json:"name"`
	Type       string         `json:"type" enum:"NGINX,Apache,HAProxy,Traefik,Caddy,Envoy,Postfix,Dovecot,IIS,F5,SSH,WinCertStore,JavaKeystore,KubernetesSecrets"`
	AgentID    string         `json:"agent_id" doc:"Agent on the target's host"`
	Config     map[string]any `json:"config" doc:"As GET /api/v1/plugins describes for the type; secrets are null"`
	SecretsSet []string       `json:"secrets_set" nullable:"false" doc:"Secret properties of config that are set"`
	Enabled    bool           `json:"enabled"`
	CreatedAt  time.Time      `json:"created_at"`
	UpdatedAt  time.Time      `json:"updated_at"`
}

// ETag is the revision.
func (t Target) ETag() int64 { return t.Revision }

// TargetOf is the target on the wire.
func TargetOf(t *leafward.Target) Target {
	return Target{
		ID: t.ID, UUID: t.UUID, Revision: t.Revision, TeamID: t.Team, Name: t.Name, Type: t.Type, AgentID: t.Agent,
		Config: redacted(t.Config, t.Secrets), SecretsSet: some(t.Secrets), Enabled: t.Enabled, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt,
	}
}

// redacted is a stored configuration, which holds no secrets, with a null for each secret that is set.
func redacted(config json.RawMessage, secrets []string) map[string]any {
	out := make(map[string]any)
	_ = json.Unmarshal(config, &out) // an object: it was stored as one
	for _, name := range secrets {
		out[name] = nil
	}
	return out
}

// TargetWrite is what a client writes of a target.
type TargetWrite struct {
	Stored
	TeamID     Opt[string]         `json:"team_id,omitzero" doc:"Team that the target belongs to; none: all teams share it" maxLength:"128"`
	Name       Opt[string]         `json:"name,omitzero" doc:"Name, unique in the team" maxLength:"255"`
	Type       Opt[string]         `json:"type,omitzero" doc:"One of GET /api/v1/plugins?kind=target; it cannot be changed" maxLength:"64"`
	AgentID    Opt[string]         `json:"agent_id,omitzero" doc:"Agent on the target's host; it can be changed while no certificate is bound" maxLength:"128"`
	Config     Opt[map[string]any] `json:"config,omitzero" doc:"Settings of the type. A change is laid over what is stored, one level deep, so that secrets can stay away; it takes effect with the next deployment"`
	SecretsSet Opt[[]string]       `json:"secrets_set,omitzero" doc:"Told by the server; a secret is cleared by null in config"`
	Enabled    Opt[bool]           `json:"enabled,omitzero" doc:"Certificates can be bound and are deployed; true unless said otherwise"`
}

// ListTargetsInput filters targets.
type ListTargetsInput struct {
	Listing
	Name    string `query:"name" maxLength:"255" doc:"Exactly this name"`
	TeamID  string `query:"team_id" maxLength:"128" doc:"Of this team"`
	Type    string `query:"type" maxLength:"64" doc:"Of this type"`
	AgentID string `query:"agent_id" maxLength:"128" doc:"Of this agent"`
}

// TargetTest is what a dry run found.
type TargetTest struct {
	Status  string       `json:"status" enum:"success,failed"`
	Message string       `json:"message"`
	Steps   []TargetStep `json:"steps" nullable:"false" doc:"What the agent tried"`
}

// TargetStep is one thing that a dry run tried.
type TargetStep struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Message string `json:"message"`
}

// TargetID is the input of testTargetConnection.
type TargetID struct {
	ID string `path:"id" maxLength:"128" doc:"Id of the target"`
}

const targetsPath = "/api/v1/targets"

// The operations on targets.
var (
	ListTargets          = list[ListTargetsInput, Target](targetsPath, "listTargets", "Targets", "List targets")
	CreateTarget         = post[Make[TargetWrite], Target](targetsPath, "createTarget", "Targets", "Create a target", 201, leafward.RoleOperator, 409)
	GetTarget            = get[ByID, Target](targetsPath+"/{id}", "getTarget", "Targets", "Get a target")
	UpdateTarget         = put[Update[TargetWrite], Target](targetsPath+"/{id}", "updateTarget", "Targets", "Change a target", leafward.RoleOperator)
	DeleteTarget         = remove(targetsPath+"/{id}", "deleteTarget", "Targets", "Delete a target that nothing refers to", leafward.RoleOperator)
	TestTargetConnection = Operation[TargetID, TargetTest]{Info{Method: http.MethodPost, Path: targetsPath + "/{id}/test", ID: "testTargetConnection", Tag: "Targets", Summary: "Have the target's agent try a deployment, without changing anything", Status: 200, Role: leafward.RoleOperator}}
)

func targetOperations() []Info {
	return []Info{ListTargets.Info, CreateTarget.Info, GetTarget.Info, UpdateTarget.Info, DeleteTarget.Info, TestTargetConnection.Info}
}
