package api

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/leafward/leafward"
)

// Certificate is what should be, as the API answers it: the names, the key and the places, over all its versions.
type Certificate struct {
	Replay
	ID                   string              `json:"id"`
	Number               int64               `json:"number"`
	UUID                 string              `json:"uuid"`
	Revision             int64               `json:"revision"`
	Name                 string              `json:"name" doc:"Unique in the team"`
	CommonName           string              `json:"common_name"`
	SANs                 []string            `json:"sans" nullable:"false" doc:"Host names, IP addresses, e-mail addresses and URIs"`
	Environment          string              `json:"environment"`
	OwnerID              string              `json:"owner_id"`
	TeamID               string              `json:"team_id"`
	IssuerID             string              `json:"issuer_id"`
	TargetIDs            []string            `json:"target_ids" nullable:"false" doc:"Targets where it is installed"`
	RenewalPolicyID      string              `json:"renewal_policy_id"`
	CertificateProfileID string              `json:"certificate_profile_id"`
	Status               string              `json:"status" enum:"Pending,Active,Expiring,Expired,RenewalInProgress,Failed,Revoked,Archived" doc:"The first that holds of Archived, Revoked, Expired, RenewalInProgress, Failed, Expiring, Active, Pending"`
	Tags                 map[string]string   `json:"tags"`
	KeySource            string              `json:"key_source" enum:"agent,client,server" doc:"Who holds the key"`
	KeyAlgorithm         string              `json:"key_algorithm" doc:"Of its keys; empty: what the profile takes first, or what a CSR brings"`
	KeySize              int                 `json:"key_size" doc:"Bits; 0 without key_algorithm"`
	ReuseKey             bool                `json:"reuse_key" doc:"A renewal without a new CSR signs the old one again"`
	TTLSeconds           int64               `json:"ttl_seconds" doc:"Lifetime; 0: the profile's"`
	ExpiresAt            *time.Time          `json:"expires_at,omitempty" doc:"Earliest end among the versions in use; absent before the first"`
	RenewsAt             *time.Time          `json:"renews_at,omitempty" doc:"When it is renewed by itself; absent when it is not"`
	WaitingFor           string              `json:"waiting_for" doc:"Why it is not renewed although its moment has come; empty when nothing keeps it"`
	LastRenewalAt        *time.Time          `json:"last_renewal_at,omitempty"`
	LastDeploymentAt     *time.Time          `json:"last_deployment_at,omitempty"`
	RevokedAt            *time.Time          `json:"revoked_at,omitempty"`
	RevocationReason     string              `json:"revocation_reason"`
	VersionRevokedAt     *time.Time          `json:"version_revoked_at,omitempty" doc:"Since when a version in use is revoked although the certificate is not: it is to be renewed"`
	PendingChange        bool                `json:"pending_change" doc:"Names, key, profile or issuer were changed since the version in use was issued, or the certificate imported; the next renewal applies them"`
	JobID                string              `json:"job_id" doc:"Issuance or renewal in progress; empty when none is"`
	LastError            string              `json:"last_error" doc:"Why the last issuance or renewal failed; empty after a success"`
	Version              *CertificateVersion `json:"version,omitempty" doc:"Current version; only where one certificate is shown"`
	PrivateKeyPEM        string              `json:"private_key_pem,omitempty" doc:"Key that the server made when it was asked to; returned once"`
	IgnoredProperties    []string            `json:"ignored_properties,omitempty" nullable:"false" doc:"Properties of the request that this API does not know"`
	CreatedAt            time.Time           `json:"created_at"`
	UpdatedAt            time.Time           `json:"updated_at"`
}

// ETag is the revision.
func (c Certificate) ETag() int64 { return c.Revision }

// Replay marks the answer to a repeated request, which is told in a header.
type Replay struct {
	Replayed bool `json:"-"`
}

// IdempotencyReplayed tells whether the request was answered before.
func (r Replay) IdempotencyReplayed() bool { return r.Replayed }

