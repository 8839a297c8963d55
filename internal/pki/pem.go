package pki

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
)

// The PEM labels of RFC 7468 that leafward writes.
const (
	pemCertificate  = "CERTIFICATE"
	pemRequest      = "CERTIFICATE REQUEST"
	pemPrivateKey   = "PRIVATE KEY"
	pemECParameters = "EC PARAMETERS"
	pemCRL          = "X509 CRL"
)

func encodePEM(label string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
}

// decodePEM reads every block of a text of at most maxSize octets and maxBlocks blocks. Text around the blocks is
// passed over, but a block that begins and cannot be read is an error, so that a damaged leaf does not make the next
// certificate the leaf.
func decodePEM(text []byte, maxSize, maxBlocks int) ([]*pem.Block, error) {
	if len(text) > maxSize {
		return nil, fmt.Errorf("the text has %d octets; at most %d are read", len(text), maxSize)
	}
	begun := bytes.Count(text, []byte("-----BEGIN "))
	switch {
	case begun == 0:
		return nil, errors.New("there is no PEM block: it begins with a line of -----BEGIN")
	case begun > maxBlocks:
		return nil, fmt.Errorf("there are %d PEM blocks; at most %d are read", begun, maxBlocks)
	}
	var blocks []*pem.Block
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		blocks = append(blocks, block)
	}
	if len(blocks) != begun {
		return nil, fmt.Errorf("%d of %d PEM blocks cannot be read: the base64 is damaged or the END line is missing", begun-len(blocks), begun)
	}
	return blocks, nil
}
