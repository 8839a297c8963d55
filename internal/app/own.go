package app

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

const (
	ownLife     = 90 * 24 * time.Hour
	ownBackdate = time.Hour
	ownLook     = time.Minute // how often the certificate's age is looked at, and a failed renewal tried again
)

// ownCertificate is the certificate that the server itself serves, from the local authority. Its file holds key, leaf and
// the certificates above it without the root.
type ownCertificate struct {
	app    *App
	file   string
	names  pki.Names
	nudges chan struct{}
	now    atomic.Pointer[tls.Certificate]
	err    atomic.Pointer[error] // why the last renewal failed
}

// openOwnCertificate reads the certificate, or has one made. An old one is good enough to start with when no new one can
// be made: whoever mends the server must be able to reach it.
func (a *App) openOwnCertificate(ctx context.Context) error {
	a.own = &ownCertificate{app: a, file: a.path("server.pem"), names: ownNames(a.config.Hostnames), nudges: make(chan struct{}, 1)}
	known, err := a.own.read()
	if err == nil {
		a.own.now.Store(known)
		err = a.own.outdated(ctx, known)
	} else if !errors.Is(err, fs.ErrNotExist) {
		a.log.Warn("the server's own certificate cannot be used and is made anew", "file", a.own.file, "error", err)
	}
	if err == nil {
		return nil
	}
	if err := a.own.renew(ctx); err != nil {
		if known == nil {
			return fmt.Errorf("making the server's own certificate: %w", err)
		}
		a.log.Error("the server's own certificate could not be renewed; the old one is served", "not_after", known.Leaf.NotAfter, "error", err)
	}
	return nil
}

// ownNames are the names under which this server may be reached. What this machine calls itself is left out when it is no
// name for a certificate.
func ownNames(given []string) pki.Names {
	list := append(slices.Clone(given), "localhost", "127.0.0.1", "::1")
	if host, err := os.Hostname(); err == nil {
		list = append(list, strings.ToLower(host))
	}
	var names []string
	for _, name := range list {
		if _, err := pki.ParseNames([]string{name}); err == nil && !slices.Contains(names, name) && len(names) < pki.MaxNames {
			names = append(names, name)
		}
	}
	parsed, err := pki.ParseNames(names)
	if err != nil {
		return pki.Names{DNS: []string{"localhost"}}
	}
	return parsed
}

// get is for tls.Config: the certificate of the moment, whatever name is asked for.
func (o *ownCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return o.now.Load(), nil
}

// nudge makes run look at once.
func (o *ownCertificate) nudge() {
	select {
	case o.nudges <- struct{}{}:
	default:
	}
}

// run renews the certificate before half of its life is over, or when it is revoked, until the context ends.
func (o *ownCertificate) run(ctx context.Context) error {
	ctx = leafward.WithActor(ctx, leafward.System("server"))
	tick := time.NewTicker(ownLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-o.nudges:
		}
		var err error
		if why := o.outdated(ctx, o.now.Load()); why != nil {
			o.app.log.InfoContext(ctx, "the server's own certificate is to be replaced", "because", why)
			err = o.renew(ctx)
		}
		o.err.Store(&err) // nothing is wrong any more when there is nothing to renew: the clock may have been set right
		if err != nil {
			o.app.log.ErrorContext(ctx, "the server's own certificate could not be renewed; the old one is served", "error", err)
		}
	}
}

// healthy is nil while the certificate lasts; a failed renewal is told before it ends.
func (o *ownCertificate) healthy(context.Context) error {
	if failed := o.err.Load(); failed != nil && *failed != nil {
		return *failed
	}
	if end := o.now.Load().Leaf.NotAfter; o.app.clock.Now().After(end) {
		return leafward.Errorf(leafward.Later, "the server renews it by itself; its log says why it could not", "the server's own certificate ended on %s", end.Format(time.RFC3339))
	}
	return nil
}

