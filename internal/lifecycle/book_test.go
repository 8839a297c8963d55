//go:build testhooks

package lifecycle_test

import (
	"fmt"
	"slices"
	"time"
)

// What the book takes for granted of the certificates in a history.
const (
	day      = 24 * time.Hour
	slack    = time.Minute            // a step takes less
	life     = 8*day + 30*time.Second // of every certificate, both ends counted
	window   = life / 3               // before its end it is due
	early    = window / 10            // up to which it is renewed before that
	listLife = day                    // of a CRL
	hold     = "certificateHold"
	stolen   = "keyCompromise"
)

// warnings are the days before its end at which a certificate that nobody renews is told of.
func warnings() []int { return []int{6, 2} }

// span is when something may be. It is narrowed to the moment that the server tells.
type span struct{ from, to time.Time }

func (s *span) holds(t time.Time) bool { return !t.Before(s.from) && !t.After(s.to) }

func (s *span) String() string {
	if s == nil {
		return "never"
	}
	return fmt.Sprintf("from %v to %v", s.from, s.to)
}

// is tells whether the server's moment is one of the span, which it is from then on; nil is never.
func (s *span) is(t time.Time) bool {
	if s == nil || t.IsZero() {
		return s == nil && t.IsZero()
	}
	fits := s.holds(t)
	s.from, s.to = t, t
	return fits
}

// Who has the key of a certificate, and whether a renewal signs it again.
const (
	byServer = "server"
	byCaller = "caller"
	again    = "caller, again"
)

// paper is a certificate as it should be.
type paper struct {
	id, name string
	source   string
	auto     bool
	prints   []*print
	errand   *errand // what is open
	left     *errand // what the last one that failed was to do at its end
	failed   *span
	due      *span // nil: never
	ends     time.Time
	noted    int // days of the last warning for this end; 0: the end itself
	revoked  *span
	reason   string
	archived bool
	events   []string
}

// print is one version.
type print struct {
	id, authority, serial, key string
	from, to                   time.Time
	revoked                    *span
	reason                     string
}

// errand is an issuance or renewal that waits for a CSR, or is done at once.
type errand struct {
	renewal  bool
	fresh    bool     // with a new key
	revoke   []*print // at its end
	reason   string
	deadline time.Time
}

// book is the model: what should be on record after each step.
type book struct {
	now    time.Time
	papers []*paper
	stolen map[string]bool // keys
}

const unnoted = 1000

func (b *book) soon(after time.Duration) *span {
	return &span{b.now.Add(after), b.now.Add(after + slack)}
}

func (p *paper) last() *print {
	if len(p.prints) == 0 {
		return nil
	}
	return p.prints[len(p.prints)-1]
}

func (p *paper) closed() bool { return p.archived || p.revoked != nil }

// status is what docs/states.md says: the first line that holds.
func (p *paper) status(now time.Time) string {
	switch {
	case p.archived:
		return "Archived"
	case p.revoked != nil:
		return "Revoked"
	case !p.ends.IsZero() && !now.Before(p.ends):
		return "Expired"
	case p.errand != nil && p.last() != nil:
		return "RenewalInProgress"
	case p.failed != nil:
		return "Failed"
	case p.struck() || p.last() != nil && !now.Before(p.last().to.Add(-window)):
		return "Expiring"
	case p.last() != nil:
		return "Active"
	}
	return "Pending"
}

// note writes down an event.
func (p *paper) note(event string) { p.events = append(p.events, event) }

// struck tells whether what is in use is revoked for good.
func (p *paper) struck() bool {
	return p.last() != nil && p.last().revoked != nil && p.last().reason != hold
}

// retry is how long nothing is tried after a failure.
func (p *paper) retry(from time.Time) time.Duration {
	wait := time.Hour
	if !p.ends.IsZero() {
		wait = max(wait, p.ends.Sub(from)/8)
	}
	return min(wait, day)
}

// plan says when the certificate is renewed.
func (p *paper) plan(b *book) {
	p.due = nil
	switch {
	case p.closed() || !p.auto:
	case p.failed != nil:
		wait := p.retry(p.failed.from)
		p.due = &span{p.failed.from.Add(wait - time.Second), p.failed.to.Add(wait)}
	case p.struck():
		p.due = b.soon(0)
	case p.last() != nil:
		at := p.last().to.Add(-window)
		p.due = &span{at.Add(-early), at}
	}
}

// begin opens an errand; what the last one failed to do is done by this one.
func (p *paper) begin(b *book, e errand) *errand {
	if p.left != nil && e.reason == "" { // what was to be replaced gets new keys, though nothing of it is left to be revoked
		e.revoke, e.reason = p.left.revoke, p.left.reason
		e.fresh = e.fresh || e.reason != ""
	}
	p.left = nil
	e.renewal = p.last() != nil
	least, most := b.now.Add(day), b.now.Add(30*day)
	switch {
	case p.ends.IsZero() || p.ends.After(most):
		e.deadline = most
	case p.ends.Before(least):
		e.deadline = least
	default:
		e.deadline = p.ends
	}
	p.errand = &e
	return p.errand
}

// waits tells whether the open errand needs a CSR.
func (p *paper) waits(b *book) bool {
	switch p.source {
	case byServer:
		return false
	case again:
		return p.errand.fresh || p.last() == nil || b.stolen[p.last().key]
	}
	return true
}