// CertificateVersion is what was signed.
type CertificateVersion struct {
	ID                string     `json:"id"`
	Number            int64      `json:"number"`
	UUID              string     `json:"uuid"`
	CertificateID     string     `json:"certificate_id"`
	SerialNumber      string     `json:"serial_number" doc:"Hexadecimal, without leading zeros"`
	NotBefore         time.Time  `json:"not_before"`
	NotAfter          time.Time  `json:"not_after"`
	FingerprintSHA256 string     `json:"fingerprint_sha256" doc:"Hexadecimal"`
	PEMChain          string     `json:"pem_chain" doc:"Leaf first, then those above it, without the root"`
	CSRPEM            string     `json:"csr_pem" doc:"Request that it was signed from"`
	KeyAlgorithm      string     `json:"key_algorithm"`
	KeySize           int        `json:"key_size"`
	IssuerID          string     `json:"issuer_id"`
	Slot              string     `json:"slot" doc:"Who holds the key: the id of an agent, client or server"`
	Current           bool       `json:"current" doc:"Newest of its slot"`
	PredecessorID     string     `json:"predecessor_id"`
	RevokedAt         *time.Time `json:"revoked_at,omitempty"`
	RevocationReason  string     `json:"revocation_reason"`
	CreatedAt         time.Time  `json:"created_at"`
}

// CertificateOf is the certificate on the wire; the caller adds where it is, how it stands and what was signed.
func CertificateOf(c *leafward.Certificate) Certificate {
	tags := c.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	return Certificate{
		ID: c.ID, Number: c.Number, UUID: c.UUID, Revision: c.Revision, Name: c.Name, CommonName: c.CommonName, SANs: some(c.SANs), Environment: c.Environment,
		OwnerID: c.Owner, TeamID: c.Team, IssuerID: c.Issuer, TargetIDs: []string{}, RenewalPolicyID: c.Policy, CertificateProfileID: c.Profile, Tags: tags,
		KeySource: string(c.KeySource), KeyAlgorithm: c.Algorithm, KeySize: c.Size, ReuseKey: c.ReuseKey, TTLSeconds: c.TTL,
		ExpiresAt: instant(c.ExpiresAt), RenewsAt: instant(c.RenewAt), LastRenewalAt: instant(c.RenewedAt), LastDeploymentAt: instant(c.DeployedAt),
		RevokedAt: instant(c.RevokedAt), RevocationReason: c.Reason, VersionRevokedAt: instant(c.StruckAt), PendingChange: c.Changed(), JobID: c.OpenJob, LastError: c.LastError,
		CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt,
	}
}

// CertificateVersionOf is the version on the wire; the caller adds its PEM.
func CertificateVersionOf(v *leafward.Version) CertificateVersion {
	return CertificateVersion{
		ID: v.ID, Number: v.Number, UUID: v.UUID, CertificateID: v.Certificate, SerialNumber: v.Serial, NotBefore: v.NotBefore, NotAfter: v.NotAfter,
		FingerprintSHA256: v.SHA256, KeyAlgorithm: v.Algorithm, KeySize: v.Size, IssuerID: v.Issuer, Slot: v.Slot, Current: v.Current, PredecessorID: v.Predecessor,
		RevokedAt: instant(v.RevokedAt), RevocationReason: v.Reason, CreatedAt: v.CreatedAt,
	}
}

