package lifecycle

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// Asked is what a caller asks for beside the certificate's own properties.
type Asked struct {
	CSR     string    // PEM; the caller holds the key
	Targets *[]string // where it must be installed; nil: as it is
	Waits   bool      // until it is issued, so that nothing is gained by a job
}

// around are the nouns that a certificate refers to.
type around struct {
	profile leafward.Profile
	issuer  leafward.Issuer
	policy  leafward.RenewalPolicy
	targets []leafward.Target
}

// names are what the certificate will say: its SANs, and its common name where that is a name.
func names(c *leafward.Certificate) (pki.Names, error) {
	list := c.SANs
	if _, err := pki.ParseNames([]string{c.CommonName}); err == nil && c.CommonName != "" {
		list = c.Names()
	}
	return pki.ParseNames(list)
}

// complete gives a new certificate what nobody named: the seeds, and a name of its own.
func complete(actor leafward.Actor, c *leafward.Certificate) {
	fill := func(to *string, value string) {
		if *to == "" {
			*to = value
		}
	}
	team := leafward.DefaultTeam
	if len(actor.Teams) == 1 {
		team = actor.Teams[0]
	}
	fill(&c.Team, team)
	fill(&c.Owner, leafward.DefaultOwner)
	fill(&c.Profile, leafward.ServerProfile)
	fill(&c.Issuer, leafward.DefaultIssuer)
	fill(&c.Policy, leafward.DefaultPolicy)
	if c.KeySource == "" {
		c.KeySource = leafward.AgentKey
	}
	canonical(c)
	if c.Name == "" && len(c.Names()) > 0 {
		c.Name = c.Names()[0]
	}
	if c.Tags == nil {
		c.Tags = map[string]string{}
	}
}

// canonical writes the names in one form, each once, and gives a key algorithm the size that is meant without one. What is
// wrong with a name is told by obey.
func canonical(c *leafward.Certificate) {
	one := func(name string) string {
		if parsed, err := pki.ParseNames([]string{name}); err == nil {
			return parsed.All()[0]
		}
		return name
	}
	if c.CommonName != "" {
		c.CommonName = one(c.CommonName)
	}
	sans := make([]string, 0, len(c.SANs))
	for _, name := range c.SANs {
		if name = one(name); !slices.Contains(sans, name) {
			sans = append(sans, name)
		}
	}
	c.SANs = sans
	if c.Algorithm != "" && c.Size == 0 {
		c.Size = map[string]int{leafward.RSA: 2048, leafward.ECDSA: 256, leafward.Ed25519: 256}[c.Algorithm]
	}
}

// takeCSR lets the names of a certificate that has none come from the CSR, and refuses a CSR that asks for more.
func takeCSR(p *leafward.Problems, c *leafward.Certificate, csr *pki.CSR) {
	if c.CommonName == "" && len(c.SANs) == 0 {
		c.CommonName, c.SANs = csr.CommonName, csr.Names.All()
		return
	}
	allowed, err := names(c)
	if err != nil {
		return // told with the names
	}
	if more := csr.Names.Within(allowed); len(more) > 0 {
		p.Add("csr_pem", "asks for "+strings.Join(more, ", ")+", which the certificate does not have", "add the names to sans, or make the CSR without them")
	}
	if csr.CommonName != "" && csr.CommonName != c.CommonName {
		if one, err := pki.ParseNames([]string{csr.CommonName}); err != nil || len(one.Within(allowed)) > 0 {
			p.Add("csr_pem", fmt.Sprintf("has the common name %.80q, which the certificate does not have", csr.CommonName), "make the CSR with the certificate's own common name")
		}
	}
}

// parseCSR reads a caller's CSR; what is wrong is told as the field.
func parseCSR(p *leafward.Problems, text string) *pki.CSR {
	csr, err := pki.ParseCSR([]byte(text))
	if err != nil {
		problem, fix := refused(err)
		p.Add("csr_pem", problem, fix)
		return nil
	}
	if dangers := csr.Dangers(); len(dangers) > 0 {
		p.Add("csr_pem", "asks for "+strings.Join(dangers, ", ")+", which no certificate gets from a CSR", "make the CSR without it")
	}
	if len(csr.OtherNames) > 0 {
		p.Add("csr_pem", "asks for names of kinds that are not issued: "+strings.Join(csr.OtherNames, ", "), "use DNS, IP, e-mail and URI names only")
	}
	return csr
}

