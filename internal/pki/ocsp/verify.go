package ocsp

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/leafward/leafward/internal/pki"
)

const (
	// MaxResponse is the largest response in octets that is read.
	MaxResponse = 64 << 10

	maxResponderCerts = 10
	maxSkew           = 5 * time.Minute // that a responder's clock may be ahead
)

// Response is a response that was read. Nothing in it is to be believed before Verify.
type Response struct {
	Code       Code // the rest is empty unless it is Successful
	ProducedAt time.Time
	Singles    []Single
	Nonce      []byte // nil without one
	Certs      []*x509.Certificate

	responderName    []byte // DER of the name, or
	responderKeyHash []byte // SHA-1 of the key
	data             []byte
	algorithm        x509.SignatureAlgorithm
	signature        []byte
}

// ParseResponse reads an OCSPResponse in DER (RFC 6960 §4.2).
func ParseResponse(der []byte) (Response, error) {
	response, err := parseResponse(bytes.Clone(der))
	if err != nil {
		return Response{}, fmt.Errorf("the OCSP response: %w", err)
	}
	return response, nil
}

func parseResponse(der []byte) (Response, error) {
	if len(der) > MaxResponse {
		return Response{}, fmt.Errorf("it has %d octets; at most %d are read", len(der), MaxResponse)
	}
	in := cryptobyte.String(der)
	var outer, wrapped, body, oid, basic cryptobyte.String
	var code int
	var present bool
	if !in.ReadASN1(&outer, asn1.SEQUENCE) || !in.Empty() || !outer.ReadASN1Enum(&code) ||
		!outer.ReadOptionalASN1(&wrapped, &present, explicit(0)) || !outer.Empty() {
		return Response{}, errors.New("it is not one in DER")
	}
	switch Code(code) {
	case Successful:
	case MalformedRequest, InternalError, TryLater, SigRequired, Unauthorized:
		if present {
			return Response{}, errors.New("an error has an answer with it")
		}
		return Response{Code: Code(code)}, nil
	default:
		return Response{}, fmt.Errorf("it has the unknown code %d", code)
	}
	if !present || !wrapped.ReadASN1(&body, asn1.SEQUENCE) || !wrapped.Empty() ||
		!body.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) || !body.ReadASN1(&basic, asn1.OCTET_STRING) || !body.Empty() {
		return Response{}, errors.New("its answer cannot be read")
	}
	if string(oid) != oidBasic {
		return Response{}, errors.New("its answer is not a basic response")
	}
	return readBasic(basic)
}

// readBasic reads a BasicOCSPResponse.
func readBasic(in cryptobyte.String) (Response, error) {
	var basic, data, identifier, wrapped, certs cryptobyte.String
	var r Response
	var present bool
	if !in.ReadASN1(&basic, asn1.SEQUENCE) || !in.Empty() ||
		!basic.ReadASN1Element(&data, asn1.SEQUENCE) || !basic.ReadASN1Element(&identifier, asn1.SEQUENCE) ||
		!basic.ReadASN1BitStringAsBytes(&r.signature) ||
		!basic.ReadOptionalASN1(&wrapped, &present, explicit(0)) || !basic.Empty() {
		return Response{}, errors.New("the basic response cannot be read")
	}
	r.data = data
	for _, a := range algorithms() {
		if a.identifier == string(identifier) {
			r.algorithm = a.x509
		}
	}
	if r.algorithm == x509.UnknownSignatureAlgorithm {
		return Response{}, errors.New("it is signed with an algorithm that is not supported")
	}
	if present && (!wrapped.ReadASN1(&certs, asn1.SEQUENCE) || !wrapped.Empty()) {
		return Response{}, errors.New("its certificates cannot be read")
	}
	for !certs.Empty() {
		var der cryptobyte.String
		if len(r.Certs) == maxResponderCerts || !certs.ReadASN1Element(&der, asn1.SEQUENCE) {
			return Response{}, errors.New("its certificates cannot be read or are too many")
		}
		cert, err := pki.ParseCertificate(der)
		if err != nil {
			return Response{}, err
		}
		r.Certs = append(r.Certs, cert)
	}
	return r, r.readData(data)
}

// readData reads the ResponseData.
func (r *Response) readData(in cryptobyte.String) error {
	var data, responder, list, extensions cryptobyte.String
	var version int
	var byName, byKey, extended bool
	if !in.ReadASN1(&data, asn1.SEQUENCE) || !data.ReadOptionalASN1Integer(&version, explicit(0), 0) || version != 0 ||
		!data.ReadOptionalASN1(&responder, &byName, explicit(1)) ||
		!byName && (!data.ReadOptionalASN1(&responder, &byKey, explicit(2)) || !byKey) {
		return errors.New("its version is not v1 or it names no responder")
	}
	if byName {
		r.responderName = responder
	} else if !responder.ReadASN1Bytes(&r.responderKeyHash, asn1.OCTET_STRING) || !responder.Empty() {
		return errors.New("its responder cannot be read")
	}
	if !data.ReadASN1GeneralizedTime(&r.ProducedAt) || !data.ReadASN1(&list, asn1.SEQUENCE) ||
		!data.ReadOptionalASN1(&extensions, &extended, explicit(1)) || !data.Empty() {
		return errors.New("its ResponseData cannot be read")
	}
	for !list.Empty() {
		var element cryptobyte.String
		if len(r.Singles) == MaxCerts || !list.ReadASN1(&element, asn1.SEQUENCE) {
			return errors.New("its single responses cannot be read or are too many")
		}
		single, err := readSingle(element)
		if err != nil {
			return err
		}
		r.Singles = append(r.Singles, single)
	}
	if !extended {
		return nil
	}
	nonce, err := readExtensions(extensions)
	r.Nonce = nonce
	return err
}

