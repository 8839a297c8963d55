// Package local is the issuer type GenericCA: an authority of our own.
package local

import (
	"context"
	"encoding/json"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/issuer"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/plugin"
)

// Config says which authority the issuer gets when it is made. Later it cannot be changed: another authority is another
// issuer.
type Config struct {
	KeyAlgorithm   string          `json:"key_algorithm" doc:"Kind of the authority's key; ECDSA-P256 when it is left out." enum:"ECDSA-P256,ECDSA-P384,Ed25519,RSA-2048,RSA-3072,RSA-4096"`
	CommonName     string          `json:"common_name" doc:"Common name of the authority; the issuer's name when it is left out." max:"64"`
	Organization   string          `json:"organization" doc:"Organization in the authority's name." max:"64"`
	ValidityDays   int             `json:"validity_days" doc:"How long the authority's certificate is valid, cut to the end of the one above it; 7300 days for a root and 1825 below another when it is left out." min:"1" max:"10950"`
	ParentIssuerID string          `json:"parent_issuer_id" doc:"Issuer of type GenericCA, or authority, that signs the authority's certificate; without one it is a root." max:"128"`
	CertificatePEM string          `json:"certificate_pem" doc:"Certificate of an authority that was made elsewhere, in PEM, with those above it; the settings above are then left out." max:"65536"`
	PrivateKeyPEM  leafward.Secret `json:"private_key_pem" doc:"Private key of the certificate, in PEM, not encrypted." secret:"true" max:"32768"`
}

// Plugin is the issuer type over the authorities of this server.
func Plugin(authorities *ca.CA) issuer.Plugin {
	return issuer.Plugin{
		Type: leafward.GenericCA, Title: "Local CA", Doc: "An authority of this server: made here, or imported with its key.", Config: Config{},
		Parse: func(config json.RawMessage) error {
			_, _, err := parse(config)
			return err
		},
		Open: func(_ context.Context, id string, _ json.RawMessage) (issuer.Issuer, error) {
			return &local{authorities, id}, nil
		},
		Create: func(ctx context.Context, row leafward.Issuer, config json.RawMessage) (leafward.Issuer, error) {
			_, spec, err := parse(config)
			if err != nil {
				return row, err
			}
			if spec.Subject.CommonName == "" && len(spec.Certificates) == 0 {
				spec.Subject.CommonName = row.Name
				if err := pki.CheckCommonName(row.Name); err != nil {
					var p leafward.Problems
					p.Add("common_name", "is missing, and the issuer's name cannot take its place: "+err.Error(), "give a common name of 1 to 64 characters")
					return row, p.Err()
				}
			}
			return authorities.CreateIssuer(ctx, row, spec)
		},
		Change: change,
		Delete: authorities.DeleteIssuer,
	}
}

// local is one issuer of ours.
type local struct {
	authorities *ca.CA
	id          string
}

// Issue has the issuer's active authority sign.
func (l *local) Issue(ctx context.Context, r issuer.Request) (issuer.Chain, error) {
	issued, err := l.authorities.Issue(ctx, ca.Order{
		Authority: l.id, Request: r.ID, First: r.First, Name: r.Name, Subject: pki.Subject{CommonName: r.CommonName, Organization: r.Organization}, Names: r.Names,
		PublicKey: r.PublicKey, EKUs: r.EKUs, TTL: r.TTL, MaxTTL: r.MaxTTL, Backdate: r.Backdate,
		CutToIssuer: r.CutToIssuer, ShortLived: r.ShortLived, PublicLike: r.PublicLike,
	})
	if err != nil {
		return issuer.Chain{}, err
	}
	return issuer.Chain{Certificates: append([][]byte{issued.Certificate}, issued.Chain...), Authority: issued.Authority, Serial: issued.Serial}, nil
}

// SignsAtOnce says that the key is at hand.
func (l *local) SignsAtOnce() bool { return true }

// Test finds out whether the authority could sign.
func (l *local) Test(ctx context.Context) ([]leafward.Step, error) {
	return l.authorities.Test(ctx, l.id)
}

