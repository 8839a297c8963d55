package leafward

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"
)

// Certificate is what should be: the names, the key and the places, over all its versions.
// Its states are derived from these facts at the moment of reading, see Status.
type Certificate struct {
	Row
	Number      int64             `db:"number,auto"`
	Team        string            `db:"team"`
	Enrollment  string            `db:"enrollment"`
	Name        string            `db:"name"`
	CommonName  string            `db:"common_name"`
	SANs        []string          `db:"sans,json"` // canonical names in the order given, the common name included when it is one
	Owner       string            `db:"owner"`
	Profile     string            `db:"profile"`
	Issuer      string            `db:"issuer"`
	Policy      string            `db:"policy"`
	Environment string            `db:"environment"`
	Tags        map[string]string `db:"tags,json"`
	TTL         int64             `db:"ttl"`       // seconds; 0: the profile's
	Algorithm   string            `db:"algorithm"` // of keys made for it; "": the profile's first
	Size        int               `db:"size"`
	KeySource   KeyCustody        `db:"key_source"`
	ReuseKey    bool              `db:"reuse_key"` // a renewal without a new CSR signs the old one again
	Spec        int64             `db:"spec_revision"`

	Version     string    `db:"version"`      // current version, "" before the first
	VersionSpec int64     `db:"version_spec"` // spec revision that the current version was signed for
	NotBefore   time.Time `db:"not_before"`   // of the version by which it is planned: that which ends first among its slots
	NotAfter    time.Time `db:"not_after"`    // of the same version
	ExpiresAt   time.Time `db:"expires_at"`   // earliest end in use: proved where installed, else current
	WindowAt    time.Time `db:"window_at"`    // from here on it is Expiring
	StruckAt    time.Time `db:"struck_at"`    // since when a version in use is revoked for good; zero: none is, or the certificate is closed
	RenewAt     time.Time `db:"renew_at"`     // the sweep acts from here on; zero: never
	OpenJob     string    `db:"open_job"`     // root job in progress
	FailedAt    time.Time `db:"failed_at"`    // the last root failed then; zero after a success
	Tries       int       `db:"tries"`        // failed roots since the last success
	LastError   string    `db:"last_error"`   // of the last failed root
	RenewedAt   time.Time `db:"renewed_at"`   // last renewal
	DeployedAt  time.Time `db:"deployed_at"`  // last deployment
	NoteAt      time.Time `db:"note_at"`      // next moment at which a warning or the expiry is to be recorded
	NotedDays   int       `db:"noted_days"`   // smallest threshold recorded for the present ExpiresAt; -1: the expiry
	RevokedAt   time.Time `db:"revoked_at"`
	Reason      string    `db:"revocation_reason"`
	ArchivedAt  time.Time `db:"archived_at"`

	Words string `db:"words"` // that it is found by, one a line; the store writes them
}

// CertificateStatus is what a certificate is shown as.
type CertificateStatus string

// What a certificate is shown as, the first that holds.
const (
	StatusArchived   CertificateStatus = "Archived"
	StatusRevoked    CertificateStatus = "Revoked"
	StatusExpired    CertificateStatus = "Expired"
	StatusInProgress CertificateStatus = "RenewalInProgress"
	StatusFailed     CertificateStatus = "Failed"
	StatusExpiring   CertificateStatus = "Expiring"
	StatusActive     CertificateStatus = "Active"
	StatusPending    CertificateStatus = "Pending"
)

// CertificateStatuses are all of them, in the order in which they are tried.
func CertificateStatuses() []CertificateStatus {
	return []CertificateStatus{StatusArchived, StatusRevoked, StatusExpired, StatusInProgress, StatusFailed, StatusExpiring, StatusActive, StatusPending}
}

// Status is derived from what happened, so that it is true even when every loop is dead.
func (c *Certificate) Status(now time.Time) CertificateStatus {
	switch {
	case !c.ArchivedAt.IsZero():
		return StatusArchived
	case !c.RevokedAt.IsZero():
		return StatusRevoked
	case !c.ExpiresAt.IsZero() && !now.Before(c.ExpiresAt):
		return StatusExpired
	case c.OpenJob != "" && c.Version != "":
		return StatusInProgress
	case !c.FailedAt.IsZero():
		return StatusFailed
	case !c.WindowAt.IsZero() && !now.Before(c.WindowAt):
		return StatusExpiring
	case c.Version != "":
		return StatusActive
	default:
		return StatusPending
	}
}

