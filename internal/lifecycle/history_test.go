//go:build testhooks

package lifecycle_test

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/hook"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// issuingLife is that of the authority of a history; it is succeeded when half of it is over.
const issuingLife = 60 * day

// stage is a world in which one history after the other takes place.
type stage struct {
	*world
	t     *testing.T
	clock *hook.Clock
	acts  int // histories until now
	steps int // in all of them
	root  string
}

// history is one sequence of steps, with the book of what should be.
type history struct {
	*stage
	book   *book
	issuer string
	keys   []crypto.Signer
	sent   []*sent
	lists  map[string]listed    // the last of each authority
	old    map[string]bool      // authorities that have a successor
	over   map[string]time.Time // since when authorities have nothing left to answer for
	signer string               // the authority that signs
	born   time.Time            // when it was made
}

// sent is a request that may come again.
type sent struct {
	paper *paper
	asked lifecycle.Asked
	once  lifecycle.Once
	at    time.Time
}

// listed is a CRL, and which end is too long ago to be on it.
type listed struct {
	leafward.CRL
	cut time.Time
}

// found makes an issuer whose authority signs itself where no other stands above it. P-256 takes a fifth of the time of the
// P-384 that our own root has.
func (s *stage) found(name string, life time.Duration, above string) leafward.Issuer {
	row, err := s.ca.CreateIssuer(s.ctx, leafward.Issuer{Name: name, Type: leafward.GenericCA, Config: []byte("{}"), Secrets: []string{}, Enabled: true}, ca.Spec{
		Key: pki.KeyKind{Algorithm: pki.ECDSA, Size: 256}, Subject: pki.Subject{CommonName: name}, Life: life, Parent: above,
	})
	check(s.t, err)
	return row
}

// play is the property: whatever happens, the server says what the book says.
func (s *stage) play(t *rapid.T) {
	h := &history{stage: s, lists: map[string]listed{}, old: map[string]bool{}, over: map[string]time.Time{}, book: &book{stolen: map[string]bool{}}}
	s.acts++
	h.tick(t, time.Second)
	row := s.found(fmt.Sprintf("history %d", s.acts), issuingLife, s.root)
	h.issuer, h.signer, h.born = row.ID, row.Authority, h.book.now
	for range 3 {
		h.keys = append(h.keys, newKey(s.t))
	}
	h.create(t)
	t.Repeat(map[string]func(*rapid.T){
		"": h.compare, "create": h.create, "renew": h.renew, "submit": h.submit, "cancel": h.cancel, "revoke": h.revoke, "revoke a version": h.strike,
		"replace": h.replace, "hold": h.hold, "release": h.release, "archive": h.archive, "repeat": h.repeat, "wait": h.pass, "age": h.age, "restart": h.restart,
	})
	for _, p := range h.book.papers { // so that nothing happens to them in the histories that follow
		check(s.t, h.Archive(h.ctx, p.id, ""))
	}
}

// tick moves the clock to a moment around which nothing else changes, and has what ended by then end.
func (h *history) tick(t *rapid.T, d time.Duration) {
	h.book.now = h.book.calm(h.clock.Now().Add(max(d, 2*time.Second)))
	h.clock.Set(h.book.now)
	late := false
	for _, p := range h.book.papers {
		if p.errand != nil && !p.errand.deadline.After(h.book.now) {
			late = true
			p.fail(h.book)
		}
	}
	if !late {
		return
	}
	h.engine.Nudge()
	for _, p := range h.book.papers {
		if p.errand == nil {
			h.settle(t, p)
		}
	}
}

// await waits until the server says what is wanted of a certificate.
func (h *history) await(t *rapid.T, p *paper, what string, wanted func(lifecycle.Shown) bool) (now lifecycle.Shown) {
	over := time.NewTimer(patience)
	defer over.Stop()
	for {
		changed := h.db.Changed()
		var err error
		now, err = h.Get(h.ctx, p.id)
		check(h.t, err)
		if wanted(now) {
			return now
		}
		select {
		case <-changed:
		case <-over.C:
			t.Fatalf("%s does not become %s: it is %s, with the jobs %v", p.name, what, now.Status, h.jobs(h.t, p.id))
		}
	}
}

func (h *history) settle(t *rapid.T, p *paper) lifecycle.Shown {
	return h.await(t, p, "one with nothing open", func(s lifecycle.Shown) bool { return s.OpenJob == "" })
}