// issuable are the kinds of keys that certificates are issued for.
const issuable = "RSA of 2048 to 4096 bits, ECDSA P-256 or P-384, or Ed25519"

// refused is what is wrong with a CSR that cannot be used, and what whoever made it can do.
func refused(err error) (problem, fix string) {
	fix = "send one CERTIFICATE REQUEST block, such as `openssl req -new` makes"
	csr, ok := errors.AsType[*pki.CSRError](err)
	if !ok {
		return "is refused: " + err.Error(), fix
	}
	switch csr.Problem {
	case pki.CSRKey:
		fix = "make a new key, " + issuable + ", and a CSR with it"
	case pki.CSRSignature:
		fix = "make the CSR again, signed by its own key with SHA-256, such as by `openssl req -new -sha256 -key FILE`"
	case pki.CSRNames:
		fix = fmt.Sprintf("make the CSR again with names that are issued for: host names, IP addresses, e-mail addresses and URIs, at most %d", pki.MaxNames)
	case pki.CSRCommonName:
		fix = "make the CSR again, with one common name of at most 64 visible characters, or with none"
	}
	return "is refused: " + csr.Cause.Error(), fix
}

// maxTargets bounds how many targets a certificate has.
const maxTargets = 100

// check holds the rules between the certificate and everything it refers to but its key, for which usable looks; have are the
// targets that it is bound to already. All mistakes are told at once.
func check(v *store.View, c *leafward.Certificate, csr *pki.CSR, have, targets []string, p *leafward.Problems) (a around, err error) {
	if err := p.Merge(c.Validate()); err != nil {
		return a, err
	}
	canonical(c)
	a, err = refers(v, c, p)
	if err != nil {
		return a, err
	}
	var lookUps []error
	for i, id := range targets {
		field := fmt.Sprintf("target_ids[%d]", i)
		lookUps = append(lookUps, refer(p, field, id, func() error {
			t, err := store.Targets().Read(v, id)
			if err == nil {
				own(p, c, field, t.Team)
				p.Check(t.Enabled || slices.Contains(have, id), field, "names a target that is switched off", "enable the target, or leave it out")
				a.targets = append(a.targets, t)
			}
			return err
		}))
	}
	if err := errors.Join(lookUps...); err != nil {
		return a, err
	}
	p.Check(len(targets) <= maxTargets, "target_ids", fmt.Sprintf("has more than %d targets", maxTargets), "split them over several certificates")
	p.Check(len(targets) == 0 || c.KeySource != leafward.ClientKey, "target_ids", "cannot go with a key that the caller holds", "leave csr_pem out: the target's agent then makes the key")
	if a.profile.ID != "" {
		obey(p, c, csr, &a.profile)
	}
	return a, nil
}

// refers reads what the certificate refers to, but for targets, and holds the rules between them.
func refers(v *store.View, c *leafward.Certificate, p *leafward.Problems) (a around, err error) {
	lookUps := []error{
		refer(p, "team_id", c.Team, func() error { _, err := v.Team(c.Team); return err }),
		refer(p, "issuer_id", c.Issuer, func() (err error) { a.issuer, err = v.Issuer(c.Issuer); return err }),
		refer(p, "certificate_profile_id", c.Profile, func() (err error) { a.profile, err = v.Profile(c.Profile); return err }),
		refer(p, "renewal_policy_id", c.Policy, func() (err error) { a.policy, err = v.RenewalPolicy(c.Policy); return err }),
	}
	if c.Owner != leafward.DefaultOwner { // which answers for the certificates of every team that names nobody
		lookUps = append(lookUps, refer(p, "owner_id", c.Owner, func() error { _, err := store.Owners().Read(v, c.Owner); return err }))
	}
	if err := errors.Join(lookUps...); err != nil {
		return a, err
	}
	own(p, c, "issuer_id", a.issuer.Team)
	own(p, c, "certificate_profile_id", a.profile.Team)
	own(p, c, "renewal_policy_id", a.policy.Team)
	if a.issuer.ID != "" {
		p.Check(a.issuer.Enabled, "issuer_id", "names an issuer that is switched off", "enable the issuer, or choose another")
	}
	return a, nil
}

// own refuses what belongs to another team than the certificate.
func own(p *leafward.Problems, c *leafward.Certificate, field, team string) {
	p.Check(team == "" || team == c.Team, field, "belongs to another team than the certificate", "use one of the certificate's team, or one that all teams share")
}

