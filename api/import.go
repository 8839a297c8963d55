package api

import "github.com/leafward/leafward"

// ImportRequest is a list of certificates that were signed elsewhere, and what its rows do not say of them.
type ImportRequest struct {
	PEM                  string            `json:"pem,omitempty" doc:"Certificates in PEM, each followed by those above it where they are at hand"`
	CSV                  string            `json:"csv,omitempty" doc:"Rows below a line that names the columns: certificate (PEM, or DER in base64), and name, owner, team, issuer, profile, policy (each an id or a name), environment, tags (NAME=VALUE;NAME=VALUE), key_source"`
	FirstLine            int               `json:"first_line,omitempty" minimum:"1" maximum:"2000000000" doc:"Number of its first line, where the list is a part of a longer one; 1 unless said otherwise"`
	OwnerID              string            `json:"owner_id,omitempty" maxLength:"128" doc:"Who answers for them; o-default unless said otherwise"`
	TeamID               string            `json:"team_id,omitempty" maxLength:"128" doc:"Team that they belong to; the key's own, or t-default"`
	IssuerID             string            `json:"issuer_id,omitempty" maxLength:"128" doc:"Who signs their renewals; iss-local unless said otherwise"`
	RenewalPolicyID      string            `json:"renewal_policy_id,omitempty" maxLength:"128" doc:"When they are renewed; rp-default unless said otherwise"`
	CertificateProfileID string            `json:"certificate_profile_id,omitempty" maxLength:"128" doc:"What they may be; prof-server unless said otherwise"`
	Environment          string            `json:"environment,omitempty" doc:"Label to find and filter by"`
	Tags                 map[string]string `json:"tags,omitempty" doc:"Labels to find them by"`
	KeySource            string            `json:"key_source,omitempty" enum:"agent,client,server" doc:"Who makes the key of a renewal: the agents of the targets, the caller by a CSR, or the server; agent unless said otherwise"`
}

// Record is what the request says of every certificate.
func (r *ImportRequest) Record() leafward.Certificate {
	return leafward.Certificate{
		Owner: r.OwnerID, Team: r.TeamID, Issuer: r.IssuerID, Policy: r.RenewalPolicyID, Profile: r.CertificateProfileID,
		Environment: r.Environment, Tags: r.Tags, KeySource: leafward.KeyCustody(r.KeySource),
	}
}

// ImportResult is what became of a list.
type ImportResult struct {
	Total          int         `json:"total" doc:"Rows of the list"`
	Imported       int         `json:"imported" doc:"Of those, certificates that are managed from now on, or got the chain that they lacked"`
	Known          int         `json:"known" doc:"Of those, certificates that were here already"`
	Archived       int         `json:"archived" doc:"Of the known ones, those that are archived, and so not managed"`
	Refused        int         `json:"refused" doc:"Of those, refused; their problems say why"`
	Rows           []ImportRow `json:"rows" nullable:"false" doc:"Each row, in the order of the list"`
	IgnoredColumns []string    `json:"ignored_columns" nullable:"false" doc:"Columns that this API does not know"`
}

// ImportRow is what became of a row.
type ImportRow struct {
	Line              int              `json:"line" doc:"On which it begins"`
	Outcome           string           `json:"outcome" enum:"imported,known,refused"`
	CertificateID     string           `json:"certificate_id,omitempty"`
	VersionID         string           `json:"version_id,omitempty"`
	Name              string           `json:"name,omitempty"`
	FingerprintSHA256 string           `json:"fingerprint_sha256,omitempty" doc:"Hexadecimal"`
	Archived          bool             `json:"archived,omitempty" doc:"It is known, and was archived"`
	Problems          []leafward.Field `json:"problems,omitempty" nullable:"false" doc:"Why it was refused"`
}

// ImportCertificates takes in certificates that were signed elsewhere.
var ImportCertificates = post[Make[ImportRequest], ImportResult](certificatesPath+"/import", "importCertificates", "Certificates", "Take in certificates that were signed elsewhere", 200, leafward.RoleOperator, 409)
