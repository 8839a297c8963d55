package ca

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// Spec says which authority a new issuer gets: a new one, or an imported one when Certificates are there.
type Spec struct {
	Key     pki.KeyKind
	Subject pki.Subject
	Life    time.Duration // zero: RootLife or IssuingLife
	Parent  string        // id of an issuer or authority of ours; "": a root that signs itself

	Certificates []*x509.Certificate // the authority's own first, then those above it
	PrivateKey   crypto.Signer       // of the first
}

// CreateIssuer stores an issuer together with its authority. Config, Sealed and Secrets of the row are kept as they are.
func (c *CA) CreateIssuer(ctx context.Context, row leafward.Issuer, spec Spec) (leafward.Issuer, error) {
	if row.ID == "" {
		row.ID = store.NewID("iss")
	}
	if err := c.mayCreate(ctx, row); err != nil {
		return row, err
	}
	f, above, err := c.found(ctx, row.ID, spec)
	if err != nil {
		return row, err
	}
	fill := func(i *leafward.Issuer) error { *i = row; i.Authority = f.authority.ID; return nil }
	return store.Issuers().Create(ctx, c.db, fill, func(tx *store.Tx, _ *leafward.Issuer) error {
		if err := tx.CheckTeam("issuer", "", row.Team); err != nil {
			return err
		}
		made := *f
		if err := made.claim(tx); err != nil {
			return err
		}
		if err := above.store(tx, &made); err != nil {
			return err
		}
		return made.store(tx, row.Team)
	})
}

// mayCreate refuses what could not be stored anyway, before a parent signs anything for it.
func (c *CA) mayCreate(ctx context.Context, row leafward.Issuer) error {
	if err := row.Validate(); err != nil {
		return err
	}
	return c.db.View(ctx, func(v *store.View) error {
		if err := v.CheckTeam("issuer", "", row.Team); err != nil {
			return err
		}
		if !v.Actor.MayWrite(row.Team) {
			return leafward.Errorf(leafward.Denied, "ask an administrator whose key is for all teams", "your key is for some teams, and the issuer is not of one of them")
		}
		taken, err := v.IssuerTaken(row.ID, row.Team, row.Name)
		if err == nil && taken {
			err = leafward.Errorf(leafward.Conflict, "choose another name, or change the existing one", "an issuer with the id %s or the name %q exists already", row.ID, row.Name)
		}
		return err
	})
}

// found makes the authority. What is above it is stored together with it.
func (c *CA) found(ctx context.Context, issuer string, spec Spec) (*founded, ancestry, error) {
	var now time.Time
	if err := c.db.View(ctx, func(v *store.View) error { now = v.Now; return nil }); err != nil {
		return nil, ancestry{}, err
	}
	switch {
	case len(spec.Certificates) > 0:
		return c.adopt(ctx, issuer, spec, now)
	case spec.Parent == "":
		life := spec.Life
		if life == 0 {
			life = RootLife
		}
		f, err := c.root(issuer, spec.Key, spec.Subject, life, now)
		return f, ancestry{}, err
	}
	key, err := pki.GenerateKey(spec.Key)
	if err != nil {
		return nil, ancestry{}, err
	}
	f, err := c.begin(issuer, spec.Subject.CommonName, key, newPlace())
	if err != nil {
		return nil, ancestry{}, err
	}
	parent, err := c.parent(ctx, spec.Parent)
	if err != nil {
		return nil, ancestry{}, wrongParent(err)
	}
	life := spec.Life
	if life == 0 {
		life = IssuingLife
	}
	issued, err := c.Issue(ctx, orderBelow(parent.ID, f, spec.Subject, life))
	if err != nil {
		return nil, ancestry{}, err
	}
	return f, ancestry{signer: parent.ID, serial: issued.Serial}, f.certify("issued", parent.ID, issued.Certificate, now)
}

// parent opens the authority that is to sign another's certificate. Only who may change its issuer has it do so: an
// authority below it is trusted wherever it is.
func (c *CA) parent(ctx context.Context, id string) (*authority, error) {
	a, err := c.open(ctx, id)
	if err != nil {
		return nil, err
	}
	var issuer leafward.Issuer
	var may bool
	err = c.db.View(ctx, func(v *store.View) error {
		issuer, err = v.Issuer(a.Issuer)
		may = v.Actor.MayWrite(issuer.Team)
		return err
	})
	switch {
	case leafward.KindOf(err) == leafward.NotFound:
		return nil, leafward.Missing("issuer", id) // another team's, told as if it were not there
	case err != nil:
		return nil, err
	case !may:
		return nil, leafward.Errorf(leafward.Denied, "ask an administrator whose key is for all teams", "the issuer %s is shared by all teams, and your key is for some: no authority of theirs can stand below it", issuer.Name)
	case !issuer.Enabled:
		return nil, leafward.Errorf(leafward.Invalid, "", "the issuer %s is switched off", issuer.Name)
	case a.cert.MaxPathLenZero:
		return nil, leafward.Errorf(leafward.Invalid, "", "the authority %s may have none below it (path length 0)", a.Name)
	}
	return a, nil
}

