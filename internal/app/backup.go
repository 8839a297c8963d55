package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"filippo.io/age"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/backup"
	"github.com/leafward/leafward/internal/config"
	"github.com/leafward/leafward/internal/envelope"
	"github.com/leafward/leafward/internal/store"
)

// Backing says what to back up, and where to.
type Backing struct {
	config.Serve
	envelope.Opener
	File    string
	Force   bool // replace the file when it is there
	Version string
}

// BackedUp says what came of it.
type BackedUp struct {
	File      string    `json:"file"`
	TakenAt   time.Time `json:"taken_at"`
	Size      int64     `json:"size"` // of the file, in octets
	Events    int64     `json:"events"`
	MasterKey string    `json:"master_key"`      // id of the key that the restored server needs
	KeptAt    string    `json:"master_key_kept"` // where it is
}

// database is the name of the file of SQLite in a data directory.
const database = "leafward.db"

// Backup writes an encrypted copy of the database to a file, while the server works or not. The file appears whole or not at
// all, and the plain copy that it is made of lies in the data directory meanwhile. The master key is not in it.
func Backup(ctx context.Context, b Backing) (done BackedUp, err error) {
	if b.Database != "" {
		return done, dumpInstead(ctx, b)
	}
	path := filepath.Join(b.DataDir, database)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrPermission) {
		return done, leafward.Errorf(leafward.Denied, "run it as the user of the server, or as root", "the data directory %s cannot be read: %v", b.DataDir, reason(err))
	}
	if err != nil {
		return done, leafward.Errorf(leafward.NotFound, "name the data directory of a server that was started once: --data-dir", "there is no database in %s: %v", b.DataDir, reason(err))
	}
	if err := b.replaceable(); err != nil {
		return done, err
	}
	to, err := b.To("the backup")
	if err != nil {
		return done, err
	}
	done = BackedUp{File: b.File, TakenAt: time.Now().UTC().Truncate(time.Second), KeptAt: keptAt(b.Serve)}
	err = aside(b.DataDir, info.Size(), func(dir string) error {
		copied := filepath.Join(dir, database)
		if err := store.Snapshot(ctx, path, copied); err != nil {
			return err
		}
		state, err := store.StateOf(ctx, store.Config{Path: copied})
		if err != nil {
			return err
		}
		done.Events, done.MasterKey = state.Events, state.MasterKey
		done.Size, err = seal(ctx, b, to, copied, state, done.TakenAt)
		return err
	})
	return done, err
}

// replaceable refuses a file that is there, unless it may be replaced and is a backup: nothing else is lost by a wrong name.
func (b Backing) replaceable() error {
	if _, err := os.Lstat(b.File); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	info, err := os.Stat(b.File)
	switch {
	case err != nil:
		return unwritten(b.File, err)
	case !info.Mode().IsRegular():
		return leafward.Errorf(leafward.Conflict, "name another file", "%s is there, and is no file", b.File)
	case !b.Force:
		return leafward.Errorf(leafward.Conflict, "name another file, or replace it with --force", "the file %s is there already", b.File)
	}
	file, err := os.Open(b.File)
	if err != nil {
		return unwritten(b.File, err)
	}
	defer file.Close()
	if ours, err := backup.Begins(file); err != nil || !ours {
		return leafward.Errorf(leafward.Conflict, "name another file", "the file %s is there and is no backup, and --force replaces backups only", b.File)
	}
	return nil
}

// aside gives a directory of one's own in the data directory, which nobody else uses, and removes it afterwards. It must have
// room for as much as the database takes.
func aside(data string, size int64, work func(dir string) error) error {
	dir := filepath.Join(data, ".backup")
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return unusable(data, err)
	}
	lock, err := store.Lock(dir)
	if err != nil {
		return leafward.Errorf(leafward.Conflict, "wait until it is done", "another backup of %s is being taken", data)
	}
	_ = os.Remove(filepath.Join(dir, database)) // of one that was killed
	if free, unknown := freeSpace(dir); unknown == nil && free < uint64(size)+leastSpace {
		err = leafward.Errorf(leafward.StorageFull, "free some space; the server goes on", "the disk of the data directory has %d MB left, and a copy of the database takes %d MB for a moment", free>>20, size>>20)
	} else {
		err = work(dir)
	}
	return errors.Join(err, os.RemoveAll(dir), lock.Close())
}

// seal writes the backup of a copied database and returns its size.
func seal(ctx context.Context, b Backing, to []age.Recipient, copied string, state store.State, at time.Time) (size int64, err error) {
	in, err := os.Open(copied)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return 0, err
	}
	m := backup.Manifest{Version: b.Version, TakenAt: at, Schema: state.Schema, MasterKey: state.MasterKey, Events: state.Events, Size: info.Size()}
	copy(m.Head[:], state.Chain)
	out, err := os.CreateTemp(filepath.Dir(b.File), "."+filepath.Base(b.File)+"-*") // mode 0600
	if err != nil {
		return 0, unwritten(b.File, err)
	}
	err = backup.Write(out, to, m, interruptible{ctx, in})
	if err == nil {
		size, err = out.Seek(0, io.SeekCurrent)
	}
	if err = errors.Join(err, out.Sync(), out.Close()); err == nil {
		err = os.Rename(out.Name(), b.File)
	}
	if err == nil {
		err = syncDir(filepath.Dir(b.File))
	} else {
		_ = os.Remove(out.Name())
	}
	return size, unwritten(b.File, err)
}

// interruptible is a reader that fails when the context ends.
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

func unwritten(file string, err error) error {
	kind, fix := leafward.Invalid, "choose a directory that you may write to"
	if full(err) {
		kind, fix = leafward.StorageFull, "free some space, or choose a directory that has more of it"
	} else if _, ok := errors.AsType[*fs.PathError](err); !ok {
		return err
	}
	return &leafward.Error{Kind: kind, Message: fmt.Sprintf("%s cannot be written: %v", file, reason(err)), Fix: fix, Cause: err}
}

// full tells whether an error means that there is no room left.
func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// syncDir makes the names in a directory last over a power failure, where the system can.
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

// keptAt is where the server finds its master key.
func keptAt(c config.Serve) string {
	switch {
	case c.MasterKeyFile != "":
		return c.MasterKeyFile
	case c.MasterKey != "":
		return "LEAFWARD_MASTER_KEY"
	}
	return filepath.Join(c.DataDir, "master.key")
}

// dumpInstead says how a database of PostgreSQL is backed up, and with which key it is opened.
func dumpInstead(ctx context.Context, b Backing) error {
	state, err := store.StateOf(ctx, store.Config{URL: b.Database.Reveal()})
	if err != nil {
		return err
	}
	return leafward.Errorf(leafward.Invalid,
		fmt.Sprintf("pg_dump --format=custom --no-owner --file=%s %s (the password comes from ~/.pgpass); what it holds is opened with master key %s, which is kept in %s and not in the dump",
			shellWord(b.File), shellWord(withoutPassword(b.Database.Reveal())), state.MasterKey, keptAt(b.Serve)),
		"the data is in PostgreSQL, which has a tool of its own for backups")
}

// withoutPassword is the URL of a database as it may be shown.
func withoutPassword(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "postgres://…"
	}
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	query := u.Query()
	for _, name := range []string{"password", "sslpassword"} {
		query.Del(name)
	}
	u.RawQuery = query.Encode()
	return u.String()
}
