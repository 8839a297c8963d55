package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// Format names the export format: a Header, records in order, and a Trailer, each a line of JSON.
const Format = "leafward-audit/1"

// Header is the first line of an export.
type Header struct {
	Format     string    `json:"format"`
	Server     string    `json:"server"`      // who exported: a label
	ExportedAt time.Time `json:"exported_at"` // a label
	First      int64     `json:"first"`       // the sequence of the first record
	Previous   Hash      `json:"previous"`    // the chain hash before it: zero when First is 1
}

// Trailer is the last line of an export. Without it the end of a file could be cut off unseen.
type Trailer struct {
	Records int64 `json:"records"`
	Head    Hash  `json:"head"` // the chain hash of the last record, or Header.Previous when there is none
}

// Exporter writes an export.
type Exporter struct {
	w     io.Writer
	first int64
	seq   int64
	head  Hash
}

// NewExporter writes the header and returns the writer of what follows; Header.Format is filled in.
func NewExporter(w io.Writer, header Header) (*Exporter, error) {
	header.Format = Format
	if err := header.check(); err != nil {
		return nil, err
	}
	if err := writeLine(w, header); err != nil {
		return nil, err
	}
	return &Exporter{w: w, first: header.First, seq: header.First - 1, head: header.Previous}, nil
}

// Write adds the record, which must follow the one before.
func (e *Exporter) Write(r Record) error {
	if err := r.Follows(e.seq, e.head); err != nil {
		return fmt.Errorf("record %d: %w", r.Seq, err)
	}
	line := r.Line()
	if len(line) > MaxLine {
		return fmt.Errorf("record %d: %w", r.Seq, errLongLine)
	}
	if _, err := e.w.Write(line); err != nil {
		return err
	}
	e.seq, e.head = r.Seq, r.Chain
	return nil
}

// Close writes the trailer. It does not close the underlying writer.
func (e *Exporter) Close() error {
	return writeLine(e.w, Trailer{Records: e.seq - e.first + 1, Head: e.head})
}

