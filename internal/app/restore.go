package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/audit"
	"github.com/leafward/leafward/internal/backup"
	"github.com/leafward/leafward/internal/config"
	"github.com/leafward/leafward/internal/envelope"
	"github.com/leafward/leafward/internal/store"
)

// Restoring says what to restore, and where to.
type Restoring struct {
	config.Serve
	envelope.Opener
	Newer
	File         string    // - is In
	In           io.Reader // standard input
	NothingNewer bool      // nothing is left that knows more than the backup
	Version      string
}

// Restored says what came of it.
type Restored struct {
	DataDir   string    `json:"data_dir"`
	TakenAt   time.Time `json:"taken_at"`
	MasterKey string    `json:"master_key"` // id of the key that the server needs
	Taken
}

// Restore puts a backup into an empty data directory, with what is newer, and makes it ready to be served. After an error the
// directory is as empty as before.
func Restore(ctx context.Context, r Restoring) (done Restored, err error) {
	ctx = leafward.WithActor(ctx, leafward.System("restore"))
	switch {
	case r.Database != "":
		return done, leafward.Errorf(leafward.Invalid,
			fmt.Sprintf("pg_restore --no-owner --exit-on-error --dbname=%s DUMP into an empty database; then `leafward reconcile` takes over what is newer, and `leafward serve` what its own ledger knows",
				shellWord(withoutPassword(r.Database.Reveal()))), "the data is in PostgreSQL, which has a tool of its own to restore it")
	case !r.nothing() && r.NothingNewer:
		return done, leafward.Errorf(leafward.Invalid, "leave out one of the two", "--nothing-newer does not go with what is newer")
	}
	if err := emptyDir(r.DataDir); err != nil {
		return done, err
	}
	if r.nothing() && !r.NothingNewer {
		return done, leafward.Errorf(leafward.Invalid,
			"give what is left of the time after the backup: --ledger DIR (of the old data directory, or of another server on the database), --audit FILE (an export), --crl FILE (the last CRL of each authority); if nothing is left, say so with --nothing-newer",
			"certificates that were revoked after the backup was taken would be good again")
	}
	if err := r.check(); err != nil {
		return done, err
	}
	file, err := r.open()
	if err != nil {
		return done, err
	}
	defer file.Close()
	with, err := r.With("the backup")
	if err != nil {
		return done, err
	}
	m, content, err := backup.Open(file, with)
	if err != nil {
		return done, err
	}
	if m.Schema > store.Newest() {
		return done, leafward.Errorf(leafward.Conflict, "restore it with leafward "+m.Version+" or a newer one",
			"the schema of the backup has version %d and this leafward knows %d only", m.Schema, store.Newest())
	}
	done = Restored{DataDir: r.DataDir, TakenAt: m.TakenAt, MasterKey: m.MasterKey}
	err = r.inEmptyDir(func(dir string) (err error) {
		path := filepath.Join(dir, database)
		if done.Taken, err = r.put(ctx, m, interruptible{ctx, content}, path); err != nil {
			return err
		}
		if err := store.Gather(ctx, path); err != nil {
			return err
		}
		_, err = store.StateOf(ctx, store.Config{Path: path}) // the file must be whole
		return err
	})
	return done, err
}

// open opens the backup.
func (r Restoring) open() (io.ReadCloser, error) {
	if r.File == "-" {
		return io.NopCloser(r.In), nil
	}
	file, err := os.Open(r.File)
	if err == nil {
		if info, unknown := file.Stat(); unknown == nil && info.IsDir() {
			err = errors.Join(syscall.EISDIR, file.Close())
		}
	}
	if err != nil {
		return nil, leafward.Errorf(leafward.NotFound, "name a file that `leafward backup` wrote, or - for standard input", "%s cannot be read: %v", r.File, reason(err))
	}
	return file, nil
}

// restoring is the directory in a data directory in which it is being restored.
const restoring = ".restoring"

// emptyDir refuses a data directory that holds anything but what a restore left that was cut off.
func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return unusable(dir, err)
	}
	for _, e := range entries {
		if e.Name() != restoring && e.Name() != "leafward.lock" {
			return leafward.Errorf(leafward.Conflict, "name an empty or new --data-dir; what is there stays as it is", "the data directory %s is not empty: it holds %s", dir, e.Name())
		}
	}
	return nil
}

