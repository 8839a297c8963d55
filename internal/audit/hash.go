// Package audit is the arithmetic of the audit log: canonical JSON, leaf hashes, the chain over them, the export
// format with its verification, and the ledger, the copy of the log that every server keeps in plain files.
//
// Each event has a leaf hash (RFC 6962 §2.1) and each record a chain hash over the one before it, so that no record
// can be changed, removed, added or moved without every later chain hash being wrong.
package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Hash is a SHA-256 value. Its text form is 64 lower-case hex digits; the zero Hash is what the first record of a
// log is chained to.
type Hash [sha256.Size]byte

// Leaf is the RFC 6962 §2.1 leaf hash of an event in canonical form: SHA-256(0x00 || event).
func Leaf(canonical []byte) Hash {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(canonical)
	return Hash(h.Sum(nil))
}

// Next is the chain hash of a record: SHA-256(previous || leaf), previous being the chain hash of the record before
// it, or the zero Hash for the first.
func Next(previous, leaf Hash) Hash {
	var both [2 * sha256.Size]byte
	copy(both[:sha256.Size], previous[:])
	copy(both[sha256.Size:], leaf[:])
	return sha256.Sum256(both[:])
}

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText gives the hex form.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText reads the hex form.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(h)) {
		return fmt.Errorf("a hash is %d hex digits, not %d", hex.EncodedLen(len(h)), len(text))
	}
	_, err := hex.Decode(h[:], text)
	return err
}
