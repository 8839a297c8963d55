package store

import (
	"time"

	"github.com/leafward/leafward"
)

func crls() table[leafward.CRL] { return tableOf[leafward.CRL]("crl", "crls") }

// CRL reads the list that an authority published last for a shard.
func (v *View) CRL(authority string, shard int) (c leafward.CRL, found bool, err error) {
	return selectOne(v, crls(), "WHERE authority = $1 AND shard = $2", authority, shard)
}

// CRLHead is CRL without the list itself, which may have megabytes.
func (v *View) CRLHead(authority string, shard int) (c leafward.CRL, err error) {
	var this, next int64
	found, err := v.one("SELECT number, this_update, next_update, entries, rev_seq FROM crls WHERE authority = $1 AND shard = $2", []any{authority, shard},
		&c.Number, &this, &next, &c.Entries, &c.RevSeq)
	if found {
		c.Authority, c.Shard, c.ThisUpdate, c.NextUpdate = authority, shard, instant(this), instant(next)
	}
	return c, err
}

// CRLNumber reads the number of the list that an authority published last for a shard; 0 before the first.
func (v *View) CRLNumber(authority string, shard int) (number int64, err error) {
	_, err = v.one("SELECT number FROM crls WHERE authority = $1 AND shard = $2", []any{authority, shard}, &number)
	return number, err
}

// DueCRLs lists the authorities of our own that should publish: for the first time, because of a revocation, because
// half of the list's life is over, or because the list is dated after now.
func (v *View) DueCRLs() (ids []string, err error) {
	err = v.rows(func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		ids = append(ids, id)
		return err
	}, `SELECT a.id FROM authorities a LEFT JOIN crls c ON c.authority = a.id AND c.shard = 0
		WHERE a.custody = 'local' AND a.state IN ('active', 'retiring') AND a.not_after > $1
			AND (c.number IS NULL OR c.this_update > $1 OR c.this_update + (c.next_update - c.this_update) / 2 <= $1
				OR EXISTS (SELECT 1 FROM revocations r WHERE r.authority = a.id))
		ORDER BY a.created_at, a.id`, micros(v.Now))
	return ids, err
}

// Unpublished lists the numbers of an authority's revocations and releases that its CRL does not tell yet, ascending.
func (v *View) Unpublished(authority string) (seqs []int64, err error) {
	err = v.rows(func(scan func(...any) error) error {
		var seq int64
		err := scan(&seq)
		seqs = append(seqs, seq)
		return err
	}, "SELECT seq FROM revocations WHERE authority = $1 ORDER BY seq", authority)
	return seqs, err
}

// Published removes revocations that a published CRL tells; they are those that were read together with its entries.
func (tx *Tx) Published(seqs []int64) {
	for len(seqs) > 0 {
		run := 1
		for run < len(seqs) && seqs[run] == seqs[run-1]+1 {
			run++
		}
		tx.Exec("DELETE FROM revocations WHERE seq BETWEEN $1 AND $2", seqs[0], seqs[run-1])
		seqs = seqs[run:]
	}
}

// PutCRL replaces the list that has the number last (0: there is none yet) by one with a greater number, and tells
// whether it did: another may have been faster.
func (tx *Tx) PutCRL(c *leafward.CRL, last int64) (done bool) {
	if c.Number <= last {
		return false
	}
	return tx.Exec(`INSERT INTO crls (authority, shard, number, this_update, next_update, entries, rev_seq, der) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (authority, shard) DO UPDATE SET number = excluded.number, this_update = excluded.this_update, next_update = excluded.next_update,
			entries = excluded.entries, rev_seq = excluded.rev_seq, der = excluded.der
		WHERE crls.number = $9`,
		c.Authority, c.Shard, c.Number, micros(c.ThisUpdate), micros(c.NextUpdate), c.Entries, c.RevSeq, c.DER, last) > 0
}

// RaiseCRL notes that an authority has published a list with the number, which is not at hand: the next one gets a greater.
func (tx *Tx) RaiseCRL(authority string, number int64) {
	tx.Exec("UPDATE crls SET number = $2 WHERE authority = $1 AND shard = 0 AND number < $2", authority, number)
}