// Scope is the team.
func (c *Certificate) Scope() string { return c.Team }

// Changed tells whether the next version will differ from the current one by what was written since. What was imported, and so
// signed for no revision, is as the first one says.
func (c *Certificate) Changed() bool {
	return c.Version != "" && max(c.VersionSpec, 1) != max(c.Spec, 1)
}

// Closed tells whether nothing is renewed or deployed any more, and why.
func (c *Certificate) Closed() (why string, closed bool) {
	switch {
	case !c.ArchivedAt.IsZero():
		return "it is archived", true
	case !c.RevokedAt.IsZero():
		return "it is revoked", true
	}
	return "", false
}

// Due tells whether its moment of renewal has come and nothing is under way.
func (c *Certificate) Due(now time.Time) bool {
	return !c.RenewAt.IsZero() && !c.RenewAt.After(now) && c.OpenJob == ""
}

// Names are the common name and the subject alternative names, each once.
func (c *Certificate) Names() []string {
	if c.CommonName == "" || slices.Contains(c.SANs, c.CommonName) {
		return c.SANs
	}
	return append([]string{c.CommonName}, c.SANs...)
}

// Terms are the words the certificate is found by: names, every label from which a name can be typed, tags.
func (c *Certificate) Terms() []string {
	words := []string{c.ID, c.Name}
	for _, name := range c.Names() {
		for rest := name; rest != ""; {
			words = append(words, rest)
			_, after, ok := strings.Cut(rest, ".")
			if !ok || len(words) > 200 {
				break
			}
			rest = after
		}
	}
	for key, value := range c.Tags {
		words = append(words, key+"="+value, value)
	}
	return words
}

// Bounds of a certificate.
const (
	MaxSANs       = 100
	MaxTag        = 255
	MaxCommonName = 64
)

// Validate names everything a client wrote wrong; names and keys are checked against the profile by the lifecycle.
func (c *Certificate) Validate() error {
	var p Problems
	CheckID(&p, c.ID)
	CheckName(&p, "name", c.Name)
	CheckText(&p, "common_name", c.CommonName, MaxCommonName)
	CheckLabel(&p, "environment", c.Environment, MaxName)
	p.Check(len(c.SANs) <= MaxSANs, "sans", fmt.Sprintf("has more than %d names", MaxSANs), "split them over several certificates")
	p.Check(len(c.Names()) > 0, "common_name", "is missing, and so is every SAN", "name at least one host, such as www.example.com")
	p.Check(len(c.Tags) <= MaxTags, "tags", fmt.Sprintf("has more than %d tags", MaxTags), "use fewer")
	for key, value := range c.Tags {
		CheckName(&p, "tags", key)
		CheckLabel(&p, "tags."+key, value, MaxTag)
	}
	p.Check(c.TTL == 0 || c.TTL >= MinProfileTTL && c.TTL <= MaxProfileTTL, "ttl_seconds", "is out of range", fmt.Sprintf("use %d to %d seconds, or leave it out for the profile's", MinProfileTTL, MaxProfileTTL))
	p.Check(c.Algorithm != "" || c.Size == 0, "key_size", "goes with key_algorithm only", "name the algorithm too, or leave both out")
	p.Check(slices.Contains([]KeyCustody{AgentKey, ClientKey, ServerKey}, c.KeySource), "key_source", fmt.Sprintf("%.40q is not a key source", c.KeySource), "use agent or server, or send a csr_pem")
	return p.Err()
}

// Activate makes the version the current one and plans what follows from its lifetime. Live are the newest versions of the
// slots in use, this one among them: the one that ends first says when the next renewal is.
func (c *Certificate) Activate(v *Version, live []Version, policy *RenewalPolicy, now time.Time) {
	if v.Predecessor != "" {
		c.RenewedAt = now
	}
	first := c.Version == ""
	c.Version, c.VersionSpec = v.ID, v.Spec
	c.Follow(live, policy)
	if first {
		c.Use(v.NotAfter, policy)
	}
}

