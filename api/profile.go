package api

import (
	"time"

	"github.com/leafward/leafward"
)

// KeyAlgorithmRule allows keys of an algorithm from a size on.
type KeyAlgorithmRule struct {
	Algorithm string `json:"algorithm,omitempty" enum:"RSA,ECDSA,Ed25519" doc:"Key algorithm"`
	MinSize   int    `json:"min_size,omitempty" doc:"Least size in bits; 0 for the least safe one"`
}

// Profile is what certificates may be, as the API answers it.
type Profile struct {
	ID                   string             `json:"id"`
	Number               int64              `json:"number"`
	UUID                 string             `json:"uuid"`
	Revision             int64              `json:"revision"`
	TeamID               string             `json:"team_id" doc:"Team it belongs to; empty when all teams share it"`
	Name                 string             `json:"name"`
	Description          string             `json:"description"`
	AllowedKeyAlgorithms []KeyAlgorithmRule `json:"allowed_key_algorithms" nullable:"false" doc:"Keys that are taken; empty: every supported one"`
	MaxTTLSeconds        int64              `json:"max_ttl_seconds"`
	DefaultTTLSeconds    int64              `json:"default_ttl_seconds" doc:"Lifetime of a certificate that asks for none; 0: the longest"`
	BackdateSeconds      int64              `json:"backdate_seconds" doc:"How far back the validity begins, inside the lifetime"`
	AllowedEKUs          []string           `json:"allowed_ekus" nullable:"false" enum:"serverAuth,clientAuth,codeSigning,emailProtection,timeStamping" doc:"Extended key usages of every certificate, in order"`
	AllowedSANTypes      []string           `json:"allowed_san_types" nullable:"false" enum:"dns,ip,email,uri" doc:"Types of names that are issued; empty: every one"`
	RequiredSANPatterns  []string           `json:"required_san_patterns" nullable:"false" doc:"Patterns of which each name must match one; empty: every name"`
	SPIFFEURIPattern     string             `json:"spiffe_uri_pattern" doc:"Pattern that SPIFFE URIs must match; empty: none are issued"`
	AllowShortLived      bool               `json:"allow_short_lived" doc:"Lifetimes under 7 days are allowed, then without revocation"`
	CutToIssuer          bool               `json:"cut_to_issuer" doc:"A lifetime past the authority's end is cut instead of refused"`
	Enabled              bool               `json:"enabled"`
	CreatedAt            time.Time          `json:"created_at"`
	UpdatedAt            time.Time          `json:"updated_at"`
}

// ETag is the revision.
func (p Profile) ETag() int64 { return p.Revision }

// ProfileOf is the profile on the wire.
func ProfileOf(p *leafward.Profile) Profile {
	rules := make([]KeyAlgorithmRule, len(p.Keys))
	for i, k := range p.Keys {
		rules[i] = KeyAlgorithmRule(k)
	}
	return Profile{
		ID: p.ID, Number: p.Number, UUID: p.UUID, Revision: p.Revision, TeamID: p.Team, Name: p.Name, Description: p.Description,
		AllowedKeyAlgorithms: rules, MaxTTLSeconds: p.MaxTTL, DefaultTTLSeconds: p.DefaultTTL, BackdateSeconds: p.Backdate,
		AllowedEKUs: some(p.EKUs), AllowedSANTypes: some(p.NameTypes), RequiredSANPatterns: some(p.RequiredSANs), SPIFFEURIPattern: p.SPIFFE,
		AllowShortLived: p.AllowShort, CutToIssuer: p.CutToIssuer, Enabled: p.Enabled, CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt,
	}
}

// some is the list, empty instead of nil.
func some[T any](list []T) []T { return append([]T{}, list...) }

// ProfileWrite is what a client writes of a profile.
type ProfileWrite struct {
	Stored
	TeamID               Opt[string]             `json:"team_id,omitzero" doc:"Team that the profile belongs to; none: all teams share it" maxLength:"128"`
	Name                 Opt[string]             `json:"name,omitzero" doc:"Name, unique in the team"`
	Description          Opt[string]             `json:"description,omitzero" doc:"What the profile is for"`
	AllowedKeyAlgorithms Opt[[]KeyAlgorithmRule] `json:"allowed_key_algorithms,omitzero" doc:"Keys that are taken; empty: every supported one"`
	MaxTTLSeconds        Opt[int64]              `json:"max_ttl_seconds,omitzero" doc:"Longest lifetime; 90 days unless said otherwise"`
	DefaultTTLSeconds    Opt[int64]              `json:"default_ttl_seconds,omitzero" doc:"Lifetime of a certificate that asks for none; 0: the longest"`
	BackdateSeconds      Opt[int64]              `json:"backdate_seconds,omitzero" doc:"How far back the validity begins, inside the lifetime; 300 unless said otherwise, at most a tenth of the longest lifetime then"`
	AllowedEKUs          Opt[[]string]           `json:"allowed_ekus,omitzero" enum:"serverAuth,clientAuth,codeSigning,emailProtection,timeStamping" doc:"Extended key usages of every certificate, in order; serverAuth unless said otherwise"`
	AllowedSANTypes      Opt[[]string]           `json:"allowed_san_types,omitzero" enum:"dns,ip,email,uri" doc:"Types of names that are issued; empty: every one. SPIFFE IDs are allowed by spiffe_uri_pattern alone"`
	RequiredSANPatterns  Opt[[]string]           `json:"required_san_patterns,omitzero" doc:"Patterns (* and ?) of which each name must match one; empty: every name"`
	SPIFFEURIPattern     Opt[string]             `json:"spiffe_uri_pattern,omitzero" doc:"Pattern that SPIFFE URIs must match; empty: none are issued"`
	AllowShortLived      Opt[bool]               `json:"allow_short_lived,omitzero" doc:"Lifetimes under 7 days are allowed, then without revocation"`
	CutToIssuer          Opt[bool]               `json:"cut_to_issuer,omitzero" doc:"A lifetime past the authority's end is cut instead of refused"`
	Enabled              Opt[bool]               `json:"enabled,omitzero" doc:"Certificates may be issued by it; true unless said otherwise"`
}

// ListProfilesInput filters profiles.
type ListProfilesInput struct {
	Listing
	Name   string `query:"name" maxLength:"255" doc:"Exactly this name"`
	TeamID string `query:"team_id" maxLength:"128" doc:"Of this team"`
}

const profilesPath = "/api/v1/profiles"

// The operations on profiles.
var (
	ListProfiles  = list[ListProfilesInput, Profile](profilesPath, "listProfiles", "Profiles", "List profiles")
	CreateProfile = post[Make[ProfileWrite], Profile](profilesPath, "createProfile", "Profiles", "Create a profile", 201, leafward.RoleAdmin, 409)
	GetProfile    = get[ByID, Profile](profilesPath+"/{id}", "getProfile", "Profiles", "Get a profile")
	UpdateProfile = put[Update[ProfileWrite], Profile](profilesPath+"/{id}", "updateProfile", "Profiles", "Change a profile", leafward.RoleAdmin)
	DeleteProfile = remove(profilesPath+"/{id}", "deleteProfile", "Profiles", "Delete a profile that nothing refers to", leafward.RoleAdmin)
)

func profileOperations() []Info {
	return []Info{ListProfiles.Info, CreateProfile.Info, GetProfile.Info, UpdateProfile.Info, DeleteProfile.Info}
}
