// Package backup is the form of a backup file. It is an age file (age-encryption.org/v1) of a gzip stream: one line of
// JSON, which says what follows, and the SQLite database as it was at one moment. Tools of other makes open it too:
//
//	age -d FILE | gunzip | tail -n +2 >leafward.db
package backup

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/audit"
)

// Format names the form.
const Format = "leafward-backup/1"

// maxManifest bounds the first line, in octets.
const maxManifest = 64 << 10

// Manifest says what a backup holds.
type Manifest struct {
	Format    string     `json:"format"`
	Version   string     `json:"version"` // of the leafward that took it: a label
	TakenAt   time.Time  `json:"taken_at"`
	Schema    int64      `json:"schema"`     // version of the database's schema
	MasterKey string     `json:"master_key"` // id of the key that opens what is sealed in it; the key is not in the backup
	Events    int64      `json:"events"`     // the last event of its audit log
	Head      audit.Hash `json:"head"`       // the chain hash of that event
	Size      int64      `json:"size"`       // of the database, in octets
}

// Write writes a backup for those who can open it with the recipients' keys. The database has Manifest.Size octets.
func Write(w io.Writer, to []age.Recipient, m Manifest, database io.Reader) error {
	m.Format = Format
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	sealed, err := age.Encrypt(w, to...)
	if err != nil {
		return fmt.Errorf("encrypting the backup: %w", err)
	}
	packed, err := gzip.NewWriterLevel(sealed, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if _, err := packed.Write(append(line, '\n')); err != nil {
		return err
	}
	n, err := io.Copy(packed, database)
	if err == nil && n != m.Size {
		err = fmt.Errorf("the database has %d octets, not %d", n, m.Size)
	}
	return errors.Join(err, packed.Close(), sealed.Close())
}

// magic is how an age file begins.
const magic = "age-encryption.org/v1\n"

// Begins tells whether a file begins as a backup does.
func Begins(r io.Reader) (bool, error) {
	begin := make([]byte, len(magic))
	_, err := io.ReadFull(r, begin)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return false, nil
	}
	return string(begin) == magic, err
}

// Open reads what a backup holds. The reader gives the database and, instead of its end, an error when anything of the
// file is missing or was changed: only what was read to the end counts.
func Open(r io.Reader, with []age.Identity) (Manifest, io.Reader, error) {
	in := bufio.NewReader(r)
	if begin, err := in.Peek(len(magic)); err != nil || string(begin) != magic {
		if err != nil && !errors.Is(err, io.EOF) {
			return Manifest{}, nil, err
		}
		why := "it is not encrypted by age"
		if strings.HasPrefix(string(begin), "-----BEGIN AGE") {
			why = "it is encrypted by age as text, as `leafward ca offline` writes keys"
		}
		return Manifest{}, nil, leafward.Errorf(leafward.Invalid, "name a file that `leafward backup` wrote", "the file is no backup of leafward: %s", why)
	}
	opened, err := age.Decrypt(in, with...)
	if _, no := errors.AsType[*age.NoIdentityMatchError](err); no {
		return Manifest{}, nil, leafward.Errorf(leafward.Denied, "give the passphrase or the --identity that it was encrypted for, or fetch the file again", "the backup cannot be opened with what was given: a wrong passphrase or identity, or the file was changed")
	}
	if err != nil {
		return Manifest{}, nil, spoilt(err)
	}
	packed, err := gzip.NewReader(opened)
	if err != nil {
		return Manifest{}, nil, spoilt(err)
	}
	lines := bufio.NewReaderSize(packed, maxManifest)
	line, err := lines.ReadSlice('\n')
	if err != nil {
		return Manifest{}, nil, spoilt(err)
	}
	var m Manifest
	if err := json.Unmarshal(bytes.TrimSpace(line), &m); err != nil || m.Format != Format || m.Size < 0 {
		return m, nil, leafward.Errorf(leafward.Invalid, "restore it with the leafward that took it, or a newer one", "the backup has the form %q, and this leafward knows %s", m.Format, Format)
	}
	return m, &whole{r: lines, sealed: opened, left: m.Size}, nil
}

// whole reads so many octets, behind which nothing may follow.
type whole struct {
	r, sealed io.Reader
	left      int64
}

func (w *whole) Read(p []byte) (n int, err error) {
	if w.left == 0 {
		return 0, w.end()
	}
	n, err = w.r.Read(p[:min(int64(len(p)), w.left)])
	w.left -= int64(n)
	if err != nil && (!errors.Is(err, io.EOF) || w.left > 0) {
		return n, spoilt(err)
	}
	return n, nil
}

// end is io.EOF when the file ends well behind the database.
func (w *whole) end() error {
	for _, r := range []io.Reader{w.r, w.sealed} {
		if n, err := io.ReadFull(r, make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
			return spoilt(err)
		}
	}
	return io.EOF
}

// spoilt is the error for a file that age or gzip does not take.
func spoilt(cause error) error {
	return &leafward.Error{
		Kind: leafward.Invalid, Message: "the backup is damaged: it was cut off or changed since it was written",
		Fix: "fetch the file again from where it is kept, or restore another backup", Cause: cause,
	}
}
