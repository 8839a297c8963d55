package leafward

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Issuer is what the operator configures: where certificates come from. It is not a CA certificate: an issuer of our own
// has an active authority, which changes at rollover.
type Issuer struct {
	Row
	Number    int64           `db:"number,auto"`
	Team      string          `db:"team"`
	Name      string          `db:"name"`
	Type      string          `db:"type"`
	Config    json.RawMessage `db:"config,json"`      // without the secret properties
	Sealed    []byte          `db:"sealed"`           // the secret properties, sealed; empty when there are none
	Secrets   []string        `db:"secrets_set,json"` // names of the secret properties that are set
	Authority string          `db:"authority"`        // active authority, "" when an upstream CA signs
	Enabled   bool            `db:"enabled"`
}

// GenericCA is the issuer type that is an authority of our own.
const GenericCA = "GenericCA"

// IssuerTypes are the types the contract knows; one that is not built in is refused by name.
func IssuerTypes() []string {
	return []string{"ACME", GenericCA, "StepCA", "VaultPKI", "DigiCert", "Sectigo", "GoogleCAS", "AWSACMPCA", "Entrust", "GlobalSign", "EJBCA"}
}

// Scope is the team, "" for an issuer that all teams share.
func (i *Issuer) Scope() string { return i.Team }

// Terms are the words the issuer is found by.
func (i *Issuer) Terms() []string { return []string{i.ID, i.Name, i.Type} }

// Validate names everything a client wrote wrong; the configuration is checked by the issuer's plugin.
func (i *Issuer) Validate() error {
	var p Problems
	CheckID(&p, i.ID)
	CheckName(&p, "name", i.Name)
	p.Check(i.Type != "", "type", "is missing", "use one of GET /api/v1/plugins?kind=issuer")
	p.Check(len(i.Config) <= MaxConfig, "config", "is too large", fmt.Sprintf("keep it under %d bytes", MaxConfig))
	return p.Err()
}

// CheckType refuses a plugin type that the contract does not know or that is not built in.
func CheckType(kind, name string, known, built []string) error {
	if slices.Contains(built, name) {
		return nil
	}
	problem := fmt.Sprintf("%.60q is not a type of %s", name, kind)
	if slices.Contains(known, name) {
		problem = fmt.Sprintf("%s is not built into this version", name)
	}
	fix := "use one of " + strings.Join(built, ", ")
	return &Error{Kind: UnsupportedType, Message: problem, Fix: fix, Fields: []Field{{Field: "type", Problem: problem, Fix: fix}}}
}

// AuthorityState is where an authority is in its life.
type AuthorityState string

// The states of an authority.
const (
	AuthorityPending  AuthorityState = "pending"  // has a key, no certificate yet
	AuthorityActive   AuthorityState = "active"   // signs
	AuthorityRetiring AuthorityState = "retiring" // has a successor; signs CRLs and OCSP responders only
	AuthorityRetired  AuthorityState = "retired"  // its last serial is over
)

// Authority is one CA name and key.
type Authority struct {
	Row
	Issuer      string         `db:"issuer"` // the issuer that it belongs to
	Name        string         `db:"name"`
	Subject     []byte         `db:"subject"` // DER of the name
	SKI         string         `db:"ski"`     // subject key identifier, hex
	Key         string         `db:"key_id"`
	Algorithm   string         `db:"algorithm"`
	Size        int            `db:"size"`
	Custody     Custody        `db:"custody"`
	State       AuthorityState `db:"state"`
	Parent      string         `db:"parent"`
	Successor   string         `db:"successor"`
	Certificate string         `db:"certificate"` // the CA certificate that stands in new chains
	NotAfter    time.Time      `db:"not_after"`   // of that certificate
	CRLHours    int            `db:"crl_hours"`   // how long a CRL is valid
	Copy        string         `db:"copy_sha256"` // SHA-256 of the sealed copy of its key that was handed out last, hex
	Recipient   string         `db:"recipient"`   // public key of age that a key is sealed to when it comes back
	Intake      []byte         `db:"intake"`      // the private key of Recipient, sealed
	OfflineAt   time.Time      `db:"offline_at"`  // since when its key is offline
}

