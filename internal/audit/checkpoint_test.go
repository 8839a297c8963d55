package audit_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/leafward/leafward/internal/audit"
	"golang.org/x/mod/sumdb/tlog"
)

// The root must be the one that another implementation of RFC 6962 computes from all leaves.
func TestTheFrontierHasTheRootOfTheWholeTree(t *testing.T) {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) (hashes []tlog.Hash, err error) {
		for _, i := range indexes {
			hashes = append(hashes, stored[i])
		}
		return hashes, nil
	})
	var f audit.Frontier
	for n := range int64(300) {
		record := fmt.Appendf(nil, "event %d", n)
		more, err := tlog.StoredHashes(n, record, reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, more...)
		f.Add(audit.Leaf(record))
		want, err := tlog.TreeHash(n+1, reader)
		if err != nil || f.Root() != audit.Hash(want) || f.Size() != n+1 {
			t.Fatalf("size %d: %s, want %s (%v)", f.Size(), f.Root(), want, err)
		}
		if f, err = audit.RestoreFrontier(f.Size(), f.Nodes()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestACheckpointIsOpenedByItsOwnKeyOnly(t *testing.T) {
	private, public, err := audit.NewCheckpointKey()
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, err := audit.NewCheckpointKey()
	if err != nil {
		t.Fatal(err)
	}
	var f audit.Frontier
	f.Add(audit.Leaf([]byte("one")))
	text, err := audit.SignCheckpoint(&f, private)
	if err != nil {
		t.Fatal(err)
	}
	size, root, err := audit.OpenCheckpoint(text, public)
	if err != nil || size != 1 || root != f.Root() {
		t.Errorf("%d %s %v", size, root, err)
	}
	for name, c := range map[string][2]string{
		"another key":    {text, stranger},
		"another size":   {strings.Replace(text, "\n1\n", "\n2\n", 1), public},
		"cut":            {text[:len(text)/2], public},
		"no signature":   {strings.SplitAfter(text, "\n\n")[0], public},
		"no key":         {text, "x"},
		"too long a one": {text + strings.Repeat("x", 5000), public},
	} {
		if _, _, err := audit.OpenCheckpoint(c[0], c[1]); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if _, err := audit.RestoreFrontier(3, make([]byte, 32)); err == nil {
		t.Error("a frontier of the wrong length is taken")
	}
}

func FuzzACheckpointIsTakenOrRefused(f *testing.F) {
	private, public, err := audit.NewCheckpointKey()
	if err != nil {
		f.Fatal(err)
	}
	text, err := audit.SignCheckpoint(&audit.Frontier{}, private)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add("leafward/audit/x\n1\nAAAA\n\n— leafward/audit/x AAAAAAAA\n")
	f.Fuzz(func(t *testing.T, other string) {
		if _, _, err := audit.OpenCheckpoint(other, public); err == nil && other != text {
			t.Errorf("a checkpoint that nobody signed is taken: %q", other)
		}
	})
}
