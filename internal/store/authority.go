package store

import (
	"fmt"
	"strconv"

	"github.com/leafward/leafward"
)

// Issuers is how issuers are kept.
func Issuers() Resource[leafward.Issuer, *leafward.Issuer] {
	return Resource[leafward.Issuer, *leafward.Issuer]{
		prefix:  "iss",
		created: leafward.IssuerCreated, updated: leafward.IssuerUpdated, deleted: leafward.IssuerDeleted,
		listing: listing[leafward.Issuer]{
			table: tableOf[leafward.Issuer]("issuer", "issuers"), scope: "team", by: "name",
			sorts: map[string]string{"name": "name", "created_at": "created_at", "id": "id"},
			where: map[string]string{"name": "name = ?", "type": "type = ?", "team_id": "team = ?", "enabled": "enabled = ?"},
			given: givenIssuer,
		},
	}
}

// givenIssuer reads the value of a filter.
func givenIssuer(name, value string) (any, error) {
	if name != "enabled" {
		return value, nil
	}
	if value != "true" && value != "false" {
		return nil, fmt.Errorf("%.60q is not true or false", value)
	}
	return strconv.ParseBool(value)
}

func authorities() table[leafward.Authority] {
	return tableOf[leafward.Authority]("authority", "authorities")
}

func caCertificates() table[leafward.CACertificate] {
	return tableOf[leafward.CACertificate]("ca_certificate", "ca_certificates")
}

// Issuer reads one issuer inside the actor's scope.
func (v *View) Issuer(id string) (leafward.Issuer, error) { return Issuers().Read(v, id) }

// IssuerTaken tells whether an issuer has this id already, whoever asks, or this name in the team.
func (v *View) IssuerTaken(id, team, name string) (taken bool, err error) {
	var n int
	return v.one("SELECT 1 FROM issuers WHERE id = $1 OR team = $2 AND name = $3", []any{id, team, name}, &n)
}

// AddIssuer inserts an issuer as it is, without its event.
func (tx *Tx) AddIssuer(i *leafward.Issuer) { add(tx, Issuers().listing.table, "iss", i) }

// PutIssuer writes an issuer that was read in this transaction, without an event.
func (tx *Tx) PutIssuer(i *leafward.Issuer) { put(tx, Issuers().listing.table, i) }

// Authority reads an authority by id.
func (v *View) Authority(id string) (leafward.Authority, error) {
	return byID(v, authorities(), "", id)
}

// FindAuthority reads an authority by id; found is false when there is none.
func (v *View) FindAuthority(id string) (a leafward.Authority, found bool, err error) {
	return selectOne(v, authorities(), "WHERE id = $1", id)
}

// AuthorityOf reads the authority of a name and key.
func (v *View) AuthorityOf(ski string, subject []byte) (a leafward.Authority, found bool, err error) {
	return selectOne(v, authorities(), "WHERE ski = $1 AND subject = $2", ski, subject)
}

// Authorities reads every authority, the oldest first.
func (v *View) Authorities() ([]leafward.Authority, error) {
	return selectAll(v, authorities(), "ORDER BY created_at, id")
}

// AuthoritiesBelow reads the authorities whose certificate the authority signed, other than itself.
func (v *View) AuthoritiesBelow(authority string) ([]leafward.Authority, error) {
	return selectAll(v, authorities(), "WHERE parent = $1 ORDER BY created_at, id", authority)
}

// AddAuthority inserts an authority.
func (tx *Tx) AddAuthority(a *leafward.Authority) { add(tx, authorities(), "ca", a) }

// PutAuthority writes an authority that was read in this transaction.
func (tx *Tx) PutAuthority(a *leafward.Authority) { put(tx, authorities(), a) }

// CACertificate reads the certificate of an authority by its id.
func (v *View) CACertificate(id string) (leafward.CACertificate, error) {
	return byID(v, caCertificates(), "", id)
}

// CACertificates reads every certificate of an authority, the oldest first.
func (v *View) CACertificates(authority string) ([]leafward.CACertificate, error) {
	return selectAll(v, caCertificates(), "WHERE authority = $1 ORDER BY not_before, id", authority)
}

// AddCACertificate inserts a certificate of an authority.
func (tx *Tx) AddCACertificate(c *leafward.CACertificate) { add(tx, caCertificates(), "cac", c) }

// PutCACertificate writes a certificate of an authority that was read in this transaction.
func (tx *Tx) PutCACertificate(c *leafward.CACertificate) { put(tx, caCertificates(), c) }

// SigningFor lists the issuers that are switched on and for which the authority signs, whoever asks.
func (v *View) SigningFor(authority string) (names []string, err error) {
	err = v.rows(func(scan func(...any) error) error {
		var name string
		err := scan(&name)
		names = append(names, name)
		return err
	}, "SELECT name FROM issuers WHERE authority = $1 AND enabled ORDER BY name", authority)
	return names, err
}