// vacant refuses targets, beside those that the certificate has, whose files another certificate has: each would
// overwrite the other.
func vacant(tx *store.Tx, p *leafward.Problems, c *leafward.Certificate, a around, have, targets []string) error {
	for _, t := range a.targets {
		if slices.Contains(have, t.ID) {
			continue
		}
		name, team, taken, err := tx.CarriedBy(t.ID, c.ID)
		if err != nil {
			return err
		}
		if !tx.Actor.Sees(team) {
			name = "of another team"
		}
		if taken {
			field := fmt.Sprintf("target_ids[%d]", slices.Index(targets, t.ID))
			p.Add(field, fmt.Sprintf("names the target %s, which carries the certificate %s", t.Name, name), "unbind it there first, or make a target for other files")
		}
	}
	return nil
}

// refer tells a missing or foreign reference as a field.
func refer(p *leafward.Problems, field, id string, read func() error) error {
	err := read()
	if leafward.KindOf(err) == leafward.NotFound {
		p.Add(field, fmt.Sprintf("names %.130q, which does not exist", id), "use the id of one that GET lists")
		return nil
	}
	return err
}

// obey applies the profile to names, key and lifetime: one validator for every road.
func obey(p *leafward.Problems, c *leafward.Certificate, csr *pki.CSR, profile *leafward.Profile) {
	p.Check(profile.Enabled, "certificate_profile_id", "names a profile that is switched off", "enable the profile, or choose another")
	if len(c.SANs) == 0 && c.CommonName != "" {
		if _, err := pki.ParseNames([]string{c.CommonName}); err != nil {
			p.Add("common_name", "is no host name, and there are no sans: "+err.Error(), "name at least one host in sans")
		}
	}
	if err := pki.CheckCommonName(c.CommonName); err != nil && c.CommonName != "" {
		p.Add("common_name", err.Error(), "use at most 64 visible characters")
	}
	all, err := names(c)
	if err != nil {
		p.Add("sans", err.Error(), "use host names, IP addresses, e-mail addresses or URIs")
	}
	for _, name := range all.All() {
		p.Check(profile.AllowsName(pki.TypeOf(name), name), "sans", fmt.Sprintf("%.255q is not allowed by the profile %s", name, profile.Name), "use a name of its allowed_san_types that matches its required_san_patterns, or another profile")
	}
	ttl := ttlOf(c, profile)
	p.Check(ttl <= profile.MaxTTL, "ttl_seconds", fmt.Sprintf("is more than the %d seconds of the profile %s", profile.MaxTTL, profile.Name), "ask for less, or use another profile")
	p.Check(profile.AllowShort || time.Duration(ttl)*time.Second >= leafward.ShortLived, "ttl_seconds", fmt.Sprintf("is under 7 days, which the profile %s does not allow", profile.Name), "ask for more, or allow short-lived certificates in the profile")
	p.Check(ttl > profile.Backdate, "ttl_seconds", "is over before it begins: the profile backdates by more", "ask for more")
	kind := pki.KeyKind{Algorithm: c.Algorithm, Size: c.Size}
	field := "key_algorithm"
	if csr != nil {
		p.Check(kind.Algorithm == "" || kind == csr.Kind, "csr_pem", fmt.Sprintf("has a key %s, and the certificate asks for %s", csr.Kind, kind), "make a key of that kind, or leave key_algorithm out")
		kind, field = csr.Kind, "csr_pem"
	}
	if kind.Algorithm == "" {
		return
	}
	if err := kind.Issuable(); err != nil {
		p.Add(field, err.Error(), "use "+issuable)
		return
	}
	p.Check(profile.AllowsKey(kind.Algorithm, kind.Size), field, fmt.Sprintf("has a key %s, which the profile %s does not allow", kind, profile.Name), "use a key of allowed_key_algorithms")
}

// ttlOf is the lifetime that the certificate gets, in seconds.
func ttlOf(c *leafward.Certificate, profile *leafward.Profile) int64 {
	if c.TTL > 0 {
		return c.TTL
	}
	return profile.TTL()
}

// keyOf is the key that is made for the certificate.
func keyOf(c *leafward.Certificate, profile *leafward.Profile) pki.KeyKind {
	if c.Algorithm != "" {
		return pki.KeyKind{Algorithm: c.Algorithm, Size: c.Size}
	}
	algorithm, size := profile.FirstKey()
	return pki.KeyKind{Algorithm: algorithm, Size: size}
}
