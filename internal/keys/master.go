package keys

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/leafward/leafward"
)

const (
	masterBytes   = 32
	maxMasterFile = 256 // bytes: the longest text form with white space around it
)

// Master is the master key, under which everything secret in the database is sealed. It shows its id only, however it
// is printed.
type Master struct {
	id  string
	key leafward.Secret
}

// GenerateMaster makes a new master key that is stored nowhere.
func GenerateMaster() *Master {
	key := make([]byte, masterBytes)
	rand.Read(key)
	return newMaster(key)
}

func newMaster(key []byte) *Master {
	hash := sha256.Sum256(append([]byte("leafward master key id"), key...))
	return &Master{id: hex.EncodeToString(hash[:keyIDBytes]), key: key}
}

// ID names the key without telling it: 16 hex digits.
func (m *Master) ID() string { return m.id }

func (m *Master) String() string { return "master key " + m.id }

// GoString hides the key from %#v.
func (m *Master) GoString() string { return m.String() }

// LogValue hides the key from logs.
func (m *Master) LogValue() slog.Value { return slog.StringValue(m.id) }

// ParseMaster reads a master key: 32 bytes as they are, or in hex or base64 of either alphabet with white space around
// it. What is plainly not random, such as a passphrase, is refused.
func ParseMaster(text string) (*Master, error) {
	key := []byte(text)
	if len(key) != masterBytes {
		key = decodeMaster(strings.TrimSpace(text))
	}
	if len(key) != masterBytes {
		return nil, &leafward.Error{
			Kind:    leafward.Invalid,
			Message: fmt.Sprintf("the master key is not %d bytes, raw or in hex or base64", masterBytes),
			Fix:     "make one with: openssl rand -hex 32",
		}
	}
	if !looksRandom(key) {
		return nil, &leafward.Error{
			Kind:    leafward.Invalid,
			Message: "the master key is text or a pattern, not random bytes",
			Fix:     "make one with: openssl rand -hex 32",
		}
	}
	return newMaster(key), nil
}

// decodeMaster decodes hex or base64, or gives nil.
func decodeMaster(text string) []byte {
	if len(text) == hex.EncodedLen(masterBytes) {
		key, err := hex.DecodeString(text)
		if err == nil {
			return key
		}
	}
	text = strings.TrimRight(text, "=")
	text = strings.NewReplacer("-", "+", "_", "/").Replace(text)
	key, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return key
}

// looksRandom is false for printable text and for fewer than ten different bytes, neither of which 32 random bytes
// show once in 10^13 keys.
func looksRandom(key []byte) bool {
	var seen [256]bool
	different, printable := 0, true
	for _, b := range key {
		if !seen[b] {
			seen[b] = true
			different++
		}
		printable = printable && b >= ' ' && b <= '~'
	}
	return !printable && different >= 10
}

// LoadMaster reads a master key from a file that nobody but its owner may read; the forms are those of ParseMaster.
// A file that does not exist is an error for which errors.Is(err, fs.ErrNotExist) holds.
func LoadMaster(file string) (*Master, error) {
	text, err := readPrivate(file, maxMasterFile)
	if err != nil {
		return nil, describe(err, "the master key file", "give the master key's file with --master-key-file, or the key in LEAFWARD_MASTER_KEY")
	}
	master, err := ParseMaster(string(text))
	if e, ok := errors.AsType[*leafward.Error](err); ok {
		e.Message = fmt.Sprintf("%s (%s)", e.Message, file)
		e.Fix = "put back the file from the backup; for a server without data make one with: openssl rand -hex 32"
	}
	return master, err
}

// MakeMaster makes a new master key in a file of mode 0600, and its directory with mode 0700 when it is missing. The
// file appears whole or not at all; one that is there already is never overwritten, and an error.
func MakeMaster(file string) (*Master, error) {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of the master key: %w", err)
	}
	master := GenerateMaster()
	if err := writeNew(dir, file, master.key.Reveal()); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, &leafward.Error{
				Kind:    leafward.Conflict,
				Message: fmt.Sprintf("there is a master key in %s already", file),
				Fix:     "use that one, or name another file",
				Cause:   err,
			}
		}
		return nil, fmt.Errorf("making the master key: %w", err)
	}
	return master, nil
}

// writeNew puts content into a file that does not exist yet, on disk and under its name at one stroke.
func writeNew(dir, file string, content []byte) (err error) {
	aside, err := os.CreateTemp(dir, ".master-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(aside.Name())) }()
	_, err = aside.Write(content)
	if err := errors.Join(err, aside.Sync(), aside.Close()); err != nil {
		return err
	}
	if err := os.Link(aside.Name(), file); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the names in a directory last over a power failure. Systems that cannot sync a directory say so with
// an error of kind ErrInvalid or ErrPermission, and need none.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// sameID compares the id in a sealed value with the master's.
func (m *Master) sameID(id []byte) bool {
	own, err := hex.DecodeString(m.id)
	return err == nil && bytes.Equal(own, id)
}
