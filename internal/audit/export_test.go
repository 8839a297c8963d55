package audit

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// chainOf makes n records that follow one another from the first of the log.
func chainOf(n int) []Record {
	var records []Record
	var chain Hash
	for i := range n {
		event := fmt.Appendf(nil, `{"id":"ev-%d","name":"certificate.issued","note":"<&>"}`, i)
		r := NewRecord(int64(i+1), chain, event)
		records, chain = append(records, r), r.Chain
	}
	return records
}

// export gives the records as an export.
func export(t testing.TB, records []Record) []byte {
	t.Helper()
	var b bytes.Buffer
	header := Header{Server: "test", ExportedAt: time.Unix(1_800_000_000, 0).UTC(), First: 1}
	if len(records) > 0 && records[0].Seq > 1 {
		t.Fatal("export wants the log from its first record")
	}
	e, err := NewExporter(&b, header)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := e.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLeafAndChainHashesAreThoseOfTheirDefinitions(t *testing.T) {
	if want := Hash(sha256.Sum256([]byte("\x00{}"))); Leaf([]byte("{}")) != want {
		t.Error("the leaf hash is not SHA-256(0x00 || event)")
	}
	a, b := Leaf([]byte("1")), Leaf([]byte("2"))
	if want := Hash(sha256.Sum256(append(slices.Clone(a[:]), b[:]...))); Next(a, b) != want {
		t.Error("the chain hash is not SHA-256(previous || leaf)")
	}
	var back Hash
	if err := back.UnmarshalText([]byte(a.String())); err != nil || back != a {
		t.Errorf("the text form does not come back: %v", err)
	}
	for _, bad := range []string{"", "ab", strings.Repeat("g", 64), a.String() + "00"} {
		if back.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q was taken for a hash", bad)
		}
	}
}