// parse reads a configuration and names everything wrong with it.
func parse(raw json.RawMessage) (Config, ca.Spec, error) {
	var c Config
	var p leafward.Problems
	if err := p.Merge(plugin.Decode(raw, &c)); err != nil {
		return c, ca.Spec{}, err
	}
	spec := ca.Spec{Subject: pki.Subject{CommonName: c.CommonName, Organization: c.Organization}, Life: time.Duration(c.ValidityDays) * 24 * time.Hour, Parent: c.ParentIssuerID}
	for field, text := range map[string]string{"common_name": c.CommonName, "organization": c.Organization} {
		if text != "" {
			if err := pki.CheckCommonName(text); err != nil {
				p.Add(field, err.Error(), "use 1 to 64 characters that people can read")
			}
		}
	}
	if c.CertificatePEM != "" || len(c.PrivateKeyPEM) > 0 || p.Has("certificate_pem") || p.Has("private_key_pem") {
		imported(&p, c, &spec)
		return c, spec, p.Err()
	}
	algorithm := c.KeyAlgorithm
	if algorithm == "" {
		algorithm = "ECDSA-P256"
	}
	var err error
	if spec.Key, err = pki.ParseKeyKind(algorithm); err != nil {
		p.Add("key_algorithm", err.Error(), "use one of ECDSA-P256, ECDSA-P384, Ed25519, RSA-2048, RSA-3072, RSA-4096")
	}
	return c, spec, p.Err()
}

// imported reads the certificate and key of an authority that was made elsewhere.
func imported(p *leafward.Problems, c Config, spec *ca.Spec) {
	for field, set := range map[string]bool{
		"key_algorithm": c.KeyAlgorithm != "", "common_name": c.CommonName != "", "organization": c.Organization != "",
		"validity_days": c.ValidityDays != 0, "parent_issuer_id": c.ParentIssuerID != "",
	} {
		p.Check(!set, field, "does not go together with certificate_pem, which says it already", "leave one of them out")
	}
	switch chain, err := pki.ParseChainPEM([]byte(c.CertificatePEM)); {
	case p.Has("certificate_pem"): // it could not be taken as it was sent
	case c.CertificatePEM == "":
		p.Add("certificate_pem", "is missing beside private_key_pem", "give the certificate of the key")
	case err != nil:
		p.Add("certificate_pem", err.Error(), "give the authority's certificate in PEM, with those above it behind")
	default:
		if spec.Certificates, err = pki.OrderChain(chain); err != nil {
			p.Add("certificate_pem", err.Error(), "give the certificates of one chain")
		}
	}
	switch key, err := pki.ParsePrivateKeyPEM(c.PrivateKeyPEM.Reveal()); {
	case p.Has("private_key_pem"):
	case len(c.PrivateKeyPEM) == 0:
		p.Add("private_key_pem", "is missing beside certificate_pem", "give the private key of the certificate")
	case err != nil:
		p.Add("private_key_pem", err.Error(), "give the private key in PEM, not encrypted")
	default:
		spec.PrivateKey = key
	}
}

// change refuses another authority under the same issuer.
func change(old, changed json.RawMessage) error {
	var before, after Config
	if err := plugin.Decode(old, &before); err != nil {
		return err
	}
	if err := plugin.Decode(changed, &after); err != nil {
		return err
	}
	var p leafward.Problems
	for field, same := range map[string]bool{
		"key_algorithm": before.KeyAlgorithm == after.KeyAlgorithm, "common_name": before.CommonName == after.CommonName,
		"organization": before.Organization == after.Organization, "validity_days": before.ValidityDays == after.ValidityDays,
		"parent_issuer_id": before.ParentIssuerID == after.ParentIssuerID, "certificate_pem": before.CertificatePEM == after.CertificatePEM,
		"private_key_pem": string(before.PrivateKeyPEM.Reveal()) == string(after.PrivateKeyPEM.Reveal()),
	} {
		p.Check(same, field, "cannot be changed: the authority has its name, key and certificate for life", "make another issuer")
	}
	return p.Err()
}
