package ocsp

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Request is what a client asks: about one certificate or several, and with a nonce or without.
type Request struct {
	Certs []CertID
	Nonce []byte // nil without one
}

// ParseRequest reads an OCSPRequest in DER (RFC 6960 §4.1). A signature is passed over, as RFC 5019 §2.1.1 lets a
// responder do. Every error is ErrMalformed or ErrHash, with what is wrong.
func ParseRequest(der []byte) (Request, error) {
	request, err := parseRequest(bytes.Clone(der))
	if err != nil && !errors.Is(err, ErrHash) {
		err = fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return request, err
}

func parseRequest(der []byte) (Request, error) {
	if len(der) >= RequestLimit {
		return Request{}, fmt.Errorf("it has %d octets and must have fewer than %d", len(der), RequestLimit)
	}
	in := cryptobyte.String(der)
	var outer, tbs, list cryptobyte.String
	if !in.ReadASN1(&outer, asn1.SEQUENCE) || !outer.ReadASN1(&tbs, asn1.SEQUENCE) {
		return Request{}, errors.New("it is not an OCSPRequest in DER")
	}
	if !in.Empty() {
		return Request{}, fmt.Errorf("%d octets follow it", len(in))
	}
	if !outer.SkipOptionalASN1(explicit(0)) || !outer.Empty() {
		return Request{}, errors.New("what follows the TBSRequest is not a signature")
	}
	var version int
	if !tbs.ReadOptionalASN1Integer(&version, explicit(0), 0) || version != 0 {
		return Request{}, errors.New("its version is not v1")
	}
	if !tbs.SkipOptionalASN1(explicit(1)) || !tbs.ReadASN1(&list, asn1.SEQUENCE) {
		return Request{}, errors.New("its requestList cannot be read")
	}
	certs, err := readRequestList(list)
	if err != nil {
		return Request{}, err
	}
	nonce, err := readOptionalExtensions(&tbs, explicit(2))
	if err != nil {
		return Request{}, err
	}
	if !tbs.Empty() {
		return Request{}, errors.New("something follows its requestList")
	}
	return Request{Certs: certs, Nonce: nonce}, nil
}

func readRequestList(list cryptobyte.String) ([]CertID, error) {
	var certs []CertID
	for !list.Empty() {
		var single cryptobyte.String
		if len(certs) == MaxCerts {
			return nil, fmt.Errorf("it asks about more than %d certificates", MaxCerts)
		}
		if !list.ReadASN1(&single, asn1.SEQUENCE) {
			return nil, errors.New("its requestList cannot be read")
		}
		id, err := readCertID(&single)
		if err != nil {
			return nil, err
		}
		if _, err := readOptionalExtensions(&single, explicit(0)); err != nil {
			return nil, err
		}
		if !single.Empty() {
			return nil, errors.New("something follows a CertID")
		}
		certs = append(certs, id)
	}
	if len(certs) == 0 {
		return nil, errors.New("it asks about no certificate")
	}
	return certs, nil
}

// readOptionalExtensions reads Extensions under an explicit tag, if they are there, and gives the nonce in them.
func readOptionalExtensions(in *cryptobyte.String, tag asn1.Tag) ([]byte, error) {
	var extensions cryptobyte.String
	var present bool
	if !in.ReadOptionalASN1(&extensions, &present, tag) {
		return nil, errors.New("the extensions cannot be read")
	}
	if !present {
		return nil, nil
	}
	return readExtensions(extensions)
}

// EncodeRequest writes an unsigned OCSPRequest in DER, with a nonce unless it is empty.
func EncodeRequest(certs []CertID, nonce []byte) ([]byte, error) {
	if len(certs) == 0 || len(certs) > MaxCerts {
		return nil, fmt.Errorf("a request asks about 1 to %d certificates, not %d", MaxCerts, len(certs))
	}
	if len(nonce) > MaxNonce {
		return nil, fmt.Errorf("a nonce has at most %d octets, not %d", MaxNonce, len(nonce))
	}
	for _, id := range certs {
		if err := id.check(); err != nil {
			return nil, err
		}
	}
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, id := range certs {
					b.AddASN1(asn1.SEQUENCE, id.append)
				}
			})
			addNonce(b, explicit(2), nonce)
		})
	})
	return b.Bytes()
}
