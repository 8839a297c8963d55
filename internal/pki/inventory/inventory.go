// Package inventory reads lists of certificates as others keep them, PEM bundles and CSV: row by row, each with the line on
// which it stands. A row that cannot be read costs that row and, as far as can be told, no other.
//
// Private keys have no business in a list: a row with one is told as wrong and its text is dropped at once.
package inventory

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/leafward/leafward/internal/pki"
)

// MaxRow bounds the text of one row, in octets: room for a certificate of 64 KiB with those above it.
const MaxRow = 512 << 10

// Row is one certificate of a list with what is said of it, or something that stands in its place.
type Row struct {
	Line  int                 // on which it begins, from 1
	Last  int                 // on which it ends
	Text  []byte              // its lines as they stand there; nil when it is wrong
	Chain []*x509.Certificate // the certificate, then those above it that stand with it; empty when it is wrong
	Cells map[string]string   // what a CSV says of it, by the name of the column; what is empty is left out
	Wrong *Wrong              // why it cannot be used; nil when it can

	torn bool // lines of a CSV that are no row
}

// Wrong is what is wrong with a row.
type Wrong struct{ Field, Problem, Fix string }

// fault is a row that cannot be used.
func fault(first, last int, field, fix, problem string, args ...any) Row {
	return Row{Line: first, Last: last, Wrong: &Wrong{Field: field, Problem: fmt.Sprintf(problem, args...), Fix: fix}}
}

// Certificate names the field that holds the certificate: the column of a CSV, and what problems of a bundle are about.
const Certificate = "certificate"

const (
	fixPEM = "export the certificate again; it is the lines from BEGIN CERTIFICATE to END CERTIFICATE"
	fixKey = "leave it out, and treat it as seen by whoever can read the list: no private key is taken in here"
)

// begin and end are how the lines around a PEM block begin.
const begin, end = "-----BEGIN ", "-----END "

// secret tells whether a text holds the beginning of a private key, of whatever sort.
func secret(text []byte) bool { return bytes.Contains(text, []byte("PRIVATE KEY-----")) }

// unreadable says why a text is none.
func unreadable(text []byte) string {
	switch {
	case !utf8.Valid(text):
		return "holds octets that are not UTF-8"
	case bytes.IndexByte(text, 0) >= 0:
		return "holds a NUL character"
	case bytes.ContainsRune(text, utf8.RuneError):
		return "holds the character U+FFFD, which stands for one that was lost"
	}
	return ""
}

// links tells whether a certificate belongs above another, by its name. Its signature is looked at where it is taken in. Above a
// root is nothing.
func links(above, below *x509.Certificate) bool {
	return above.IsCA && bytes.Equal(above.RawSubject, below.RawIssuer) && !bytes.Equal(below.RawSubject, below.RawIssuer)
}

// label is the word of a PEM line such as CERTIFICATE.
func label(line []byte) string {
	word, _, _ := strings.Cut(strings.TrimPrefix(string(line), begin), "-----")
	return word
}

// labelled tells whether a PEM block is a certificate by its label.
func labelled(word string) bool { return word == "CERTIFICATE" || word == "X509 CERTIFICATE" }

// parse reads a certificate within the bounds of those from outside.
func parse(der []byte) (*x509.Certificate, error) { return pki.ParseCertificate(der) }
