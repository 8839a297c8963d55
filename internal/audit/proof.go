package audit

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// maxPath is how many hashes a proof has at most: the depth of a tree of 2^63 leaves.
const maxPath = 63

// Prover makes the proof that one leaf stands in a tree (RFC 9162 §2.1.3), from all leaves of the tree. Its memory is that of
// the proof.
type Prover struct {
	next  int64
	spans []span // in the order of the leaves
	order []int  // of spans in the proof: from the leaf to the root
}

// span is a subtree beside the way from the leaf to the root.
type span struct {
	from, to int64
	tree     Frontier
}

// NewProver is a prover for the leaf with a number, from 0, in a tree of so many leaves.
func NewProver(leaf, size int64) (*Prover, error) {
	if leaf < 0 || leaf >= size {
		return nil, fmt.Errorf("leaf %d is not in a tree of %d", leaf, size)
	}
	var before, behind []span // from the root to the leaf
	var left []bool           // whether the subtree lies before the leaf
	for from, to := int64(0), size; to-from > 1; {
		middle := from + split(to-from)
		if leaf < middle {
			behind, left = append(behind, span{from: middle, to: to}), append(left, false)
			to = middle
		} else {
			before, left = append(before, span{from: from, to: middle}), append(left, true)
			from = middle
		}
	}
	p := &Prover{spans: before}
	for i := len(behind) - 1; i >= 0; i-- {
		p.spans = append(p.spans, behind[i])
	}
	first, last := len(before)-1, len(before)
	for i := len(left) - 1; i >= 0; i-- {
		if left[i] {
			p.order, first = append(p.order, first), first-1
		} else {
			p.order, last = append(p.order, last), last+1
		}
	}
	return p, nil
}

// split is the largest power of two below n, which is at least 2.
func split(n int64) int64 {
	k := int64(1)
	for k < (n+1)/2 {
		k *= 2
	}
	return k
}

// Add takes the next leaf, beginning with the first.
func (p *Prover) Add(leaf Hash) {
	for i := range p.spans {
		if s := &p.spans[i]; p.next >= s.from && p.next < s.to {
			s.tree.Add(leaf)
			break
		}
	}
	p.next++
}

// Path is the proof, once every leaf was added: what the leaf is joined with, one after the other, to get the root.
func (p *Prover) Path() []Hash {
	path := make([]Hash, len(p.order))
	for i, at := range p.order {
		path[i] = p.spans[at].tree.Root()
	}
	return path
}

// Proof says that an event stands in the log that a checkpoint was signed for. It is verified without a server.
type Proof struct {
	Seq        int64  `json:"sequence"`
	Event      string `json:"event"`      // in canonical form: its leaf hash is of these octets
	Path       []Hash `json:"path"`       // from the leaf to the root
	Checkpoint string `json:"checkpoint"` // signed note; another one of the same size may be used instead
}

// Check verifies the proof by the public key of the log, and returns the size of the log that was signed for.
func (p Proof) Check(public string) (size int64, err error) {
	size, root, err := OpenCheckpoint(p.Checkpoint, public)
	if err != nil {
		return 0, err
	}
	if p.Seq < 1 || p.Seq > size {
		return 0, fmt.Errorf("the checkpoint was signed for %d events, and event %d is none of them", size, p.Seq)
	}
	if len(p.Path) > maxPath {
		return 0, errors.New("the path is too long")
	}
	path := make(tlog.RecordProof, len(p.Path))
	for i, h := range p.Path {
		path[i] = tlog.Hash(h)
	}
	if err := tlog.CheckRecord(path, size, tlog.Hash(root), p.Seq-1, tlog.Hash(Leaf([]byte(p.Event)))); err != nil {
		return 0, fmt.Errorf("the event is not event %d of the %d that the checkpoint was signed for", p.Seq, size)
	}
	return size, nil
}
