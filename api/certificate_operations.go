package api

import (
	"net/http"
	"time"

	"github.com/leafward/leafward"
)

// ListCertificatesInput filters certificates.
type ListCertificatesInput struct {
	Listing
	Status               string `query:"status" enum:"Pending,Active,Expiring,Expired,RenewalInProgress,Failed,Revoked,Archived" doc:"Shown as this; without it, all but archived ones"`
	Environment          string `query:"environment" maxLength:"255" doc:"Of this environment"`
	OwnerID              string `query:"owner_id" maxLength:"128" doc:"Of this owner"`
	TeamID               string `query:"team_id" maxLength:"128" doc:"Of this team"`
	IssuerID             string `query:"issuer_id" maxLength:"128" doc:"Of this issuer"`
	CertificateProfileID string `query:"certificate_profile_id" maxLength:"128" doc:"Of this profile"`
	RenewalPolicyID      string `query:"renewal_policy_id" maxLength:"128" doc:"Of this renewal policy"`
	Name                 string `query:"name" maxLength:"255" doc:"Exactly this name"`
	CommonName           string `query:"common_name" maxLength:"255" doc:"Exactly this common name"`
	TargetID             string `query:"target_id" maxLength:"128" doc:"Installed at this target"`
	AgentID              string `query:"agent_id" maxLength:"128" doc:"Installed by this agent"`
	VersionRevoked       string `query:"version_revoked" enum:"true" doc:"Of which a version in use is revoked although the certificate is not"`
}

// Filters are the filters that were sent.
func (in ListCertificatesInput) Filters() map[string]string {
	return map[string]string{
		"status": in.Status, "environment": in.Environment, "owner_id": in.OwnerID, "team_id": in.TeamID, "issuer_id": in.IssuerID,
		"certificate_profile_id": in.CertificateProfileID, "renewal_policy_id": in.RenewalPolicyID, "name": in.Name, "common_name": in.CommonName,
		"target_id": in.TargetID, "agent_id": in.AgentID, "version_revoked": in.VersionRevoked,
	}
}

// CreateCertificateInput is the input of createCertificate.
type CreateCertificateInput struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" doc:"Makes a repeated request answer as the first did, for 24 hours"`
	Wait           int    `query:"wait" minimum:"0" maximum:"60" doc:"Seconds to wait until it is issued"`
	Body           NewCertificate
}

// ListVersionsInput names the certificate whose versions are listed.
type ListVersionsInput struct {
	ID string `path:"id" maxLength:"128" doc:"Id of the resource"`
	Paging
}

// Ask is the input of an operation that does something with one thing and has no body.
type Ask struct {
	ID             string `path:"id" maxLength:"128" doc:"Id of the resource"`
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" doc:"Makes a repeated request answer as the first did, for 24 hours"`
}

// AskWith is Ask with a body that may be left out.
type AskWith[T any] struct {
	ID             string `path:"id" maxLength:"128" doc:"Id of the resource"`
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" doc:"Makes a repeated request answer as the first did, for 24 hours"`
	Body           *T
}

// Renewal says that a renewal was begun.
type Renewal struct {
	Replay
	Status string `json:"status"`
	JobID  string `json:"job_id" doc:"The renewal"`
}

// DeployRequest says what is deployed where.
type DeployRequest struct {
	TargetID  string `json:"target_id,omitempty" maxLength:"128" doc:"Only at this target"`
	VersionID string `json:"version_id,omitempty" maxLength:"128" doc:"This version instead of the current one; an earlier one stays until somebody deploys again"`
}

// Deployments says that deployments were begun.
type Deployments struct {
	Replay
	Status string   `json:"status"`
	JobIDs []string `json:"job_ids" nullable:"false" doc:"A deployment for each target"`
}

