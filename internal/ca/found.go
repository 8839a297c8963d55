package ca

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/lint"
	"github.com/leafward/leafward/internal/store"
)

const (
	day = 24 * time.Hour

	// RootLife is how long a root is valid unless it is told otherwise.
	RootLife = 20 * 365 * day
	// IssuingLife is how long an authority below another is valid unless it is told otherwise.
	IssuingLife = 5 * 365 * day

	// authorityBackdate leaves room for back-dated leaves of a young authority.
	authorityBackdate = time.Hour

	rootSetting = "root_authority"
)

// LocalIssuer is the id of the issuer that the first start makes.
const LocalIssuer = "iss-local"

// founded is an authority that is ready to be stored.
type founded struct {
	key         leafward.Key
	authority   leafward.Authority
	certificate leafward.CACertificate
	serial      leafward.Serial // of its certificate, when that is not stored yet
	crl         leafward.CRL
	cert        *x509.Certificate
	signer      crypto.Signer

	known bool // authority and key are stored already, as somebody else's
	filed bool // the certificate is
}

// store puts the authority into the database; team is that of its issuer.
func (f *founded) store(tx *store.Tx, team string) error {
	if f.known {
		tx.PutKeyPair(&f.key)
		tx.PutAuthority(&f.authority)
	} else {
		tx.AddKeyPair(&f.key)
		tx.AddAuthority(&f.authority)
	}
	if f.filed {
		tx.PutCACertificate(&f.certificate)
	} else {
		tx.AddCACertificate(&f.certificate)
	}
	if f.serial.Serial != "" {
		row := f.serial
		tx.AddSerial(&row)
	}
	tx.PutCRL(&f.crl, 0)
	tx.Record(leafward.AuthorityCreated, f.authority.ID, team, leafward.Details{
		"name": f.authority.Name, "issuer": f.authority.Issuer, "parent": f.authority.Parent, "sha256": f.certificate.SHA256, "not_after": f.authority.NotAfter.Format(time.RFC3339),
	})
	if err := tx.Err(); err != nil {
		return err
	}
	return f.answer(tx)
}

// begin gives a key to an authority that has no certificate yet.
func (c *CA) begin(issuer, name string, key crypto.Signer, at place) (*founded, error) {
	kind, err := pki.KindOf(key.Public())
	if err != nil {
		return nil, err
	}
	spki, err := pki.SPKISHA256(key.Public())
	if err != nil {
		return nil, err
	}
	f := &founded{signer: key}
	f.authority = leafward.Authority{
		Row: leafward.Row{ID: at.authority}, Issuer: issuer, Name: name, Algorithm: kind.Algorithm, Size: kind.Size,
		Custody: leafward.CustodyLocal, State: leafward.AuthorityActive, CRLHours: crlHours,
	}
	f.key = leafward.Key{
		Row: leafward.Row{ID: at.key}, SPKI: spki, Algorithm: kind.Algorithm, Size: kind.Size,
		Custody: leafward.ServerKey, Holder: f.authority.ID, Retrieval: "never",
	}
	f.authority.Key = f.key.ID
	f.key.Sealed, err = c.master.SealKey(keyContext(f.key.ID), key)
	return f, err
}

// certify gives the authority its certificate and its first CRL.
func (f *founded) certify(kind, signer string, der []byte, now time.Time) (err error) {
	if f.cert, err = pki.ParseCertificate(der); err != nil {
		return err
	}
	a := &f.authority
	f.certificate = caCertificate(a.ID, signer, kind, f.cert)
	a.Subject, a.SKI, a.NotAfter, a.Certificate = f.cert.RawSubject, hex.EncodeToString(f.cert.SubjectKeyId), f.cert.NotAfter, f.certificate.ID
	if signer != a.ID {
		a.Parent = signer
	}
	f.crl, err = firstCRL(*a, f.cert, f.signer, now)
	return err
}

func caCertificate(authority, signer, kind string, cert *x509.Certificate) leafward.CACertificate {
	return leafward.CACertificate{
		Row: leafward.Row{ID: store.NewID("cac")}, Authority: authority, Signer: signer, Serial: pki.SerialHex(cert.SerialNumber), Kind: kind,
		DER: cert.Raw, SHA256: pki.Fingerprint(cert.Raw), NotBefore: cert.NotBefore, NotAfter: cert.NotAfter,
	}
}

