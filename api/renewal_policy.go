package api

import (
	"time"

	"github.com/leafward/leafward"
)

// RenewalPolicy says when certificates are renewed, as the API answers it.
type RenewalPolicy struct {
	ID                   string    `json:"id"`
	UUID                 string    `json:"uuid"`
	Revision             int64     `json:"revision"`
	TeamID               string    `json:"team_id" doc:"Team it belongs to; empty when all teams share it"`
	Name                 string    `json:"name"`
	RenewalWindowDays    int       `json:"renewal_window_days" minimum:"1" maximum:"365"`
	LiteralWindow        bool      `json:"literal_window" doc:"The window is not capped at a third of the lifetime"`
	AutoRenew            bool      `json:"auto_renew"`
	MaxRetries           int       `json:"max_retries" minimum:"0" maximum:"10"`
	RetryIntervalSeconds int64     `json:"retry_interval_seconds" minimum:"60" maximum:"86400"`
	AlertThresholdsDays  []int     `json:"alert_thresholds_days" nullable:"false" minimum:"0" maximum:"365"`
	CertificateProfileID *string   `json:"certificate_profile_id" doc:"Always null: certificates name their profile themselves"`
	CreatedAt            time.Time `json:"created_at"`
	UpdatedAt            time.Time `json:"updated_at"`
}

// ETag is the revision.
func (p RenewalPolicy) ETag() int64 { return p.Revision }

// RenewalPolicyOf is the policy on the wire.
func RenewalPolicyOf(p *leafward.RenewalPolicy) RenewalPolicy {
	return RenewalPolicy{
		ID: p.ID, UUID: p.UUID, Revision: p.Revision, TeamID: p.Team, Name: p.Name, RenewalWindowDays: p.WindowDays,
		LiteralWindow: p.LiteralWindow, AutoRenew: p.AutoRenew, MaxRetries: p.MaxRetries, RetryIntervalSeconds: p.RetryInterval,
		AlertThresholdsDays: some(p.Thresholds), CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt,
	}
}

// RenewalPolicyWrite is what a client writes of a renewal policy.
type RenewalPolicyWrite struct {
	Stored
	TeamID               Opt[string] `json:"team_id,omitzero" doc:"Team that the policy belongs to; none: all teams share it" maxLength:"128"`
	Name                 Opt[string] `json:"name,omitzero" doc:"Name, unique in the team; the id is made of it" minLength:"1" maxLength:"255"`
	RenewalWindowDays    Opt[int]    `json:"renewal_window_days,omitzero" doc:"Days before expiry at which renewal begins, at most a third of the lifetime; 30 unless said otherwise" minimum:"1" maximum:"365"`
	LiteralWindow        Opt[bool]   `json:"literal_window,omitzero" doc:"Take the window as it stands, without the cap at a third of the lifetime"`
	AutoRenew            Opt[bool]   `json:"auto_renew,omitzero" doc:"Certificates renew by themselves; true unless said otherwise"`
	MaxRetries           Opt[int]    `json:"max_retries,omitzero" doc:"Further attempts after a failed one; 3 unless said otherwise" minimum:"0" maximum:"10"`
	RetryIntervalSeconds Opt[int64]  `json:"retry_interval_seconds,omitzero" doc:"Least wait before a failed renewal starts again; 3600 unless said otherwise" minimum:"60" maximum:"86400"`
	AlertThresholdsDays  Opt[[]int]  `json:"alert_thresholds_days,omitzero" doc:"Days before expiry at which a warning is recorded; 30, 14, 7 and 0 unless said otherwise" minimum:"0" maximum:"365"`
	CertificateProfileID Opt[string] `json:"certificate_profile_id,omitzero" doc:"Always null: certificates name their profile themselves" maxLength:"128"`
}

// ListRenewalPoliciesInput filters renewal policies.
type ListRenewalPoliciesInput struct {
	Listing
	Name   string `query:"name" maxLength:"255" doc:"Exactly this name"`
	TeamID string `query:"team_id" maxLength:"128" doc:"Of this team"`
}

const renewalPoliciesPath = "/api/v1/renewal-policies"

// The operations on renewal policies.
var (
	ListRenewalPolicies = list[ListRenewalPoliciesInput, RenewalPolicy](renewalPoliciesPath, "listRenewalPolicies", "RenewalPolicies", "List renewal policies")
	CreateRenewalPolicy = post[Make[RenewalPolicyWrite], RenewalPolicy](renewalPoliciesPath, "createRenewalPolicy", "RenewalPolicies", "Create a renewal policy", 201, leafward.RoleAdmin, 409)
	GetRenewalPolicy    = get[ByID, RenewalPolicy](renewalPoliciesPath+"/{id}", "getRenewalPolicy", "RenewalPolicies", "Get a renewal policy")
	UpdateRenewalPolicy = put[Update[RenewalPolicyWrite], RenewalPolicy](renewalPoliciesPath+"/{id}", "updateRenewalPolicy", "RenewalPolicies", "Change a renewal policy", leafward.RoleAdmin)
	DeleteRenewalPolicy = remove(renewalPoliciesPath+"/{id}", "deleteRenewalPolicy", "RenewalPolicies", "Delete a renewal policy that nothing refers to", leafward.RoleAdmin)
)

func renewalPolicyOperations() []Info {
	return []Info{ListRenewalPolicies.Info, CreateRenewalPolicy.Info, GetRenewalPolicy.Info, UpdateRenewalPolicy.Info, DeleteRenewalPolicy.Info}
}