// Responder is the OCSP responder of an authority.
type Responder struct {
	Authority string    `db:"authority"`
	Serial    string    `db:"serial"`
	Sealed    []byte    `db:"sealed"` // PKCS#8, sealed with the serial as row
	DER       []byte    `db:"der"`
	NotBefore time.Time `db:"not_before"`
	NotAfter  time.Time `db:"not_after"`
}

// Responder reads the OCSP responder of an authority.
func (v *View) Responder(authority string) (r Responder, found bool, err error) {
	return selectOne(v, tableOf[Responder]("responder", "responders"), "WHERE authority = $1", authority)
}

// PutResponder replaces the OCSP responder of an authority by one that lasts longer.
func (tx *Tx) PutResponder(r *Responder) {
	tx.Exec(`INSERT INTO responders (authority, serial, sealed, der, not_before, not_after) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (authority) DO UPDATE SET serial = excluded.serial, sealed = excluded.sealed, der = excluded.der,
			not_before = excluded.not_before, not_after = excluded.not_after
		WHERE responders.not_after < excluded.not_after`,
		r.Authority, r.Serial, r.Sealed, r.DER, micros(r.NotBefore), micros(r.NotAfter))
}

// CRLState is how fresh the CRL of an authority is.
type CRLState struct {
	Issuer     string
	Authority  string // "" for an issuer whose CRLs somebody else publishes
	Name       string
	Present    bool // a CRL was published
	Stale      bool // the one there is past its next update, or there is none although there should be
	Number     int64
	ThisUpdate time.Time
	NextUpdate time.Time
	Entries    int
	Size       int              // octets of DER
	Waiting    int              // revocations and releases that it does not tell yet
	Events     []leafward.Event // its last publications, the newest first
}

// CRLStates tells of the CRL of every authority of our own, and of every issuer without one, inside the actor's scope.
// The authority of an issuer that was removed belongs to nobody: actors of all teams see it.
func (v *View) CRLStates() (states []CRLState, err error) {
	seen := newSelection(v.Actor, "team")
	err = v.rows(func(scan func(...any) error) error {
		var s CRLState
		var this, next int64
		err := scan(&s.Issuer, &s.Authority, &s.Name, &s.Number, &this, &next, &s.Entries, &s.Size, &s.Waiting)
		s.ThisUpdate, s.NextUpdate = instant(this), instant(next)
		s.Present = s.Number > 0
		s.Stale = s.Authority != "" && !v.Now.Before(s.NextUpdate)
		states = append(states, s)
		return err
	}, `SELECT issuer, authority, name, number, this_update, next_update, entries, size, waiting FROM (
			SELECT coalesce(i.team, ' ') AS team, a.issuer AS issuer, a.id AS authority, a.name AS name, coalesce(c.number, 0) AS number,
				coalesce(c.this_update, 0) AS this_update, coalesce(c.next_update, 0) AS next_update, coalesce(c.entries, 0) AS entries,
				coalesce(length(c.der), 0) AS size, (SELECT count(*) FROM revocations r WHERE r.authority = a.id) AS waiting
			FROM authorities a LEFT JOIN issuers i ON i.id = a.issuer LEFT JOIN crls c ON c.authority = a.id AND c.shard = 0
			WHERE a.custody IN ('local', 'offline') AND a.state IN ('active', 'retiring')
			UNION ALL SELECT i.team, i.id, '', i.name, 0, 0, 0, 0, 0, 0 FROM issuers i WHERE i.authority = ''
		) AS listed `+seen.where()+" ORDER BY issuer, authority", seen.args...)
	for i := range states {
		if err != nil {
			break
		}
		if states[i].Authority == "" {
			continue
		}
		const recent = "WHERE resource_type = 'crl' AND resource_id = $1 ORDER BY at DESC, id DESC LIMIT 5"
		states[i].Events, err = selectAll(v, events(), recent, states[i].Authority)
	}
	return states, err
}