// root makes a root that signs itself.
func (c *CA) root(issuer string, kind pki.KeyKind, subject pki.Subject, life time.Duration, now time.Time) (*founded, error) {
	key, err := pki.GenerateKey(kind)
	if err != nil {
		return nil, err
	}
	f, err := c.begin(issuer, subject.CommonName, key, newPlace())
	if err != nil {
		return nil, err
	}
	t := pki.Template{Serial: pki.NewSerial(), Subject: subject, NotBefore: now.Add(-authorityBackdate).Truncate(time.Second), TTL: life, CA: true, PathLen: pki.NoPathLen}
	self, err := t.SelfIssuer(key.Public())
	if err != nil {
		return nil, refused(err)
	}
	draft, err := c.dummy.BuildTBS(t, self, key.Public())
	if err != nil {
		return nil, refused(err)
	}
	if err := c.lint.CheckCA(draft.Certificate, nil, lint.Options{Now: now, MaxTTL: life, Backdate: authorityBackdate}); err != nil {
		return nil, refused(err)
	}
	der, err := pki.SignTBS(draft.TBS, key)
	if err != nil {
		return nil, err
	}
	f.serial = leafward.Serial{
		Authority: f.authority.ID, Serial: pki.SerialHex(t.Serial), State: leafward.SerialIssued, Name: subject.CommonName, Subject: f.authority.ID,
		NotBefore: t.NotBefore, NotAfter: t.NotAfter(),
	}
	return f, f.certify("self", f.authority.ID, der, now)
}

// orderBelow is the order of a certificate for an authority below another.
func orderBelow(parent string, f *founded, subject pki.Subject, life time.Duration) Order {
	return Order{
		Authority: parent, Request: f.authority.ID, Name: subject.CommonName, Subject: subject, PublicKey: f.signer.Public(),
		TTL: life, Backdate: authorityBackdate, CutToIssuer: true, authority: &below{},
	}
}

// Bootstrap makes, at the first start, a root, an issuing authority below it and the issuer for it, all in one
// transaction; at every other start it makes sure that their keys can be opened, and gives new certificates to
// authorities whose addresses have changed. Call it under the store's migration lock, after the seeds.
func (c *CA) Bootstrap(ctx context.Context) error {
	ctx = system(ctx)
	var now time.Time
	var rootID string
	err := c.db.View(ctx, func(v *store.View) (err error) {
		now = v.Now
		rootID, err = v.Setting(rootSetting)
		return err
	})
	if err != nil {
		return err
	}
	if rootID == "" {
		return c.firstStart(ctx, now)
	}
	return c.remakeAll(ctx)
}

func (c *CA) firstStart(ctx context.Context, now time.Time) error {
	short := strings.ToLower(rand.Text()[:6]) // tells the roots of several servers apart
	root, err := c.root(LocalIssuer, pki.KeyKind{Algorithm: pki.ECDSA, Size: 384}, pki.Subject{CommonName: "leafward root " + short}, RootLife, now)
	if err != nil {
		return fmt.Errorf("making the root: %w", err)
	}
	issuing, err := c.issuing(root, pki.Subject{CommonName: "leafward issuing " + short}, now)
	if err != nil {
		return fmt.Errorf("making the issuing authority: %w", err)
	}
	return c.db.Write(ctx, func(tx *store.Tx) error {
		if done, err := tx.Setting(rootSetting); err != nil || done != "" {
			return err
		}
		tx.SetSetting(rootSetting, root.authority.ID)
		if err := errors.Join(root.store(tx, ""), issuing.store(tx, "")); err != nil {
			return err
		}
		issuer := leafward.Issuer{
			Row: leafward.Row{ID: LocalIssuer}, Name: "local", Type: leafward.GenericCA, Config: []byte("{}"), Secrets: []string{},
			Authority: issuing.authority.ID, Enabled: true,
		}
		tx.AddIssuer(&issuer)
		tx.Record(leafward.IssuerCreated, issuer.ID, "", nil)
		return nil
	})
}

