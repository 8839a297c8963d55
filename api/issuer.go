package api

import (
	"time"

	"github.com/leafward/leafward"
)

// Issuer is where certificates come from, as the API answers it.
type Issuer struct {
	ID          string    `json:"id"`
	Number      int64     `json:"number"`
	UUID        string    `json:"uuid"`
	Revision    int64     `json:"revision"`
	TeamID      string    `json:"team_id" doc:"Team it belongs to; empty when all teams share it"`
	Name        string    `json:"name"`
	Type        string    `json:"type" enum:"ACME,GenericCA,StepCA,VaultPKI,DigiCert,Sectigo,GoogleCAS,AWSACMPCA,Entrust,GlobalSign,EJBCA"`
	Config      Config    `json:"config" doc:"Configuration as GET /api/v1/plugins describes it for the type; a secret that is set is null"`
	SecretsSet  []string  `json:"secrets_set" nullable:"false" doc:"Names of the secrets of config that are set"`
	AuthorityID string    `json:"authority_id" doc:"Authority that signs; empty when an upstream CA does"`
	Enabled     bool      `json:"enabled"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

// ETag is the revision.
func (i Issuer) ETag() int64 { return i.Revision }

// IssuerOf is the issuer on the wire.
func IssuerOf(i *leafward.Issuer) Issuer {
	return Issuer{
		ID: i.ID, Number: i.Number, UUID: i.UUID, Revision: i.Revision, TeamID: i.Team, Name: i.Name, Type: i.Type,
		Config: ShownConfig(i.Config, i.Secrets), SecretsSet: some(i.Secrets), AuthorityID: i.Authority, Enabled: i.Enabled,
		CreatedAt: i.CreatedAt, UpdatedAt: i.UpdatedAt,
	}
}

// IssuerWrite is what a client writes of an issuer.
type IssuerWrite struct {
	Stored
	TeamID      Opt[string]   `json:"team_id,omitzero" doc:"Team that the issuer belongs to; none: all teams share it" maxLength:"128"`
	Name        Opt[string]   `json:"name,omitzero" doc:"Name, unique in the team"`
	Type        Opt[string]   `json:"type,omitzero" doc:"Type, one of GET /api/v1/plugins?kind=issuer; it stays for life" maxLength:"64"`
	Config      Opt[Config]   `json:"config,omitzero" doc:"Configuration as GET /api/v1/plugins describes it for the type. A change merges one level: what is absent stays, null clears"`
	SecretsSet  Opt[[]string] `json:"secrets_set,omitzero" doc:"Set by the server; beside config it says that a null there is a secret as it was shown"`
	AuthorityID Opt[string]   `json:"authority_id,omitzero" doc:"Set by the server" maxLength:"128"`
	Enabled     Opt[bool]     `json:"enabled,omitzero" doc:"Certificates may be issued by it; true unless said otherwise"`
}

// ListIssuersInput filters issuers.
type ListIssuersInput struct {
	Listing
	Name    string `query:"name" maxLength:"255" doc:"Exactly this name"`
	Type    string `query:"type" maxLength:"64" doc:"Of this type"`
	TeamID  string `query:"team_id" maxLength:"128" doc:"Of this team"`
	Enabled string `query:"enabled" enum:"true,false" doc:"Switched on, or off"`
}

// IssuerID is the input of an operation on one issuer.
type IssuerID struct {
	ID string `path:"id" maxLength:"128" doc:"Id of the issuer"`
}

// TestStep is one thing that a test found out.
type TestStep struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Message string `json:"message" doc:"What was found, and what to do where it is wrong"`
}

// IssuerTest is what came out of a test. It is told with 200 whatever it is.
type IssuerTest struct {
	Status  string     `json:"status" enum:"success,failed" doc:"Whether a certificate would be signed now"`
	Message string     `json:"message" doc:"What does not work; empty after success"`
	Steps   []TestStep `json:"steps" nullable:"false" doc:"What was tried, in order; a step that fails is the last"`
}

// IssuerTestOf is the outcome on the wire.
func IssuerTestOf(steps []leafward.Step) IssuerTest {
	out := IssuerTest{Status: "success", Steps: make([]TestStep, len(steps))}
	for i, s := range steps {
		out.Steps[i] = TestStep{Name: s.Name, OK: s.OK, Message: s.Message}
		if !s.OK {
			out.Status, out.Message = "failed", s.Message
		}
	}
	return out
}

const issuersPath = "/api/v1/issuers"

// The operations on issuers.
var (
	ListIssuers          = list[ListIssuersInput, Issuer](issuersPath, "listIssuers", "Issuers", "List issuers")
	CreateIssuer         = post[Make[IssuerWrite], Issuer](issuersPath, "createIssuer", "Issuers", "Create an issuer, with an authority of its own where it is of type GenericCA", 201, leafward.RoleAdmin, 409)
	GetIssuer            = get[ByID, Issuer](issuersPath+"/{id}", "getIssuer", "Issuers", "Get an issuer")
	UpdateIssuer         = put[Update[IssuerWrite], Issuer](issuersPath+"/{id}", "updateIssuer", "Issuers", "Change an issuer", leafward.RoleAdmin)
	DeleteIssuer         = remove(issuersPath+"/{id}", "deleteIssuer", "Issuers", "Delete an issuer that nothing refers to", leafward.RoleAdmin)
	TestIssuerConnection = post[IssuerID, IssuerTest](issuersPath+"/{id}/test", "testIssuerConnection", "Issuers", "Find out whether an issuer would sign now", 200, leafward.RoleAdmin)
)

func issuerOperations() []Info {
	return []Info{ListIssuers.Info, CreateIssuer.Info, GetIssuer.Info, UpdateIssuer.Info, DeleteIssuer.Info, TestIssuerConnection.Info}
}
