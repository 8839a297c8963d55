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
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// path is a file in the data directory.
func (a *App) path(name string) string { return filepath.Join(a.config.DataDir, name) }

// prepareDir makes the data directory, or makes sure that one which is there is for its owner only. The mode of a
// directory with other people's files is not touched.
func prepareDir(dir string) error {
	if err := checkDir(dir); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(dir), 0o755); err == nil {
			err = os.Mkdir(dir, 0o700)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		var info fs.FileInfo
		if info, err = os.Stat(dir); err == nil && open(info) {
			err = os.Chmod(dir, 0o700)
		}
	}
	if err != nil {
		return unusable(dir, err)
	}
	return nil
}

// open tells a directory that others may look into.
func open(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 != 0 }

// checkDir says why the data directory cannot be used, and changes nothing.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return checkParent(dir)
	}
	if err != nil {
		return unusable(dir, err)
	}
	if !info.IsDir() {
		return leafward.Errorf(leafward.Invalid, "name a directory, or one that can be made", "the data directory %s is not a directory", dir)
	}
	if err := mayWrite(dir); err != nil {
		return unusable(dir, err)
	}
	if !open(info) {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return unusable(dir, err)
	}
	ours := len(entries) == 0
	for _, e := range entries {
		ours = ours || e.Name() == "leafward.lock" || e.Name() == database
	}
	if !ours {
		return leafward.Errorf(leafward.Denied, "give an empty or new --data-dir, or say that the directory is ours: chmod 700 "+dir,
			"others may read the directory %s, and it holds files that are not leafward's", dir)
	}
	return nil
}

// checkParent says why a directory that is not there cannot be made.
func checkParent(dir string) error {
	for above := filepath.Dir(dir); ; above = filepath.Dir(above) {
		_, err := os.Stat(above)
		if errors.Is(err, fs.ErrNotExist) && above != filepath.Dir(above) {
			continue
		}
		if err == nil {
			err = mayWrite(above)
		}
		if err != nil {
			return unusable(dir, err)
		}
		return nil
	}
}

func unusable(dir string, cause error) error {
	why := cause
	if e, ok := errors.AsType[*fs.PathError](cause); ok {
		why = e.Err
	}
	kind, fix := leafward.Denied, "give a --data-dir that this user may write"
	if full(cause) {
		kind, fix = leafward.StorageFull, "free some space, or give a --data-dir on another disk"
	}
	return &leafward.Error{Kind: kind, Message: fmt.Sprintf("the data directory %s cannot be used: %v", dir, why), Fix: fix, Cause: cause}
}

// Mistakes are what is wrong with settings that only a look at what they name can tell. Nothing is changed by looking,
// and what config refused already is not told again.
func Mistakes(c config.Serve) (all config.Mistakes) {
	wrong := func(where string, err error) {
		if e, ok := errors.AsType[*leafward.Error](err); ok {
			all = append(all, config.Mistake{Where: where + ":", Problem: e.Message, Fix: e.Fix})
		}
	}
	var place error
	if c.DataDir != "" {
		place = checkDir(c.DataDir)
		wrong("--data-dir", place)
	}
	if c.Database != "" {
		wrong("--database", store.CheckURL(c.Database.Reveal()))
	}
	_, err := pki.ParseNames(c.Hostnames)
	if names, ok := errors.AsType[pki.NamesError](err); ok {
		for _, n := range names {
			all = append(all, config.Mistake{Where: "--hostname", Problem: fmt.Sprintf("is %q, which %s", n.Name, n.Problem), Fix: "give a name that can stand in a certificate"})
		}
	}
	switch {
	case c.MasterKeyFile != "":
		_, err = keys.LoadMaster(c.MasterKeyFile)
		wrong("--master-key-file", err)
	case c.MasterKey != "":
		_, err = keys.ParseMaster(c.MasterKey.Reveal())
		wrong("the master key", err)
	case c.DataDir != "" && place == nil:
		if _, err = keys.LoadMaster(filepath.Join(c.DataDir, "master.key")); !errors.Is(err, fs.ErrNotExist) {
			wrong("the master key", err)
		}
	}
	return all
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