// readSingle reads the content of a SingleResponse.
func readSingle(in cryptobyte.String) (Single, error) {
	id, err := readCertID(&in)
	if err != nil {
		return Single{}, err
	}
	s := Single{ID: id}
	var status, next cryptobyte.String
	var tag asn1.Tag
	if !in.ReadAnyASN1(&status, &tag) {
		return Single{}, errors.New("a status cannot be read")
	}
	switch tag {
	case asn1.Tag(Good).ContextSpecific(), asn1.Tag(Unknown).ContextSpecific():
		s.Status = Status(tag &^ asn1.Tag(0).ContextSpecific())
	case explicit(uint8(Revoked)):
		s.Status = Revoked
		if err := s.readRevoked(&status); err != nil {
			return Single{}, err
		}
	default:
		return Single{}, errors.New("a status is none of good, revoked and unknown")
	}
	var present bool
	if !status.Empty() || !in.ReadASN1GeneralizedTime(&s.ThisUpdate) || !in.ReadOptionalASN1(&next, &present, explicit(0)) ||
		present && (!next.ReadASN1GeneralizedTime(&s.NextUpdate) || !next.Empty()) {
		return Single{}, errors.New("a single response cannot be read")
	}
	if _, err := readOptionalExtensions(&in, explicit(1)); err != nil {
		return Single{}, err
	}
	if !in.Empty() {
		return Single{}, errors.New("something follows a single response")
	}
	return s, nil
}

// readRevoked reads the content of a RevokedInfo.
func (s *Single) readRevoked(in *cryptobyte.String) error {
	var wrapped cryptobyte.String
	var present bool
	var reason int
	if !in.ReadASN1GeneralizedTime(&s.RevokedAt) || !in.ReadOptionalASN1(&wrapped, &present, explicit(0)) ||
		present && (!wrapped.ReadASN1Enum(&reason) || !wrapped.Empty()) {
		return errors.New("a revocation cannot be read")
	}
	if s.Reason = pki.Reason(reason); s.Reason.String() == "" {
		return fmt.Errorf("%d is no reason for a revocation", reason)
	}
	return nil
}

// Verify checks at a time that the response is the issuer's word: signed by its key, or by a delegate that it certified
// for OCSP signing (RFC 6960 §4.2.2.2), about certificates of its own, and neither from the future nor outdated. That
// the nonce is the one sent is for the caller to compare.
func (r Response) Verify(issuer *x509.Certificate, at time.Time) error {
	if r.Code != Successful {
		return fmt.Errorf("the OCSP responder answers %v", r.Code)
	}
	signer, err := r.responder(issuer, at)
	if err != nil {
		return err
	}
	if err := signer.CheckSignature(r.algorithm, r.data, r.signature); err != nil {
		return fmt.Errorf("the OCSP response is not signed by its responder: %w", err)
	}
	if len(r.Singles) == 0 {
		return errors.New("the OCSP response says nothing")
	}
	if r.ProducedAt.After(at.Add(maxSkew)) {
		return fmt.Errorf("the OCSP response is from the future: produced at %v", r.ProducedAt)
	}
	for _, s := range r.Singles {
		switch {
		case !MatchIssuer(s.ID, issuer):
			return errors.New("the OCSP response is about a certificate of another issuer")
		case s.ThisUpdate.After(at.Add(maxSkew)):
			return fmt.Errorf("the OCSP response is from the future: thisUpdate %v", s.ThisUpdate)
		case !s.NextUpdate.IsZero() && s.NextUpdate.Before(at):
			return fmt.Errorf("the OCSP response is outdated since %v", s.NextUpdate)
		}
	}
	return nil
}

// responder is the certificate that the response names as its signer's and that the issuer's word covers.
func (r Response) responder(issuer *x509.Certificate, at time.Time) (*x509.Certificate, error) {
	if r.names(issuer) {
		return issuer, nil
	}
	for _, cert := range r.Certs {
		if !r.names(cert) {
			continue
		}
		switch {
		case !bytes.Equal(cert.RawIssuer, issuer.RawSubject) || cert.CheckSignatureFrom(issuer) != nil:
			return nil, errors.New("the OCSP responder's certificate is not from the issuer")
		case !isDelegate(cert):
			return nil, errors.New("the OCSP responder's certificate is not for OCSP signing")
		case cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageDigitalSignature == 0:
			return nil, errors.New("the OCSP responder's certificate does not allow signatures")
		case at.Before(cert.NotBefore) || at.After(cert.NotAfter):
			return nil, fmt.Errorf("the OCSP responder's certificate is valid from %v to %v only", cert.NotBefore, cert.NotAfter)
		}
		return cert, nil
	}
	return nil, errors.New("the OCSP response does not bring the certificate of its responder")
}

// names says whether the response names the holder of the certificate as its responder.
func (r Response) names(cert *x509.Certificate) bool {
	if r.responderName != nil {
		return bytes.Equal(r.responderName, cert.RawSubject)
	}
	_, keyHash, err := IssuerHashes(crypto.SHA1, cert)
	return err == nil && bytes.Equal(keyHash, r.responderKeyHash)
}

// Find gives the answer about a certificate.
func (r Response) Find(id CertID) (Single, bool) {
	for _, s := range r.Singles {
		if s.ID.Same(id) {
			return s, true
		}
	}
	return Single{}, false
}