// Follow plans by the version that ends first among the newest of the slots in use, and by whether one of them is revoked.
func (c *Certificate) Follow(live []Version, policy *RenewalPolicy) {
	c.struck(live)
	if len(live) > 0 {
		v := slices.MinFunc(live, func(a, b Version) int { return a.NotAfter.Compare(b.NotAfter) })
		c.NotBefore, c.NotAfter = v.NotBefore, v.NotAfter
	}
	c.Plan(policy)
}

// StruckSince is since when one of the versions is revoked for good; zero: none is. A hold may be lifted.
func StruckSince(used []Version) (first time.Time) {
	for i := range used {
		v := &used[i]
		if !v.RevokedAt.IsZero() && v.Reason != CertificateHold && (first.IsZero() || v.RevokedAt.Before(first)) {
			first = v.RevokedAt
		}
	}
	return first
}

// struck notes which of the versions in use are revoked, unless it is closed: then none need be replaced.
func (c *Certificate) struck(used []Version) {
	c.StruckAt = time.Time{}
	if _, closed := c.Closed(); !closed {
		c.StruckAt = StruckSince(used)
	}
}

// Strike plans anew by which of the versions in use are revoked: those that are served beside the newest.
func (c *Certificate) Strike(used []Version, policy *RenewalPolicy) {
	c.struck(used)
	c.Plan(policy)
}

// Use records when the first of the versions in use ends; warnings begin anew when that moved.
func (c *Certificate) Use(end time.Time, policy *RenewalPolicy) {
	if !end.Equal(c.ExpiresAt) {
		c.ExpiresAt, c.NotedDays = end, noneNoted
	}
	c.planNote(policy)
}

// noneNoted is above every threshold.
const noneNoted = 1 << 20

const day = 24 * time.Hour

// lifetime is that of the version by which the certificate is planned; both ends count.
func (c *Certificate) lifetime() time.Duration { return c.NotAfter.Sub(c.NotBefore) + time.Second }

// Plan computes the window and the moment of renewal from the policy. The moment lies before the window by a jitter of up
// to a tenth of the window, at most a day, that is always the same for one version, so that a fleet does not renew at once.
// After a failed root it is the end of the policy's wait instead. Where a version in use is revoked, both have come.
func (c *Certificate) Plan(policy *RenewalPolicy) {
	c.WindowAt, c.RenewAt = time.Time{}, time.Time{}
	c.planNote(policy)
	if _, closed := c.Closed(); closed {
		return
	}
	if c.Version != "" {
		c.WindowAt = c.NotAfter.Add(-policy.Window(c.lifetime()))
	}
	c.openWindow()
	switch {
	case !policy.AutoRenew:
	case c.StruckAt.After(c.FailedAt):
		c.RenewAt = c.StruckAt
	case !c.FailedAt.IsZero():
		c.RenewAt = c.FailedAt.Add(policy.Retry(c.FailedAt, c.ExpiresAt))
	case c.Version != "":
		c.RenewAt = c.WindowAt.Add(-c.jitter(policy))
	}
}

// openWindow has the window begin when a version in use was revoked.
func (c *Certificate) openWindow() {
	if !c.StruckAt.IsZero() && (c.WindowAt.IsZero() || c.StruckAt.Before(c.WindowAt)) {
		c.WindowAt = c.StruckAt
	}
}

// jitter is how long before its window the certificate is renewed.
func (c *Certificate) jitter(policy *RenewalPolicy) time.Duration {
	lifetime := c.lifetime()
	most := min(policy.Window(lifetime)/10, day, lifetime/20)
	if most <= 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(c.Version))
	return time.Duration(h.Sum64() % uint64(most)).Truncate(time.Microsecond)
}

