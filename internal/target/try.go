package target

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Trial is what a dry run finds out about a file.
type Trial struct {
	Path   string // where it would really be written
	Exists bool
	Note   string // what is there, and what a deployment would change about it
}

// Try finds out whether a file of a kind could be written, by making an empty one beside it with the same owner and
// removing it at once.
func (f *Files) Try(path string, kind Kind) (Trial, error) {
	real, err := f.rules.Path(path, kind)
	if err != nil {
		return Trial{}, err
	}
	old, err := read(real)
	if err != nil {
		return Trial{}, explain("read "+real, err)
	}
	dir := filepath.Dir(real)
	for {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			err = errors.New("it is not a directory")
		}
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return Trial{}, explain("use "+dir, err)
		}
		dir = filepath.Dir(dir)
	}
	probe, err := os.CreateTemp(dir, ".leafward-try-*")
	if err != nil {
		return Trial{}, explain("write into "+dir, err)
	}
	mode := modeOf(old, kind)
	err = errors.Join(dress(probe, mode, old.uid, old.gid), probe.Close(), os.Remove(probe.Name()))
	if err != nil {
		return Trial{}, explain("write into "+dir, err)
	}
	return Trial{Path: real, Exists: old.exists, Note: describe(named(path, real), old, mode, kind)}, nil
}

// describe says what is at a path.
func describe(name string, old existing, mode fs.FileMode, kind Kind) string {
	if !old.exists {
		return fmt.Sprintf("%s does not exist yet: the first deployment makes it", name)
	}
	note := fmt.Sprintf("%s can be replaced; it is empty", name)
	if found := contentsOf(old.content); len(found.certificates) > 0 {
		cert := found.certificates[0]
		subject := cert.Subject.CommonName
		if len(cert.DNSNames) > 0 {
			subject = cert.DNSNames[0]
		}
		note = fmt.Sprintf("%s can be replaced; it holds a %s for %q, valid until %s", name, kind, subject, cert.NotAfter.UTC().Format(time.DateOnly))
	} else if found.keys > 0 {
		note = fmt.Sprintf("%s can be replaced; it holds a private key", name)
	}
	if mode != old.mode {
		note += fmt.Sprintf("; its mode becomes %04o, for others can read it now", mode)
	}
	return note
}
