package pki

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/bits"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// encode is the DER TBSCertificate of RFC 5280 §4.1 for an issuer and a subject's key. It is what crypto/x509 would write,
// which cannot do so without signing.
func (t Template) encode(issuer Issuer, pub crypto.PublicKey) ([]byte, error) {
	subject, err := t.subject()
	if err != nil {
		return nil, err
	}
	ski, err := t.keyID(pub)
	if err != nil {
		return nil, err
	}
	emptySubject := len(subject) == 2 // SEQUENCE, length 0
	if emptySubject && (t.CA || t.Names.Len() == 0) {
		return nil, errors.New("a certificate needs a subject or names")
	}
	more, err := t.extensions(emptySubject)
	if err != nil {
		return nil, err
	}
	algorithm, err := signatureAlgorithm(issuer.Kind)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, err
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, 1024))
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) { b.AddASN1Int64(2) }) // version 3
		b.AddASN1BigInt(t.Serial)
		b.AddBytes(algorithm.identifier)
		b.AddBytes(issuer.Subject)
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addTime(b, t.notBefore())
			addTime(b, t.NotAfter())
		})
		b.AddBytes(subject)
		b.AddBytes(spki)
		b.AddASN1(cbasn1.Tag(3).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				t.addExtensions(b, ski, issuer.SKI)
				for _, e := range more {
					addExtension(b, e.Id, e.Critical, func(b *cryptobyte.Builder) { b.AddBytes(e.Value) })
				}
			})
		})
	})
	return b.Bytes()
}

// addExtensions writes keyUsage, basicConstraints, the key identifiers, and the addresses of those who tell more.
func (t Template) addExtensions(b *cryptobyte.Builder, ski, issuer []byte) {
	addExtension(b, asn1.ObjectIdentifier{2, 5, 29, 15}, true, t.addKeyUsage)
	addExtension(b, asn1.ObjectIdentifier{2, 5, 29, 19}, true, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			if t.CA {
				b.AddASN1Boolean(true)
			}
			if t.CA && t.PathLen != NoPathLen {
				b.AddASN1Int64(int64(t.PathLen))
			}
		})
	})
	addExtension(b, asn1.ObjectIdentifier{2, 5, 29, 14}, false, func(b *cryptobyte.Builder) { b.AddASN1OctetString(ski) })
	addKeyID(b, issuer)
	if len(t.OCSPServers)+len(t.CAIssuers) > 0 {
		addExtension(b, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 1}, false, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				addAccess(b, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1}, t.OCSPServers)
				addAccess(b, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 2}, t.CAIssuers)
			})
		})
	}
	if len(t.CRLDistributionPoints) > 0 {
		addExtension(b, asn1.ObjectIdentifier{2, 5, 29, 31}, false, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, url := range t.CRLDistributionPoints {
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { addPointName(b, url) })
				}
			})
		})
	}
}

// addKeyUsage writes a named BIT STRING, which ends with its last bit that is set (X.690 §11.2.2).
func (t Template) addKeyUsage(b *cryptobyte.Builder) {
	usage := uint16(t.keyUsage())
	octets := []byte{bits.Reverse8(byte(usage)), bits.Reverse8(byte(usage >> 8))}
	if octets[1] == 0 {
		octets = octets[:1]
	}
	b.AddASN1(cbasn1.BIT_STRING, func(b *cryptobyte.Builder) {
		b.AddUint8(uint8(bits.TrailingZeros8(octets[len(octets)-1])))
		b.AddBytes(octets)
	})
}

// addKeyID writes authorityKeyIdentifier.
func addKeyID(b *cryptobyte.Builder, ski []byte) {
	addExtension(b, asn1.ObjectIdentifier{2, 5, 29, 35}, false, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(ski) })
		})
	})
}

// addAccess writes the addresses of authorityInfoAccess at which there is one kind of thing.
func addAccess(b *cryptobyte.Builder, what asn1.ObjectIdentifier, urls []string) {
	for _, url := range urls {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(what)
			addURI(b, url)
		})
	}
}

// addPointName writes a DistributionPointName, tagged as the first member of its SEQUENCE, with one address.
func addPointName(b *cryptobyte.Builder, url string) {
	nested := cbasn1.Tag(0).Constructed().ContextSpecific()
	b.AddASN1(nested, func(b *cryptobyte.Builder) { // distributionPoint
		b.AddASN1(nested, func(b *cryptobyte.Builder) { addURI(b, url) }) // fullName
	})
}

// addURI writes a GeneralName.
func addURI(b *cryptobyte.Builder, url string) {
	b.AddASN1(cbasn1.Tag(uriName).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(url)) })
}

func addExtension(b *cryptobyte.Builder, oid asn1.ObjectIdentifier, critical bool, value cryptobyte.BuilderContinuation) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		if critical {
			b.AddASN1Boolean(true)
		}
		b.AddASN1(cbasn1.OCTET_STRING, value)
	})
}

// addTime writes UTCTime up to 2049 and GeneralizedTime after it (RFC 5280 §4.1.2.5).
func addTime(b *cryptobyte.Builder, t time.Time) {
	if t = t.UTC().Truncate(time.Second); t.Year() < 2050 {
		b.AddASN1UTCTime(t)
	} else {
		b.AddASN1GeneralizedTime(t)
	}
}

// extensions are those of the subject: names, usages in their order, and what is said of revocation.
func (t Template) extensions(emptySubject bool) ([]pkix.Extension, error) {
	var list []pkix.Extension
	if t.Names.Len() > 0 {
		names, err := t.Names.extension(emptySubject)
		if err != nil {
			return nil, err
		}
		list = append(list, names)
	}
	if len(t.EKUs) > 0 {
		value, err := marshalEKUs(t.EKUs)
		if err != nil {
			return nil, err
		}
		list = append(list, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: value})
	}
	if t.NoRevAvail {
		list = append(list, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 56}, Value: asn1.NullBytes})
	}
	if t.OCSPNoCheck {
		list = append(list, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}, Value: asn1.NullBytes})
	}
	return list, nil
}
