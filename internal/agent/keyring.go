package agent

import (
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
)

const (
	maxKeyFile  = 64 << 10 // bytes
	keptKeys    = 2        // newest accepted keys of a certificate that are kept
	keptPending = 5        // newest keys of a certificate that wait for their certificate
)

// keyring keeps the private keys of this host, a directory for each certificate and a file for each key:
//
//	000007-JOB.pending    made for the order JOB; no certificate for it was seen yet
//	000006-SPKI.key       a certificate for it was issued and fetched
//
// The number grows with every key made. A file is written once and whole, renamed when its certificate comes, and
// removed when it is no longer one of the last. The order that made a key finds the same one again after a crash.
type keyring struct {
	path string
	turn sync.Mutex
}

// keyFile is one file of the ring.
type keyFile struct {
	path    string
	number  int
	job     string // "" when it is accepted
	private crypto.Signer
}

// openKeyring makes the directory, and removes what a crash left half-written.
func openKeyring(path string) (*keyring, error) {
	if err := makeDir(path); err != nil {
		return nil, err
	}
	torn, err := filepath.Glob(filepath.Join(path, "*", "*.tmp"))
	for _, file := range torn {
		err = errors.Join(err, os.Remove(file))
	}
	return &keyring{path: path}, explain("tidy "+path, err)
}

// pending is the key for an order: the one made for it before if that is of the kind, else a new one, on disk before it
// is returned.
func (k *keyring) pending(certificate, job string, kind pki.KeyKind) (crypto.Signer, error) {
	k.turn.Lock()
	defer k.turn.Unlock()
	if !isID(job) {
		return nil, leafward.Errorf(leafward.Invalid, "", "the server sent %.140q as the id of a job", job)
	}
	files, err := k.files(certificate)
	if err != nil {
		return nil, err
	}
	number := 0
	for _, file := range files {
		number = max(number, file.number)
		if file.job != job {
			continue
		}
		if have, err := pki.KindOf(file.private.Public()); err == nil && have == kind {
			return file.private, nil
		}
	}
	private, err := pki.GenerateKey(kind)
	if err != nil {
		return nil, leafward.Errorf(leafward.Invalid, "choose an algorithm of key that leafward makes", "%v", err)
	}
	text, err := pki.EncodePrivateKey(private)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(k.path, certificate)
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	if err := errors.Join(syncDir(k.path), save(filepath.Join(dir, fmt.Sprintf("%06d-%s.pending", number+1, job)), text)); err != nil {
		return nil, explain("keep a key in "+dir, err)
	}
	return private, nil
}

// discard removes the key that waits for the certificate of an order.
func (k *keyring) discard(certificate, job string) error {
	k.turn.Lock()
	defer k.turn.Unlock()
	files, err := k.files(certificate)
	if err != nil {
		return err
	}
	for _, file := range files {
		if file.job == job {
			err = errors.Join(err, os.Remove(file.path))
		}
	}
	return explain("remove a key from "+filepath.Join(k.path, certificate), err)
}

// accept finds the key of a certificate that was issued, which may be for any key of the ring, and marks it so. The text
// is PKCS #8 PEM.
func (k *keyring) accept(certificate string, public crypto.PublicKey) (leafward.Secret, error) {
	k.turn.Lock()
	defer k.turn.Unlock()
	files, err := k.files(certificate)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if !matches(file.private, public) {
			continue
		}
		if file.job != "" {
			spki, err := pki.SPKISHA256(public)
			if err != nil {
				return nil, err
			}
			dir := filepath.Dir(file.path)
			if err := errors.Join(os.Rename(file.path, filepath.Join(dir, fmt.Sprintf("%06d-%s.key", file.number, spki))), syncDir(dir)); err != nil {
				return nil, explain("keep a key in "+dir, err)
			}
		}
		text, err := pki.EncodePrivateKey(file.private)
		return text, err
	}
	return nil, leafward.Errorf(leafward.Precondition, "renew the certificate, which makes a new key on this host",
		"the key of this certificate is not on this host: %s has none that matches", filepath.Join(k.path, certificate))
}

// forget removes the keys of a certificate that are neither among the last nor the one in use.
func (k *keyring) forget(certificate string, used crypto.PublicKey) error {
	k.turn.Lock()
	defer k.turn.Unlock()
	files, err := k.files(certificate)
	if err != nil {
		return err
	}
	slices.SortFunc(files, func(a, b keyFile) int { return b.number - a.number })
	accepted, waiting := 0, 0
	var failed []error
	for _, file := range files {
		var keep bool
		if file.job == "" {
			accepted++
			keep = accepted <= keptKeys || matches(file.private, used)
		} else {
			waiting++
			keep = accepted == 0 && waiting <= keptPending // an older one than an accepted one never gets a certificate
		}
		if !keep {
			failed = append(failed, os.Remove(file.path))
		}
	}
	return explain("remove old keys from "+filepath.Join(k.path, certificate), errors.Join(failed...))
}

// files reads the keys of a certificate, the oldest first. A file that cannot be read is an error: a new key must not
// take the place of one that may be needed.
func (k *keyring) files(certificate string) ([]keyFile, error) {
	if !isID(certificate) {
		return nil, leafward.Errorf(leafward.Invalid, "", "the server sent %.140q as the id of a certificate", certificate)
	}
	dir := filepath.Join(k.path, certificate)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, explain("read "+dir, err)
	}
	var files []keyFile
	for _, entry := range entries {
		file, ours := parseKeyName(entry.Name())
		if !ours {
			continue
		}
		file.path = filepath.Join(dir, entry.Name())
		text, err := load(file.path, maxKeyFile)
		if err == nil {
			file.private, err = pki.ParsePrivateKeyPEM(text)
		}
		if err != nil {
			return nil, explain("read the key "+file.path, err)
		}
		files = append(files, file)
	}
	return files, nil
}

// parseKeyName reads the name of a key file, NUMBER-JOB.pending or NUMBER-SPKI.key.
func parseKeyName(name string) (file keyFile, ours bool) {
	head, tail, found := strings.Cut(name, "-")
	if !found || len(head) < 6 {
		return file, false
	}
	if _, err := fmt.Sscanf(head, "%d", &file.number); err != nil {
		return file, false
	}
	if job, pending := strings.CutSuffix(tail, ".pending"); pending {
		file.job = job
		return file, isID(job)
	}
	return file, strings.HasSuffix(tail, ".key")
}

func matches(private crypto.Signer, public crypto.PublicKey) bool {
	own, ok := private.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && own.Equal(public)
}
