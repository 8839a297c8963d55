package app

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/config"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/store"
)

// path is a file in the data directory.
func (a *App) path(name string) string { return filepath.Join(a.config.DataDir, name) }

// prepareDir makes the data directory, or makes sure that one which is there is for its owner only. The mode of a
// directory with other people's files is not touched.
func prepareDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(dir), 0o755); err == nil {
			err = os.Mkdir(dir, 0o700)
		}
	}
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return unusable(dir, err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return unusable(dir, err)
	}
	if !info.IsDir() {
		return leafward.Errorf(leafward.Invalid, "name a directory, or one that can be made", "the data directory %s is not a directory", dir)
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return unusable(dir, err)
	}
	ours := len(entries) == 0
	for _, e := range entries {
		ours = ours || e.Name() == "leafward.lock"
	}
	if !ours {
		return leafward.Errorf(leafward.Denied, "give an empty or new --data-dir, or say that the directory is ours: chmod 700 "+dir,
			"others may read the directory %s, and it holds files that are not leafward's", dir)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return unusable(dir, err)
	}
	return nil
}

func unusable(dir string, cause error) error {
	return &leafward.Error{Kind: leafward.Denied, Message: "the data directory " + dir + " cannot be used", Fix: "give a --data-dir that this user may write", Cause: cause}
}

// Mistakes are what is wrong with settings that only a look at what they name can tell.
func Mistakes(c config.Serve) config.Mistakes {
	var err error
	where := "the master key"
	switch {
	case c.MasterKeyFile != "":
		where = "--master-key-file"
		_, err = keys.LoadMaster(c.MasterKeyFile)
	case c.MasterKey != "":
		_, err = keys.ParseMaster(c.MasterKey.Reveal())
	}
	if e, ok := errors.AsType[*leafward.Error](err); ok {
		return config.Mistakes{{Where: where + ":", Problem: e.Message, Fix: e.Fix}}
	}
	return nil
}

// masterSetting is where the database keeps the id of its master key.
const masterSetting = "master_key"

// openMaster finds the master key and makes sure that it is the one that this database was sealed with. Only for a
// database without one is a new key made.
func (a *App) openMaster(ctx context.Context) error {
	var wanted string
	err := a.db.View(ctx, func(v *store.View) (err error) {
		wanted, err = v.Setting(masterSetting)
		return err
	})
	if err != nil {
		return err
	}
	where, err := a.readMaster(wanted)
	if err != nil {
		return err
	}
	if wanted == "" {
		return a.db.Write(ctx, func(tx *store.Tx) error {
			tx.SetSetting(masterSetting, a.master.ID())
			return nil
		})
	}
	if wanted != a.master.ID() {
		return leafward.Errorf(leafward.Conflict, "give the master key "+wanted+": --master-key-file, LEAFWARD_MASTER_KEY, or the file master.key of the server that made the database",
			"the database was sealed with master key %s, and %s holds %s", wanted, where, a.master.ID())
	}
	return nil
}

func (a *App) readMaster(wanted string) (where string, err error) {
	if text := a.config.MasterKey.Reveal(); text != "" {
		a.master, err = keys.ParseMaster(text)
		return "LEAFWARD_MASTER_KEY", err
	}
	if where = a.config.MasterKeyFile; where != "" {
		a.master, err = keys.LoadMaster(where)
		return where, err
	}
	where = a.path("master.key")
	a.master, err = keys.LoadMaster(where)
	if !errors.Is(err, fs.ErrNotExist) {
		return where, err
	}
	if wanted != "" {
		return where, leafward.Errorf(leafward.Conflict, "give the master key "+wanted+": --master-key-file, LEAFWARD_MASTER_KEY, or the file master.key of the server that made the database",
			"the database was sealed with master key %s, and there is none in %s", wanted, where)
	}
	a.master, err = keys.MakeMaster(where)
	return where, err
}

// writeRoot puts the root's certificate where people find it.
func (a *App) writeRoot(ctx context.Context) error {
	der, err := a.authorities.Root(ctx)
	if err != nil {
		return err
	}
	a.root = der
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if known, err := os.ReadFile(a.path("root.pem")); err == nil && bytes.Equal(known, text) {
		return nil // a start needs no room on the disk
	}
	return replaceFile(a.path("root.pem"), text, 0o644)
}

// replaceFile puts content under a name at one stroke, on disk.
func replaceFile(path string, content []byte, mode fs.FileMode) (err error) {
	aside, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = aside.Write(content)
	if err = errors.Join(err, aside.Chmod(mode), aside.Sync(), aside.Close()); err == nil {
		err = os.Rename(aside.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(aside.Name()))
	}
	return nil
}
