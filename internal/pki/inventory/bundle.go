package inventory

import (
	"encoding/pem"
	"io"
	"iter"

	"github.com/leafward/leafward/internal/pki"
)

// Bundle reads a PEM bundle whose first line has the number. A row is a certificate with those of authorities behind it
// that belong above it; text around the blocks is passed over. The error is one of reading; it ends the list.
func Bundle(in io.Reader, first int) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		b := bundle{lines: newLines(in, first), yield: yield}
		for b.more() {
			continue
		}
		if b.flush(); b.lines.err != nil && !b.over {
			yield(Row{}, b.lines.err)
		}
	}
}

// bundle is a PEM bundle that is read.
type bundle struct {
	lines *lines
	yield func(Row, error) bool
	over  bool  // nobody wants more
	open  []Row // at most one: the certificate whose chain may go on
}

func (b *bundle) give(r Row) {
	if !b.over {
		b.over = !b.yield(r, nil)
	}
}

// flush gives the row whose chain is at its end.
func (b *bundle) flush() {
	if len(b.open) > 0 {
		r := b.open[0]
		b.open = nil
		b.give(r)
	}
}

// more reads up to the end of the next block; false at the end of the list.
func (b *bundle) more() bool {
	got, ok := b.lines.read()
	switch {
	case !ok || b.over:
		return false
	case starts(got, begin):
		b.block(got)
	case starts(got, end):
		b.flush()
		b.give(fault(got.number, got.number, Certificate, fixPEM, "is the end of a block whose BEGIN line is missing or damaged"))
	}
	return true
}

func starts(l line, with string) bool {
	return len(l.text) >= len(with) && string(l.text[:len(with)]) == with
}

// block reads a block from its first line on.
func (b *bundle) block(head line) {
	some, size := []line{head}, len(head.text)
	for {
		got, ok := b.lines.read()
		switch {
		case !ok:
			b.refuse(head, some, fixPEM, "begins a block that has no END line")
			return
		case starts(got, begin):
			b.lines.unread([]line{got})
			b.refuse(head, some, fixPEM, "begins a block that has no END line")
			return
		case starts(got, end):
			b.take(head, append(some, got))
			return
		}
		if size += len(got.text) + 1; got.long || size > MaxRow {
			b.refuse(head, append(some, got), "leave it out", "begins a block that is longer than any certificate")
			b.skip()
			return
		}
		some = append(some, got)
	}
}

// skip passes over what is left of a block.
func (b *bundle) skip() {
	for got, ok := b.lines.read(); ok; got, ok = b.lines.read() {
		if starts(got, begin) {
			b.lines.unread([]line{got})
		}
		if starts(got, begin) || starts(got, end) {
			return
		}
	}
}

func (b *bundle) refuse(head line, some []line, fix, problem string, args ...any) {
	b.flush()
	b.give(fault(head.number, some[len(some)-1].number, Certificate, fix, problem, args...))
}

// take reads a whole block.
func (b *bundle) take(head line, some []line) {
	text := join(some)
	word := label(head.text)
	switch {
	case secret(text):
		// The chain may go on behind it, as in the files of some servers.
		b.give(fault(head.number, some[len(some)-1].number, Certificate, fixKey, "is a private key"))
		return
	case word == "EC PARAMETERS" || word == "DH PARAMETERS":
		return
	case !labelled(word):
		b.refuse(head, some, "leave it out; only certificates are taken in", "is a %.40q, not a certificate", word)
		return
	}
	if problem := unreadable(text); problem != "" {
		b.refuse(head, some, fixPEM, "%s", problem)
		return
	}
	block, _ := pem.Decode(text)
	if block == nil {
		b.refuse(head, some, fixPEM, "is no PEM: its base64 is damaged")
		return
	}
	cert, err := parse(block.Bytes)
	if err != nil {
		b.refuse(head, some, fixPEM, "%s", err)
		return
	}
	r := Row{Line: head.number, Last: some[len(some)-1].number, Text: text}
	r.Chain = append(r.Chain, cert)
	if len(b.open) > 0 && b.above(&r) {
		return
	}
	b.flush()
	if cert.IsCA {
		b.give(fault(r.Line, r.Last, Certificate, "put it behind the certificates that it signed, or leave it out", "is the certificate of an authority, and did not sign the one in front of it"))
		return
	}
	b.open = []Row{r}
}

// above adds the certificate of an authority to the chain of the row in front of it, if it belongs there. Lines between
// the two count, so that the rows' lines stay those of the list.
func (b *bundle) above(r *Row) bool {
	o := &b.open[0]
	if len(o.Chain) == pki.MaxChain || !links(r.Chain[0], o.Chain[len(o.Chain)-1]) || len(o.Text)+len(r.Text)+r.Line-o.Last > MaxRow {
		return false
	}
	for range r.Line - o.Last - 1 {
		o.Text = append(o.Text, '\n')
	}
	o.Text, o.Last, o.Chain = append(o.Text, r.Text...), r.Last, append(o.Chain, r.Chain[0])
	return true
}
