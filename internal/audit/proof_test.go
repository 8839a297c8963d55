package audit

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// proved is the proof of an event in a log of so many, with the key that verifies it.
func proved(t *testing.T, records []Record, seq int64, private string) Proof {
	t.Helper()
	tree := treeOf(records)
	path, err := Prove(seq-1, int64(len(records)), func(from, to int64) (Hash, error) {
		edge := treeOf(records[:to-1]) // as a log has it that kept its edge a leaf before
		edge = edge.From(from)
		edge.Add(records[to-1].Leaf)
		return edge.Root(), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	note, err := SignCheckpoint(&tree, private)
	if err != nil {
		t.Fatal(err)
	}
	return Proof{Seq: seq, Event: string(records[seq-1].Event), Path: path, Checkpoint: note}
}

func treeOf(records []Record) (tree Frontier) {
	for _, r := range records {
		tree.Add(r.Leaf)
	}
	return tree
}

func TestEveryEventOfEveryLogIsProved(t *testing.T) {
	private, public, err := NewCheckpointKey()
	if err != nil {
		t.Fatal(err)
	}
	records := chainOf(70)
	for size := 1; size <= len(records); size++ {
		for seq := int64(1); seq <= int64(size); seq++ {
			if n, err := proved(t, records[:size], seq, private).Check(public); err != nil || n != int64(size) {
				t.Fatalf("event %d of %d: %d, %v", seq, size, n, err)
			}
		}
	}
	for _, wrong := range [][2]int64{{-1, 3}, {3, 3}, {0, 0}} {
		if _, err := Prove(wrong[0], wrong[1], nil); err == nil {
			t.Errorf("leaf %d of %d can be proved", wrong[0], wrong[1])
		}
	}
}

func TestAProofThatWasEditedProvesNothing(t *testing.T) {
	for range 32 { // signatures end in different digits
		proveEdited(t)
	}
}

func proveEdited(t *testing.T) {
	t.Helper()
	private, public, err := NewCheckpointKey()
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := NewCheckpointKey()
	if err != nil {
		t.Fatal(err)
	}
	records := chainOf(21)
	whole := proved(t, records, 13, private)
	if _, err := whole.Check(other); err == nil {
		t.Error("another log's key verifies it")
	}
	edits := map[string]func(*Proof){
		"the event":              func(p *Proof) { p.Event = strings.Replace(p.Event, "ev-12", "ev-13", 1) },
		"a space in the event":   func(p *Proof) { p.Event += " " },
		"its number":             func(p *Proof) { p.Seq++ },
		"its number, beyond":     func(p *Proof) { p.Seq = 22 },
		"its number, below":      func(p *Proof) { p.Seq = 0 },
		"a hash less":            func(p *Proof) { p.Path = p.Path[1:] },
		"a hash more":            func(p *Proof) { p.Path = append(p.Path, Hash{}) },
		"very many hashes":       func(p *Proof) { p.Path = make([]Hash, 1000) },
		"hashes in other places": func(p *Proof) { slices.Reverse(p.Path) },
		"another event's":        func(p *Proof) { p.Event = string(records[11].Event) },
		"an older checkpoint":    func(p *Proof) { p.Checkpoint = proved(t, records[:20], 13, private).Checkpoint },
		"no checkpoint":          func(p *Proof) { p.Checkpoint = "" },
	}
	for i := range whole.Path {
		edits[fmt.Sprintf("hash %d", i)] = func(p *Proof) { p.Path[i][7] ^= 1 }
	}
	for at := range len(whole.Checkpoint) {
		edits[fmt.Sprintf("octet %d of the checkpoint", at)] = func(p *Proof) {
			text := []byte(p.Checkpoint)
			text[at] ^= 1
			p.Checkpoint = string(bytes.ToValidUTF8(text, []byte("?")))
		}
	}
	for name, edit := range edits {
		p := whole
		p.Path = slices.Clone(whole.Path)
		if edit(&p); p.Checkpoint == whole.Checkpoint && p.Event == whole.Event && p.Seq == whole.Seq && slices.Equal(p.Path, whole.Path) {
			t.Errorf("%s: nothing was edited", name)
		}
		if _, err := p.Check(public); err == nil {
			t.Errorf("edited in %s, it still proves", name)
		}
	}
}
