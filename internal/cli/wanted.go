package cli

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki"
)

// wanted is what a new certificate shall be.
type wanted struct {
	Names       []string `arg:"" name:"name" help:"Host names (*.example.com is one), IP addresses, e-mail addresses or URIs that it is for."`
	Name        string   `placeholder:"NAME" help:"What it is called; its first name unless given."`
	Issuer      string   `placeholder:"ISSUER" help:"Who signs; iss-local unless given."`
	Profile     string   `placeholder:"PROFILE" help:"What it may be; prof-server unless given."`
	Policy      string   `placeholder:"POLICY" help:"When it is renewed; rp-default unless given."`
	TTL         string   `name:"ttl" placeholder:"TIME" help:"Lifetime, such as 30d or 12h; the profile's unless given."`
	KeyType     string   `placeholder:"TYPE" help:"ecdsa-p256, ecdsa-p384, ed25519, rsa-2048, rsa-3072 or rsa-4096; what the profile takes first unless given."`
	Owner       string   `placeholder:"OWNER" help:"Who answers for it; o-default unless given."`
	Team        string   `placeholder:"TEAM" help:"Team that it belongs to; the API key's own, or t-default."`
	Environment string   `placeholder:"LABEL" help:"Label to find it by."`
	Tag         []string `sep:"none" placeholder:"NAME=VALUE" help:"Label to find it by. Can be repeated."`
}

// identity is the names as they go into a certificate.
type identity struct {
	common string
	names  pki.Names
}

// maxCommonName is how long a common name may be (RFC 5280, ub-common-name).
const maxCommonName = 64

// identity reads the names. The first host name or address that is short enough is the common name.
func (w *wanted) identity() (id identity, err error) {
	if id.names, err = pki.ParseNames(w.Names); err != nil {
		return id, failed(codeUsage, "write host names, IP addresses, e-mail addresses or URIs", "%v", err)
	}
	for _, name := range id.names.DNS {
		if len(name) <= maxCommonName {
			id.common = name
			return id, nil
		}
	}
	if len(id.names.IP) > 0 {
		id.common = id.names.IP[0].String()
	}
	return id, nil
}

// all are the names in one form.
func (id identity) all() []string {
	out := append(append([]string{}, id.names.DNS...), id.names.Email...)
	for _, ip := range id.names.IP {
		out = append(out, ip.String())
	}
	return append(out, id.names.URI...)
}

// called is the name of the record.
func (w *wanted) called(id identity) string { return first(w.Name, id.common, w.Names[0]) }

// kind is the sort of key, the zero value when none was given.
func (w *wanted) kind() (kind pki.KeyKind, err error) {
	if w.KeyType == "" {
		return kind, nil
	}
	if kind, err = pki.ParseKeyKind(w.KeyType); err == nil {
		err = kind.Issuable()
	}
	if err != nil {
		return kind, failed(codeUsage, "use ecdsa-p256, ecdsa-p384, ed25519, rsa-2048, rsa-3072 or rsa-4096", "--key-type: %v", err)
	}
	return kind, nil
}

// body is the request for it. What does not need the server is read first.
func (w *wanted) body(ctx context.Context, r *run, id identity) (body api.NewCertificate, err error) {
	ttl, err := lifetime(w.TTL)
	if err != nil {
		return body, err
	}
	tags, err := labels(w.Tag)
	if err != nil {
		return body, err
	}
	kind, err := w.kind()
	if err != nil {
		return body, err
	}
	body.Name, body.SANs = api.Some(w.called(id)), api.Some(id.all())
	if id.common != "" {
		body.CommonName = api.Some(id.common)
	}
	if w.Environment != "" {
		body.Environment = api.Some(w.Environment)
	}
	if ttl > 0 {
		body.TTLSeconds = api.Some(ttl)
	}
	if len(tags) > 0 {
		body.Tags = api.Some(tags)
	}
	if kind.Algorithm != "" {
		body.KeyAlgorithm, body.KeySize = api.Some(kind.Algorithm), api.Some(kind.Size)
	}
	for _, given := range []struct {
		to   *api.Opt[string]
		name string
		find func(context.Context, string) (string, error)
	}{
		{&body.IssuerID, w.Issuer, r.issuer},
		{&body.CertificateProfileID, w.Profile, r.profile},
		{&body.RenewalPolicyID, w.Policy, r.policy},
		{&body.OwnerID, w.Owner, r.owner},
		{&body.TeamID, w.Team, r.team},
	} {
		found, err := given.find(ctx, given.name)
		if err != nil {
			return body, err
		}
		if found != "" {
			*given.to = api.Some(found)
		}
	}
	return body, nil
}

// lifetime reads a time such as 30d, 12h or 90m as seconds; "" is 0.
func lifetime(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	wrong := failed(codeUsage, "write it as 30d, 12h or 90m", "--ttl %q is no time", text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseInt(days, 10, 32)
		if err != nil || n <= 0 {
			return 0, wrong
		}
		return n * int64((24*time.Hour)/time.Second), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second || d.Seconds() > math.MaxInt32 {
		return 0, wrong
	}
	return int64(d / time.Second), nil
}

// labels reads NAME=VALUE.
func labels(given []string) (map[string]string, error) {
	tags := make(map[string]string, len(given))
	for _, text := range given {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, failed(codeUsage, "write it as NAME=VALUE", "--tag %q has no name and value", text)
		}
		if _, twice := tags[name]; twice {
			return nil, failed(codeUsage, "give each name once", "--tag %s is given twice", name)
		}
		tags[name] = value
	}
	return tags, nil
}

// recorded are the flags that were given and that only a new record takes.
func (w *wanted) recorded() (flags []string) {
	for _, given := range []struct{ flag, value string }{
		{"--issuer", w.Issuer},
		{"--profile", w.Profile},
		{"--policy", w.Policy},
		{"--ttl", w.TTL},
		{"--owner", w.Owner},
		{"--environment", w.Environment},
		{"--tag", strings.Join(w.Tag, " ")},
	} {
		if given.value != "" {
			flags = append(flags, given.flag)
		}
	}
	return flags
}

// until is the end of a certificate for people.
func until(c *api.Certificate) string {
	if c.Version == nil {
		return ""
	}
	return fmt.Sprintf(", until %s", when(&c.Version.NotAfter, time.Now()))
}