// CACertificate is a certificate for an authority.
type CACertificate struct {
	Row
	Authority string    `db:"authority"`
	Signer    string    `db:"signer"` // the authority that signed it; itself for a root
	Serial    string    `db:"serial"`
	Kind      string    `db:"kind"` // self, issued, cross, remade, imported
	DER       []byte    `db:"der"`
	SHA256    string    `db:"sha256"`
	NotBefore time.Time `db:"not_before"`
	NotAfter  time.Time `db:"not_after"`
}

// SerialState is what an authority knows of a serial.
type SerialState string

// The states of a serial.
const (
	SerialReserved  SerialState = "reserved"  // the intent is stored; answered unknown
	SerialIssued    SerialState = "issued"    // the certificate is stored; answered good unless revoked
	SerialAbandoned SerialState = "abandoned" // signed perhaps, never stored; answered revoked
	SerialImported  SerialState = "imported"  // known from a CRL or inventory
)

// Serial is what an authority must answer for. OCSP and CRLs read nothing else.
type Serial struct {
	Authority string      `db:"authority"`
	Serial    string      `db:"serial"` // minimal lower hex
	State     SerialState `db:"state"`
	Name      string      `db:"name"`    // what the certificate is for, for people
	Subject   string      `db:"subject"` // id of the request it was reserved for
	NotBefore time.Time   `db:"not_before"`
	NotAfter  time.Time   `db:"not_after"`
	Shard     int         `db:"shard"`
	TBS       []byte      `db:"tbs"` // what may be signed while it is reserved; empty afterwards
	TBSHash   []byte      `db:"tbs_hash"`
	NoCheck   bool        `db:"no_revocation"` // noRevAvail: never on a CRL
	CreatedAt time.Time   `db:"created_at"`
	RevokedAt time.Time   `db:"revoked_at"`
	Reason    string      `db:"reason"`
	Held      bool        `db:"held"`
	RevSeq    int64       `db:"rev_seq"` // grows with every revocation and release of the authority
}

// OwnRequest is how the id of a request begins that a server makes for the certificate which it shows itself.
const OwnRequest = "own"

// ServersOwn tells whether the certificate is one that a server shows itself, and renews.
func (s *Serial) ServersOwn() bool { return strings.HasPrefix(s.Subject, OwnRequest+"-") }

// CRL is the last list that an authority published for a shard.
type CRL struct {
	Authority  string    `db:"authority"`
	Shard      int       `db:"shard"`
	Number     int64     `db:"number"`
	ThisUpdate time.Time `db:"this_update"`
	NextUpdate time.Time `db:"next_update"`
	Entries    int       `db:"entries"`
	RevSeq     int64     `db:"rev_seq"` // the last revocation that is on it
	DER        []byte    `db:"der"`
}

// KeyCustody says who holds a private key.
type KeyCustody string

// Who may hold a private key.
const (
	AgentKey   KeyCustody = "agent"
	ClientKey  KeyCustody = "client"
	ServerKey  KeyCustody = "server"
	UnknownKey KeyCustody = "unknown" // somebody else, who is not known here
)

// Key is a key pair that leafward knows of; the private part is here only when the server made it.
type Key struct {
	Row
	SPKI          string     `db:"spki"` // SHA-256 of the SubjectPublicKeyInfo, hex
	Algorithm     string     `db:"algorithm"`
	Size          int        `db:"size"`
	Custody       KeyCustody `db:"custody"`
	Holder        string     `db:"holder"`    // agent id, authority id, …
	Sealed        []byte     `db:"sealed"`    // PKCS#8, sealed with the row as context; empty when it is elsewhere
	Retrieval     string     `db:"retrieval"` // once, never
	DeliveredAt   time.Time  `db:"delivered_at"`
	DestroyedAt   time.Time  `db:"destroyed_at"`
	CompromisedAt time.Time  `db:"compromised_at"`
}

// RevocationReasons maps the reasons of the contract to their CRLReason codes (RFC 5280 §5.3.1).
func RevocationReasons() map[string]int {
	return map[string]int{"unspecified": 0, "keyCompromise": 1, "caCompromise": 2, "affiliationChanged": 3, "superseded": 4, "cessationOfOperation": 5, "certificateHold": 6, "privilegeWithdrawn": 9}
}

// The reasons with a meaning of their own.
const (
	KeyCompromise   = "keyCompromise"
	CertificateHold = "certificateHold"
	Superseded      = "superseded"
	Unspecified     = "unspecified"
)
