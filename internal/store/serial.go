package store

import (
	"fmt"
	"time"

	"github.com/leafward/leafward"
)

func serials() table[leafward.Serial] { return tableOf[leafward.Serial]("serial", "serials") }

// Serial reads what an authority knows of a serial, given in minimal lower hex.
func (v *View) Serial(authority, serial string) (s leafward.Serial, found bool, err error) {
	return selectOne(v, serials(), "WHERE authority = $1 AND serial = $2", authority, serial)
}

// LastSerial reads the newest serial that was reserved for a request, whatever became of it.
func (v *View) LastSerial(request string) (s leafward.Serial, found bool, err error) {
	return selectOne(v, serials(), "WHERE subject = $1 ORDER BY created_at DESC, serial LIMIT 1", request)
}

// LiveSerials counts, up to leafward.TotalCap, what an authority signed and must answer for: valid, not revoked, and
// neither its own certificate nor one without revocation.
func (v *View) LiveSerials(authority string) (n int, err error) {
	_, err = v.one(fmt.Sprintf(`SELECT count(*) FROM (SELECT 1 FROM serials WHERE authority = $1 AND not_after > $2 AND revoked_at = 0
		AND state IN ('reserved', 'issued') AND subject <> $1 AND no_revocation = FALSE LIMIT %d) AS live`, leafward.TotalCap), []any{authority, micros(v.Now)}, &n)
	return n, err
}

// EndsAfter tells whether anything that an authority must answer for, revoked or not, ends after the moment.
func (v *View) EndsAfter(authority string, moment time.Time) (bool, error) {
	var one int
	return v.one("SELECT 1 FROM serials WHERE authority = $1 AND not_after > $2 AND subject <> $1 AND no_revocation = FALSE LIMIT 1", []any{authority, micros(moment)}, &one)
}

// ReservedBefore reads up to limit serials that were reserved before the moment and are so still, the oldest first.
func (v *View) ReservedBefore(moment time.Time, limit int) ([]leafward.Serial, error) {
	return selectAll(v, serials(), "WHERE state = 'reserved' AND created_at < $1 ORDER BY created_at LIMIT $2", micros(moment), limit)
}

// Revoked calls each for every revoked serial of an authority that ends at or after the moment, in no order. Serials
// without revocation (RFC 9608) are left out.
func (v *View) Revoked(authority string, shard int, ends time.Time, each func(serial, reason string, at time.Time) error) error {
	return v.rows(func(scan func(...any) error) error {
		var serial, reason string
		var at int64
		if err := scan(&serial, &reason, &at); err != nil {
			return err
		}
		return each(serial, reason, instant(at))
	}, `SELECT serial, reason, revoked_at FROM serials
		WHERE authority = $1 AND shard = $2 AND revoked_at > 0 AND not_after >= $3 AND no_revocation = FALSE`, authority, shard, micros(ends))
}

// Relisted calls each for every serial of an authority whose place on its CRL may be another than on the last one: those that
// wait to be published, and the revoked ones that ended between two moments, the second not included. A serial is listed when
// it is revoked and ends at or after the second moment.
func (v *View) Relisted(authority string, shard int, from, to time.Time, each func(serial, reason string, at time.Time, listed bool) error) error {
	return v.rows(func(scan func(...any) error) error {
		var serial, reason string
		var at int64
		var listed bool
		if err := scan(&serial, &reason, &at, &listed); err != nil {
			return err
		}
		return each(serial, reason, instant(at), listed)
	}, `SELECT serial, reason, revoked_at, revoked_at > 0 AND not_after >= $4 AND no_revocation = FALSE FROM serials
			WHERE authority = $1 AND shard = $2 AND serial IN (SELECT serial FROM revocations WHERE authority = $1)
		UNION SELECT serial, reason, revoked_at, FALSE FROM serials
			WHERE authority = $1 AND shard = $2 AND revoked_at > 0 AND not_after >= $3 AND not_after < $4`, authority, shard, micros(from), micros(to))
}

// AddSerial inserts a serial, made now. A request with another reserved serial is a conflict.
func (tx *Tx) AddSerial(s *leafward.Serial) {
	s.CreatedAt = tx.Now
	tx.left = witness{"SELECT 1 FROM serials WHERE authority = $1 AND serial = $2", []any{s.Authority, s.Serial}}
	insertRow(tx, serials(), s)
}

// IssueSerial makes a reserved serial an issued one; false when it is none.
func (tx *Tx) IssueSerial(authority, serial string) bool {
	return tx.Exec(issueSerial, authority, serial, []byte{}) == 1
}

const issueSerial = "UPDATE serials SET state = 'issued', tbs = $3 WHERE authority = $1 AND serial = $2 AND state = 'reserved'"

// ReplaceSerial writes what a serial was issued for, and that it was; whether it is revoked stays.
func (tx *Tx) ReplaceSerial(s *leafward.Serial) {
	tx.Exec("UPDATE serials SET state = $3, tbs = $4, name = $5, subject = $6, not_before = $7, not_after = $8 WHERE authority = $1 AND serial = $2",
		s.Authority, s.Serial, string(s.State), s.TBS, s.Name, s.Subject, micros(s.NotBefore), micros(s.NotAfter))
}

// PutSerial writes the state of a serial that was read in this transaction, and its revocation.
func (tx *Tx) PutSerial(s *leafward.Serial) {
	if s.TBS == nil {
		s.TBS = []byte{}
	}
	tx.send("UPDATE serials SET state = $3, tbs = $4, revoked_at = $5, reason = $6, held = $7, rev_seq = $8 WHERE authority = $1 AND serial = $2",
		s.Authority, s.Serial, string(s.State), s.TBS, micros(s.RevokedAt), s.Reason, s.Held, s.RevSeq)
}

// PutRevocation is PutSerial for a change that the authority's next CRL must tell.
func (tx *Tx) PutRevocation(s *leafward.Serial) {
	_, err := tx.one("INSERT INTO revocations (authority, serial) VALUES ($1, $2) RETURNING seq", []any{s.Authority, s.Serial}, &s.RevSeq)
	tx.Fail(err)
	tx.PutSerial(s)
}

// LiveLeaves counts, up to leafward.TotalCap, the valid certificates that an authority signed for others than authorities and
// its own responders: it must be able to tell of their revocation at any time.
func (v *View) LiveLeaves(authority string) (n int, err error) {
	_, err = v.one(fmt.Sprintf(`SELECT count(*) FROM (SELECT 1 FROM serials s WHERE s.authority = $1 AND s.not_after > $2 AND s.revoked_at = 0
		AND s.state IN ('reserved', 'issued', 'imported') AND s.subject <> $1 AND s.no_revocation = FALSE
		AND NOT EXISTS (SELECT 1 FROM ca_certificates c WHERE c.signer = s.authority AND c.serial = s.serial) LIMIT %d) AS live`, leafward.TotalCap), []any{authority, micros(v.Now)}, &n)
	return n, err
}

// Reserved tells whether the authority has reserved a serial that is neither stored nor closed.
func (v *View) Reserved(authority string) (bool, error) {
	var one int
	return v.one("SELECT 1 FROM serials WHERE "+v.plus+"authority = $1 AND state = 'reserved' LIMIT 1", []any{authority}, &one)
}