// issued ends the errand with a new version.
func (p *paper) issued(b *book, v *print) {
	e := p.errand
	p.prints = append(p.prints, v)
	p.errand, p.failed = nil, nil
	p.use(v.to)
	p.plan(b)
	p.note("certificate.issued")
	if e.renewal {
		p.note("certificate.renewed")
	}
	if b.strike(p, e.revoke, e.reason) {
		p.note("certificate.revoked")
	}
}

// use says when what is in use ends.
func (p *paper) use(end time.Time) {
	if !end.Equal(p.ends) {
		p.ends, p.noted = end, unnoted
	}
}

// fail ends the errand because nobody sent a CSR in time.
func (p *paper) fail(b *book) {
	p.left, p.errand = p.errand, nil
	p.failed = b.soon(0)
	p.plan(b)
}

// cancel ends the errand because somebody said so. What is due by then is tried again after a while.
func (p *paper) cancel(b *book) {
	if p.errand == nil {
		return
	}
	p.errand, p.left = nil, nil
	switch {
	case p.due != nil && !p.due.from.After(b.now):
		wait := p.retry(b.now)
		p.due = &span{b.now.Add(wait - slack), b.now.Add(wait + slack)}
	case p.auto && !p.closed() && p.struck(): // while it was open, nothing had to be due
		p.due = b.soon(0)
	}
}

// live are the versions that have not ended.
func (p *paper) live(now time.Time) (live []*print) {
	for _, v := range p.prints {
		if v.to.After(now) {
			live = append(live, v)
		}
	}
	return live
}

// strike revokes versions; with a stolen key every other version goes that has it. It tells whether anything changed.
func (b *book) strike(p *paper, list []*print, reason string) (changed bool) {
	struck := map[*paper]bool{p: true}
	for _, v := range list {
		changed = b.revoke(v, reason) || changed
		if reason != stolen {
			continue
		}
		b.stolen[v.key] = true
		for _, other := range b.papers {
			for _, w := range other.live(b.now) {
				if w.key != v.key || !b.revoke(w, reason) {
					continue
				}
				changed = true
				if !struck[other] {
					other.note("certificate.revoked")
				}
				struck[other] = true
			}
		}
	}
	for other := range struck {
		other.hasten(b)
	}
	return changed
}

// hasten makes a certificate due at once when what is in use is revoked for good, whatever failed before.
func (p *paper) hasten(b *book) {
	if p.auto && !p.closed() && p.errand == nil && p.struck() {
		p.due = b.soon(0)
	}
}

// revoke revokes one version: a hold may become anything, and anything a compromise.
func (b *book) revoke(v *print, reason string) (changed bool) {
	if v.revoked != nil && (v.reason == reason || v.reason != hold && reason != stolen) {
		return false
	}
	if v.revoked == nil {
		v.revoked = b.soon(0)
	}
	v.reason = reason
	return true
}

// shut revokes the certificate with every version that has not ended.
func (p *paper) shut(b *book, reason string) {
	if p.revoked != nil && (p.reason == reason || p.reason != hold && reason != stolen) {
		return
	}
	if p.revoked == nil {
		p.cancel(b)
		p.revoked = b.soon(0)
	}
	p.reason, p.due = reason, nil
	p.note("certificate.revoked")
	b.strike(p, p.live(b.now), reason)
}

// release lifts what is on hold, and tells whether anything was.
func (p *paper) release(b *book) bool {
	lifted := false
	for _, v := range p.live(b.now) {
		if v.revoked != nil && v.reason == hold {
			v.revoked, v.reason, lifted = nil, "", true
		}
	}
	held := p.revoked != nil && p.reason == hold
	if held {
		p.revoked, p.reason = nil, ""
		p.plan(b)
	}
	if held || lifted {
		p.note("certificate.released")
		p.hasten(b)
	}
	return held || lifted
}

// tell is what the clock has told of the certificate.
func (p *paper) tell(now time.Time) {
	if p.closed() || p.ends.IsZero() || p.noted == 0 {
		return
	}
	if !now.Before(p.ends) {
		p.noted = 0
		p.note("certificate.expired")
		return
	}
	if p.auto {
		return
	}
	for _, days := range slices.Backward(warnings()) {
		if days < p.noted && !now.Before(p.ends.Add(-time.Duration(days)*day)) {
			p.noted = days
			p.note("certificate.expiring")
			return
		}
	}
}

// moments are when something changes by the clock.
func (b *book) moments() (all []time.Time) {
	for _, p := range b.papers {
		all = append(all, p.ends)
		if p.due != nil {
			all = append(all, p.due.from)
		}
		if p.errand != nil {
			all = append(all, p.errand.deadline)
		}
		if v := p.last(); v != nil {
			all = append(all, v.to.Add(-window))
		}
		for _, days := range warnings() {
			all = append(all, p.ends.Add(-time.Duration(days)*day))
		}
		for _, v := range p.prints {
			all = append(all, v.to)
		}
	}
	return all
}

// calm is the first moment from t on around which nothing changes by the clock.
func (b *book) calm(t time.Time) time.Time {
	all := b.moments()
	slices.SortFunc(all, time.Time.Compare)
	for _, at := range all {
		if at.After(t.Add(-2*time.Second)) && at.Before(t.Add(slack)) {
			t = at.Add(3 * time.Second)
		}
	}
	return t
}