// issuing makes the authority below a root that is not stored yet either: if their transaction fails, both keys are
// gone, and with them everything that was signed.
func (c *CA) issuing(root *founded, subject pki.Subject, now time.Time) (*founded, error) {
	key, err := pki.GenerateKey(pki.KeyKind{Algorithm: pki.ECDSA, Size: 256})
	if err != nil {
		return nil, err
	}
	f, err := c.begin(LocalIssuer, subject.CommonName, key, newPlace())
	if err != nil {
		return nil, err
	}
	t := &token{authority: &authority{Authority: root.authority, cert: root.cert, root: true, key: root.key}, below: true}
	if err := c.draft(t, orderBelow(root.authority.ID, f, subject, IssuingLife), now); err != nil {
		return nil, err
	}
	issued, err := c.sign(t)
	if err != nil {
		return nil, err
	}
	f.serial = t.serial
	f.serial.State, f.serial.TBS = leafward.SerialIssued, nil
	return f, f.certify("issued", root.authority.ID, issued.Certificate, now)
}

// remakeAll looks after the active authorities of our own.
func (c *CA) remakeAll(ctx context.Context) error {
	var all []*authority
	err := c.db.View(ctx, func(v *store.View) error {
		rows, err := v.Authorities()
		if err != nil {
			return err
		}
		for _, row := range rows {
			if row.Custody != leafward.CustodyLocal || row.State != leafward.AuthorityActive {
				continue
			}
			a, err := c.load(v, row)
			if err != nil {
				return err
			}
			all = append(all, a)
		}
		return nil
	})
	if err != nil {
		return err
	}
	ours := make(map[string]bool)
	for _, a := range all {
		if _, err := c.signer(a); err != nil {
			return err
		}
		ours[a.ID] = true
	}
	for _, a := range all {
		if ours[a.Parent] && !a.imported && c.moved(a) {
			if err := c.remake(ctx, a); err != nil {
				return fmt.Errorf("renewing the certificate of authority %s for %s: %w", a.Name, c.base, err)
			}
		}
	}
	return nil
}

// moved tells whether the authority's certificate names other addresses of its parent than those of today. Addresses
// are never taken out again.
func (c *CA) moved(a *authority) bool {
	return c.base != "" && (!slices.Equal(a.cert.CRLDistributionPoints, c.urls(PathCRL, a.Parent)) || !slices.Equal(a.cert.IssuingCertificateURL, c.urls(PathCA, a.Parent)))
}

// remake gives an authority a new certificate for the same name and key, of the same length of life. The old one stays
// valid, and chains that hold it go on to verify.
func (c *CA) remake(ctx context.Context, a *authority) error {
	pathLen := a.cert.MaxPathLen
	issued, err := c.Issue(ctx, Order{
		Authority: a.Parent, Request: store.NewID("remake"), Name: a.Name, PublicKey: a.cert.PublicKey, TTL: a.cert.NotAfter.Sub(a.cert.NotBefore) + time.Second,
		Backdate: authorityBackdate, CutToIssuer: true, authority: &below{subject: a.cert.RawSubject, pathLen: pathLen, ski: a.cert.SubjectKeyId},
	})
	if err != nil {
		return err
	}
	cert, err := pki.ParseCertificate(issued.Certificate)
	if err != nil {
		return err
	}
	row := caCertificate(a.ID, a.Parent, "remade", cert)
	return c.db.Write(ctx, func(tx *store.Tx) error {
		now, err := tx.Authority(a.ID)
		if err != nil {
			return err
		}
		if err := MarkIssued(tx, a.Parent, issued.Serial); err != nil {
			return err
		}
		made := row
		tx.AddCACertificate(&made)
		now.Certificate, now.NotAfter = made.ID, cert.NotAfter
		tx.PutAuthority(&now)
		tx.Record(leafward.AuthorityReissued, a.ID, "", leafward.Details{"sha256": made.SHA256, "not_after": cert.NotAfter.Format(time.RFC3339)})
		return nil
	})
}