// RevokeRequest says why and how a certificate is revoked.
type RevokeRequest struct {
	Reason    string `json:"reason,omitempty" enum:"unspecified,keyCompromise,caCompromise,affiliationChanged,superseded,cessationOfOperation,certificateHold,privilegeWithdrawn" doc:"Reason of RFC 5280; unspecified unless said otherwise"`
	VersionID string `json:"version_id,omitempty" maxLength:"128" doc:"Only this version; otherwise every one that has not expired, and the certificate is closed"`
	Replace   bool   `json:"replace,omitempty" doc:"A version with a new key is made, deployed and proved first; for keyCompromise the revocation comes first"`
}

// Revocation says what became of a certificate that was to be revoked or released.
type Revocation struct {
	Replay
	Status      string      `json:"status" doc:"revoked, released or, when a replacement comes first, replacing"`
	JobID       string      `json:"job_id,omitempty" doc:"The renewal that replaces what is revoked"`
	AlsoRevoked []string    `json:"also_revoked" doc:"Certificates of which versions are revoked as well, since they have the compromised key"`
	Certificate Certificate `json:"certificate"`
}

// CSRRequest brings a CSR for an order that waits for it.
type CSRRequest struct {
	CSRPEM string `json:"csr_pem" minLength:"1" maxLength:"65536" doc:"Request in PEM; the certificate's record decides the names"`
}

// SubmitCSRInput is the input of submitCertificateCSR.
type SubmitCSRInput struct {
	ID             string `path:"id" maxLength:"128" doc:"Id of the resource"`
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" doc:"Makes a repeated request answer as the first did, for 24 hours"`
	Wait           int    `query:"wait" minimum:"0" maximum:"60" doc:"Seconds to wait until it is issued"`
	Body           CSRRequest
}

// PrivateKey is a key that the server made, right when it is handed out.
type PrivateKey struct {
	Replay
	VersionID     string `json:"version_id"`
	PrivateKeyPEM string `json:"private_key_pem" doc:"PKCS#8; it cannot be asked for again"`
}

// Deployment is a target of a certificate and what is known of the certificate there.
type Deployment struct {
	ID              string         `json:"id"`
	Name            string         `json:"name"`
	Type            string         `json:"type" enum:"NGINX,Apache,HAProxy,Traefik,Caddy,Envoy,Postfix,Dovecot,IIS,F5,SSH,WinCertStore,JavaKeystore,KubernetesSecrets"`
	AgentID         string         `json:"agent_id"`
	Config          map[string]any `json:"config" doc:"Without secrets"`
	Enabled         bool           `json:"enabled"`
	DesiredVersion  string         `json:"desired_version_id" doc:"Version that must be there"`
	DeployedVersion string         `json:"deployed_version_id" doc:"Version that was written there"`
	DeployedAt      *time.Time     `json:"deployed_at,omitempty"`
	ProvedVersion   string         `json:"proved_version_id" doc:"Version that was seen there"`
	ProvedAt        *time.Time     `json:"proved_at,omitempty"`
	Proof           string         `json:"proof" enum:"served,file,acked,none" doc:"How it was proved"`
	Pinned          bool           `json:"pinned" doc:"An earlier version stays there until somebody deploys again"`
	LastError       string         `json:"last_error"`
	CreatedAt       time.Time      `json:"created_at"`
	UpdatedAt       time.Time      `json:"updated_at"`
}

// DeploymentOf is the target and what is known of the installation there on the wire; config is without secrets.
func DeploymentOf(t *leafward.Target, i *leafward.Installation, config map[string]any) Deployment {
	return Deployment{
		ID: t.ID, Name: t.Name, Type: t.Type, AgentID: t.Agent, Config: config, Enabled: t.Enabled, DesiredVersion: i.Desired,
		DeployedVersion: i.Deployed, DeployedAt: instant(i.DeployedAt), ProvedVersion: i.Proved, ProvedAt: instant(i.ProvedAt),
		Proof: string(i.Proof), Pinned: i.Pinned, LastError: i.LastError, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt,
	}
}

// DeploymentList is every place of a certificate.
type DeploymentList struct {
	Data  []Deployment `json:"data" nullable:"false"`
	Total int64        `json:"total"`
}

