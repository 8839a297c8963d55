package pki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

const (
	maxCSR           = 64 << 10 // octets, as PEM or DER
	maxCSRExtensions = 50
)

// CSRProblem says which part of a certification request is wrong.
type CSRProblem string

// The parts of a request that can be wrong.
const (
	CSREncoding   CSRProblem = "encoding"   // not PEM or DER of a request, too large, or a malformed extension
	CSRKey        CSRProblem = "key"        // a key that is not certified
	CSRSignature  CSRProblem = "signature"  // not signed by its own key
	CSRNames      CSRProblem = "names"      // a name that cannot stand in a certificate
	CSRCommonName CSRProblem = "commonName" // a common name that cannot stand in a certificate, or several
)

// CSRError is why a certification request was refused.
type CSRError struct {
	Problem CSRProblem
	Cause   error
}

func (e *CSRError) Error() string { return "the certification request is refused: " + e.Cause.Error() }

func (e *CSRError) Unwrap() error { return e.Cause }

// CSR is a certification request (RFC 2986) that is well-formed, signed by its own key, and whose key and names may
// stand in a certificate. It says what somebody asks for and decides nothing.
type CSR struct {
	DER        []byte
	PublicKey  crypto.PublicKey
	Kind       KeyKind
	CommonName string // may be empty, and need not be among Names
	Names      Names  // what the subjectAltName asks for; an IP address or a URI in a dNSName is read as what it is
	OtherNames []string
	Extensions []RequestedExtension

	CA       bool          // basicConstraints asks for CA:TRUE
	KeyUsage x509.KeyUsage // 0 when not asked for
	EKUs     []string      // in ParseEKU's form and the order asked for
}

// RequestedExtension is an extension that a request asks for.
type RequestedExtension struct {
	OID      string
	Name     string // the name in its standard, or the OID again
	Critical bool
	Value    []byte
}

// Dangers lists what the request asks for that would give more than an ordinary end-entity certificate may do: being
// an authority, signing revocation lists or OCSP responses, every purpose, name constraints.
func (c *CSR) Dangers() []string {
	var dangers []string
	if c.CA {
		dangers = append(dangers, "basicConstraints CA:TRUE")
	}
	if c.KeyUsage&x509.KeyUsageCertSign != 0 {
		dangers = append(dangers, "keyUsage keyCertSign")
	}
	if c.KeyUsage&x509.KeyUsageCRLSign != 0 {
		dangers = append(dangers, "keyUsage cRLSign")
	}
	for _, usage := range c.EKUs {
		if usage == OCSPSigning || usage == "anyExtendedKeyUsage" {
			dangers = append(dangers, "extKeyUsage "+usage)
		}
	}
	for _, extension := range c.Extensions {
		if extension.OID == oidNameConstraints {
			dangers = append(dangers, extension.Name)
		}
	}
	return dangers
}

// ParseCSR reads a certification request in DER or in one PEM block, of at most 64 KiB. Every error is a *CSRError.
func ParseCSR(data []byte) (*CSR, error) {
	der, err := csrDER(data)
	if err != nil {
		return nil, &CSRError{CSREncoding, err}
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, unreadable(der, err)
	}
	csr := &CSR{DER: der, PublicKey: request.PublicKey}
	if csr.Kind, err = KindOf(request.PublicKey); err != nil {
		return nil, &CSRError{CSRKey, err}
	}
	if err := CheckPublicKey(request.PublicKey); err != nil {
		return nil, &CSRError{CSRKey, err}
	}
	if err := request.CheckSignature(); err != nil {
		return nil, &CSRError{CSRSignature, unsigned(request, err)}
	}
	if csr.CommonName, err = commonName(request.Subject); err != nil {
		return nil, &CSRError{CSRCommonName, err}
	}
	if len(request.Extensions) > maxCSRExtensions {
		return nil, &CSRError{CSREncoding, fmt.Errorf("it asks for %d extensions; at most %d are read", len(request.Extensions), maxCSRExtensions)}
	}
	for _, extension := range request.Extensions {
		if err := csr.read(extension); err != nil {
			return nil, err
		}
	}
	return csr, nil
}

// unreadable is why crypto/x509 cannot read a request: its key, or anything else.
func unreadable(der []byte, err error) *CSRError {
	in := cryptobyte.String(der)
	var request, info, key cryptobyte.String
	if in.ReadASN1(&request, cbasn1.SEQUENCE) && request.ReadASN1(&info, cbasn1.SEQUENCE) && info.SkipASN1(cbasn1.INTEGER) && info.SkipASN1(cbasn1.SEQUENCE) &&
		info.ReadASN1Element(&key, cbasn1.SEQUENCE) {
		if _, err := x509.ParsePKIXPublicKey(key); err != nil {
			return &CSRError{CSRKey, fmt.Errorf("its key cannot be read: %w", err)}
		}
	}
	_, syntax := errors.AsType[asn1.SyntaxError](err)
	if _, structural := errors.AsType[asn1.StructuralError](err); syntax || structural {
		err = errors.New("it is not the DER of a certification request (RFC 2986)")
	}
	return &CSRError{CSREncoding, fmt.Errorf("it cannot be read: %w", err)}
}

// unsigned is why the signature of a request proves nothing.
func unsigned(request *x509.CertificateRequest, err error) error {
	if _, weak := errors.AsType[x509.InsecureAlgorithmError](err); weak {
		return fmt.Errorf("it is signed with %s, which is not secure", request.SignatureAlgorithm)
	}
	if errors.Is(err, x509.ErrUnsupportedAlgorithm) {
		return errors.New("it is signed with an algorithm that is not known")
	}
	return errors.New("its signature is not by its own key")
}