func wrongParent(err error) error {
	if kind := leafward.KindOf(err); kind != leafward.NotFound && kind != leafward.UnsupportedType && kind != leafward.Invalid {
		return err
	}
	var p leafward.Problems
	p.Add("parent_issuer_id", "cannot sign an authority: "+err.Error(), "name an issuer of type GenericCA that is a root, or leave it out to make a root")
	return p.Err()
}

// DeleteIssuer removes an issuer that no certificate uses, no authority stands below and whose authority has nothing
// left to answer for. The authority signs no more certificates and its own is revoked by the one above it, if that is
// ours; what it revoked it goes on telling to the end.
func (c *CA) DeleteIssuer(ctx context.Context, id, match string) error {
	return store.Issuers().Delete(ctx, c.db, id, match, func(tx *store.Tx, row *leafward.Issuer) error {
		if used, err := tx.References("issuer", id); err != nil || len(used) > 0 {
			return err // told with its counts
		}
		a, found, err := tx.FindAuthority(row.Authority)
		if err != nil || !found {
			return err
		}
		if err := needed(tx, id, &a); err != nil {
			return err
		}
		a.State = leafward.AuthorityRetiring
		tx.PutAuthority(&a)
		return withdraw(tx, &a)
	})
}

// needed refuses to end an authority that others hang on.
func needed(tx *store.Tx, issuer string, a *leafward.Authority) error {
	below, err := tx.AuthoritiesBelow(a.ID)
	if err != nil {
		return err
	}
	active := 0
	for _, child := range below {
		if child.State == leafward.AuthorityActive {
			active++
		}
	}
	live, err := tx.LiveSerials(a.ID)
	switch {
	case err != nil:
		return err
	case active > 0:
		return &leafward.Error{Kind: leafward.Conflict, Message: fmt.Sprintf("the authority of issuer %s still has %d authorities below it", issuer, active), Fix: "remove the issuers below it first", Counts: map[string]int{"authorities": active}}
	case live > 0:
		return &leafward.Error{
			Kind: leafward.Conflict, Message: fmt.Sprintf("the authority of issuer %s must go on answering for %d valid certificates (CRL and OCSP)", issuer, live),
			Fix: "revoke them or let them expire; until then switch the issuer off with enabled: false", Counts: map[string]int{"serials": live},
		}
	}
	return nil
}

// withdraw revokes the certificates that authorities of ours signed for one that ends.
func withdraw(tx *store.Tx, a *leafward.Authority) error {
	all, err := tx.CACertificates(a.ID)
	if err != nil {
		return err
	}
	for _, own := range all {
		if own.Signer == a.ID || own.Signer == "" || !tx.Now.Before(own.NotAfter) {
			continue
		}
		_, err := Revoke(tx, own.Signer, own.Serial, "cessationOfOperation", time.Time{})
		if err != nil && leafward.KindOf(err) != leafward.NotFound { // one of somebody else's
			return err
		}
	}
	return tx.Err()
}

// Test finds out whether an authority can sign: its key opens and makes a signature that its certificate verifies, its
// chain holds, it is valid, a leaf that it would sign passes every lint, and its CRL is fresh. It signs a request that is
// thrown away, and no certificate. A step that fails is the last.
func (c *CA) Test(ctx context.Context, id string) ([]leafward.Step, error) {
	a, err := c.open(ctx, id)
	if err != nil {
		return nil, err
	}
	now, crl, err := c.freshness(ctx, a)
	if err != nil {
		return nil, err
	}
	var steps []leafward.Step
	for _, try := range []struct {
		name, well string
		run        func() error
	}{
		{"key", "the key opens and signs, and is the key of the certificate", func() error { return c.proveSigner(a) }},
		{"validity", "the certificate is valid until " + a.cert.NotAfter.UTC().Format(time.RFC3339), func() error { return proveValidity(a, now) }},
		{"chain", "the certificate verifies up to the last that is known above it", func() error { return c.proveChain(ctx, a, now) }},
		{"trial", "a certificate that it would sign now passes every lint", func() error { return c.proveTrial(a, now) }},
		{"crl", "the CRL is valid until " + crl.NextUpdate.UTC().Format(time.RFC3339), func() error { return proveCRL(a, crl, now) }},
	} {
		err := try.run()
		e, told := errors.AsType[*leafward.Error](err)
		switch {
		case err == nil:
			steps = append(steps, leafward.Step{Name: try.name, OK: true, Message: try.well})
		case told && ctx.Err() == nil:
			return append(steps, leafward.Step{Name: try.name, Message: e.Message + ": " + e.Fix}), nil
		default:
			return nil, err
		}
	}
	return steps, nil
}

