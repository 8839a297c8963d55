package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// MaxLine is the longest line, in bytes and with its newline, of an export or a ledger.
const MaxLine = 1 << 20

// Record is an event at its place in the log. Event is in canonical form and must not be marshalled again:
// encoding/json would escape it anew. Line writes it.
type Record struct {
	Seq   int64           `json:"seq"` // from 1, without gaps
	Leaf  Hash            `json:"leaf"`
	Chain Hash            `json:"chain"`
	Event json.RawMessage `json:"event"`
}

// NewRecord makes the record that follows the one with number seq-1 and the given chain hash.
func NewRecord(seq int64, previous Hash, canonical []byte) Record {
	leaf := Leaf(canonical)
	return Record{Seq: seq, Leaf: leaf, Chain: Next(previous, leaf), Event: canonical}
}

// Line is the record as one line of JSON with its newline: the only form in which it stands in a file.
func (r Record) Line() []byte {
	line := make([]byte, 0, len(r.Event)+len(r.Leaf)*4+64)
	line = append(line, `{"seq":`...)
	line = strconv.AppendInt(line, r.Seq, 10)
	line = append(line, `,"leaf":"`...)
	line = append(line, r.Leaf.String()...)
	line = append(line, `","chain":"`...)
	line = append(line, r.Chain.String()...)
	line = append(line, `","event":`...)
	line = append(line, r.Event...)
	return append(line, "}\n"...)
}

// Follows checks that r is intact and comes directly after the record with the given number and chain hash.
func (r Record) Follows(seq int64, chain Hash) error {
	switch {
	case r.Seq > seq+1:
		return fmt.Errorf("sequence %d stands where %d is due: records are missing", r.Seq, seq+1)
	case r.Seq < seq+1:
		return fmt.Errorf("sequence %d stands where %d is due: a record was added, repeated or moved", r.Seq, seq+1)
	}
	if err := r.intact(); err != nil {
		return err
	}
	if r.Chain != Next(chain, r.Leaf) {
		return errors.New("the chain hash does not continue from the record before")
	}
	return nil
}

// intact checks what can be said of a record alone.
func (r Record) intact() error {
	canonical, err := canonicalize(r.Event)
	switch {
	case err != nil:
		return fmt.Errorf("the event is not readable: %w", err)
	case !bytes.Equal(canonical, r.Event):
		return errors.New("the event is not in canonical form")
	case r.Leaf != Leaf(r.Event):
		return errors.New("the event does not have its leaf hash: it was changed")
	}
	return nil
}

// parseRecord reads a line that Line wrote and refuses every other spelling of it. The record keeps no part of line.
func parseRecord(line []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(line, &r); err != nil {
		return Record{}, fmt.Errorf("the line is not a record: %w", err)
	}
	if !bytes.Equal(r.Line(), line) {
		return Record{}, errors.New("the line is not a record in its exact form")
	}
	return r, nil
}

var errLongLine = fmt.Errorf("the line is longer than %d bytes", MaxLine)

var errTornLine = errors.New("the last line is not complete")

// lines reads lines of at most MaxLine bytes, each with its newline.
type lines struct{ r *bufio.Reader }

func newLines(r io.Reader) lines { return lines{bufio.NewReaderSize(r, MaxLine)} }

// next is the next line, valid until the following call; io.EOF after the last.
func (l lines) next() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, errLongLine
	case errors.Is(err, io.EOF) && len(line) > 0:
		return nil, errTornLine
	case err != nil:
		return nil, err
	}
	return line, nil
}