// signed waits for the version that ends the errand and writes it into the book.
func (h *history) signed(t *rapid.T, p *paper, key string) {
	shown := h.settle(t, p)
	v := shown.Version
	if v == nil || slices.ContainsFunc(p.prints, func(old *print) bool { return old.serial == v.Serial }) {
		t.Fatalf("%s was not signed: %s, %s", p.name, shown.Status, shown.LastError)
	}
	if key == "" {
		key = v.Key
	}
	at := h.book.soon(-5 * time.Minute) // for clocks that are behind
	at.from = at.from.Add(-time.Second)
	if v.NotAfter.Sub(v.NotBefore)+time.Second != life || !at.holds(v.NotBefore) || v.Authority != h.signer {
		t.Fatalf("%s was signed by %s from %v to %v", p.name, v.Authority, v.NotBefore, v.NotAfter)
	}
	p.issued(h.book, &print{id: v.ID, authority: v.Authority, serial: v.Serial, key: key, from: v.NotBefore, to: v.NotAfter})
}

// go on with an errand: at once, or when a CSR comes.
func (h *history) proceed(t *rapid.T, p *paper) {
	if p.waits(h.book) {
		return
	}
	key := ""
	if p.source == again {
		key = p.last().key
	}
	h.signed(t, p, key)
}

// want fails the history unless the server answered as the book says: with an error of the kind, or well when it is "".
func (h *history) want(t *rapid.T, what string, err error, kind leafward.Kind) {
	if err == nil && kind == "" || err != nil && leafward.KindOf(err) == kind {
		return
	}
	t.Fatalf("%s: the answer is %v, wanted %q", what, err, kind)
}

// any draws a certificate.
func (h *history) any(t *rapid.T) *paper {
	if len(h.book.papers) == 0 {
		t.Skip("nothing yet")
	}
	return h.book.papers[rapid.IntRange(0, len(h.book.papers)-1).Draw(t, "certificate")]
}

func (h *history) key(t *rapid.T) (key crypto.Signer, name string) {
	n := rapid.IntRange(0, len(h.keys)-1).Draw(t, "key")
	return h.keys[n], fmt.Sprintf("key %d", n)
}

func (h *history) create(t *rapid.T) {
	if len(h.book.papers) == 4 {
		t.Skip("enough")
	}
	source := rapid.SampledFrom([]string{byServer, byCaller, again, "waiting"}).Draw(t, "source")
	p := &paper{name: fmt.Sprintf("c%d.h%d.example.com", len(h.book.papers), h.acts), source: source, auto: rapid.Bool().Draw(t, "auto"), noted: unnoted}
	if source == "waiting" {
		p.source = byCaller
	}
	h.tick(t, time.Second)
	asked, name := lifecycle.Asked{Waits: rapid.Bool().Draw(t, "waits")}, ""
	if source == byCaller || source == again {
		var key crypto.Signer
		key, name = h.key(t)
		asked.CSR = csr(h.t, key, p.name)
	}
	r := &sent{paper: p, asked: asked, at: h.book.now, once: lifecycle.Once{Operation: "createCertificate", Key: p.name, Body: []byte(p.name), Replayed: new(bool)}}
	made, err := h.Create(h.ctx, h.fill(p), asked, r.once)
	if h.book.stolen[name] {
		h.want(t, "a CSR with a stolen key", err, leafward.Invalid)
		return
	}
	h.want(t, "create", err, "")
	p.id = made.ID
	h.book.papers, h.sent = append(h.book.papers, p), append(h.sent, r)
	p.note("certificate.requested")
	p.begin(h.book, errand{})
	if source != "waiting" {
		h.signed(t, p, name)
	}
}

// fill writes the certificate as it is asked for.
func (h *history) fill(p *paper) func(lifecycle.Shown, *leafward.Certificate) error {
	return of(p.name, func(c *leafward.Certificate) {
		c.Name, c.Issuer, c.TTL, c.Policy, c.ReuseKey = p.name, h.issuer, int64(life/time.Second), leafward.DefaultPolicy, p.source == again
		if p.source == byServer {
			c.KeySource = leafward.ServerKey
		}
		if !p.auto {
			c.Policy = "rp-manual"
		}
	})
}

