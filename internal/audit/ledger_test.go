package audit

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func openLedger(t *testing.T, dir string) *Ledger {
	t.Helper()
	l, err := OpenLedger(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func mustAppend(t *testing.T, l *Ledger, records []Record) {
	t.Helper()
	if err := l.Append(records); err != nil {
		t.Fatal(err)
	}
}

// holds checks that the ledger's records from a number on are exactly those wanted.
func holds(t *testing.T, l *Ledger, from int64, want []Record) {
	t.Helper()
	n := 0
	for r, err := range l.Records(from) {
		if err != nil {
			t.Fatal(err)
		}
		if n >= len(want) || !bytes.Equal(r.Line(), want[n].Line()) {
			t.Fatalf("record %d is not the one wanted", r.Seq)
		}
		n++
	}
	if n != len(want) {
		t.Fatalf("%d records, want %d", n, len(want))
	}
}

// fat makes n records of about a MiB each.
func fat(n int) []Record {
	var records []Record
	var chain Hash
	for i := range n {
		r := NewRecord(int64(i+1), chain, fmt.Appendf(nil, `"%d %s"`, i, strings.Repeat("x", MaxLine-1000)))
		records, chain = append(records, r), r.Chain
	}
	return records
}

func TestALedgerKeepsItsRecordsOverARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	records := chainOf(30)
	l := openLedger(t, dir)
	mustAppend(t, l, records[:10])
	mustAppend(t, l, nil)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLedger(t, dir)
	if seq, chain := l.Head(); seq != 10 || chain != records[9].Chain {
		t.Fatalf("the head is %d", seq)
	}
	mustAppend(t, l, records[10:])
	holds(t, l, 1, records)
	holds(t, l, 17, records[16:])
	holds(t, l, 31, nil)
	for path, mode := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "00000000000000000001.jsonl"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
		}
	}
}

func TestALedgerRefusesWhatDoesNotFollow(t *testing.T) {
	l := openLedger(t, t.TempDir())
	records := chainOf(6)
	mustAppend(t, l, records[:3])
	forged := records[3]
	forged.Event = []byte(`{}`)
	long := NewRecord(4, records[2].Chain, []byte(`"`+strings.Repeat("x", MaxLine)+`"`))
	for name, bad := range map[string][]Record{
		"a gap":                      {records[4]},
		"a repetition":               {records[2]},
		"a changed event":            {forged},
		"a second that has a gap":    {records[3], records[5]},
		"an event over lines":        {NewRecord(4, records[2].Chain, []byte("{\n}"))},
		"a chain from another log":   {NewRecord(4, records[1].Chain, records[3].Event)},
		"a record over the line cap": {long},
	} {
		if err := l.Append(bad); err == nil {
			t.Errorf("%s was appended", name)
		}
	}
	mustAppend(t, l, records[3:])
	holds(t, l, 1, records)
}

func TestALedgerRotatesItsFiles(t *testing.T) {
	dir := t.TempDir()
	records := chainOf(100)
	l := openLedger(t, dir)
	l.fileSize = 1 << 10
	for _, r := range records {
		mustAppend(t, l, []Record{r})
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"+extension))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	again := openLedger(t, dir)
	for _, from := range []int64{1, 2, 50, 99, 100} {
		holds(t, again, from, records[from-1:])
	}
	for _, gone := range []int{5, 0} {
		if err := os.Remove(files[gone]); err != nil {
			t.Fatal(err)
		}
		var last error
		for _, err := range again.Records(1) {
			last = err
		}
		if last == nil {
			t.Fatal("nobody saw that a file is gone")
		}
	}
}

func TestALedgerFileIsFullAt64MiB(t *testing.T) {
	if l := openLedger(t, t.TempDir()); l.fileSize != 64<<20 {
		t.Errorf("it is full at %d bytes", l.fileSize)
	}
}

// A ledger cut anywhere opens with the whole records before the cut and takes the rest again.
func TestATornEndIsCutOff(t *testing.T) {
	records := chainOf(4)
	var whole []byte
	for _, r := range records {
		whole = append(whole, r.Line()...)
	}
	for size := 0; size < len(whole); size += 3 {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "00000000000000000001.jsonl"), whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		l := openLedger(t, dir)
		seq, _ := l.Head()
		if want := bytes.Count(whole[:size], []byte("\n")); int(seq) != want {
			t.Fatalf("cut at %d: head %d, want %d", size, seq, want)
		}
		mustAppend(t, l, records[seq:])
		holds(t, l, 1, records)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWholeLinesThatAreCutOffAreKept(t *testing.T) {
	dir := t.TempDir()
	records := chainOf(5)
	l := openLedger(t, dir)
	mustAppend(t, l, records)
	path := filepath.Join(dir, "00000000000000000001.jsonl")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Replace(good, []byte(`ev-3`), []byte("\x00\x00\x00\x00"), 1)
	if err := os.WriteFile(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, err := range l.Records(5) {
		if err == nil {
			t.Error("a damaged file gave a record")
		}
	}
	again := openLedger(t, dir)
	if seq, _ := again.Head(); seq != 3 {
		t.Fatalf("the head is %d", seq)
	}
	mustAppend(t, again, records[3:])
	holds(t, again, 1, records)
	kept, err := filepath.Glob(path + ".cut-*")
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept files: %v, %v", kept, err)
	}
	if rest, err := os.ReadFile(kept[0]); err != nil || !bytes.HasSuffix(bad, rest) || bytes.Count(rest, []byte("\n")) != 2 {
		t.Errorf("the lines kept are not those cut off: %v", err)
	}
}

func TestOnlyTheEndOfALongFileIsReadAtStart(t *testing.T) {
	dir := t.TempDir()
	records := fat(8)
	l := openLedger(t, dir)
	mustAppend(t, l, records)
	file, err := os.OpenFile(filepath.Join(dir, "00000000000000000001.jsonl"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Truncate(info.Size() - 5); err != nil {
		t.Fatal(err)
	}
	again := openLedger(t, dir)
	if seq, _ := again.Head(); seq != 7 {
		t.Errorf("the head is %d", seq)
	}
	if err := file.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if err := file.Truncate(10 << 20); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLedger(dir, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("ten MiB of zeros were taken for a torn end")
	}
}

func TestALedgerIsReadWhileItIsWritten(t *testing.T) {
	l := openLedger(t, t.TempDir())
	records := chainOf(200)
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, r := range records {
			if err := l.Append([]Record{r}); err != nil {
				t.Error(err)
			}
		}
	})
	for range 20 {
		head, _ := l.Head()
		var last int64
		for r, err := range l.Records(1) {
			if err != nil {
				t.Error(err)
			}
			last = r.Seq
		}
		if last < head {
			t.Errorf("read to %d when the head was %d", last, head)
		}
	}
	wg.Wait()
	holds(t, l, 1, records)
}
