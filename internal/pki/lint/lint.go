// Package lint judges a certificate before its authority signs it: by zlint's lints and by those that zlint lacks. It
// reads drafts (package pki), which are signed by a throw-away key, and signed certificates alike.
package lint

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	zcrypto "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3/lint"
	_ "github.com/zmap/zlint/v3/lints/apple"     // registers its lints
	_ "github.com/zmap/zlint/v3/lints/cabf_br"   // registers its lints
	_ "github.com/zmap/zlint/v3/lints/community" // registers its lints
	_ "github.com/zmap/zlint/v3/lints/mozilla"   // registers its lints
	_ "github.com/zmap/zlint/v3/lints/rfc"       // registers its lints

	"github.com/leafward/leafward/internal/pki"
)

// Options are what the profile and the moment allow. The zero value allows nothing: lifetimes and extended key usages
// that are not given here are findings.
type Options struct {
	Now      time.Time
	MaxTTL   time.Duration // the longest lifetime, both ends counted
	Backdate time.Duration // how far notBefore may lie before Now
	EKUs     []string      // the allowed extended key usages, in any form that pki.ParseEKU reads

	// PublicLike adds the CA/Browser Forum's, Mozilla's and Apple's rules for publicly trusted certificates, among them
	// their maximum lifetimes.
	PublicLike bool
	// InternalNames allows names that do not exist publicly, and private IP addresses, in a PublicLike certificate.
	// Elsewhere they are always allowed.
	InternalNames bool
	// CommonNameOnly allows a PublicLike certificate without subject alternative names. Elsewhere it is always allowed.
	CommonNameOnly bool
}

// Finding is one lint that a certificate fails.
type Finding struct {
	Lint   string
	Detail string // may be empty
}

// Findings is the error of a certificate that fails lints, in the order of their names.
type Findings []Finding

func (f Findings) Error() string {
	texts := make([]string, len(f))
	for i, one := range f {
		texts[i] = one.Lint
		if one.Detail != "" {
			texts[i] += " (" + one.Detail + ")"
		}
	}
	return "the certificate fails " + strings.Join(texts, ", ")
}

// Linter checks certificates, from any goroutine.
type Linter struct {
	private []*lint.CertificateLint
	public  []*lint.CertificateLint
	config  lint.Configuration
}

// New makes a Linter. It is made once for a process. The error says that zlint lacks a lint that the waivers name.
func New() (*Linter, error) {
	registry, err := lint.GlobalRegistry().Filter(lint.FilterOptions{
		IncludeSources: slices.Concat(privateSources(), publicSources()),
		ExcludeNames:   waived(),
	})
	if err != nil {
		return nil, fmt.Errorf("the waivers do not fit this zlint: %w", err)
	}
	for _, name := range slices.Concat(waivedForInternalNames(), waivedForCommonNameOnly()) {
		if registry.CertificateLints().ByName(name) == nil {
			return nil, fmt.Errorf("the waivers do not fit this zlint: it has no lint %s", name)
		}
	}
	l := &Linter{config: registry.GetConfiguration(), public: registry.CertificateLints().Lints()}
	if len(l.public) == 0 {
		return nil, errors.New("zlint registered no lints")
	}
	for _, one := range l.public {
		if slices.Contains(privateSources(), one.Source) && !slices.Contains(waivedForInternalNames(), one.Name) {
			l.private = append(l.private, one)
		}
	}
	return l, nil
}

// Check is nil for an end-entity certificate that may be signed, and Findings otherwise. The issuer is the certificate
// of the authority that will sign it.
func (l *Linter) Check(der []byte, issuer *x509.Certificate, o Options) error {
	return l.check(der, issuer, o, leafLints())
}

// CheckCA is nil for an authority's certificate that may be signed, and Findings otherwise. The issuer is nil for one
// that signs itself.
func (l *Linter) CheckCA(der []byte, issuer *x509.Certificate, o Options) error {
	return l.check(der, issuer, o, authorityLints())
}

func (l *Linter) check(der []byte, issuer *x509.Certificate, o Options, own []ownLint) error {
	cert, err := pki.ParseCertificate(der)
	if err != nil {
		return Findings{{"certificate", err.Error()}}
	}
	foreign, err := zcrypto.ParseCertificate(der)
	if err != nil {
		return Findings{{"certificate", err.Error()}}
	}
	findings := l.zlint(foreign, o)
	subject := subject{cert: cert, issuer: issuer, options: o}
	for _, one := range own {
		if err := one.check(subject); err != nil {
			findings = append(findings, Finding{one.name, err.Error()})
		}
	}
	if len(findings) == 0 {
		return nil
	}
	slices.SortStableFunc(findings, func(a, b Finding) int { return strings.Compare(a.Lint, b.Lint) })
	return findings
}

// zlint runs zlint's lints. Notices and warnings count as much as errors: what is not waived must not appear.
func (l *Linter) zlint(cert *zcrypto.Certificate, o Options) Findings {
	lints := l.private
	var skip []string
	if o.PublicLike {
		lints = l.public
		if o.InternalNames {
			skip = append(skip, waivedForInternalNames()...)
		}
		if o.CommonNameOnly {
			skip = append(skip, waivedForCommonNameOnly()...)
		}
	}
	var findings Findings
	for _, one := range lints {
		if result := one.Execute(cert, l.config); result.Status >= lint.Notice && !slices.Contains(skip, one.Name) {
			findings = append(findings, Finding{one.Name, result.Details})
		}
	}
	return findings
}
