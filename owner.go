package leafward

import "net/mail"

// Team is the one tenancy scope: every list is filtered by it.
type Team struct {
	Row
	Number      int64  `db:"number,auto"`
	Slug        string `db:"slug"`
	Name        string `db:"name"`
	Description string `db:"description"`
}

// Validate names everything a client wrote wrong.
func (t *Team) Validate() error {
	var p Problems
	CheckID(&p, t.ID)
	CheckName(&p, "name", t.Name)
	CheckText(&p, "description", t.Description, MaxDescription)
	return p.Err()
}

// Scope is the team itself.
func (t *Team) Scope() string { return t.ID }

// Terms are the words the team is found by.
func (t *Team) Terms() []string { return append(words(t.Description), t.ID, t.Name) }

// Owner answers for certificates: the person or group that is told.
type Owner struct {
	Row
	Team  string `db:"team"`
	Name  string `db:"name"`
	Email string `db:"email"`
}

// Validate names everything a client wrote wrong.
func (o *Owner) Validate() error {
	var p Problems
	CheckID(&p, o.ID)
	CheckName(&p, "name", o.Name)
	CheckEmail(&p, "email", o.Email)
	return p.Err()
}

// Scope is the team that the owner belongs to.
func (o *Owner) Scope() string { return o.Team }

// Terms are the words the owner is found by.
func (o *Owner) Terms() []string { return []string{o.ID, o.Name, o.Email} }

// CheckEmail accepts nothing or one bare address.
func CheckEmail(p *Problems, field, address string) {
	if address == "" {
		return
	}
	a, err := mail.ParseAddress(address)
	p.Check(err == nil && a.Name == "" && a.Address == address && len(address) <= 254, field, "is not an e-mail address", "write it as name@example.com")
}

// Ids of the seeds that every installation starts with.
const (
	DefaultTeam   = "t-default"
	DefaultOwner  = "o-default"
	DefaultIssuer = "iss-local"
	ServerProfile = "prof-server"
	DefaultPolicy = "rp-default"
)