// outdated says why the certificate should be replaced; nil when it should not.
func (o *ownCertificate) outdated(ctx context.Context, c *tls.Certificate) error {
	now, leaf := o.app.clock.Now(), c.Leaf
	half := leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
	switch {
	case now.After(half):
		return errors.New("half of its life is over")
	case now.Before(leaf.NotBefore):
		return errors.New("it is of the future")
	}
	for _, name := range o.names.All() {
		if err := leaf.VerifyHostname(name); err != nil {
			return err
		}
	}
	root, err := pki.ParseCertificate(o.app.root)
	if err != nil {
		return err
	}
	signer := root
	for _, der := range slices.Backward(c.Certificate[1:]) {
		above, err := pki.ParseCertificate(der)
		if err != nil {
			return err
		}
		if err := above.CheckSignatureFrom(signer); err != nil {
			return err
		}
		signer = above
	}
	if err := leaf.CheckSignatureFrom(signer); err != nil {
		return err
	}
	return o.revoked(ctx, leaf, signer)
}

// revoked says that the authority has revoked the certificate; nil while it is not known to have. What cannot be read, as while the
// database is away, is read again at the next look.
func (o *ownCertificate) revoked(ctx context.Context, leaf, signer *x509.Certificate) error {
	var s leafward.Serial
	err := o.app.db.View(ctx, func(v *store.View) error {
		a, _, err := v.AuthorityOf(hex.EncodeToString(signer.SubjectKeyId), signer.RawSubject)
		if err != nil {
			return err
		}
		s, _, err = v.Serial(a.ID, pki.SerialHex(leaf.SerialNumber))
		return err
	})
	if err == nil && !s.RevokedAt.IsZero() {
		return fmt.Errorf("it is revoked since %s: %s", s.RevokedAt.Format(time.RFC3339), s.Reason)
	}
	return nil
}

// renew has a new certificate signed for a new key, and serves it.
func (o *ownCertificate) renew(ctx context.Context) error {
	key, err := pki.GenerateKey(pki.KeyKind{Algorithm: pki.ECDSA, Size: 256})
	if err != nil {
		return err
	}
	order := ca.Order{
		Authority: ca.LocalIssuer, Request: store.NewID(leafward.OwnRequest), Names: o.names, PublicKey: key.Public(), EKUs: []string{pki.ServerAuth},
		TTL: ownLife, Backdate: ownBackdate, CutToIssuer: true,
	}
	if name := o.names.All()[0]; len(name) <= 64 {
		order.Subject.CommonName = name // RFC 5280 appendix A.1: ub-common-name
	}
	issued, err := o.app.authorities.Issue(ctx, order)
	if err != nil {
		return err
	}
	err = o.app.db.Write(ctx, func(tx *store.Tx) error {
		if err := ca.MarkIssued(tx, issued.Authority, issued.Serial); err != nil {
			return err
		}
		tx.RecordOn(leafward.CertificateIssued, "server", o.app.name, "", leafward.Details{
			"serial": issued.Serial, "authority": issued.Authority, "names": o.names.All(), "not_after": issued.NotAfter.Format(time.RFC3339),
		})
		return nil
	})
	if err != nil {
		return err
	}
	return o.keep(key, append([][]byte{issued.Certificate}, issued.Chain...))
}

// keep serves the certificate and writes it down. When the disk refuses, it is served all the same.
func (o *ownCertificate) keep(key crypto.Signer, chain [][]byte) error {
	leaf, err := pki.ParseCertificate(chain[0])
	if err != nil {
		return err
	}
	text, err := pki.EncodePrivateKey(key)
	if err != nil {
		return err
	}
	o.now.Store(&tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf})
	return replaceFile(o.file, append(text, pki.EncodeChain(chain...)...), 0o600)
}

// read loads key and chain from the file.
func (o *ownCertificate) read() (*tls.Certificate, error) {
	text, err := os.ReadFile(o.file)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, errors.New("the file holds no key")
	}
	key, err := pki.ParsePrivateKeyPEM(pem.EncodeToMemory(block))
	if err != nil {
		return nil, err
	}
	chain, err := pki.ParseChainPEM(bytes.TrimSpace(rest))
	if err != nil {
		return nil, err
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(chain[0].PublicKey) {
		return nil, errors.New("the file's key is not that of its certificate")
	}
	return &tls.Certificate{Certificate: raw(chain), PrivateKey: key, Leaf: chain[0]}, nil
}

func raw(chain []*x509.Certificate) (ders [][]byte) {
	for _, c := range chain {
		ders = append(ders, c.Raw)
	}
	return ders
}
