package pki

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

const (
	maxSerialOctets = 20  // RFC 5280 §4.1.2.2
	minSerialBits   = 64  // so that the encoding has at least 9 octets, the first of them 0 or below 0x80
	maxSerialText   = 128 // octets of text, room for leading zeros and colons
)

// NewSerial draws a serial number: 128 random bits, positive, 9 to 17 octets in DER.
func NewSerial() *big.Int {
	var octets [16]byte
	for {
		_, _ = rand.Read(octets[:]) // never fails: crypto/rand ends the process instead
		if serial := new(big.Int).SetBytes(octets[:]); serial.BitLen() >= minSerialBits {
			return serial
		}
	}
}

// SerialHex is the one text form of a serial number: lower hex without leading zeros.
func SerialHex(serial *big.Int) string { return serial.Text(16) }

// ParseSerialHex reads a serial number as people and tools write it: hex in either case, leading zeros and colons
// between octets allowed, at most 20 octets, positive.
func ParseSerialHex(text string) (*big.Int, error) {
	if text == "" {
		return nil, errors.New("the serial number is empty")
	}
	if len(text) > maxSerialText {
		return nil, fmt.Errorf("the serial number has %d characters; at most %d are read", len(text), maxSerialText)
	}
	digits := text
	if strings.Contains(text, ":") {
		for i, octet := range strings.Split(text, ":") {
			if len(octet) != 2 && (i > 0 || len(octet) != 1) {
				return nil, fmt.Errorf("the serial number %s has colons that do not stand between octets", quote(text))
			}
		}
		digits = strings.ReplaceAll(text, ":", "")
	}
	for i := range len(digits) {
		if !strings.ContainsRune("0123456789abcdefABCDEF", rune(digits[i])) {
			return nil, fmt.Errorf("the serial number %s is not hex", quote(text))
		}
	}
	serial, ok := new(big.Int).SetString(digits, 16)
	switch {
	case !ok:
		return nil, fmt.Errorf("the serial number %s is not hex", quote(text))
	case serial.Sign() == 0:
		return nil, errors.New("the serial number is zero; serial numbers are positive (RFC 5280 §4.1.2.2)")
	case serial.BitLen() > 8*maxSerialOctets:
		return nil, fmt.Errorf("the serial number has %d octets; at most 20 are allowed (RFC 5280 §4.1.2.2)", (serial.BitLen()+7)/8)
	}
	return serial, nil
}
