package store

import (
	"github.com/google/uuid"
	"github.com/leafward/leafward"
)

// addAll is add for many rows of a noun, which are not read again in this transaction.
func addAll[T any, P noun[T]](tx *Tx, t table[T], prefix string, rows []T) {
	var found [][]any
	for i := range rows {
		row := &rows[i]
		m := P(row).Meta()
		if m.ID == "" {
			m.ID = NewID(prefix)
		}
		m.UUID = uuid.Must(uuid.NewV7()).String()
		m.Revision, m.CreatedAt, m.UpdatedAt = 1, tx.Now, tx.Now
		tx.touch(m.ID)
		if f, ok := any(row).(findable); ok {
			for _, e := range entries(words(f)) {
				found = append(found, []any{t.noun, e.word, m.ID, e.alike, micros(m.CreatedAt)})
			}
		}
	}
	insertRows(tx, t, rows)
	insertValues(tx, insertTerms, "", found)
}

// AddCertificates inserts new certificates, the only version of each, and keys that are not known yet.
func (tx *Tx) AddCertificates(made []leafward.Certificate, signed []leafward.Version, keys []leafward.Key) {
	addAll(tx, keyPairs(), "kp", keys)
	for i := range made {
		wordy(&made[i])
		tx.fold(made[i].Fold(), 1)
	}
	addAll(tx, certificates(), "mc", made)
	var found [][]any
	for i := range signed {
		v := &signed[i]
		v.Current = true
		for _, w := range []string{term(v.Serial), term(v.SHA256)} {
			found = append(found, []any{"certificate.version", w, v.Certificate, 0, 0})
		}
	}
	addAll(tx, versions(), "cv", signed)
	insertValues(tx, insertTerms, " ON CONFLICT DO NOTHING", found)
}

// oneOf adds that the column is one of many values, which may be none. The same values again fill the list up to a power of
// two, so that there are few different statements.
func (s *selection) oneOf(column string, values []string) {
	if len(values) == 0 {
		s.and("1 = 0")
		return
	}
	n := 1
	for n < len(values) {
		n *= 2
	}
	filled := make([]string, n)
	for i := range filled {
		filled[i] = values[min(i, len(values)-1)]
	}
	s.in(column, filled)
}

// Held is where the certificate of a fingerprint is.
type Held struct {
	Version, Certificate, Name, Team string
	Archived                         bool
	Bare                             bool // it was imported, and nothing that stands above it
}

// HeldByFingerprint tells of the certificates, whoever asks, that are here already, by their SHA-256.
func (v *View) HeldByFingerprint(sums []string) (map[string]Held, error) {
	s := &selection{}
	s.oneOf("v.sha256", sums)
	known := make(map[string]Held)
	err := v.rows(func(scan func(...any) error) error {
		var sum string
		var h Held
		err := scan(&sum, &h.Version, &h.Certificate, &h.Name, &h.Team, &h.Archived, &h.Bare)
		known[sum] = h
		return err
	}, "SELECT v.sha256, v.id, c.id, c.name, c.team, c.archived_at > 0, v.source = 'imported' AND v.chain = '"+chainID(nil)+"' FROM versions v JOIN certificates c ON c.id = v.certificate "+s.where(), s.args...)
	return known, err
}

// CertificatesOfSerials are the ids of the certificates, whoever asks, of which an authority signed a version, by the serials of those.
func (v *View) CertificatesOfSerials(authority string, serials []string) (map[string]string, error) {
	s := &selection{}
	s.and("authority = ?", authority)
	s.oneOf("serial", serials)
	words := &selection{args: s.args}
	words.in("noun", []string{"certificate.version", "certificate.version.archived"})
	words.oneOf("term", serials)
	s.conditions, s.args = append(s.conditions, "certificate IN (SELECT id FROM terms "+words.where()+")"), words.args
	return v.pairs("SELECT serial, certificate FROM versions "+s.where(), s.args...)
}

// CertificatesNamed are the ids of the certificates of a team that are not archived, whoever asks, by their names.
func (v *View) CertificatesNamed(team string, names []string) (map[string]string, error) {
	s := &selection{}
	s.and("team = ?", team)
	s.and("enrollment = ''")
	s.and("archived_at = 0")
	s.oneOf("name", names)
	return v.pairs("SELECT name, id FROM certificates "+s.where(), s.args...)
}

// pairs reads rows of two texts.
func (v *View) pairs(query string, args ...any) (map[string]string, error) {
	all := make(map[string]string)
	err := v.rows(func(scan func(...any) error) error {
		var key, value string
		err := scan(&key, &value)
		all[key] = value
		return err
	}, query, args...)
	return all, err
}

// KeyPairsOf are the keys, whoever asks, by the SHA-256 of their SubjectPublicKeyInfo.
func (v *View) KeyPairsOf(spkis []string) (map[string]leafward.Key, error) {
	s := &selection{}
	s.oneOf("spki", spkis)
	all, err := selectAll(v, keyPairs(), s.where(), s.args...)
	known := make(map[string]leafward.Key, len(all))
	for _, k := range all {
		known[k.SPKI] = k
	}
	return known, err
}

// Named reads the row that has the name inside the actor's scope; found is false when there is none, or more than one.
func (r Resource[T, P]) Named(v *View, name string) (row T, found bool, err error) {
	s := newSelection(v.Actor, r.listing.scope)
	s.and("name = ?", name)
	all, err := selectAll(v, r.listing.table, s.where()+" LIMIT 2", s.args...)
	if err != nil || len(all) != 1 {
		return row, false, err
	}
	return all[0], true, nil
}
