package keys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"github.com/leafward/leafward"
)

// readPrivate reads a regular file of at most limit bytes that group and others have no right to. Windows has no such
// mode; there the directory's access list is what guards.
func readPrivate(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path) // before opening, which would wait on a pipe
	if errors.Is(err, fs.ErrNotExist) {
		if to, linked := os.Readlink(path); linked == nil {
			return nil, &leafward.Error{
				Kind:    leafward.Invalid,
				Message: fmt.Sprintf("%s is a link to %s, which does not exist", path, to),
				Fix:     "put the file back there (is its disk mounted?), or remove the link",
			}
		}
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err = file.Stat(); err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return nil, &leafward.Error{
			Kind:    leafward.Denied,
			Message: fmt.Sprintf("%s has mode %04o: others than its owner have a right to it", path, mode),
			Fix:     fmt.Sprintf("chmod 600 %s", path),
		}
	}
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return content, err
}

// describe makes an error of the file system one for users; errors that are that already stay as they are.
func describe(err error, what, fix string) error {
	if _, ok := errors.AsType[*leafward.Error](err); ok {
		return err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &leafward.Error{Kind: leafward.NotFound, Message: what + " does not exist", Fix: fix, Cause: err}
	case errors.Is(err, fs.ErrPermission):
		return &leafward.Error{Kind: leafward.Denied, Message: what + " may not be read", Fix: "chown it to the user that runs leafward", Cause: err}
	}
	return &leafward.Error{Kind: leafward.Invalid, Message: what + " cannot be used", Fix: fix, Cause: err}
}

// maxPrivate is the length in octets up to which a file with a secret is read.
const maxPrivate = 64 << 10

// ReadPrivate reads a file with a secret, such as private keys, that nobody but its owner may read.
func ReadPrivate(path string) (leafward.Secret, error) {
	content, err := readPrivate(path, maxPrivate)
	if err != nil {
		return nil, describe(err, "the file "+path, "name a regular file that this user may read")
	}
	return content, nil
}

// ReadPassphrase reads the first line of a file that nobody but its owner may read.
func ReadPassphrase(path string) (leafward.Secret, error) {
	content, err := ReadPrivate(path)
	if err != nil {
		return nil, err
	}
	line, _, _ := bytes.Cut(content.Reveal(), []byte("\n"))
	return bytes.TrimRight(line, "\r"), nil
}
