// Package inventorytest makes lists of certificates as somebody else's authority would have signed them.
package inventorytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"time"
)

// Authority is somebody else's.
type Authority struct {
	Certificate *x509.Certificate
	Key         *ecdsa.PrivateKey
	from        time.Time
}

// New makes an authority whose certificates begin at the moment.
func New(name string, from time.Time) (*Authority, error) {
	a := &Authority{from: from.Truncate(time.Second)}
	return a, a.certify(name, a)
}

// Below makes an authority that this one certifies.
func (a *Authority) Below(name string) (*Authority, error) {
	below := &Authority{from: a.from}
	return below, below.certify(name, a)
}

// certify gives the authority a key and its certificate.
func (a *Authority) certify(name string, by *Authority) (err error) {
	if a.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: a.from, NotAfter: a.from.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	above := by.Certificate
	if by == a {
		above = t
	}
	der, err := x509.CreateCertificate(rand.Reader, t, above, a.Key.Public(), by.Key)
	if err != nil {
		return err
	}
	a.Certificate, err = x509.ParseCertificate(der)
	return err
}

// Leaf signs a certificate for names, the first of which is the common name too; change, which may be nil, alters what is
// signed.
func (a *Authority) Leaf(serial int64, life time.Duration, change func(*x509.Certificate), names ...string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: a.from, NotAfter: a.from.Add(life - time.Second),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	if change != nil {
		change(t)
	}
	return x509.CreateCertificate(rand.Reader, t, a.Certificate, key.Public(), a.Key)
}

// PEM is a certificate as it stands in a bundle.
func PEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// Listed is what is written of a list: rows, and the lines of those that nobody can take in.
type Listed struct {
	Rows int
	Bad  []int
}

// Heading is that of the CSV that WriteCSV writes.
const Heading = "name,environment,certificate\n"

// Year is how long the certificates of a list live.
const Year = 365 * 24 * time.Hour

// WritePEM writes the certificates from..to of the authority as a bundle, and WriteCSV as rows of a CSV. Of every so many
// one is damaged, each in its way; none is when that is 0.
func (a *Authority) WritePEM(w io.Writer, from, to, damaged int) (Listed, error) {
	return a.write(w, from, to, damaged, 1, func(_ int, der []byte, harm int) string {
		text := PEM(der)
		switch harm {
		case 1:
			return text[:200] + "!!!" + text[203:]
		case 2:
			return PEM(der[:len(der)/2])
		case 3:
			return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
		}
		return text
	})
}

// WriteCSV is told at WritePEM.
func (a *Authority) WriteCSV(w io.Writer, from, to, damaged int) (Listed, error) {
	if _, err := io.WriteString(w, Heading); err != nil {
		return Listed{}, err
	}
	return a.write(w, from, to, damaged, 2, func(n int, der []byte, harm int) string {
		row := fmt.Sprintf("%s,lab,%s\n", host(n), base64.StdEncoding.EncodeToString(der))
		switch harm {
		case 1:
			return "," + row
		case 2:
			return fmt.Sprintf("%s,lab,%s\n", host(n), base64.StdEncoding.EncodeToString(der[:len(der)/2]))
		case 3:
			return `"` + row
		}
		return row
	})
}

func host(n int) string { return fmt.Sprintf("h%d.imported.example.com", n) }

// write writes rows and counts their lines, of which the first has the number.
func (a *Authority) write(w io.Writer, from, to, damaged, line int, row func(n int, der []byte, harm int) string) (l Listed, err error) {
	for n := from; n < to; n++ {
		der, err := a.Leaf(int64(n)+2, Year, nil, host(n))
		if err != nil {
			return l, err
		}
		harm := 0
		if damaged > 0 && n%damaged == damaged-1 {
			harm = 1 + n/damaged%3
			l.Bad = append(l.Bad, line)
		}
		text := row(n, der, harm)
		if _, err := io.WriteString(w, text); err != nil {
			return l, err
		}
		l.Rows++
		for _, r := range text {
			if r == '\n' {
				line++
			}
		}
	}
	return l, nil
}