// ExportPEMInput is the input of exportCertificatePEM.
type ExportPEMInput struct {
	ID       string `path:"id" maxLength:"128" doc:"Id of the resource"`
	Download string `query:"download" enum:"true" doc:"Answer the file instead of JSON"`
}

// PEMExport is a certificate in PEM.
type PEMExport struct {
	CertPEM  string `json:"cert_pem" doc:"The certificate"`
	ChainPEM string `json:"chain_pem" doc:"Those above it, without the root"`
	FullPEM  string `json:"full_pem" doc:"Both"`
}

const certificatesPath = "/api/v1/certificates"

// The operations on certificates.
var (
	ListCertificates = list[ListCertificatesInput, Certificate](certificatesPath, "listCertificates", "Certificates", "List certificates")
	// CreateCertificate ignores unknown properties and names them.
	CreateCertificate = Operation[CreateCertificateInput, Certificate]{Info{
		Method: http.MethodPost, Path: certificatesPath, ID: "createCertificate", Tag: "Certificates", Summary: "Record a certificate and begin its issuance",
		Status: 201, Role: leafward.RoleOperator, Errors: []int{409}, Lax: true,
	}}
	GetCertificate            = get[ByID, Certificate](certificatesPath+"/{id}", "getCertificate", "Certificates", "Get a certificate with its current version")
	UpdateCertificate         = put[Update[CertificateWrite], Certificate](certificatesPath+"/{id}", "updateCertificate", "Certificates", "Change a certificate", leafward.RoleOperator)
	ArchiveCertificate        = remove(certificatesPath+"/{id}", "archiveCertificate", "Certificates", "Archive a certificate; its history stays", leafward.RoleOperator)
	ListCertificateVersions   = list[ListVersionsInput, CertificateVersion](certificatesPath+"/{id}/versions", "listCertificateVersions", "Certificates", "List what was signed, the newest first")
	GetCertificateDeployments = get[ByID, DeploymentList](certificatesPath+"/{id}/deployments", "getCertificateDeployments", "Certificates", "List the targets of a certificate")
	TriggerRenewal            = post[Ask, Renewal](certificatesPath+"/{id}/renew", "triggerRenewal", "Certificates", "Renew a certificate now", 202, leafward.RoleOperator, 409)
	TriggerDeployment         = post[AskWith[DeployRequest], Deployments](certificatesPath+"/{id}/deploy", "triggerDeployment", "Certificates", "Deploy a certificate to its targets again", 202, leafward.RoleOperator, 409)
	RevokeCertificate         = post[AskWith[RevokeRequest], Revocation](certificatesPath+"/{id}/revoke", "revokeCertificate", "Certificates", "Revoke a certificate", 200, leafward.RoleOperator, 409)
	ReleaseCertificate        = post[Ask, Revocation](certificatesPath+"/{id}/release", "releaseCertificate", "Certificates", "Lift a certificateHold", 200, leafward.RoleOperator, 409)
	SubmitCertificateCSR      = post[SubmitCSRInput, Certificate](certificatesPath+"/{id}/csr", "submitCertificateCSR", "Certificates", "Bring the CSR that a certificate waits for", 202, leafward.RoleOperator, 409)
	TakeCertificateKey        = post[Ask, PrivateKey](certificatesPath+"/{id}/key", "takeCertificateKey", "Certificates", "Hand out, once, the key that the server made", 200, leafward.RoleOperator, 409, 410)
	ExportCertificatePEM      = get[ExportPEMInput, PEMExport](certificatesPath+"/{id}/export/pem", "exportCertificatePEM", "Certificates", "Export a certificate in PEM")
)

func certificateOperations() []Info {
	return []Info{
		ListCertificates.Info, CreateCertificate.Info, GetCertificate.Info, UpdateCertificate.Info, ArchiveCertificate.Info, ListCertificateVersions.Info,
		GetCertificateDeployments.Info, TriggerRenewal.Info, TriggerDeployment.Info, RevokeCertificate.Info, ReleaseCertificate.Info,
		SubmitCertificateCSR.Info, TakeCertificateKey.Info, ExportCertificatePEM.Info, ImportCertificates.Info,
	}
}