// planNote finds the next threshold to record before the versions in use end. A threshold longer than the lifetime says
// nothing, and neither does one before the window while renewal is on.
func (c *Certificate) planNote(policy *RenewalPolicy) {
	c.NoteAt = time.Time{}
	if _, closed := c.Closed(); closed || c.NotedDays < 0 || c.ExpiresAt.IsZero() {
		return
	}
	c.NoteAt = c.ExpiresAt
	begin := c.ExpiresAt.Add(-c.lifetime())
	window := c.ExpiresAt.Add(-policy.Window(c.lifetime()))
	for _, days := range policy.Thresholds {
		at := c.ExpiresAt.Add(-time.Duration(days) * day)
		silent := policy.AutoRenew && at.Before(window)
		if days < c.NotedDays && at.After(begin) && !silent && at.Before(c.NoteAt) {
			c.NoteAt = at
		}
	}
}

// Note records that the instant reached a threshold or the end and moves NoteAt on: days is the smallest threshold that
// was reached, -1 when none was.
func (c *Certificate) Note(policy *RenewalPolicy, now time.Time) (days int, expired bool) {
	days = -1
	if c.NoteAt.IsZero() || now.Before(c.NoteAt) {
		return days, false
	}
	for _, d := range policy.Thresholds {
		if d < c.NotedDays && (days < 0 || d < days) && !now.Before(c.ExpiresAt.Add(-time.Duration(d)*day)) {
			days = d
		}
	}
	if expired = !now.Before(c.ExpiresAt); expired {
		c.NotedDays = -1
	} else if days >= 0 {
		c.NotedDays = days
	}
	c.planNote(policy)
	return days, expired
}

// Begin opens a root job.
func (c *Certificate) Begin(job string) { c.OpenJob = job }

// Succeed closes the root job after everything was proved.
func (c *Certificate) Succeed(policy *RenewalPolicy) {
	c.OpenJob, c.FailedAt, c.Tries, c.LastError = "", time.Time{}, 0, ""
	c.Plan(policy)
}

// Fail notes that a root job, or a deployment outside of one, failed, and closes the root. The certificate is due from
// then on, even when its newest version is not: the next root starts after the policy's wait, by the time that is left of
// what is in use.
func (c *Certificate) Fail(why string, policy *RenewalPolicy, now time.Time) {
	c.OpenJob, c.FailedAt, c.LastError = "", now, why
	c.Tries++
	c.Plan(policy)
}

// Abandon closes the root job because somebody cancelled it. Nothing counts as failed, and what is due is due again after
// the policy's wait.
func (c *Certificate) Abandon(policy *RenewalPolicy, now time.Time) {
	c.OpenJob = ""
	if !c.RenewAt.IsZero() && !c.RenewAt.After(now) {
		c.RenewAt = now.Add(policy.Retry(now, c.ExpiresAt))
	}
}

// Hasten has the certificate Expiring, and due at once, where one of the versions in use is revoked for good.
func (c *Certificate) Hasten(used []Version, policy *RenewalPolicy, now time.Time) {
	if _, closed := c.Closed(); closed {
		return
	}
	if c.struck(used); c.StruckAt.IsZero() {
		return
	}
	if c.openWindow(); policy.AutoRenew && c.OpenJob == "" {
		c.RenewAt = now
	}
}

// SetBack plans anew by the present clock what was planned by one that was ahead. What was signed then is not valid yet, and
// is due.
func (c *Certificate) SetBack(policy *RenewalPolicy, now time.Time) {
	if c.FailedAt.After(now) {
		c.FailedAt = now
	}
	if c.StruckAt.After(now) {
		c.StruckAt = now
	}
	if c.Plan(policy); !c.RenewAt.IsZero() && c.NotBefore.After(now.Add(Ahead)) {
		c.RenewAt = now
	}
}

// Revoke closes the certificate. One that is revoked already gets the other reason and stays so from when it was.
func (c *Certificate) Revoke(reason string, now time.Time) {
	if c.RevokedAt.IsZero() {
		c.RevokedAt = now
	}
	c.Reason, c.RenewAt, c.NoteAt, c.StruckAt = reason, time.Time{}, time.Time{}, time.Time{}
}

// Release lifts a hold.
func (c *Certificate) Release(policy *RenewalPolicy) {
	c.RevokedAt, c.Reason = time.Time{}, ""
	c.Plan(policy)
}

