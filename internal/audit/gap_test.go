package audit

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestAnExportTellsWhereADatabaseWasPutBack(t *testing.T) {
	records := chainOf(3)
	for i, event := range []string{
		`{"action":"log.restored","details":{"events":2,"known":0,"since":"2026-11-27T23:56:02Z"},"id":"ev-4"}`,
		`{"action":"team.created","details":{"action":"log.restored","events":9},"id":"ev-5"}`,
		`{"action":"log.restored","details":{"beside":"ab","events":2,"known":3},"id":"ev-6"}`,
	} {
		records = append(records, NewRecord(int64(4+i), records[len(records)-1].Chain, []byte(event)))
	}
	report, err := Verify(bytes.NewReader(export(t, records)))
	if err != nil {
		t.Fatal(err)
	}
	want := []Gap{{Seq: 4, Events: 2, Since: time.Date(2026, 11, 27, 23, 56, 2, 0, time.UTC)}, {Seq: 6, Events: 2, Known: 3, Beside: "ab"}}
	if fmt.Sprint(report.Gaps) != fmt.Sprint(want) {
		t.Errorf("the report tells of %v, not %v", report.Gaps, want)
	}
}

func TestTheRecordsOfAnExportAreGivenUpToItsFirstFault(t *testing.T) {
	records := chainOf(5)
	whole := export(t, records)
	header, all := Records(bytes.NewReader(whole))
	n := 0
	for r, err := range all {
		if err != nil || r.Chain != records[n].Chain {
			t.Fatalf("record %d: %v", n+1, err)
		}
		n++
	}
	if n != 5 || header.First != 1 {
		t.Errorf("%d records, %+v", n, header)
	}
	for name, spoilt := range map[string][]byte{
		"edited":  bytes.Replace(whole, []byte("ev-3"), []byte("ev-9"), 1),
		"cut off": whole[:len(whole)-10],
		"empty":   nil,
	} {
		_, all := Records(bytes.NewReader(spoilt))
		var last error
		for _, err := range all {
			last = err
		}
		if last == nil {
			t.Errorf("%s: no fault was told", name)
		}
	}
}

func TestALedgerIsReadWithoutBeingChanged(t *testing.T) {
	dir := t.TempDir()
	records := chainOf(4)
	l, err := OpenLedger(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(records[:3]); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "00000000000000000001.jsonl")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	line := records[3].Line()
	torn := append(bytes.Clone(content), line[:len(line)/2]...)
	read := func(content []byte) (n int, last error) {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, err := range ReadLedger(dir) {
			if last = err; err == nil {
				n++
			}
		}
		if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, content) {
			t.Errorf("reading changed the ledger: %v", err)
		}
		return n, last
	}
	if n, err := read(torn); n != 3 || err != nil {
		t.Errorf("of a ledger that is being written %d records are read: %v", n, err)
	}
	if n, err := read(bytes.Replace(torn, []byte("ev-1"), []byte("ev-7"), 1)); n != 1 || err == nil {
		t.Errorf("of a ledger whose second record was changed %d records are read: %v", n, err)
	}
	for _, err := range ReadLedger(t.TempDir()) {
		if err == nil {
			t.Error("an empty directory has records")
		}
	}
}
