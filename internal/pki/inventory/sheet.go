package inventory

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/base64"
	"encoding/csv"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"unicode"

	"github.com/leafward/leafward/internal/pki"
)

// maxColumns bounds how many columns a CSV has.
const maxColumns = 200

// Sheet is a CSV whose heading was read.
type Sheet struct {
	Heading []byte   // its line
	Unknown []string // columns that nothing is done with, as they are written there
	columns []string // by place; "" for an unknown one
	comma   rune
	lines   *lines
}

// Open reads the heading of a CSV: its first line, which has the number. Known are the columns besides Certificate that
// something is done with. The error is one for people.
func Open(in io.Reader, first int, known []string) (*Sheet, error) {
	s := &Sheet{lines: newLines(in, first)}
	head, ok := s.lines.read()
	for ok && len(bytes.TrimSpace(head.text)) == 0 {
		head, ok = s.lines.read()
	}
	if s.lines.err != nil {
		return nil, s.lines.err
	}
	if !ok {
		return nil, errors.New("it is empty")
	}
	if problem := unreadable(head.text); problem != "" || head.long {
		return nil, fmt.Errorf("the heading cannot be read: it %s", cmp.Or(problem, "is too long"))
	}
	s.Heading, s.comma = head.text, separator(head.text)
	names, err := s.cells(head.text)
	if err != nil || len(names) > maxColumns {
		return nil, fmt.Errorf("the heading in line %d is no line of CSV with at most %d columns", head.number, maxColumns)
	}
	for _, name := range names {
		column := called(name)
		switch {
		case column != Certificate && !slices.Contains(known, column):
			s.Unknown = append(s.Unknown, name)
			column = ""
		case slices.Contains(s.columns, column):
			return nil, fmt.Errorf("the heading names the column %s twice", column)
		}
		s.columns = append(s.columns, column)
	}
	if !slices.Contains(s.columns, Certificate) {
		return nil, fmt.Errorf("the heading in line %d names no column %s", head.number, Certificate)
	}
	return s, nil
}

// separator is what a heading is separated by: the first of comma, semicolon and tab in it.
func separator(heading []byte) rune {
	if i := bytes.IndexAny(heading, ",;\t"); i >= 0 {
		return rune(heading[i])
	}
	return ','
}

// called is the name of a column in its one form. Others write owner_id, as the API does, or Certificate PEM.
func called(name string) string {
	name = strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), " ", "_")
	switch name = strings.TrimSuffix(name, "_id"); name {
	case "pem", "cert", "certificate_pem":
		return Certificate
	case "certificate_profile":
		return "profile"
	case "renewal_policy":
		return "policy"
	}
	return name
}

// cells splits one row.
func (s *Sheet) cells(text []byte) ([]string, error) {
	r := csv.NewReader(bytes.NewReader(text))
	r.Comma, r.FieldsPerRecord = s.comma, -1
	return r.Read()
}

// Rows reads the rows behind the heading. The error is one of reading; it ends the list.
func (s *Sheet) Rows() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		var torn *Row // what could not be split, together with what is left of it on the lines behind it
		for {
			r, ok := s.next()
			if torn != nil && ok && r.Wrong != nil && r.Wrong.Field == split && r.Line == torn.Last+1 {
				torn.Last = r.Last
				continue
			}
			if torn != nil && !yield(*torn, nil) {
				return
			}
			torn = nil
			switch {
			case !ok && s.lines.err != nil:
				yield(Row{}, s.lines.err)
				return
			case !ok:
				return
			case r.torn:
				torn = &r
			case !yield(r, nil):
				return
			}
		}
	}
}

// split is the field of a problem with the splitting into rows and cells.
const split = "row"

const fixQuote = "write each row by RFC 4180: what holds quotes, separators or line ends stands between quotes, and quotes in it are doubled"

