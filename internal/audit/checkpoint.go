package audit

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// maxCheckpoint is the size in octets up to which a checkpoint is read.
const maxCheckpoint = 4096

// Frontier is the right edge of the Merkle tree (RFC 6962 §2.1) over the leaf hashes of a log: the roots of its complete
// subtrees, the largest first. It is all that is needed to add leaves. The zero Frontier is that of the empty log.
type Frontier struct {
	size  int64
	nodes []Hash
}

// Size is the number of leaves.
func (f *Frontier) Size() int64 { return f.size }

// Add appends a leaf.
func (f *Frontier) Add(leaf Hash) {
	f.nodes = append(f.nodes, leaf)
	for n := f.size; n&1 == 1; n >>= 1 {
		last := len(f.nodes) - 1
		f.nodes = append(f.nodes[:last-1], join(f.nodes[last-1], f.nodes[last]))
	}
	f.size++
}

// Root is the tree's hash.
func (f *Frontier) Root() Hash {
	if f.size == 0 {
		return sha256.Sum256(nil)
	}
	root := f.nodes[len(f.nodes)-1]
	for i := len(f.nodes) - 2; i >= 0; i-- {
		root = join(f.nodes[i], root)
	}
	return root
}

func join(left, right Hash) Hash { return Hash(tlog.NodeHash(tlog.Hash(left), tlog.Hash(right))) }

// Nodes are the frontier's hashes one behind the other, as it is stored beside its size.
func (f *Frontier) Nodes() []byte {
	raw := make([]byte, 0, len(f.nodes)*sha256.Size)
	for _, n := range f.nodes {
		raw = append(raw, n[:]...)
	}
	return raw
}

// RestoreFrontier is the frontier that was stored.
func RestoreFrontier(size int64, nodes []byte) (Frontier, error) {
	f := Frontier{size: size}
	if size < 0 || len(nodes) != bits.OnesCount64(uint64(size))*sha256.Size {
		return f, fmt.Errorf("the frontier of %d leaves cannot have %d octets", size, len(nodes))
	}
	for len(nodes) > 0 {
		f.nodes = append(f.nodes, Hash(nodes[:sha256.Size]))
		nodes = nodes[sha256.Size:]
	}
	return f, nil
}

// From is the frontier of a subtree alone: of the leaves from a number on, which begins a complete subtree that the leaves do
// not fill. Empty when there are none.
func (f *Frontier) From(leaf int64) Frontier {
	if leaf >= f.size {
		return Frontier{}
	}
	return Frontier{size: f.size - leaf, nodes: slices.Clone(f.nodes[bits.OnesCount64(uint64(leaf)):])}
}

// NewCheckpointKey makes a key that signs checkpoints and nothing else, with the public key that verifies them. Both are
// lines of text in the form of C2SP signed-note; the private one is a secret.
func NewCheckpointKey() (private, public string, err error) {
	return note.GenerateKey(rand.Reader, "leafward/audit/"+strings.ToLower(rand.Text()[:12]))
}

// SignCheckpoint is the checkpoint (C2SP tlog-checkpoint) of a log: its size and root, signed.
func SignCheckpoint(f *Frontier, private string) (string, error) {
	signer, err := note.NewSigner(private)
	if err != nil {
		return "", errors.New("the key of the checkpoints cannot be read") // without its text
	}
	root := f.Root()
	text := fmt.Sprintf("%s\n%d\n%s\n", signer.Name(), f.size, base64.StdEncoding.EncodeToString(root[:]))
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	return string(signed), err
}

// OpenCheckpoint checks the signature of a checkpoint, and that it is of the log that the public key is for, and reads it.
func OpenCheckpoint(text, public string) (size int64, root Hash, err error) {
	if len(text) > maxCheckpoint {
		return 0, root, fmt.Errorf("the checkpoint is longer than %d octets", maxCheckpoint)
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		return 0, root, fmt.Errorf("the public key of the log: %w", err)
	}
	opened, err := note.Open([]byte(text), note.VerifierList(verifier))
	if err != nil {
		return 0, root, fmt.Errorf("the checkpoint: %w", err)
	}
	for _, s := range opened.Sigs { // one text for one signature: the last digit has two bits that say nothing
		if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
			return 0, root, fmt.Errorf("the checkpoint: its signature is not as it was written: %w", err)
		}
	}
	lines := strings.SplitN(opened.Text, "\n", 4) // others may write more lines behind the third
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return 0, root, errors.New("the checkpoint is of another log")
	}
	size, err = strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return 0, root, errors.New("the checkpoint has no size")
	}
	raw, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(raw) != sha256.Size {
		return 0, root, errors.New("the checkpoint has no root hash")
	}
	return size, Hash(raw), nil
}