// inEmptyDir lets work make the database in a directory beside its place and puts it there at one stroke.
func (r Restoring) inEmptyDir(work func(dir string) error) (err error) {
	if err := prepareDir(r.DataDir); err != nil {
		return err
	}
	lock, err := store.Lock(r.DataDir)
	if err != nil {
		return err
	}
	dir := filepath.Join(r.DataDir, restoring)
	defer func() {
		err = errors.Join(err, os.RemoveAll(dir))
		if err != nil {
			_ = os.Remove(filepath.Join(r.DataDir, "leafward.lock"))
		}
		err = errors.Join(err, lock.Close())
	}()
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return unusable(r.DataDir, err)
	}
	if err := work(dir); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, database), filepath.Join(r.DataDir, database)); err != nil {
		return err
	}
	return syncDir(r.DataDir)
}

// put writes the database, brings it up to date, and takes over what is newer.
func (r Restoring) put(ctx context.Context, m backup.Manifest, content io.Reader, path string) (taken Taken, err error) {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return taken, unwritten(path, err)
	}
	_, err = io.Copy(out, content)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return taken, unwritten(path, err)
	}
	db, err := store.Open(ctx, store.Config{Path: path})
	if err != nil {
		return taken, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Migrate(ctx, func(context.Context) error { return nil }); err != nil {
		return taken, err
	}
	if err := verifyLog(ctx, db, m); err != nil {
		return taken, err
	}
	recovery := newRecovery(db, "restore", m.TakenAt)
	err = recovery.run(ctx, r.Newer)
	return recovery.taken, err
}

// verifyLog makes sure that the restored log is the one that was backed up, from its first event to its last.
func verifyLog(ctx context.Context, db *store.DB, m backup.Manifest) error {
	var seq int64
	var head audit.Hash
	for {
		n := 0
		err := db.View(ctx, func(v *store.View) error {
			events, err := v.EventsAfter(seq, recoverRows)
			n = len(events)
			for i := range events {
				record := store.RecordOf(&events[i])
				if err := record.Follows(seq, head); err != nil {
					return leafward.Errorf(leafward.Invalid, "restore another backup, and compare it with an export or a ledger: the log was changed before this one was taken", "the audit log in the backup is not whole: event %d: %v", seq+1, err)
				}
				seq, head = record.Seq, record.Chain
			}
			return err
		})
		switch {
		case err != nil:
			return err
		case n < recoverRows && (seq != m.Events || head != m.Head):
			return leafward.Errorf(leafward.Invalid, "restore another backup", "the audit log in the backup ends at event %d, and should at %d", seq, m.Events)
		case n < recoverRows:
			return nil
		}
	}
}

// Reconciling says which database is to learn from what is newer.
type Reconciling struct {
	config.Serve
	Newer
}

// Reconcile takes over what is newer than a database that was put back from a backup, while no server runs on it.
func Reconcile(ctx context.Context, r Reconciling) (taken Taken, err error) {
	ctx = leafward.WithActor(ctx, leafward.System("reconcile"))
	if r.nothing() {
		return taken, leafward.Errorf(leafward.Invalid, "give --ledger DIR, --audit FILE or --crl FILE", "nothing was named that is newer than the database")
	}
	c := store.Config{Path: filepath.Join(r.DataDir, database), URL: r.Database.Reveal()}
	if _, err := store.StateOf(ctx, c); err != nil { // opening it would make one
		if errors.Is(err, fs.ErrNotExist) {
			err = leafward.Errorf(leafward.NotFound, "restore a backup there first, or name another --data-dir", "there is no database in %s", r.DataDir)
		}
		return taken, err
	}
	if err := r.check(); err != nil {
		return taken, err
	}
	db, err := store.Open(ctx, c)
	if err != nil {
		return taken, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	recovery := newRecovery(db, store.NewID("reconcile"), time.Time{})
	err = db.Migrate(ctx, func(ctx context.Context) error { return recovery.run(ctx, r.Newer) })
	return recovery.taken, err
}