func TestAnExportIsHeldAgainstACheckpoint(t *testing.T) {
	records := chainOf(20)
	var tree Frontier
	roots := []Hash{tree.Root()}
	for _, r := range records {
		tree.Add(r.Leaf)
		roots = append(roots, tree.Root())
	}
	whole := export(t, records)
	for size := range roots {
		if report, err := VerifyAgainst(bytes.NewReader(whole), int64(size), roots[size]); err != nil || report.Records != 20 {
			t.Errorf("against its own checkpoint of %d: %+v, %v", size, report, err)
		}
	}
	// Somebody changes the eighth event and makes everything behind it fit.
	forged := slices.Clone(records)
	forged[7] = NewRecord(8, records[6].Chain, []byte(`{"id":"ev-forged"}`))
	for i := 8; i < len(forged); i++ {
		forged[i] = NewRecord(int64(i+1), forged[i-1].Chain, records[i].Event)
	}
	if _, err := Verify(bytes.NewReader(export(t, forged))); err != nil {
		t.Fatalf("the forgery should be consistent in itself: %v", err)
	}
	for name, c := range map[string]struct {
		export []byte
		size   int64
		root   Hash
		fault  string
		seq    int64
	}{
		"rewritten before the checkpoint": {export(t, forged), 12, roots[12], "not those that the checkpoint", 12},
		"cut off before the checkpoint":   {export(t, records[:5]), 12, roots[12], "cut off", 6},
		"another log's checkpoint":        {whole, 20, roots[19], "not those that the checkpoint", 20},
	} {
		_, err := VerifyAgainst(bytes.NewReader(c.export), c.size, c.root)
		fault, ok := errors.AsType[*Fault](err)
		if !ok || fault.Seq != c.seq || !strings.Contains(fault.Problem, c.fault) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := VerifyAgainst(bytes.NewReader(export(t, forged)), 7, roots[7]); err != nil {
		t.Errorf("what was changed behind the checkpoint is not for it to tell: %v", err)
	}
}

func TestAnExportVerifies(t *testing.T) {
	for _, n := range []int{0, 1, 50} {
		records := chainOf(n)
		report, err := Verify(bytes.NewReader(export(t, records)))
		if err != nil || report.Records != int64(n) || report.Last != int64(n) {
			t.Fatalf("%d records: %+v, %v", n, report, err)
		}
		if n > 0 && report.Head != records[n-1].Chain {
			t.Error("the head is not the last chain hash")
		}
	}
}

func TestAnExportMayBeginInTheMiddleOfTheLog(t *testing.T) {
	records := chainOf(9)
	var b bytes.Buffer
	e, err := NewExporter(&b, Header{First: 5, Previous: records[3].Chain})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Write(records[5]); err == nil {
		t.Error("a record that does not follow was exported")
	}
	for _, r := range records[4:] {
		if err := e.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := Verify(&b)
	if err != nil || report.Records != 5 || report.Last != 9 || report.Head != records[8].Chain {
		t.Errorf("%+v, %v", report, err)
	}
}

// Each case changes the lines of an export of five records: line 0 is the header, line 6 the trailer.
func TestEveryChangeToAnExportIsFoundAndNamed(t *testing.T) {
	reseal := func(r Record, event string) string { // an edit by someone who knows the leaf hash
		r.Event, r.Leaf = []byte(event), Leaf([]byte(event))
		return string(r.Line())
	}
	records := chainOf(5)
	for name, c := range map[string]struct {
		change    func(lines []string) []string
		line, seq int64
	}{
		"an edited event": {func(l []string) []string {
			l[3] = strings.Replace(l[3], "issued", "revoked", 1)
			return l
		}, 4, 3},
		"an edited event with its leaf hash": {func(l []string) []string {
			l[3] = reseal(records[2], `{}`)
			return l
		}, 4, 3},
		"an event that is not canonical": {func(l []string) []string {
			l[2] = reseal(records[1], `{"b":1, "a":2}`)
			return l
		}, 3, 2},
		"a deleted record":         {func(l []string) []string { return slices.Delete(l, 2, 3) }, 3, 2},
		"the first record deleted": {func(l []string) []string { return slices.Delete(l, 1, 2) }, 2, 1},
		"the last record deleted":  {func(l []string) []string { return slices.Delete(l, 5, 6) }, 6, 5},
		"the tail deleted":         {func(l []string) []string { return l[:4] }, 5, 4},
		"the trailer deleted":      {func(l []string) []string { return l[:6] }, 7, 6},
		"a repeated record":        {func(l []string) []string { return slices.Insert(l, 3, l[2]) }, 4, 3},
		"an inserted record": {func(l []string) []string {
			return slices.Insert(l, 3, string(NewRecord(3, records[1].Chain, []byte(`{"x":1}`)).Line()))
		}, 5, 4},
		"two records swapped":  {func(l []string) []string { l[2], l[3] = l[3], l[2]; return l }, 3, 2},
		"white space":          {func(l []string) []string { l[2] = strings.Replace(l[2], `,"leaf"`, `, "leaf"`, 1); return l }, 3, 2},
		"an added property":    {func(l []string) []string { l[2] = strings.Replace(l[2], `,"leaf"`, `,"x":1,"leaf"`, 1); return l }, 3, 2},
		"a blank line":         {func(l []string) []string { return slices.Insert(l, 3, "\n") }, 4, 3},
		"a line too long":      {func(l []string) []string { l[3] = strings.Repeat("x", MaxLine+1) + "\n"; return l }, 4, 3},
		"a line cut short":     {func(l []string) []string { return append(l[:3], l[3][:20]) }, 4, 3},
		"another trailer head": {func(l []string) []string { l[6] = strings.Replace(l[6], `"head":"`, `"head":"0`, 1); return l }, 7, 6},
		"records after it":     {func(l []string) []string { return append(l, l[5]) }, 8, 6},
		"junk after it":        {func(l []string) []string { return append(l, "x") }, 8, 6},
		"no header":            {func(l []string) []string { return l[1:] }, 1, 0},
		"another format":       {func(l []string) []string { l[0] = strings.Replace(l[0], "/1", "/2", 1); return l }, 1, 0},
		"another first record": {func(l []string) []string { l[0] = strings.Replace(l[0], `"first":1`, `"first":2`, 1); return l }, 2, 2},
		"nothing":              {func([]string) []string { return nil }, 1, 0},
	} {
		lines := strings.SplitAfter(strings.TrimSuffix(string(export(t, records)), "\n"), "\n")
		lines[len(lines)-1] += "\n"
		_, err := Verify(strings.NewReader(strings.Join(c.change(lines), "")))
		fault, ok := errors.AsType[*Fault](err)
		if !ok || fault.Line != c.line || fault.Seq != c.seq {
			t.Errorf("%s: got %v, want a fault in line %d, record %d", name, err, c.line, c.seq)
		}
	}
}

func TestNoByteOfTheRecordsCanChange(t *testing.T) {
	good := export(t, chainOf(3))
	begin := bytes.IndexByte(good, '\n') + 1
	for i := begin; i < len(good); i++ {
		for _, bit := range []byte{1, 0x20} {
			bad := slices.Clone(good)
			bad[i] ^= bit
			if _, err := Verify(bytes.NewReader(bad)); err == nil {
				t.Fatalf("byte %d changed from %q to %q and nobody saw it", i, good[i], bad[i])
			}
		}
	}
	for i := range good {
		if _, err := Verify(bytes.NewReader(good[:i])); err == nil {
			t.Fatalf("cut to %d of %d bytes and nobody saw it", i, len(good))
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrNoProgress }

func TestAFailingReaderIsNoFault(t *testing.T) {
	good := export(t, chainOf(3))
	for _, n := range []int{0, 100, 600, len(good)} {
		_, err := Verify(io.MultiReader(bytes.NewReader(good[:n]), brokenReader{}))
		if _, isFault := errors.AsType[*Fault](err); isFault || !errors.Is(err, io.ErrNoProgress) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	good := export(f, chainOf(3))
	f.Add(good)
	f.Add(good[:len(good)-10])
	f.Add(bytes.Replace(good, []byte("issued"), []byte("ISSUED"), 1))
	f.Add([]byte(`{"format":"leafward-audit/1","first":1}` + "\n"))
	f.Add([]byte("{}\n{}\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		report, err := Verify(bytes.NewReader(file))
		if err == nil && int64(bytes.Count(file, []byte("\n"))) != report.Records+2 {
			t.Fatalf("%d records verified in %q", report.Records, file)
		}
	})
}