// repeat sends a request again whose answer may have been lost.
func (h *history) repeat(t *rapid.T) {
	if len(h.sent) == 0 {
		t.Skip("nothing yet")
	}
	r := h.sent[rapid.IntRange(0, len(h.sent)-1).Draw(t, "request")]
	h.tick(t, time.Second)
	if h.book.now.After(r.at.Add(day - slack)) {
		t.Skip("forgotten")
	}
	other := rapid.Bool().Draw(t, "another")
	once := r.once
	*once.Replayed = false
	if other {
		once.Body = []byte("something else")
	}
	made, err := h.Create(h.ctx, h.fill(r.paper), r.asked, once)
	if other {
		h.want(t, "another request under the same key", err, leafward.Conflict)
		return
	}
	h.want(t, "a repeated request", err, "")
	if made.ID != r.paper.id || !*once.Replayed {
		t.Fatalf("the repeated request made %s, not %s", made.ID, r.paper.id)
	}
}

func (h *history) renew(t *rapid.T) {
	p := h.any(t)
	h.tick(t, time.Second)
	_, err := h.Renew(h.ctx, p.id, lifecycle.Once{})
	if p.closed() || p.errand != nil {
		h.want(t, "renew", err, leafward.Conflict)
		return
	}
	h.want(t, "renew", err, "")
	p.begin(h.book, errand{})
	h.proceed(t, p)
}

func (h *history) submit(t *rapid.T) {
	p := h.any(t)
	if p.source == byServer {
		t.Skip("it needs none")
	}
	key, name := h.key(t)
	h.tick(t, time.Second)
	_, err := h.SubmitCSR(h.ctx, p.id, "", csr(h.t, key, p.name), lifecycle.Once{})
	switch {
	case p.errand == nil:
		h.want(t, "a CSR that nothing waits for", err, leafward.Conflict)
	case h.book.stolen[name]:
		h.want(t, "a CSR with a stolen key", err, leafward.Invalid)
	default:
		h.want(t, "a CSR", err, "")
		h.signed(t, p, name)
	}
}

func (h *history) cancel(t *rapid.T) {
	p := h.any(t)
	if p.errand == nil {
		t.Skip("nothing is open")
	}
	h.tick(t, time.Second)
	if p.errand == nil {
		return // its time was over
	}
	h.write(h.t, func(tx *store.Tx) error {
		c, err := tx.Certificate(p.id)
		if err != nil {
			return err
		}
		root, err := tx.Job(c.OpenJob)
		return errors.Join(err, h.engine.Cancel(tx, &root, "somebody"))
	})
	p.cancel(h.book)
}

func reason(t *rapid.T) string {
	return rapid.SampledFrom([]string{leafward.Unspecified, leafward.Superseded, stolen, "cessationOfOperation", "privilegeWithdrawn"}).Draw(t, "reason")
}

func (h *history) revoke(t *rapid.T) { h.shut(t, h.any(t), reason(t)) }

func (h *history) hold(t *rapid.T) { h.shut(t, h.any(t), hold) }

func (h *history) shut(t *rapid.T, p *paper, reason string) {
	h.tick(t, time.Second)
	_, err := h.Revoke(h.ctx, p.id, lifecycle.Revocation{Reason: reason}, lifecycle.Once{})
	if p.last() == nil {
		h.want(t, "revoking what was not issued", err, leafward.Conflict)
		return
	}
	h.want(t, "revoke", err, "")
	p.shut(h.book, reason)
}

// strike revokes one version alone.
func (h *history) strike(t *rapid.T) {
	p := h.any(t)
	if len(p.prints) == 0 {
		t.Skip("no version")
	}
	v := p.prints[rapid.IntRange(0, len(p.prints)-1).Draw(t, "version")]
	why := rapid.SampledFrom([]string{leafward.Superseded, stolen, hold}).Draw(t, "reason")
	h.tick(t, time.Second)
	_, err := h.Revoke(h.ctx, p.id, lifecycle.Revocation{Reason: why, Version: v.id}, lifecycle.Once{})
	if !v.to.After(h.book.now) {
		h.want(t, "revoking a version that has ended", err, leafward.Invalid)
		return
	}
	h.want(t, "revoke a version", err, "")
	if h.book.strike(p, []*print{v}, why) {
		p.note("certificate.revoked")
	}
}

// replace revokes what there is once there is something new; what is compromised at once.
func (h *history) replace(t *rapid.T) {
	p, why := h.any(t), rapid.SampledFrom([]string{leafward.Superseded, stolen}).Draw(t, "reason")
	h.tick(t, time.Second)
	_, err := h.Revoke(h.ctx, p.id, lifecycle.Revocation{Reason: why, Replace: true}, lifecycle.Once{})
	if p.last() == nil || p.closed() || p.errand != nil && why != stolen {
		h.want(t, "replace", err, leafward.Conflict)
		return
	}
	h.want(t, "replace", err, "")
	old := p.live(h.book.now)
	if why != stolen {
		p.begin(h.book, errand{fresh: true, revoke: old, reason: why})
		h.proceed(t, p)
		return
	}
	if p.errand != nil {
		p.errand, p.left = nil, nil
	}
	p.begin(h.book, errand{fresh: true})
	if h.book.strike(p, old, why) {
		p.note("certificate.revoked")
	}
	h.proceed(t, p)
}

