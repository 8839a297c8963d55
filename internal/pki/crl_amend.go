package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

var errNotOurs = errors.New("the CRL to go on from is not one that was made here")

// AmendCRL is BuildCRL for a list that goes on from another of the same authority, which BuildCRL or AmendCRL made: what
// stands in that one stays, except that an entry of the list replaces one of the same serial and that what is gone leaves it.
// It also tells how many entries the list has. What it costs is that of copying and signing the list, and of the changes.
func AmendCRL(from []byte, list RevocationList, gone []Revoked, issuer *x509.Certificate, signer crypto.Signer) (der []byte, entries int, err error) {
	kept, err := rawEntries(from)
	if err != nil {
		return nil, 0, err
	}
	changes, err := list.sorted()
	if err != nil {
		return nil, 0, err
	}
	left := make(map[string]bool, len(gone))
	for _, g := range gone {
		left[string(g.Serial.Bytes())] = true
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, len(kept)+usualEntry*len(changes)))
	next := 0
	add := func() {
		addEntry(b, changes[next])
		next++
		entries++
	}
	for last := []byte(nil); !kept.Empty(); {
		entry, serial, ok := nextEntry(&kept)
		if !ok || last != nil && compareSerials(last, serial) >= 0 {
			return nil, 0, errNotOurs
		}
		for last = serial; next < len(changes) && compareSerials(changes[next].Serial.Bytes(), serial) < 0; {
			add()
		}
		switch {
		case next < len(changes) && bytes.Equal(changes[next].Serial.Bytes(), serial):
			add()
		case !left[string(serial)]:
			b.AddBytes(entry)
			entries++
		}
	}
	for next < len(changes) {
		add()
	}
	encoded, err := b.Bytes()
	if err != nil {
		return nil, 0, err
	}
	der, err = list.seal(encoded, issuer, signer)
	return der, entries, err
}

// nextEntry takes the next entry of a list, and its serial number without zeros before it.
func nextEntry(entries *cryptobyte.String) (entry, serial []byte, ok bool) {
	var inner, number cryptobyte.String
	ok = entries.ReadASN1Element((*cryptobyte.String)(&entry), cbasn1.SEQUENCE)
	if ok {
		whole := cryptobyte.String(entry)
		ok = whole.ReadASN1(&inner, cbasn1.SEQUENCE) && inner.ReadASN1(&number, cbasn1.INTEGER)
	}
	return entry, bytes.TrimLeft(number, "\x00"), ok
}

// compareSerials compares positive numbers in octets without zeros before them.
func compareSerials(a, b []byte) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return bytes.Compare(a, b)
}

// rawEntries are the entries of a CRL, encoded one behind the other (RFC 5280 §5.1).
func rawEntries(der []byte) (entries cryptobyte.String, err error) {
	var list, tbs cryptobyte.String
	outer := cryptobyte.String(der)
	ok := outer.ReadASN1(&list, cbasn1.SEQUENCE) && list.ReadASN1(&tbs, cbasn1.SEQUENCE) &&
		tbs.SkipASN1(cbasn1.INTEGER) && tbs.SkipASN1(cbasn1.SEQUENCE) && tbs.SkipASN1(cbasn1.SEQUENCE) && skipTime(&tbs) && skipTime(&tbs)
	if ok && tbs.PeekASN1Tag(cbasn1.SEQUENCE) {
		ok = tbs.ReadASN1(&entries, cbasn1.SEQUENCE)
	}
	if !ok {
		return nil, errNotOurs
	}
	return entries, nil
}

func skipTime(s *cryptobyte.String) bool {
	if s.PeekASN1Tag(cbasn1.UTCTime) {
		return s.SkipASN1(cbasn1.UTCTime)
	}
	return s.SkipASN1(cbasn1.GeneralizedTime)
}