// proveSigner opens the key and has it sign.
func (c *CA) proveSigner(a *authority) error {
	signer, err := c.signer(a)
	if err != nil {
		return err
	}
	if err := proveKey(signer); err != nil {
		return leafward.Errorf(leafward.Internal, "restore the key from a backup", "the key of authority %s does not sign: %v", a.Name, err)
	}
	return nil
}

func proveValidity(a *authority, now time.Time) error {
	if now.Before(a.cert.NotBefore) || now.After(a.cert.NotAfter) {
		return leafward.Errorf(leafward.Conflict, "make another issuer", "the authority %s is valid from %s to %s, not now", a.Name, a.cert.NotBefore.UTC().Format(time.RFC3339), a.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	if a.State != leafward.AuthorityActive {
		return leafward.Errorf(leafward.Conflict, "choose another issuer", "the authority %s is %s and signs no certificates", a.Name, a.State)
	}
	return nil
}

// proveTrial drafts a leaf certificate for a key that is thrown away and lints it.
func (c *CA) proveTrial(a *authority, now time.Time) error {
	leaf, err := pki.GenerateKey(pki.KeyKind{Algorithm: pki.ECDSA, Size: 256})
	if err != nil {
		return err
	}
	trial := Order{Subject: pki.Subject{CommonName: "test"}, Names: pki.Names{DNS: []string{"test.invalid"}}, PublicKey: leaf.Public(), EKUs: []string{pki.ServerAuth}, TTL: time.Hour, CutToIssuer: true}
	if domains := a.cert.PermittedDNSDomains; len(domains) > 0 {
		trial.Names.DNS = []string{"test." + strings.TrimPrefix(domains[0], ".")}
	}
	if usages := pki.EKUsOf(a.cert); len(usages) > 0 && !slices.Contains(usages, pki.AnyUsage) && !slices.Contains(usages, pki.ServerAuth) {
		trial.EKUs = usages[:1]
	}
	return c.draft(&token{authority: a}, trial, now)
}

func proveCRL(a *authority, crl leafward.CRL, now time.Time) error {
	if !now.Before(crl.NextUpdate) {
		return leafward.Errorf(leafward.Later, "see why it is not published in the server's log", "the CRL of authority %s is out of date since %s", a.Name, crl.NextUpdate.UTC().Format(time.RFC3339))
	}
	return nil
}

// proveKey makes a signature over a certification request, which proves the key and gives nobody anything.
func proveKey(signer crypto.Signer) error {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, signer)
	if err != nil {
		return err
	}
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return err
	}
	return request.CheckSignature()
}

// freshness reads the key of an authority again, which is remembered, and what its CRL says of itself.
func (c *CA) freshness(ctx context.Context, a *authority) (now time.Time, crl leafward.CRL, err error) {
	err = c.db.View(ctx, func(v *store.View) error {
		now = v.Now
		if a.key, err = v.KeyPair(a.Key); err != nil {
			return err
		}
		crl, err = v.CRLHead(a.ID, 0)
		return err
	})
	return now, crl, err
}

// proveChain verifies the authority's certificate up to the last that is known above it.
func (c *CA) proveChain(ctx context.Context, a *authority, now time.Time) error {
	var above []*x509.Certificate
	err := c.db.View(ctx, func(v *store.View) error {
		for row := a.Authority; row.Parent != "" && len(above) < pki.MaxChain; {
			parent, err := v.Authority(row.Parent)
			if err != nil {
				return err
			}
			certificate, err := v.CACertificate(parent.Certificate)
			if err != nil {
				return err
			}
			cert, err := c.certificate(certificate)
			if err != nil {
				return err
			}
			above, row = append(above, cert), parent
		}
		return nil
	})
	if err != nil {
		return err
	}
	last := a.cert
	if len(above) > 0 {
		last = above[len(above)-1]
	}
	if _, err := pki.VerifyChain(a.cert, above, []*x509.Certificate{last}, now); err != nil {
		return leafward.Errorf(leafward.Conflict, "have the CA above issue its certificate anew", "the chain of authority %s does not hold: %v", a.Name, err)
	}
	return nil
}