// CertificateWrite is what a client writes of a certificate.
type CertificateWrite struct {
	Stored
	Name                 Opt[string]            `json:"name,omitzero" doc:"Name, unique in the team; the first host name unless said otherwise"`
	CommonName           Opt[string]            `json:"common_name,omitzero" doc:"Common name; where it is a host name it is among the names too"`
	SANs                 Opt[[]string]          `json:"sans,omitzero" doc:"Host names, IP addresses, e-mail addresses and URIs"`
	Environment          Opt[string]            `json:"environment,omitzero" doc:"Label to find and filter by"`
	OwnerID              Opt[string]            `json:"owner_id,omitzero" doc:"Who answers for it; o-default unless said otherwise" maxLength:"128"`
	TeamID               Opt[string]            `json:"team_id,omitzero" doc:"Team that it belongs to; the key's own, or t-default" maxLength:"128"`
	IssuerID             Opt[string]            `json:"issuer_id,omitzero" doc:"Who signs; iss-local unless said otherwise" maxLength:"128"`
	TargetIDs            Opt[[]string]          `json:"target_ids,omitzero" doc:"Targets where it is installed"`
	RenewalPolicyID      Opt[string]            `json:"renewal_policy_id,omitzero" doc:"When it is renewed; rp-default unless said otherwise" maxLength:"128"`
	CertificateProfileID Opt[string]            `json:"certificate_profile_id,omitzero" doc:"What it may be; prof-server unless said otherwise" maxLength:"128"`
	Tags                 Opt[map[string]string] `json:"tags,omitzero" doc:"Labels to find it by"`
	KeySource            Opt[string]            `json:"key_source,omitzero" enum:"agent,client,server" doc:"Who makes the key: the agents of the targets, the caller by a CSR, or the server"`
	KeyAlgorithm         Opt[string]            `json:"key_algorithm,omitzero" enum:",RSA,ECDSA,Ed25519" doc:"Of its keys; none: what the profile takes first, or what a CSR brings"`
	KeySize              Opt[int]               `json:"key_size,omitzero" doc:"Bits; none: 2048 for RSA, 256 otherwise"`
	ReuseKey             Opt[bool]              `json:"reuse_key,omitzero" doc:"A renewal without a new CSR signs the old one again; false unless said otherwise"`
	TTLSeconds           Opt[int64]             `json:"ttl_seconds,omitzero" doc:"Lifetime, within the profile's; none: the profile's"`

	Status            Opt[string]             `json:"status,omitzero" doc:"Follows from what happens; cannot be written"`
	ExpiresAt         Opt[time.Time]          `json:"expires_at,omitzero" doc:"Set by the server"`
	RenewsAt          Opt[time.Time]          `json:"renews_at,omitzero" doc:"Set by the server"`
	WaitingFor        Opt[string]             `json:"waiting_for,omitzero" doc:"Set by the server"`
	LastRenewalAt     Opt[time.Time]          `json:"last_renewal_at,omitzero" doc:"Set by the server"`
	LastDeploymentAt  Opt[time.Time]          `json:"last_deployment_at,omitzero" doc:"Set by the server"`
	RevokedAt         Opt[time.Time]          `json:"revoked_at,omitzero" doc:"Set by the server"`
	RevocationReason  Opt[string]             `json:"revocation_reason,omitzero" doc:"Set by the server"`
	VersionRevokedAt  Opt[time.Time]          `json:"version_revoked_at,omitzero" doc:"Set by the server"`
	PendingChange     Opt[bool]               `json:"pending_change,omitzero" doc:"Set by the server"`
	JobID             Opt[string]             `json:"job_id,omitzero" doc:"Set by the server"`
	LastError         Opt[string]             `json:"last_error,omitzero" doc:"Set by the server"`
	Version           Opt[CertificateVersion] `json:"version,omitzero" doc:"Set by the server"`
	IgnoredProperties Opt[[]string]           `json:"ignored_properties,omitzero" doc:"Set by the server"`
}

// NewCertificate is CertificateWrite with what is said once, on create. Properties that it does not have are kept by
// name and otherwise ignored.
type NewCertificate struct {
	_ struct{} `additionalProperties:"true"`
	CertificateWrite
	CSRPEM  string   `json:"csr_pem,omitempty" maxLength:"65536" doc:"Request of a caller who holds the key, in PEM; names that are not said come from it, once"`
	Ignored []string `json:"-"`
}

// UnmarshalJSON reads the properties and names those that do not exist.
func (c *NewCertificate) UnmarshalJSON(text []byte) error {
	type plain NewCertificate
	if err := json.Unmarshal(text, (*plain)(c)); err != nil {
		return err
	}
	var sent map[string]json.RawMessage
	if err := json.Unmarshal(text, &sent); err != nil {
		return err
	}
	known := properties(reflect.TypeFor[NewCertificate]())
	for name := range sent {
		if !slices.Contains(known, name) && len(c.Ignored) < maxIgnored {
			c.Ignored = append(c.Ignored, name)
		}
	}
	slices.Sort(c.Ignored)
	return nil
}

// maxIgnored bounds how many unknown properties are named.
const maxIgnored = 50

// properties are the JSON names of a struct's fields, embedded structs flattened.
func properties(t reflect.Type) (names []string) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			names = append(names, properties(f.Type)...)
		case name != "" && name != "-":
			names = append(names, name)
		}
	}
	return names
}
