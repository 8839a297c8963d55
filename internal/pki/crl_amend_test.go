package pki

import (
	"bytes"
	"crypto/x509"
	"math/rand/v2"
	"testing"
)

// bodyOf is what of a CRL is signed.
func bodyOf(t *testing.T, der []byte) []byte {
	t.Helper()
	list, err := x509.ParseRevocationList(der)
	check(t, err)
	return list.RawTBSRevocationList
}

func TestAListThatGoesOnFromAnotherIsTheOneMadeWhole(t *testing.T) {
	root := newRoot(t, KeyKind{ECDSA, 256})
	dice := rand.New(rand.NewPCG(1, 2))
	all := manyRevoked(60)
	for i := range all { // short ones and such that begin with a high bit, too
		all[i].Serial.Rsh(all[i].Serial, uint(dice.IntN(3)*dice.IntN(60)))
	}
	listed := map[int]Reason{}
	last, err := BuildCRL(newList(), root.cert, root.key)
	check(t, err)
	for range 200 {
		var changes, gone []Revoked
		for range dice.IntN(6) {
			i := dice.IntN(len(all))
			if _, twice := find(append(changes, gone...), all[i]); twice {
				continue
			}
			if dice.IntN(3) == 0 { // whether it is listed or not
				delete(listed, i)
				gone = append(gone, all[i])
				continue
			}
			listed[i] = []Reason{Unspecified, KeyCompromise, CertificateHold}[dice.IntN(3)]
			changes = append(changes, Revoked{all[i].Serial, all[i].At, listed[i]})
		}
		next, entries, err := AmendCRL(last, newList(changes...), gone, root.cert, root.key)
		check(t, err)
		var whole []Revoked
		for i, reason := range listed {
			whole = append(whole, Revoked{all[i].Serial, all[i].At, reason})
		}
		want, err := BuildCRL(newList(whole...), root.cert, root.key)
		check(t, err)
		if entries != len(whole) || !bytes.Equal(bodyOf(t, next), bodyOf(t, want)) {
			t.Fatalf("with %d changes and %d gone, %d entries are not those of %d made whole", len(changes), len(gone), entries, len(whole))
		}
		last = next
	}
}

func find(some []Revoked, one Revoked) (Revoked, bool) {
	for _, r := range some {
		if r.Serial.Cmp(one.Serial) == 0 {
			return r, true
		}
	}
	return Revoked{}, false
}

func TestAListGoesOnFromOneOfOursOnly(t *testing.T) {
	root := newRoot(t, KeyKind{ECDSA, 256})
	der, err := BuildCRL(newList(manyRevoked(3)...), root.cert, root.key)
	check(t, err)
	for at := range len(der) {
		if _, _, err := AmendCRL(der[:at], newList(), nil, root.cert, root.key); err == nil {
			t.Errorf("a list of %d octets is gone on from when there are %d of it", len(der), at)
		}
	}
	kept, err := rawEntries(der)
	check(t, err)
	rest := kept
	first, _, _ := nextEntry(&rest)
	swapped := bytes.Replace(der, kept, append(bytes.Clone(rest), first...), 1)
	if _, _, err := AmendCRL(swapped, newList(), nil, root.cert, root.key); err == nil {
		t.Error("entries in another order are gone on from")
	}
	_, _, err = AmendCRL(der, newList(manyRevoked(2)...), nil, newRoot(t, KeyKind{ECDSA, 256}).cert, root.key)
	wantError(t, err, "not the key of the authority")
	twice := manyRevoked(1)
	_, _, err = AmendCRL(der, newList(append(twice, twice...)...), nil, root.cert, root.key)
	wantError(t, err, "stands twice")
}
