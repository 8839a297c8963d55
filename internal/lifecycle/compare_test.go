//go:build testhooks

package lifecycle_test

import (
	"crypto/x509"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/drilltest"
	"github.com/leafward/leafward/internal/hook"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/pki/ocsp"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

var drills = drilltest.Flags()

// responderLife is how long an authority that is retired may still answer.
const responderLife = 14 * day

// acts is how many histories have a database in common.
const acts = 15

// Certificates are issued, renewed, revoked, held, released, replaced, cancelled and archived, time passes, the authority is
// succeeded and the server is restarted, in any order: after each step certificates, versions, OCSP, CRLs and the audit log
// say what a small model of them says.
func TestWhatHappensIsWhatTheModelSays(t *testing.T) {
	var turn sync.Mutex
	for name, open := range map[string]func(testing.TB, *hook.Clock) *store.DB{"sqlite": storetest.SQLite, "postgres": storetest.Postgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each waits for its disk now and then
			d := drills.New(t, "R43", name)
			all, played, steps := drills.Sized(12, 10_000), 0, 0
			for done := 0; done < all && !t.Failed(); done += acts {
				t.Run(strconv.Itoa(done), func(t *testing.T) {
					clock := hook.NewClock(time.Time{})
					s := &stage{world: start(t, open(t, clock)), t: t, clock: clock}
					_, err := lifecycle.NewSettings(s.db, lifecycle.Replan).CreateRenewalPolicy(s.ctx, func(p *leafward.RenewalPolicy) error {
						p.ID, p.Name, p.AutoRenew, p.Thresholds = "rp-manual", "manual", false, warnings()
						return nil
					})
					check(t, err)
					s.root = s.found("root", ca.RootLife, "").Authority
					draw(t, &turn, d.Seed+uint64(done), min(acts, all-done), s.play)
					played, steps = done+min(acts, all-done), steps+s.steps
				})
			}
			d.Measured("%d histories of %d steps, each compared with the model", played, steps)
			d.Measured("%d operations at once were linearizable", witnesses(t, open(t, nil), d.Random, 6, drills.Sized(40, 500)))
		})
	}
}

// draw holds the property against many histories that are drawn from a seed. Rapid reads how many and which from flags of
// the process before it begins the first: until then it is our turn.
func draw(t *testing.T, turn *sync.Mutex, seed uint64, many int, property func(*rapid.T)) {
	t.Helper()
	turn.Lock()
	begun := sync.OnceFunc(turn.Unlock)
	defer begun()
	for name, value := range map[string]string{"checks": strconv.Itoa(many), "seed": strconv.FormatUint(max(seed, 1), 10), "steps": "20", "nofailfile": "true"} {
		check(t, flag.Set("rapid."+name, value))
	}
	rapid.Check(t, func(r *rapid.T) { begun(); property(r) })
}

// codes are the reasons of a CRL (RFC 5280 §5.3.1).
func codes() map[string]int {
	return map[string]int{"unspecified": 0, stolen: 1, "superseded": 4, "cessationOfOperation": 5, hold: 6, "privilegeWithdrawn": 9}
}

// compare holds everything that the server says against the book.
func (h *history) compare(t *rapid.T) {
	h.steps++
	h.publish()
	for _, p := range h.book.papers {
		h.certificate(t, p)
		h.versions(t, p)
		var events []string
		for _, action := range h.events(h.t, p.id) {
			events = append(events, string(action))
		}
		if !slices.Equal(events, p.events) {
			t.Fatalf("of %s is recorded %v, and happened %v", p.name, events, p.events)
		}
	}
	for authority := range h.authorities() {
		if h.over[authority].IsZero() {
			h.list(t, authority)
		}
	}
}

// authorities are those that the history knows.
func (h *history) authorities() map[string]bool {
	all := map[string]bool{h.signer: true}
	for _, p := range h.book.papers {
		for _, v := range p.prints {
			all[v.authority] = true
		}
	}
	return all
}

func (h *history) certificate(t *rapid.T, p *paper) {
	shown, err := h.Get(h.ctx, p.id)
	check(h.t, err)
	if status := p.status(h.book.now); string(shown.Status) != status {
		t.Fatalf("%s is %s, and should be %s", p.name, shown.Status, status)
	}
	if (shown.OpenJob != "") != (p.errand != nil) || !shown.ExpiresAt.Equal(p.ends) || shown.Reason != p.reason {
		t.Fatalf("%s: open %q, ends %v, revoked for %q; should be open: %t, end %v, be revoked for %q", p.name, shown.OpenJob, shown.ExpiresAt, shown.Reason, p.errand != nil, p.ends, p.reason)
	}
	for what, c := range map[string]struct {
		said  time.Time
		wants *span
	}{"was revoked": {shown.RevokedAt, p.revoked}, "failed": {shown.FailedAt, p.failed}, "is due": {shown.RenewAt, p.due}} {
		if wanted := fmt.Sprint(c.wants); !c.wants.is(c.said) {
			t.Fatalf("at %v, %s %s at %v; it should be %s", h.book.now, p.name, what, c.said, wanted)
		}
	}
}