func csrDER(data []byte) ([]byte, error) {
	if len(data) > maxCSR {
		return nil, fmt.Errorf("it has %d octets; at most %d are read", len(data), maxCSR)
	}
	if len(data) == 0 {
		return nil, errors.New("it is empty")
	}
	if data[0] == 0x30 && !bytes.Contains(data, []byte("-----BEGIN ")) { // a SEQUENCE; "0" in PEM would be text
		return data, nil
	}
	blocks, err := decodePEM(data, maxCSR, 1)
	if err != nil {
		return nil, err
	}
	if label := blocks[0].Type; label != pemRequest && label != "NEW CERTIFICATE REQUEST" {
		return nil, fmt.Errorf("the PEM block is a %s, not a CERTIFICATE REQUEST", quote(label))
	}
	return blocks[0].Bytes, nil
}

// commonName is the one common name of a subject, checked, or "" when there is none.
func commonName(subject pkix.Name) (string, error) {
	var found []string
	for _, attribute := range subject.Names {
		if attribute.Type.String() == oidCommonName {
			text, ok := attribute.Value.(string)
			if !ok {
				return "", errors.New("the common name is not text")
			}
			found = append(found, text)
		}
	}
	switch {
	case len(found) == 0 || len(found) == 1 && found[0] == "":
		return "", nil
	case len(found) > 1:
		return "", fmt.Errorf("the subject has %d common names; at most one is allowed", len(found))
	}
	if err := CheckCommonName(found[0]); err != nil {
		return "", fmt.Errorf("the common name: %w", err)
	}
	return found[0], nil
}

// read takes up one requested extension.
func (c *CSR) read(extension pkix.Extension) error {
	oid := extension.Id.String()
	c.Extensions = append(c.Extensions, RequestedExtension{oid, extensionName(oid), extension.Critical, extension.Value})
	var err error
	switch oid {
	case oidSubjectAltName().String():
		return c.readNames(extension.Value)
	case oidBasicConstraints:
		c.CA, err = parseBasicConstraints(extension.Value)
	case oidKeyUsage:
		c.KeyUsage, err = parseKeyUsage(extension.Value)
	case oidExtKeyUsage:
		c.EKUs, err = parseEKUs(extension.Value)
	}
	if err != nil {
		return &CSRError{CSREncoding, err}
	}
	return nil
}

func (c *CSR) readNames(value []byte) error {
	list, err := parseGeneralNames(value)
	switch {
	case err != nil:
		return &CSRError{CSREncoding, err}
	case len(list) == 0:
		return &CSRError{CSREncoding, errors.New("the subjectAltName extension is empty; it holds at least one name (RFC 5280 §4.2.1.6)")}
	case len(list) > MaxNames:
		return &CSRError{CSRNames, fmt.Errorf("it asks for %d names; a certificate holds at most %d", len(list), MaxNames)}
	}
	var refused NamesError
	for _, name := range list {
		text, ok := name.text()
		if !ok {
			c.OtherNames = append(c.OtherNames, name.typeName())
			continue
		}
		kind := name.kind
		if kind == dnsName {
			if kind = classify(text); kind == emailName {
				kind = dnsName
			}
		}
		if err := c.Names.add(kind, text); err != nil {
			refused = append(refused, NameError{text, err.Error()})
		}
	}
	if refused != nil {
		return &CSRError{CSRNames, refused}
	}
	return nil
}

// parseBasicConstraints reads whether CA is TRUE (RFC 5280 §4.2.1.9). An encoded FALSE, which DER leaves out, is read.
func parseBasicConstraints(value []byte) (ca bool, err error) {
	outer := cryptobyte.String(value)
	var body cryptobyte.String
	ok := outer.ReadASN1(&body, cbasn1.SEQUENCE) && outer.Empty()
	if ok && body.PeekASN1Tag(cbasn1.BOOLEAN) {
		ok = body.ReadASN1Boolean(&ca)
	}
	if ok && body.PeekASN1Tag(cbasn1.INTEGER) {
		ok = body.SkipASN1(cbasn1.INTEGER)
	}
	if !ok || !body.Empty() {
		return false, errors.New("the basicConstraints extension is not well-formed")
	}
	return ca, nil
}

// parseKeyUsage reads the bits of RFC 5280 §4.2.1.3.
func parseKeyUsage(value []byte) (x509.KeyUsage, error) {
	outer := cryptobyte.String(value)
	var bits asn1.BitString
	if !outer.ReadASN1BitString(&bits) || !outer.Empty() {
		return 0, errors.New("the keyUsage extension is not well-formed")
	}
	var usage x509.KeyUsage
	for i := range 9 {
		usage |= x509.KeyUsage(bits.At(i)) << i
	}
	return usage, nil
}

// MakeCSR makes a certification request in DER for the key's holder. The common name may be empty, and so may the
// names.
func MakeCSR(key crypto.Signer, commonName string, names Names) ([]byte, error) {
	template := &x509.CertificateRequest{}
	if commonName != "" {
		if err := CheckCommonName(commonName); err != nil {
			return nil, fmt.Errorf("the common name: %w", err)
		}
		template.Subject.CommonName = commonName
	}
	if names.Len() > 0 {
		extension, err := names.extension(commonName == "")
		if err != nil {
			return nil, err
		}
		template.ExtraExtensions = []pkix.Extension{extension}
	}
	return x509.CreateCertificateRequest(rand.Reader, template, key)
}

// EncodeCSR encodes a certification request as one PEM block.
func EncodeCSR(der []byte) []byte { return encodePEM(pemRequest, der) }
