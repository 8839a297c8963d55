package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// readAll reads at most that many octets, and refuses more.
func readAll(in io.Reader, most int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(in, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("it has more than %d octets", most)
	}
	return text, err
}

// pair is a certificate and its key on disk: both are there in the end, or what was there before.
type pair struct {
	cert, key string // paths
	aside     string // the new key, 0600, until the certificate is there
}

// preparePair makes sure that both files can be written, before anything is asked of a server, and keeps the key aside.
func preparePair(dir, name string, force bool, key []byte) (*pair, error) {
	base := filepath.Join(dir, fileName(name))
	p := &pair{cert: base + ".crt", key: base + ".key"}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a directory for certificates; the key has its own mode
		return nil, cannotWrite(dir, err)
	}
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
	var err error
	p.aside, err = writeAside(p.key, key, 0o600)
	return p, err
}

// fileName is a name of a certificate as the name of a file: a wildcard's star and what separates paths are replaced by
// what no host name has.
func fileName(name string) string {
	if rest, ok := strings.CutPrefix(name, "*."); ok {
		name = "_wildcard." + rest
	}
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>| `, r) || r < ' ' {
			return '_'
		}
		return r
	}, name)
}

// drop removes the key that has no certificate.
func (p *pair) drop() {
	if p.aside != "" {
		_ = os.Remove(p.aside)
		p.aside = ""
	}
}

// keep puts both files in their places. When the second cannot be, the first is put back as it was.
func (p *pair) keep(chain []byte) error {
	cert, err := writeAside(p.cert, chain, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(cert) }() // gone when all went well
	old := p.key + ".old"
	switch err := os.Rename(p.key, old); {
	case errors.Is(err, fs.ErrNotExist):
		old = ""
	case err != nil:
		return cannotWrite(p.key, err)
	}
	if err := os.Rename(p.aside, p.key); err == nil {
		p.aside = ""
		err = os.Rename(cert, p.cert)
		if err == nil {
			if old != "" {
				_ = os.Remove(old)
			}
			return syncDir(filepath.Dir(p.cert))
		}
		_ = os.Remove(p.key)
		return p.back(old, err)
	} else {
		return p.back(old, err)
	}
}

// back puts the old key back after err.
func (p *pair) back(old string, err error) error {
	if old != "" {
		err = errors.Join(err, os.Rename(old, p.key))
	}
	return cannotWrite(p.cert, err)
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
		return nil
	}
	defer d.Close()
	_ = d.Sync() // some systems cannot
	return nil
}