func writeLine(w io.Writer, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

func (h Header) check() error {
	switch {
	case h.Format != Format:
		return fmt.Errorf("the file has the format %q, not %q", h.Format, Format)
	case h.First < 1:
		return errors.New("the header names no first sequence")
	case h.First == 1 && h.Previous != Hash{}:
		return errors.New("the header names a record before the first one")
	}
	return nil
}

// Report is what Verify found an export to hold.
type Report struct {
	Header  Header
	Records int64
	Last    int64 // the sequence of the last record; Header.First-1 when there is none
	Head    Hash  // the chain hash of the last record: compare it with the server's to know that this is its log
	Gaps    []Gap // what the log itself says is missing from it or from the database
}

// Fault is the first thing wrong with an export.
type Fault struct {
	Line    int64 // from 1
	Seq     int64 // of the record that is wrong or was due there; 0 in the header
	Problem string
}

func (f *Fault) Error() string {
	if f.Seq == 0 {
		return fmt.Sprintf("line %d: %s", f.Line, f.Problem)
	}
	return fmt.Sprintf("line %d, record %d: %s", f.Line, f.Seq, f.Problem)
}

// Verify reads an export to its end and returns a *Fault for the first edit, deletion, insertion or move it finds; other
// errors are of reading. The report then tells what was good before. It needs memory for a line, whatever the length.
//
// Someone who can rewrite a whole export can also make it consistent: only Report.Head, compared with a value known
// from elsewhere, proves whose log it is.
func Verify(r io.Reader) (Report, error) {
	v := verifier{lines: newLines(r)}
	err := v.run()
	return v.report, err
}

// VerifyAgainst is Verify for the export of a whole log that must also begin with the records that a checkpoint was signed
// for (OpenCheckpoint), so that one who rewrote all of it is found out.
func VerifyAgainst(r io.Reader, size int64, root Hash) (Report, error) {
	v := verifier{lines: newLines(r), signed: &signed{size: size, root: root}}
	err := v.run()
	return v.report, err
}

// Records gives the records of an export, each verified as Verify does, and ends at the first fault. Only one who reads to
// the end without an error has seen an export that is whole. The record before the first is what Report.Header names.
func Records(r io.Reader) (Header, iter.Seq2[Record, error]) {
	v := verifier{lines: newLines(r)}
	if err := v.header(); err != nil {
		return Header{}, func(yield func(Record, error) bool) { yield(Record{}, err) }
	}
	return v.report.Header, func(yield func(Record, error) bool) {
		stopped := false
		v.each = func(r Record) bool {
			stopped = !yield(r, nil)
			return !stopped
		}
		if err := v.records(); err != nil && !stopped {
			yield(Record{}, err)
		}
	}
}

type verifier struct {
	lines  lines
	line   int64
	report Report
	signed *signed           // nil without a checkpoint
	each   func(Record) bool // nil, or who is shown each record; false ends the reading
}

// signed is what a checkpoint says, and the tree so far.
type signed struct {
	size int64
	root Hash
	tree Frontier
}

// add takes the next record; it is false when the checkpoint was signed for others.
func (s *signed) add(leaf Hash) bool {
	if s == nil || s.tree.Size() >= s.size {
		return true
	}
	s.tree.Add(leaf)
	return s.tree.Size() < s.size || s.tree.Root() == s.root
}

func (v *verifier) run() error {
	if err := v.header(); err != nil {
		return err
	}
	return v.records()
}

// records reads what follows the header.
func (v *verifier) records() error {
	for {
		line, err := v.next()
		if errors.Is(err, io.EOF) {
			return v.fault("the trailer is missing: the end of the file was cut off")
		}
		if err != nil {
			return err
		}
		if bytes.HasPrefix(line, []byte(`{"records":`)) {
			return v.trailer(line)
		}
		record, err := parseRecord(line)
		if err == nil {
			err = record.Follows(v.report.Last, v.report.Head)
		}
		if err != nil {
			return v.fault(err.Error())
		}
		if !v.signed.add(record.Leaf) {
			return v.fault("the records up to here are not those that the checkpoint was signed for")
		}
		v.report.Records++
		v.report.Last, v.report.Head = record.Seq, record.Chain
		if gap, found := gapOf(record); found {
			v.report.Gaps = append(v.report.Gaps, gap)
		}
		if v.each != nil && !v.each(record) {
			return nil
		}
	}
}

func (v *verifier) header() error {
	line, err := v.next()
	if errors.Is(err, io.EOF) {
		return v.fault("the file is empty")
	}
	if err != nil {
		return err
	}
	var h Header
	if err := strictly(line, &h); err != nil {
		return v.fault("the line is not the header of an export: " + err.Error())
	}
	if err := h.check(); err != nil {
		return v.fault(err.Error())
	}
	v.report = Report{Header: h, Last: h.First - 1, Head: h.Previous}
	if v.signed != nil && h.First != 1 {
		return v.fault("a checkpoint is compared with the whole log, and this export begins later")
	}
	return nil
}

func (v *verifier) trailer(line []byte) error {
	var t Trailer
	if err := strictly(line, &t); err != nil {
		return v.fault("the line is not a trailer: " + err.Error())
	}
	if t.Records != v.report.Records {
		return v.fault(fmt.Sprintf("the trailer counts %d records, the file holds %d: records were removed or added before it",
			t.Records, v.report.Records))
	}
	if t.Head != v.report.Head {
		return v.fault("the trailer names another last chain hash than the file has")
	}
	if v.signed != nil && v.report.Last < v.signed.size {
		return v.fault(fmt.Sprintf("the checkpoint was signed for %d records: the end of the log was cut off", v.signed.size))
	}
	if _, err := v.lines.next(); err == nil || errors.Is(err, errLongLine) || errors.Is(err, errTornLine) {
		v.line++
		return v.fault("something follows the trailer")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// next is the next line; its own failures are faults, those of the reader are not.
func (v *verifier) next() ([]byte, error) {
	v.line++
	line, err := v.lines.next()
	if errors.Is(err, errLongLine) || errors.Is(err, errTornLine) {
		return nil, v.fault(err.Error())
	}
	return line, err
}

func (v *verifier) fault(problem string) *Fault {
	f := &Fault{Line: v.line, Problem: problem}
	if v.report.Header.First > 0 {
		f.Seq = v.report.Last + 1
	}
	return f
}

// strictly reads a line that writeLine wrote and refuses every other spelling of it.
func strictly[T any](line []byte, v *T) error {
	if err := json.Unmarshal(line, v); err != nil {
		return err
	}
	var again bytes.Buffer
	if err := writeLine(&again, *v); err != nil {
		return err
	}
	if !bytes.Equal(again.Bytes(), line) {
		return errors.New("it is not in its exact form")
	}
	return nil
}