func (h *history) release(t *rapid.T) {
	p := h.any(t)
	h.tick(t, time.Second)
	_, err := h.Release(h.ctx, p.id, lifecycle.Once{})
	if p.archived || !p.release(h.book) {
		h.want(t, "releasing what is not on hold", err, leafward.Conflict)
		return
	}
	h.want(t, "release", err, "")
}

func (h *history) archive(t *rapid.T) {
	p := h.any(t)
	h.tick(t, time.Second)
	check(h.t, h.Archive(h.ctx, p.id, ""))
	if p.archived {
		return
	}
	p.cancel(h.book)
	p.archived, p.due = true, nil
	p.note("certificate.archived")
}

// pass lets some time go by, after which the schedules run in any order.
func (h *history) pass(t *rapid.T) {
	h.tick(t, time.Duration(rapid.SampledFrom([]int{1, 5, 13, 30, 63, 150}).Draw(t, "hours"))*time.Hour)
	h.schedules(t)
}

func (h *history) schedules(t *rapid.T) {
	steps := map[string]func(){
		"renewals": func() { h.sweep(t) },
		"expiry": func() {
			check(h.t, h.orders.Note(h.ctx))
			for _, p := range h.book.papers {
				p.tell(h.book.now)
			}
		},
		"successors": func() { h.succeed(t) },
		"serials":    func() { _, err := h.ca.CloseAbandoned(h.ctx); check(h.t, err) },
	}
	for _, name := range rapid.Permutation([]string{"renewals", "expiry", "successors", "serials"}).Draw(t, "schedules") {
		steps[name]()
	}
}

// sweep opens what is due.
func (h *history) sweep(t *rapid.T) {
	check(h.t, h.orders.Sweep(h.ctx))
	for _, p := range h.book.papers {
		if p.due == nil || p.errand != nil || p.due.to.After(h.book.now.Add(slack)) || p.due.from.After(h.book.now) {
			continue
		}
		p.begin(h.book, errand{})
		h.proceed(t, p)
	}
}

// age lets the authority come near its end.
func (h *history) age(t *rapid.T) {
	h.tick(t, h.born.Add(issuingLife/2+time.Hour).Sub(h.clock.Now()))
	h.schedules(t)
}

// succeed gives the authority a successor when its time has come.
func (h *history) succeed(t *rapid.T) {
	check(h.t, h.ca.Succeed(h.ctx))
	var row leafward.Issuer
	h.view(h.t, func(v *store.View) (err error) { row, err = v.Issuer(h.issuer); return err })
	old := h.book.now.After(h.born.Add(issuingLife / 2))
	if old == (row.Authority == h.signer) {
		t.Fatalf("made %v, the authority %s has the successor %s", h.born, h.signer, row.Authority)
	}
	for authority := range h.old {
		if h.over[authority].IsZero() && !h.answers(authority) {
			h.over[authority] = h.book.now
		}
	}
	if old {
		h.old[h.signer] = true
		h.signer, h.born = row.Authority, h.book.now
	}
}

// answers tells whether an authority has anything left to answer for: until a day after the last end.
func (h *history) answers(authority string) bool {
	for _, p := range h.book.papers {
		for _, v := range p.prints {
			if v.authority == authority && v.to.After(h.book.now.Add(-listLife)) {
				return true
			}
		}
	}
	return false
}

// restart ends the process in order and begins another.
func (h *history) restart(t *rapid.T) {
	h.tick(t, time.Second)
	h.stop()
	h.boot(h.t)
}

// publish has the CRLs made that are due, as the loop of a server does.
func (h *history) publish() {
	due := func() (ids []string) {
		h.view(h.t, func(v *store.View) (err error) { ids, err = v.DueCRLs(); return err })
		return ids
	}
	if len(due()) == 0 {
		return
	}
	ctx, stop := context.WithCancel(h.ctx)
	ended := make(chan error, 1)
	go func() { ended <- h.ca.Run(ctx) }()
	h.wait(h.t, "the CRLs", func() bool { return len(due()) == 0 })
	stop()
	check(h.t, <-ended)
}
