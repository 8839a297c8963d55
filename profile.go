package leafward

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// KeyRule allows an algorithm from a size on; MinSize is 0 where the algorithm has one size only.
type KeyRule struct {
	Algorithm string `json:"algorithm,omitempty"`
	MinSize   int    `json:"min_size,omitempty"`
}

// Key algorithms, in the words of the contract.
const (
	RSA     = "RSA"
	ECDSA   = "ECDSA"
	Ed25519 = "Ed25519"
)

// EKUs a profile may allow, in the words of the contract.
func EKUs() []string {
	return []string{"serverAuth", "clientAuth", "codeSigning", "emailProtection", "timeStamping"}
}

// SANTypes are the kinds of names that a profile may allow: host names, IP addresses, e-mail addresses, and URIs.
func SANTypes() []string { return []string{"dns", "ip", "email", "uri"} }

// ShortLived is the lifetime under which a certificate needs no revocation (RFC 9608).
const ShortLived = 7 * 24 * time.Hour

// Profile is what certificates may be: one validator for every road, from request fields and CSRs alike.
type Profile struct {
	Row
	Number       int64     `db:"number,auto"`
	Team         string    `db:"team"`
	Name         string    `db:"name"`
	Description  string    `db:"description"`
	Keys         []KeyRule `db:"keys,json"`          // empty: every algorithm from its least safe size
	MaxTTL       int64     `db:"max_ttl"`            // seconds
	DefaultTTL   int64     `db:"default_ttl"`        // seconds; 0: MaxTTL
	Backdate     int64     `db:"backdate"`           // seconds that notBefore lies back, inside the lifetime
	EKUs         []string  `db:"ekus,json"`          // extended key usages of every certificate, in order
	NameTypes    []string  `db:"name_types,json"`    // of SANTypes; empty: every kind
	RequiredSANs []string  `db:"required_sans,json"` // glob patterns; each name must match one of them
	SPIFFE       string    `db:"spiffe"`             // glob pattern that URI names must match; "": no URI names under spiffe://
	AllowShort   bool      `db:"allow_short"`        // lifetimes under ShortLived, without revocation
	CutToIssuer  bool      `db:"cut_to_issuer"`      // a lifetime past the authority's end is cut instead of refused
	Enabled      bool      `db:"enabled"`
}

// Scope is the team, "" for a profile that all teams share.
func (p *Profile) Scope() string { return p.Team }

// Terms are the words the profile is found by.
func (p *Profile) Terms() []string { return append(words(p.Description), p.ID, p.Name) }

// Bounds of a profile.
const (
	MaxProfileTTL = 10 * 366 * 24 * 3600 // seconds
	MinProfileTTL = 300                  // seconds
	MaxBackdate   = 3600                 // seconds
	maxPatterns   = 50
	maxPattern    = 255
)

// Validate names everything a client wrote wrong.
func (p *Profile) Validate() error {
	var w Problems
	CheckID(&w, p.ID)
	CheckName(&w, "name", p.Name)
	CheckText(&w, "description", p.Description, MaxDescription)
	w.Check(len(p.Keys) <= 10, "allowed_key_algorithms", "has more than 10 rules", "keep one rule for each algorithm")
	for i, k := range p.Keys {
		checkKeyRule(&w, fmt.Sprintf("allowed_key_algorithms[%d]", i), k)
	}
	w.Check(p.MaxTTL >= MinProfileTTL && p.MaxTTL <= MaxProfileTTL, "max_ttl_seconds", "is out of range", fmt.Sprintf("use %d to %d seconds", MinProfileTTL, MaxProfileTTL))
	w.Check(p.DefaultTTL == 0 || p.DefaultTTL >= MinProfileTTL && p.DefaultTTL <= p.MaxTTL, "default_ttl_seconds", "is out of range", "use at most max_ttl_seconds, or 0 for that")
	w.Check(p.Backdate >= 0 && p.Backdate <= MaxBackdate && (p.MaxTTL == 0 || p.Backdate < p.MaxTTL), "backdate_seconds", "is out of range", fmt.Sprintf("use 0 to %d seconds, less than the lifetime", MaxBackdate))
	seen := make(map[string]bool)
	for i, e := range p.EKUs {
		w.Check(slices.Contains(EKUs(), e) && !seen[e], fmt.Sprintf("allowed_ekus[%d]", i), fmt.Sprintf("%.40q is not an extended key usage, or is repeated", e), "use each of "+strings.Join(EKUs(), ", ")+" at most once")
		seen[e] = true
	}
	for i, t := range p.NameTypes {
		w.Check(slices.Contains(SANTypes(), t) && !slices.Contains(p.NameTypes[:i], t), fmt.Sprintf("allowed_san_types[%d]", i), fmt.Sprintf("%.40q is not a type of name, or is repeated", t), "use each of "+strings.Join(SANTypes(), ", ")+" at most once")
	}
	w.Check(len(p.RequiredSANs) <= maxPatterns, "required_san_patterns", fmt.Sprintf("has more than %d patterns", maxPatterns), "use fewer, wider patterns")
	for i, s := range p.RequiredSANs {
		checkPattern(&w, fmt.Sprintf("required_san_patterns[%d]", i), s)
	}
	if p.SPIFFE != "" {
		checkPattern(&w, "spiffe_uri_pattern", p.SPIFFE)
		w.Check(strings.HasPrefix(p.SPIFFE, "spiffe://"), "spiffe_uri_pattern", "does not begin with spiffe://", "write it as spiffe://trust.domain/path/*")
	}
	w.Check(p.AllowShort || p.TTL() >= int64(ShortLived/time.Second), "allow_short_lived", "is off, but the profile's lifetime is under 7 days", "turn it on, or use a longer lifetime")
	return w.Err()
}

