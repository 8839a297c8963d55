package api

import (
	"net/http"
	"time"

	"github.com/leafward/leafward"
)

// CRLEvent is one publication of a CRL.
type CRLEvent struct {
	ID        string         `json:"id" doc:"Id of the event in the audit log"`
	Action    string         `json:"action"`
	Timestamp time.Time      `json:"timestamp"`
	Details   map[string]any `json:"details"`
}

// CRLCacheRow is how fresh the CRL of an authority is.
type CRLCacheRow struct {
	IssuerID     string     `json:"issuer_id"`
	AuthorityID  string     `json:"authority_id" doc:"Empty for an issuer whose CRLs somebody else publishes"`
	Name         string     `json:"name" doc:"Name of the authority, or of the issuer without one"`
	CachePresent bool       `json:"cache_present" doc:"A CRL was published"`
	IsStale      bool       `json:"is_stale" doc:"Its next update is over, or there is none although there should be"`
	CRLNumber    int64      `json:"crl_number"`
	ThisUpdate   *time.Time `json:"this_update"`
	NextUpdate   *time.Time `json:"next_update"`
	RevokedCount int        `json:"revoked_count" doc:"Entries of the CRL"`
	SizeBytes    int        `json:"size_bytes"`
	WaitingCount int        `json:"waiting_count" doc:"Revocations and releases that it does not tell yet"`
	RecentEvents []CRLEvent `json:"recent_events" nullable:"false" doc:"Its last publications, the newest first"`
}

// CRLCache is the state of all CRLs at one moment.
type CRLCache struct {
	CacheRows   []CRLCacheRow `json:"cache_rows" nullable:"false"`
	RowCount    int           `json:"row_count"`
	GeneratedAt time.Time     `json:"generated_at"`
}

// CRLEventOf is the event on the wire.
func CRLEventOf(e *leafward.Event) CRLEvent {
	wire := AuditEventOf(e)
	return CRLEvent{ID: wire.ID, Action: wire.Action, Timestamp: wire.Timestamp, Details: wire.Details}
}

// CRLInput names whose CRL is fetched.
type CRLInput struct {
	IssuerID string `path:"issuer_id" maxLength:"128" doc:"Id of an authority, or of an issuer: its active authority"`
}

// OCSPInput asks in the path.
type OCSPInput struct {
	IssuerID string `path:"issuer_id" maxLength:"128" doc:"Id of an authority, or of an issuer: its active authority"`
	Serial   string `path:"serial" doc:"Serial number in hex, or a DER request in base64 (RFC 6960 appendix A.1)"`
}

// CACertificateInput names whose certificate is fetched, and how it is written.
type CACertificateInput struct {
	Authority string `path:"authority" maxLength:"128" doc:"Id of an authority or issuer, or root for the root of the first start"`
	Format    string `query:"format" enum:"der,pem" doc:"der unless said otherwise"`
}

// world is an operation of the door that needs no key: it is declared here for clients and for the document.
func world[In any](method, path, id, summary, ask, answer string, errors ...int) Operation[In, Raw] {
	return Operation[In, Raw]{Info{
		Method: method, Path: path, ID: id, Tag: "CRL & OCSP", Summary: summary, Status: 200, Role: leafward.RolePublic, Errors: errors,
		Elsewhere: &Media{Ask: ask, Answer: answer},
	}}
}

// also lets an operation of that door answer in another form too.
func also[In any](op Operation[In, Raw], answer string) Operation[In, Raw] {
	op.Elsewhere.Also = answer
	return op
}

// The operations on what authorities tell of revocation.
var (
	ListCRLCache = Operation[Nothing, CRLCache]{Info{Method: http.MethodGet, Path: "/api/v1/admin/crl/cache", ID: "listCRLCache", Tag: "CRL & OCSP", Summary: "Tell how fresh the CRL of each authority is", Status: 200, Role: leafward.RoleAdmin}}

	GetDERCRL        = world[CRLInput](http.MethodGet, "/.well-known/pki/crl/{issuer_id}", "getDERCRL", "Fetch the CRL of an authority (RFC 5280)", "", "application/pkix-crl", 501)
	HandleOCSP       = world[OCSPInput](http.MethodGet, "/.well-known/pki/ocsp/{issuer_id}/{serial}", "handleOCSP", "Ask for the state of a certificate (RFC 6960)", "", "application/ocsp-response", 501)
	HandleOCSPPost   = world[CRLInput](http.MethodPost, "/.well-known/pki/ocsp/{issuer_id}", "handleOCSPPost", "Ask for the state of certificates (RFC 6960)", "application/ocsp-request", "application/ocsp-response", 413, 415, 501)
	GetCACertificate = also(world[CACertificateInput](http.MethodGet, "/.well-known/pki/ca/{authority}", "getCACertificate", "Fetch the certificate of an authority", "", "application/pkix-cert", 501), "application/x-pem-file")
)

func revocationOperations() []Info {
	return []Info{ListCRLCache.Info, GetDERCRL.Info, HandleOCSP.Info, HandleOCSPPost.Info, GetCACertificate.Info}
}
