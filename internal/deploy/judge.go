package deploy

import (
	"fmt"
	"slices"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/probe"
	"github.com/leafward/leafward/internal/store"
)

// Outcome is how a look ended.
type Outcome = probe.Outcome

// Seen is what one look saw at one address.
type Seen struct {
	Address     string // IP address, or the name when it has none
	Fingerprint string // SHA-256 of what was shown, lower hex; "" when nothing was
	Outcome     Outcome
	Problem     string // why nothing was shown
}

// verdict is what all looks together say.
type verdict int

const (
	blind  verdict = iota // nothing answered
	early                 // something else than the new certificate is served that may go away by itself
	wrong                 // everything that answers serves what is neither the old nor the new certificate
	served                // everything that answers serves the new certificate
)

// expectation is what may be served.
type expectation struct {
	want   string          // fingerprint of the version to prove
	beside map[string]bool // of what other installations of the certificate must serve: behind one name there may be several hosts
	old    map[string]bool // of every other version of the certificate
	first  bool            // none of its versions was ever proved here, so that anything may be what was there before
}

// expect reads what may be served at a place.
func expect(v *store.View, at *place) (e expectation, err error) {
	prints, err := v.FingerprintsOf(at.certificate.ID)
	if err != nil {
		return e, err
	}
	e = expectation{want: at.version.SHA256, beside: make(map[string]bool), old: make(map[string]bool), first: at.installation.Proved == ""}
	for _, sum := range prints {
		e.old[sum] = true
	}
	all, err := v.Installations(at.certificate.ID)
	for _, i := range all {
		if sum := prints[i.Desired]; sum != "" {
			e.beside[sum] = true
		}
	}
	return e, err
}

// judge weighs the looks at all addresses of an endpoint; the reason is for people and empty when it is served.
// An address at which nothing answers says nothing.
func (e expectation) judge(seen []Seen) (v verdict, reason string) {
	live := slices.DeleteFunc(slices.Clone(seen), func(s Seen) bool { return !s.Outcome.Live() })
	if len(live) == 0 {
		return blind, dark(seen)
	}
	shown, foreign := false, 0
	for _, s := range live {
		switch {
		case s.Fingerprint == e.want:
			shown = true
		case s.Fingerprint == "":
			reason = first(reason, fmt.Sprintf("%s shows no certificate: %s", s.Address, s.Problem))
		case e.beside[s.Fingerprint]:
		case e.old[s.Fingerprint]:
			reason = first(reason, fmt.Sprintf("%s still serves another version (SHA-256 %s)", s.Address, s.Fingerprint))
		default:
			foreign++
			reason = first(reason, fmt.Sprintf("%s serves another certificate (SHA-256 %s)", s.Address, s.Fingerprint))
		}
	}
	switch {
	case foreign == len(live) && !e.first:
		return wrong, reason
	case shown && reason == "":
		return served, ""
	}
	return early, first(reason, live[0].Address+" does not serve the new version yet")
}

// ofOurs tells whether something of the certificate's other versions is shown somewhere.
func (e expectation) ofOurs(seen []Seen) bool {
	return slices.ContainsFunc(seen, func(s Seen) bool {
		return s.Fingerprint != e.want && e.old[s.Fingerprint] && !e.beside[s.Fingerprint]
	})
}

// dark says why nothing could be seen.
func dark(seen []Seen) string {
	if len(seen) == 0 {
		return "nothing was looked at"
	}
	s := seen[0]
	if s.Outcome == probe.NotAllowed {
		return fmt.Sprintf("the server may not look at %s; start it with --probe-allow for that network", s.Address)
	}
	return fmt.Sprintf("%s cannot be seen: %s", s.Address, s.Problem)
}

// toBeSeen is what a proof waits for that does not see what it looks for.
func toBeSeen(reason string) string { return "the new certificate to be seen: " + reason }

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// wrongServed is the failure of an attempt at which something foreign was seen. It is tried again: what serves there may
// be put right.
func wrongServed(reason string) error {
	return leafward.Errorf(leafward.Later, "check which certificate the server program there is configured with", "what is served is neither the old nor the new certificate: %s", reason)
}
