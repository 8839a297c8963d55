package audit

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// maxPath is how many hashes a proof has at most: the depth of a tree of 2^63 leaves.
const maxPath = 63

// Prove makes the proof that a leaf with a number, from 0, stands in a tree of so many leaves (RFC 9162 §2.1.3): what the leaf
// is joined with, one after the other, to get the root. It asks for the hashes of complete subtrees, each by its first leaf
// and the one behind its last; there are no more of them than twice the tree is deep.
func Prove(leaf, size int64, subtree func(from, to int64) (Hash, error)) ([]Hash, error) {
	if leaf < 0 || leaf >= size {
		return nil, fmt.Errorf("leaf %d is not in a tree of %d", leaf, size)
	}
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			level, n := tlog.SplitStoredHashIndex(index)
			h, err := subtree(n<<level, (n+1)<<level)
			if err != nil {
				return nil, err
			}
			hashes[i] = tlog.Hash(h)
		}
		return hashes, nil
	})
	proof, err := tlog.ProveRecord(size, leaf, read)
	if err != nil {
		return nil, err
	}
	path := make([]Hash, len(proof))
	for i, h := range proof {
		path[i] = Hash(h)
	}
	return path, nil
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