// Archive takes the certificate out of the lists; its history stays.
func (c *Certificate) Archive(now time.Time) {
	c.ArchivedAt, c.RenewAt, c.NoteAt, c.StruckAt = now, time.Time{}, time.Time{}, time.Time{}
}

// FoldKey is where the certificate counts: what is stored of its state, and the days on which it ends and is renewed.
type FoldKey struct {
	Team, Issuer, State string
	ExpiryDay, RenewDay int64
}

// Fold is the certificate's place in the counts.
func (c *Certificate) Fold() FoldKey {
	k := FoldKey{Team: c.Team, Issuer: c.Issuer, State: "active"}
	switch {
	case !c.ArchivedAt.IsZero():
		k.State = "archived"
	case !c.RevokedAt.IsZero():
		k.State = "revoked"
	case c.OpenJob != "" && c.Version != "":
		k.State = "open"
	case !c.FailedAt.IsZero():
		k.State = "failed"
	case c.Version == "":
		k.State = "pending"
	}
	if !c.ExpiresAt.IsZero() {
		k.ExpiryDay = c.ExpiresAt.Unix() / 86400
	}
	if !c.RenewAt.IsZero() {
		k.RenewDay = c.RenewAt.Unix() / 86400
	}
	return k
}

// Version is what was signed.
type Version struct {
	Row
	Number      int64     `db:"number,auto"`
	Certificate string    `db:"certificate"`
	Team        string    `db:"team"`
	Slot        string    `db:"slot"`    // who holds the key: an agent's id, client, server
	Current     bool      `db:"current"` // newest of its slot
	Key         string    `db:"key_id"`
	Request     string    `db:"request"`
	Issuer      string    `db:"issuer"`
	Authority   string    `db:"authority"` // that signed: of ours, or what ForeignAuthority gives for one that is not; "" for what an upstream issuer gave
	Serial      string    `db:"serial"`    // minimal lower hex
	SHA256      string    `db:"sha256"`    // fingerprint, hex
	Subject     string    `db:"subject"`
	Algorithm   string    `db:"algorithm"`
	Size        int       `db:"size"`
	NotBefore   time.Time `db:"not_before"`
	NotAfter    time.Time `db:"not_after"`
	DER         []byte    `db:"der"`
	Chain       string    `db:"chain"` // id of the stored chain
	Spec        int64     `db:"spec_revision"`
	Predecessor string    `db:"predecessor"`
	Source      string    `db:"source"` // VersionIssued or VersionImported
	RevokedAt   time.Time `db:"revoked_at"`
	Reason      string    `db:"revocation_reason"`
	HiddenAt    time.Time `db:"hidden_at"`
}

// Where versions come from.
const (
	VersionIssued   = "issued"
	VersionImported = "imported" // signed elsewhere, on nobody's request here
)

const foreignAuthority = "foreign-"

// ForeignAuthority stands for whoever signed a version that no authority of ours did, and for nothing else: a name, a key
// identifier and a serial number are easily borrowed, and one signature can be written in several ways. Such certificates are told
// apart by their SHA-256 alone, so that none keeps another one out.
func ForeignAuthority(version string) string { return foreignAuthority + version }

// Foreign tells whether an authority that is not ours signed the version, as one that was imported: it alone revokes it.
func (v *Version) Foreign() bool { return IsForeign(v.Authority) }

// IsForeign tells whether an authority is what ForeignAuthority gives.
func IsForeign(authority string) bool { return strings.HasPrefix(authority, foreignAuthority) }

// RequestState is where one ask for one signature is.
type RequestState string

// The states of a request.
const (
	RequestOpen      RequestState = "open"
	RequestIssued    RequestState = "issued"
	RequestFailed    RequestState = "failed"
	RequestCancelled RequestState = "cancelled"
)

// Request is one ask for one signature.
type Request struct {
	Row
	Certificate string       `db:"certificate"`
	Job         string       `db:"job"` // the order that it belongs to
	Slot        string       `db:"slot"`
	CSR         []byte       `db:"csr"` // DER
	Key         string       `db:"key_id"`
	State       RequestState `db:"state"`
	Version     string       `db:"version"`
	Error       string       `db:"error"`
}
