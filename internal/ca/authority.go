package ca

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// authority is one that was read: its row, its current certificate and what stands above that.
type authority struct {
	leafward.Authority
	cert  *x509.Certificate
	above [][]byte // DER of the certificates above its own, without a root
	root  bool     // its certificate is signed by itself
	key   leafward.Key

	imported bool // its certificate was made elsewhere, and is never made anew here
}

// chain is what goes with a certificate of the authority: the authority's own certificate unless it is a root, and
// those above it.
func (a *authority) chain() [][]byte {
	if a.root {
		return nil
	}
	return append([][]byte{a.cert.Raw}, a.above...)
}

// locate finds the authority of an id: its own, or that of an issuer, whose active authority is meant. What exists and
// is not ours is UnsupportedType.
func locate(v *store.View, id string) (leafward.Authority, error) {
	a, found, err := v.FindAuthority(id)
	if err != nil {
		return a, err
	}
	if !found {
		issuer, err := v.Issuer(id)
		if err != nil {
			return a, err
		}
		if issuer.Authority == "" {
			return a, notOurs(id)
		}
		if a, err = v.Authority(issuer.Authority); err != nil {
			return a, err
		}
	}
	if !a.Ours() {
		return a, notOurs(id)
	}
	return a, nil
}

func notOurs(id string) error {
	return leafward.Errorf(leafward.UnsupportedType, "ask the CA that signs for it: its addresses are in its certificates",
		"%s is not an authority of this server", id)
}

// load reads an authority with its certificates and the row of its key.
func (c *CA) load(v *store.View, row leafward.Authority) (*authority, error) {
	a := &authority{Authority: row}
	if row.Certificate == "" {
		return nil, leafward.Errorf(leafward.Conflict, "wait until its certificate is there", "the authority %s has no certificate yet", row.Name)
	}
	own, err := v.CACertificate(row.Certificate)
	if err != nil {
		return nil, err
	}
	if a.cert, err = c.certificate(own); err != nil {
		return nil, fmt.Errorf("the certificate of authority %s: %w", row.ID, err)
	}
	a.root, a.imported = own.Signer == row.ID, own.Kind == "imported"
	if a.above, err = c.climb(v, own); err != nil {
		return nil, err
	}
	a.key, err = v.KeyPairOfAuthority(&row)
	return a, err
}

// climb collects the certificates above one, without the root.
func (c *CA) climb(v *store.View, from leafward.CACertificate) (above [][]byte, err error) {
	for from.Signer != from.Authority && from.Signer != "" && len(above) < pki.MaxChain {
		signer, err := v.Authority(from.Signer)
		if err != nil {
			return nil, err
		}
		if from, err = v.CACertificate(signer.Certificate); err != nil {
			return nil, err
		}
		if from.Signer != from.Authority {
			above = append(above, from.DER)
		}
	}
	return above, nil
}

// open locates and loads an authority.
func (c *CA) open(ctx context.Context, id string) (a *authority, err error) {
	err = c.db.View(ctx, func(v *store.View) error {
		row, err := locate(v, id)
		if err == nil {
			a, err = c.load(v, row)
		}
		return err
	})
	return a, err
}

// signer opens the authority's private key, unless that is offline.
func (c *CA) signer(a *authority) (crypto.Signer, error) {
	if err := a.Away(); err != nil {
		return nil, err
	}
	return c.unlock(a)
}

// unlock opens the authority's private key and makes sure that it is the key of its certificate.
func (c *CA) unlock(a *authority) (crypto.Signer, error) {
	signer, err := c.ring.Open(keys.Ref{Where: keys.Sealed, Sealed: a.key.Sealed, Context: keyContext(a.key.ID)})
	if err != nil {
		return nil, fmt.Errorf("the key of authority %s: %w", a.Name, err)
	}
	if !isKeyOf(signer, a.cert) {
		return nil, leafward.Errorf(leafward.Internal, "restore the database from a backup", "the stored key of authority %s is not the key of its certificate", a.Name)
	}
	return signer, nil
}

// isKeyOf tells whether a private key is that of a certificate.
func isKeyOf(signer crypto.Signer, cert *x509.Certificate) bool {
	key, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(cert.PublicKey)
}

// keyContext is the place of a key pair's private part.
func keyContext(id string) keys.Context {
	return keys.Context{Table: "keys", Column: "sealed", Row: id}
}

// Certificate is the current certificate, in DER, of the authority of an authority or issuer id. While the database cannot
// be read, the one that was asked for last is given.
func (c *CA) Certificate(ctx context.Context, id string) ([]byte, error) {
	return c.kept(ctx, id, func(context.Context) (string, error) { return id, nil })
}

// Root is the certificate, in DER, of the root that was made at the first start: what agents and people trust. While the
// database cannot be read, it is given if it was asked for before.
func (c *CA) Root(ctx context.Context) ([]byte, error) {
	return c.kept(ctx, "", func(ctx context.Context) (id string, err error) {
		err = c.db.View(ctx, func(v *store.View) error {
			id, err = v.Setting(rootSetting)
			return err
		})
		if err == nil && id == "" {
			err = leafward.Errorf(leafward.Later, "wait until the first start is over", "there is no root yet")
		}
		return id, err
	})
}

// kept is the certificate of the authority that which finds, or the last one under the name when nobody can look.
func (c *CA) kept(ctx context.Context, name string, which func(context.Context) (string, error)) ([]byte, error) {
	reading, stop := context.WithTimeout(system(ctx), patience)
	defer stop()
	id, err := which(reading)
	var a *authority
	if err == nil {
		a, err = c.open(reading, id)
	}
	if err == nil {
		c.certificates.put(name, a.cert.Raw, len(a.cert.Raw))
		return a.cert.Raw, nil
	}
	kind := leafward.KindOf(err)
	if last, have := c.certificates.get(name); have && kind != leafward.NotFound && kind != leafward.UnsupportedType && ctx.Err() == nil {
		return last, nil
	}
	return nil, err
}
