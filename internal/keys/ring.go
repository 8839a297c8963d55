package keys

import (
	"bytes"
	"container/list"
	"crypto"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
)

const (
	// Sealed is the reference to a private key whose sealed form comes with it.
	Sealed = "sealed"
	// filePrefix stands before the absolute path of a private key's file.
	filePrefix = "file:"

	maxKeyFile = 32 << 10 // bytes
)

// Ref says where a private key is.
type Ref struct {
	Where   string  // Sealed, or file:/absolute/path
	Sealed  []byte  // the PKCS #8 key under the master key, when Where is Sealed
	Context Context // the place of Sealed
}

// Ring opens private keys by reference and keeps the last ones open. Its methods may be called from several goroutines.
type Ring struct {
	master   *Master
	capacity int

	mu     sync.Mutex
	opened map[[sha256.Size]byte]*list.Element // of recent
	recent list.List                           // of entry, the last used first
}

// entry is an open key; digest is that of its reference and content, so that a key that was replaced is opened anew.
type entry struct {
	digest [sha256.Size]byte
	place  Context
	signer crypto.Signer
}

// NewRing makes a ring that keeps at most capacity keys open. A nil master opens files only.
func NewRing(master *Master, capacity int) *Ring {
	return &Ring{master: master, capacity: capacity, opened: map[[sha256.Size]byte]*list.Element{}}
}

// Open gives the signer for a reference. A file may hold PKCS #8 in DER, or PKCS #8, PKCS #1 or SEC 1 in PEM, not
// encrypted, and nobody but its owner may have a right to it.
//
// That the key is the one expected is for the caller to compare: Open knows no public key.
func (r *Ring) Open(ref Ref) (crypto.Signer, error) {
	path, isFile := strings.CutPrefix(ref.Where, filePrefix)
	content := ref.Sealed
	switch {
	case isFile && filepath.IsAbs(path):
		var err error
		if content, err = readPrivate(path, maxKeyFile); err != nil {
			return nil, describe(err, "the private key file "+path, "put the key there, or name its file in the reference")
		}
		defer clear(content)
	case ref.Where != Sealed:
		return nil, &leafward.Error{
			Kind:    leafward.UnsupportedType,
			Message: fmt.Sprintf("the key reference %q has no form that is supported", ref.Where),
			Fix:     "use sealed, or file:/absolute/path",
		}
	}
	digest := digestOf(ref, content)
	if signer := r.kept(digest); signer != nil {
		return signer, nil
	}
	var signer crypto.Signer
	var err error
	if isFile {
		signer, err = parseKeyFile(path, content)
	} else {
		signer, err = r.unseal(ref)
	}
	if err != nil {
		return nil, err
	}
	return r.keep(entry{digest, ref.Context, signer}), nil
}

func digestOf(ref Ref, content []byte) [sha256.Size]byte {
	c := ref.Context
	return sha256.Sum256(parts(nil, ref.Where, c.Table, c.Column, c.Row, string(content)))
}

func parseKeyFile(path string, content []byte) (crypto.Signer, error) {
	parse := pki.ParsePrivateKey
	if bytes.Contains(content, []byte("-----BEGIN")) {
		parse = pki.ParsePrivateKeyPEM
	}
	signer, err := parse(content)
	if err != nil {
		return nil, describe(err, "the private key file "+path, "give the key in PEM, not encrypted")
	}
	return signer, nil
}

func (r *Ring) unseal(ref Ref) (crypto.Signer, error) {
	if r.master == nil {
		return nil, leafward.Errorf(leafward.Internal, "use file:/absolute/path", "there is no master key here to open a sealed key with")
	}
	der, err := r.master.Open(ref.Context, ref.Sealed)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	signer, err := pki.ParsePrivateKey(der)
	if err != nil {
		return nil, &leafward.Error{
			Kind:    leafward.Internal,
			Message: fmt.Sprintf("the secret in %s is not a private key", ref.Context),
			Fix:     "restore the row from a backup",
			Cause:   err,
		}
	}
	return signer, nil
}

// kept is the open key of this digest, or nil.
func (r *Ring) kept(digest [sha256.Size]byte) crypto.Signer {
	r.mu.Lock()
	defer r.mu.Unlock()
	element := r.opened[digest]
	if element == nil {
		return nil
	}
	r.recent.MoveToFront(element)
	return element.Value.(entry).signer
}

// keep remembers an open key, lets go the one that was used longest ago when there are too many, and gives the signer
// that all callers share.
func (r *Ring) keep(e entry) crypto.Signer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if element := r.opened[e.digest]; element != nil {
		return element.Value.(entry).signer
	}
	r.opened[e.digest] = r.recent.PushFront(e)
	if r.recent.Len() > r.capacity {
		last := r.recent.Back()
		delete(r.opened, r.recent.Remove(last).(entry).digest)
	}
	return e.signer
}

// Forget lets go of an open key, by the place where it was sealed. Memory that it took is not overwritten.
func (r *Ring) Forget(place Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for element := r.recent.Front(); element != nil; {
		next := element.Next()
		if e := element.Value.(entry); e.place == place {
			r.recent.Remove(element)
			delete(r.opened, e.digest)
		}
		element = next
	}
}

// Holds tells whether the key of a place is open.
func (r *Ring) Holds(place Context) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for element := r.recent.Front(); element != nil; element = element.Next() {
		if element.Value.(entry).place == place {
			return true
		}
	}
	return false
}