func checkKeyRule(w *Problems, field string, k KeyRule) {
	sizes := map[string][]int{RSA: {0, 2048, 3072, 4096}, ECDSA: {0, 256, 384}, Ed25519: {0, 256}}
	allowed, ok := sizes[k.Algorithm]
	w.Check(ok, field+".algorithm", fmt.Sprintf("%.40q is not a key algorithm", k.Algorithm), "use RSA, ECDSA or Ed25519")
	w.Check(!ok || slices.Contains(allowed, k.MinSize), field+".min_size", fmt.Sprintf("%d is not a size of %s", k.MinSize, k.Algorithm), fmt.Sprintf("use one of %v", allowed))
}

func checkPattern(w *Problems, field, pattern string) {
	w.Check(pattern != "" && len(pattern) <= maxPattern && !strings.ContainsAny(pattern, `[]\`), field, "is not a pattern", "use * for any characters and ? for one, at most 255 characters")
}

// TTL is the lifetime in seconds that a certificate gets when it asks for none.
func (p *Profile) TTL() int64 {
	if p.DefaultTTL > 0 {
		return p.DefaultTTL
	}
	return p.MaxTTL
}

// AllowsKey tells whether the profile takes a key of the algorithm and size.
func (p *Profile) AllowsKey(algorithm string, size int) bool {
	if len(p.Keys) == 0 {
		return true
	}
	return slices.ContainsFunc(p.Keys, func(k KeyRule) bool { return k.Algorithm == algorithm && size >= k.MinSize })
}

// FirstKey is the key made when nobody asked for one: ECDSA P-256 where it is allowed, else the first rule at its least size.
func (p *Profile) FirstKey() (algorithm string, size int) {
	if p.AllowsKey(ECDSA, 256) {
		return ECDSA, 256
	}
	least := map[string]int{RSA: 2048, ECDSA: 256, Ed25519: 256}
	k := p.Keys[0]
	return k.Algorithm, max(k.MinSize, least[k.Algorithm])
}

// AllowsName tells whether a name, of one of SANTypes, is of an allowed type and matches the profile's patterns; DNS
// wildcards match as written. SPIFFE IDs have a pattern of their own, which alone decides on them.
func (p *Profile) AllowsName(typ, name string) bool {
	if strings.HasPrefix(name, "spiffe://") {
		return p.SPIFFE != "" && globs(p.SPIFFE, name)
	}
	if len(p.NameTypes) > 0 && !slices.Contains(p.NameTypes, typ) {
		return false
	}
	if len(p.RequiredSANs) == 0 {
		return true
	}
	return slices.ContainsFunc(p.RequiredSANs, func(pattern string) bool { return globs(pattern, name) })
}

// globs matches with * for any run of characters, dots and slashes included, and ? for one. A star that proves too short
// takes one character more, and only the last one can: the time is at most the product of both lengths.
func globs(pattern, name string) bool {
	p, n := 0, 0
	star, taken := -1, 0 // where the last star stands, and where what it took ends
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, taken = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			taken++
			p, n = star+1, taken
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
