package leafward

import "time"

// Custody says where the private key of an authority is.
type Custody string

// Where the private key of an authority may be.
const (
	CustodyLocal    Custody = "local"    // here, sealed under the master key
	CustodyOffline  Custody = "offline"  // it was here and is kept by people, in a file: the authority signs nothing
	CustodyExternal Custody = "external" // with somebody else, whose authority it is
)

// Ours tells whether this server answers for the authority, with CRLs and OCSP, be its key here or offline.
func (a *Authority) Ours() bool { return a.Custody == CustodyLocal || a.Custody == CustodyOffline }

// Away is the error of what needs the signature of an authority whose key is offline; nil while it is here.
func (a *Authority) Away() error {
	if a.Custody != CustodyOffline {
		return nil
	}
	return Errorf(Conflict, a.Return(), "the key of the authority %s is offline since %s, and it signs nothing meanwhile", a.Name, a.OfflineAt.Format(time.DateOnly))
}

// Return is what brings the key of an authority back.
func (a *Authority) Return() string {
	return "bring its key back: leafward ca online '" + a.Name + "' FILE"
}

// AuthorityStanding is an authority with what it has published and what it needs.
type AuthorityStanding struct {
	Authority
	Root        bool
	SHA256      string // of its certificate
	NotBefore   time.Time
	CRL         CRL       // without its DER; zero for an authority of somebody else
	Waiting     int       // revocations and releases that the CRL does not tell yet
	Responder   time.Time // end of its OCSP responder; zero without one
	SuccessorAt time.Time // when it gets a successor here; zero when it gets none
	Needs       []Need
}

// Need is something about an authority that needs somebody.
type Need struct {
	Code         string // crl, revocations, successor, certificate
	Message, Fix string
	At           time.Time // when it breaks
	Broken       bool      // it is broken already
}