func (h *history) versions(t *rapid.T, p *paper) {
	page, err := h.Versions(h.ctx, p.id, leafward.Query{PerPage: leafward.MaxPerPage, Sort: "created_at"})
	check(h.t, err)
	if len(page.Items) != len(p.prints) {
		t.Fatalf("%s has %d versions, and should have %d", p.name, len(page.Items), len(p.prints))
	}
	for i, s := range page.Items {
		v, want := s.Version, p.prints[i]
		if v.Serial != want.serial || v.Reason != want.reason || !want.revoked.is(v.RevokedAt) {
			t.Fatalf("version %d of %s: serial %s, revoked at %v for %q; should be %s, %v, %q", i, p.name, v.Serial, v.RevokedAt, v.Reason, want.serial, want.revoked, want.reason)
		}
		h.ocsp(t, want)
	}
}

func (h *history) ocsp(t *rapid.T, v *print) {
	answer, err := h.ca.RespondSerial(h.ctx, v.authority, v.serial)
	check(h.t, err)
	if at := h.over[v.authority]; !at.IsZero() && (answer.Code == ocsp.Unauthorized || h.book.now.After(at.Add(responderLife))) {
		if answer.Code != ocsp.Unauthorized {
			t.Fatalf("an authority that is retired since %v answers %v", at, answer.Code)
		}
		return
	}
	response, err := ocsp.ParseResponse(answer.DER)
	check(h.t, err)
	if response.Code != ocsp.Successful {
		t.Fatalf("OCSP answers %v", response.Code)
	}
	switch single := response.Singles[0]; {
	case v.revoked == nil && single.Status == ocsp.Good:
	case v.revoked != nil && single.Status == ocsp.Revoked && single.RevokedAt.Equal(v.revoked.from.Truncate(time.Second)) && int(single.Reason) == codes()[v.reason]:
	default:
		t.Fatalf("OCSP says of %s: %v, %v, %v; should be revoked at %v for %q", v.serial, single.Status, single.RevokedAt, single.Reason, v.revoked, v.reason)
	}
}

// list compares the CRL of an authority. What ended stays on one list that was made after its end, and for as long as a list
// lives.
func (h *history) list(t *rapid.T, authority string) {
	made, err := h.ca.CRL(h.ctx, authority)
	check(h.t, err)
	last, known := h.lists[authority]
	switch {
	case !known || made.Number > last.Number:
		last.cut = made.ThisUpdate.Add(-listLife)
		if known && last.ThisUpdate.Before(last.cut) {
			last.cut = last.ThisUpdate
		}
		last.CRL = made
		h.lists[authority] = last
	case made.Number < last.Number:
		t.Fatalf("the CRL %d of %s came after %d", made.Number, authority, last.Number)
	}
	if !made.NextUpdate.Equal(made.ThisUpdate.Add(listLife)) || made.ThisUpdate.Add(listLife/2+slack).Before(h.book.now) {
		t.Fatalf("at %v the CRL is from %v to %v", h.book.now, made.ThisUpdate, made.NextUpdate)
	}
	parsed, err := x509.ParseRevocationList(made.DER)
	check(h.t, err)
	told := map[string]x509.RevocationListEntry{}
	for _, e := range parsed.RevokedCertificateEntries {
		told[e.SerialNumber.Text(16)] = e
	}
	if parsed.Number.Int64() != made.Number || len(told) != len(parsed.RevokedCertificateEntries) {
		t.Fatalf("the CRL %d is numbered %v and has %d entries for %d serials", made.Number, parsed.Number, len(parsed.RevokedCertificateEntries), len(told))
	}
	for _, p := range h.book.papers {
		for _, v := range p.prints {
			if v.authority == authority {
				h.entry(t, v, told, last.cut)
			}
		}
	}
	if len(told) > 0 {
		t.Fatalf("the CRL names what nobody revoked: %v", told)
	}
}

// entry takes a version off what the CRL told.
func (h *history) entry(t *rapid.T, v *print, told map[string]x509.RevocationListEntry, cut time.Time) {
	e, on := told[v.serial]
	delete(told, v.serial)
	left := v.to.Sub(cut)
	switch {
	case left.Abs() < 5*time.Second: // either is right
	case on != (v.revoked != nil && left > 0):
		t.Fatalf("%s, which ends %v, is on the CRL: %t; it is revoked: %v", v.serial, v.to, on, v.revoked)
	case on && (!e.RevocationTime.Equal(v.revoked.from.Truncate(time.Second)) || e.ReasonCode != codes()[v.reason]):
		t.Fatalf("the CRL says of %s: %v, %d; should be %v, %s", v.serial, e.RevocationTime, e.ReasonCode, v.revoked, v.reason)
	}
}
