package api

import (
	"time"

	"github.com/leafward/leafward"
)

// AuthorityNeed is something about an authority that needs somebody.
type AuthorityNeed struct {
	Code    string    `json:"code" enum:"crl,revocations,successor,certificate"`
	Message string    `json:"message"`
	Fix     string    `json:"fix" doc:"What to do"`
	At      time.Time `json:"at" doc:"When it breaks"`
	Broken  bool      `json:"broken" doc:"It is broken already"`
}

// Authority is one CA name and key, as the API answers it.
type Authority struct {
	ID            string          `json:"id"`
	UUID          string          `json:"uuid"`
	Revision      int64           `json:"revision"`
	Name          string          `json:"name"`
	Role          string          `json:"role" enum:"root,issuing" doc:"A root signs its own certificate; an issuing one has its certificate from another authority"`
	Custody       string          `json:"custody" enum:"local,offline,external" doc:"Where its private key is: here, with people in a file, or with somebody else"`
	State         string          `json:"state" enum:"pending,active,retiring,retired"`
	IssuerID      string          `json:"issuer_id" doc:"Issuer that it belongs to"`
	ParentID      string          `json:"parent_id" doc:"Authority above it; empty for a root"`
	SuccessorID   string          `json:"successor_id"`
	KeyAlgorithm  string          `json:"key_algorithm"`
	KeySize       int             `json:"key_size"`
	SHA256        string          `json:"sha256" doc:"SHA-256 of its certificate in DER, hex"`
	NotBefore     time.Time       `json:"not_before"`
	NotAfter      time.Time       `json:"not_after"`
	CRLNumber     int64           `json:"crl_number" doc:"0 for an authority of somebody else"`
	CRLThisUpdate *time.Time      `json:"crl_this_update"`
	CRLNextUpdate *time.Time      `json:"crl_next_update"`
	CRLWaiting    int             `json:"crl_waiting" doc:"Revocations and releases that the CRL does not tell yet"`
	ResponderEnds *time.Time      `json:"responder_ends" doc:"End of its OCSP responder"`
	SuccessorAt   *time.Time      `json:"successor_at" doc:"When it gets a successor here; null when it gets none"`
	OfflineSince  *time.Time      `json:"offline_since"`
	CopySHA256    string          `json:"copy_sha256" doc:"SHA-256 of the sealed copy with which its key left; empty while the key is here"`
	Recipient     string          `json:"recipient" doc:"Public key of age that its private key is sealed to when it comes back"`
	Needs         []AuthorityNeed `json:"needs" nullable:"false" doc:"What needs somebody"`
	CreatedAt     time.Time       `json:"created_at"`
	UpdatedAt     time.Time       `json:"updated_at"`
}

// AuthorityOf is the authority on the wire.
func AuthorityOf(s *leafward.AuthorityStanding) Authority {
	a := Authority{
		ID: s.ID, UUID: s.UUID, Revision: s.Revision, Name: s.Name, Role: "issuing", Custody: string(s.Custody), State: string(s.State),
		IssuerID: s.Issuer, ParentID: s.Parent, SuccessorID: s.Successor, KeyAlgorithm: s.Algorithm, KeySize: s.Size,
		SHA256: s.SHA256, NotBefore: s.NotBefore, NotAfter: s.NotAfter,
		CRLNumber: s.CRL.Number, CRLThisUpdate: instant(s.CRL.ThisUpdate), CRLNextUpdate: instant(s.CRL.NextUpdate), CRLWaiting: s.Waiting,
		ResponderEnds: instant(s.Responder), SuccessorAt: instant(s.SuccessorAt), OfflineSince: instant(s.OfflineAt),
		Needs: make([]AuthorityNeed, len(s.Needs)), CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt,
	}
	if s.Root {
		a.Role = "root"
	}
	if s.Custody == leafward.CustodyOffline {
		a.CopySHA256 = s.Copy // nobody else may name it before
		a.Recipient = s.Recipient
	}
	for i, n := range s.Needs {
		a.Needs[i] = AuthorityNeed{Code: n.Code, Message: n.Message, Fix: n.Fix, At: n.At, Broken: n.Broken}
	}
	return a
}

// Authorities are all that the caller sees.
type Authorities struct {
	Data  []Authority `json:"data" nullable:"false" doc:"The oldest first"`
	Total int         `json:"total"`
}

// AuthorityID names an authority.
type AuthorityID struct {
	ID string `path:"id" maxLength:"128" doc:"Id of the authority"`
}

// KeyCopyInput asks for the sealed private key of an authority.
type KeyCopyInput struct {
	ID   string `path:"id" maxLength:"128" doc:"Id of the authority"`
	Body struct {
		Recipients []string `json:"recipients" nullable:"false" maxItems:"16" doc:"Public keys of age (age1…); any of their private keys opens the copy"`
	}
}

// KeyCopy is the sealed private key of an authority.
type KeyCopy struct {
	SealedKey  string `json:"sealed_key" doc:"Private key and certificate in PEM, encrypted by age, as text"`
	CopySHA256 string `json:"copy_sha256" doc:"SHA-256 of sealed_key, hex"`
}

// OfflineInput has the private key of an authority removed.
type OfflineInput struct {
	ID   string `path:"id" maxLength:"128" doc:"Id of the authority"`
	Body struct {
		CopySHA256 string `json:"copy_sha256" maxLength:"64" doc:"copy_sha256 of the copy that was handed out last, which is kept somewhere"`
		CRLDays    int    `json:"crl_days,omitempty" default:"365" minimum:"1" maximum:"3650" doc:"How long the CRL is valid that it signs before, to its own end at most"`
	}
}

// OnlineInput puts the private key of an authority back.
type OnlineInput struct {
	ID   string `path:"id" maxLength:"128" doc:"Id of the authority"`
	Body struct {
		SealedKey string `json:"sealed_key" maxLength:"65536" doc:"Private key in PEM, encrypted by age to the authority's recipient, as text"`
	}
}

const authoritiesPath = "/api/v1/authorities"

// The operations on authorities.
var (
	ListAuthorities  = get[Nothing, Authorities](authoritiesPath, "listAuthorities", "Authorities", "List authorities")
	GetAuthority     = get[AuthorityID, Authority](authoritiesPath+"/{id}", "getAuthority", "Authorities", "Get an authority")
	CopyAuthorityKey = post[KeyCopyInput, KeyCopy](authoritiesPath+"/{id}/key-copies", "copyAuthorityKey", "Authorities", "Hand out the private key of an authority, sealed, before it is taken offline", 201, leafward.RoleAdmin, 409, 501)
	TakeOffline      = post[OfflineInput, Authority](authoritiesPath+"/{id}/offline", "takeAuthorityOffline", "Authorities", "Remove the private key of an authority, which was handed out", 200, leafward.RoleAdmin, 409, 501)
	BringOnline      = post[OnlineInput, Authority](authoritiesPath+"/{id}/online", "bringAuthorityOnline", "Authorities", "Put the private key of an authority back", 200, leafward.RoleAdmin, 409, 501)
)

func authorityOperations() []Info {
	return []Info{ListAuthorities.Info, GetAuthority.Info, CopyAuthorityKey.Info, TakeOffline.Info, BringOnline.Info}
}
