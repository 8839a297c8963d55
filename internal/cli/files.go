package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// readAll reads at most that many octets, and refuses more.
func readAll(in io.Reader, most int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(in, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("it has more than %d octets", most)
	}
	return text, err
}

// interruptible is a reader that fails once its context has ended.
type interruptible struct {
	ctx context.Context
	io.Reader
}

func (r interruptible) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// readBounded is readAll of a file.
func readBounded(name string, most int64) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readAll(file, most)
}

// streamed is the file that an output goes to which standard output takes as well; "" is that, and so is -.
func streamed(out string) string {
	if out == "-" {
		return ""
	}
	return out
}

// writeNew writes a file that must not be there, 0600, and leaves it whole on disk or not at all.
func writeNew(name string, text []byte) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return cannotWrite(name, err)
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		_ = os.Remove(name)
		return cannotWrite(name, err)
	}
	return nil
}

// pair is a certificate and its key on disk: both are there in the end, or what was there before.
type pair struct {
	cert, key string // paths
	aside     string // the new key, 0600, until it is in its place
	made      string // directory that was made for them and holds nothing else yet
}

// preparePair makes sure that both files can be written, before anything is asked of a server, and keeps the key aside.
func preparePair(dir, name string, force bool, key []byte) (*pair, error) {
	base := filepath.Join(dir, fileName(name))
	p := &pair{cert: base + ".crt", key: base + ".key"}
	for _, path := range []string{p.cert, p.key} {
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, cannotWrite(path, err)
		case !info.Mode().IsRegular():
			return nil, failed(codeExists, "name another --out", "%s is there and is no file", path)
		case !force:
			return nil, failed(codeExists, "give --force to replace it, or another --out", "the file %s is there already", path)
		}
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		p.made = dir
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, cannotWrite(dir, err)
	}
	var err error
	if p.aside, err = writeAside(p.key, key, 0o600); err != nil {
		p.drop()
		return nil, err
	}
	return p, nil
}

// fileName is a name of a certificate as the name of a file: a wildcard's star and what separates paths are replaced by
// what no host name has.
func fileName(name string) string {
	if rest, ok := strings.CutPrefix(name, "*."); ok {
		name = "_wildcard." + rest
	}
	name = strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>| `, r) || r < ' ' {
			return '_'
		}
		return r
	}, name)
	return name[:min(len(name), maxFileName)]
}

// maxFileName leaves room for what is put around a name in the 255 octets of a file's.
const maxFileName = 128

// drop removes what was prepared for a certificate that did not come.
func (p *pair) drop() {
	if p.aside != "" {
		_ = os.Remove(p.aside)
		p.aside = ""
	}
	if p.made != "" {
		_ = os.Remove(p.made) // which fails once it holds something
	}
}

// keep puts both files in their places. The old certificate goes first and the new one comes last, so that whenever this
// is cut short there is the old pair, the new pair or no certificate, but never one beside a key that is not its own; what
// was there is then in NAME.crt.old and NAME.key.old. An error puts it back.
func (p *pair) keep(chain []byte) error { return p.keepSeen(chain, func() {}) }

// keepSeen is keep; moved is called after each move.
func (p *pair) keepSeen(chain []byte, moved func()) (err error) {
	cert, err := writeAside(p.cert, chain, 0o644)
	if err != nil {
		return err
	}
	var undo []func() error
	defer func() {
		if err == nil {
			return
		}
		for _, back := range slices.Backward(undo) {
			err = errors.Join(err, back())
		}
		_ = os.Remove(cert)
		err = cannotWrite(p.cert, err)
	}()
	move := func(from, to string) error {
		if err := os.Rename(from, to); err != nil {
			return err
		}
		undo = append(undo, func() error { return os.Rename(to, from) })
		if err := syncDir(filepath.Dir(to)); err != nil {
			return err
		}
		moved()
		return nil
	}
	oldCert, oldKey := p.cert+".old", p.key+".old"
	for _, m := range []struct {
		from, to string
		optional bool
	}{{p.cert, oldCert, true}, {p.key, oldKey, true}, {p.aside, p.key, false}, {cert, p.cert, false}} {
		if err := move(m.from, m.to); err != nil && (!m.optional || !errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	p.aside = ""
	_ = os.Remove(oldCert)
	_ = os.Remove(oldKey)
	return nil
}

// writeAside writes a whole file beside its place, on disk.
func writeAside(path string, content []byte, mode fs.FileMode) (string, error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return "", cannotWrite(path, err)
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Chmod(mode), file.Sync(), file.Close()); err != nil {
		_ = os.Remove(file.Name())
		return "", cannotWrite(path, err)
	}
	return file.Name(), nil
}

// syncDir makes names in a directory lasting, where the system can.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && runtime.GOOS != "windows" && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}