// next reads the next row: lines until the number of quotes is even. When that is no row, a quote is missing or one too many:
// its first line is told as wrong, and those behind it are read again, since each may be the beginning of the next row.
func (s *Sheet) next() (Row, bool) {
	head, ok := s.lines.read()
	for ok && len(bytes.TrimSpace(head.text)) == 0 && !head.long {
		head, ok = s.lines.read()
	}
	if !ok {
		return Row{}, false
	}
	some, size, odd := []line{head}, len(head.text), false
	for got := head; ; {
		if got.long || size > MaxRow {
			return s.tear(some, "is longer than any row"), true
		}
		if odd = odd != (bytes.Count(got.text, []byte{'"'})%2 == 1); !odd {
			break
		}
		if got, ok = s.lines.read(); !ok {
			return s.tear(some, "begins a row with a quote that is never closed"), true
		}
		some, size = append(some, got), size+len(got.text)+1
	}
	text := join(some)
	cells, err := s.cells(text)
	if err != nil {
		return s.tear(some, "is no row: a quote is missing or in the wrong place"), true
	}
	last := some[len(some)-1].number
	if len(cells) != len(s.columns) {
		many := "cells"
		if len(cells) == 1 {
			many = "cell"
		}
		return fault(head.number, last, split, fixQuote, "has %d %s, and the heading has %d", len(cells), many, len(s.columns)), true
	}
	return s.row(head.number, last, text, cells), true
}

// tear tells that the first of some lines is no row, and gives the others back.
func (s *Sheet) tear(some []line, problem string) Row {
	s.lines.unread(some[1:])
	r := fault(some[0].number, some[0].number, split, fixQuote, "%s", problem)
	r.torn = true
	return r
}

// row reads the cells of a row.
func (s *Sheet) row(first, last int, text []byte, cells []string) Row {
	if secret(text) {
		return fault(first, last, Certificate, fixKey, "stands in a row with a private key")
	}
	if problem := unreadable(text); problem != "" {
		return fault(first, last, split, "write the file in UTF-8", "%s", problem)
	}
	r := Row{Line: first, Last: last, Text: text, Cells: make(map[string]string)}
	for i, column := range s.columns {
		if cell := strings.TrimFunc(cells[i], unicode.IsSpace); column != "" && cell != "" {
			r.Cells[column] = cell
		}
	}
	cell := r.Cells[Certificate]
	delete(r.Cells, Certificate)
	if r.Chain, r.Wrong = chain(cell); r.Wrong != nil {
		r.Text = nil
	}
	return r
}

// chain reads a cell: PEM, the certificate first, also on one line with \n between its lines, or one certificate in base64.
func chain(cell string) (all []*x509.Certificate, wrong *Wrong) {
	refuse := func(fix, problem string, args ...any) ([]*x509.Certificate, *Wrong) {
		return nil, &Wrong{Field: Certificate, Problem: fmt.Sprintf(problem, args...), Fix: fix}
	}
	var ders [][]byte
	switch {
	case cell == "":
		return refuse("put it there in PEM, or as DER in base64", "is missing")
	case strings.Contains(cell, begin):
		rest := []byte(strings.ReplaceAll(cell, `\n`, "\n"))
		for range strings.Count(cell, begin) {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				return refuse(fixPEM, "is no PEM: its base64 is damaged, or its END line is missing")
			}
			if !labelled(block.Type) {
				return refuse("leave it out; only certificates are taken in", "holds a %.40q, which is no certificate", block.Type)
			}
			ders = append(ders, block.Bytes)
		}
	default:
		der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(cell), ""))
		if err != nil {
			return refuse("put it there in PEM, or as DER in base64", "is neither PEM nor base64")
		}
		ders = append(ders, der)
	}
	if len(ders) > pki.MaxChain {
		return refuse("leave out what does not belong to it", "is a chain of %d certificates; at most %d are read", len(ders), pki.MaxChain)
	}
	for i, der := range ders {
		cert, err := parse(der)
		switch {
		case err != nil:
			return refuse(fixPEM, "%s", err)
		case i == 0 && cert.IsCA:
			return refuse("put the certificate that it signed in front of it", "is the certificate of an authority")
		case i > 0 && !links(cert, all[i-1]):
			return refuse("put each certificate behind the one that it signed", "has a chain in which certificate %d did not sign the one in front of it", i+1)
		}
		all = append(all, cert)
	}
	return all, nil
}
