package app_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/app"
	"github.com/leafward/leafward/internal/config"
	"github.com/leafward/leafward/internal/envelope"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// passphrase is a file with a passphrase.
func passphrase(t *testing.T, word string) envelope.Opener {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pass")
	if err := os.WriteFile(file, []byte(word+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return envelope.Opener{PassphraseFile: file}
}

// refusal fails the test unless the error is of the kind and says how to mend it, in words among which are those.
func refusal(t *testing.T, err error, kind leafward.Kind, words ...string) {
	t.Helper()
	e, ok := errors.AsType[*leafward.Error](err)
	if !ok || e.Kind != kind || e.Fix == "" {
		t.Errorf("the error is %v (%+v), not one of kind %s with a fix", err, e, kind)
		return
	}
	for _, word := range words {
		if !strings.Contains(e.Message+" "+e.Fix, word) {
			t.Errorf("%q and %q do not say %q", e.Message, e.Fix, word)
		}
	}
}

func TestABackupIsRestoredIntoAnEmptyDirectoryOnly(t *testing.T) {
	settings, opener := fresh(t), passphrase(t, "correct horse battery")
	s := start(t, settings)
	file := filepath.Join(t.TempDir(), "backup.age")
	b := app.Backing{Serve: settings, Opener: opener, File: file, Version: "test"}
	done, err := app.Backup(t.Context(), b) // while the server runs
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 || info.Size() != done.Size {
		t.Errorf("the backup is %v (%v), and %d octets were told", info, err, done.Size)
	}
	if done.MasterKey == "" || done.KeptAt != filepath.Join(s.dir, "master.key") || done.Events == 0 {
		t.Errorf("it says %+v", done)
	}
	if left, err := filepath.Glob(filepath.Join(s.dir, ".b*")); err != nil || len(left) > 0 {
		t.Errorf("it left %q (%v)", left, err)
	}
	_, err = app.Backup(t.Context(), b)
	refusal(t, err, leafward.Conflict, "--force")
	b.Force = true
	if done, err = app.Backup(t.Context(), b); err != nil {
		t.Error(err)
	}

	r := app.Restoring{Serve: settings, Opener: opener, File: file, NothingNewer: true}
	_, err = app.Restore(t.Context(), r)
	refusal(t, err, leafward.Conflict, "not empty", "--data-dir")
	r.NothingNewer = false
	_, err = app.Restore(t.Context(), r) // before it asks for what is newer, which the directory seems to hold
	refusal(t, err, leafward.Conflict, "not empty", "--data-dir")
	r.DataDir = filepath.Join(t.TempDir(), "a", "b")
	r.NothingNewer = false
	_, err = app.Restore(t.Context(), r)
	refusal(t, err, leafward.Invalid, "--ledger", "--crl", "--nothing-newer")
	r.NothingNewer, r.Ledgers = true, []string{settings.DataDir}
	_, err = app.Restore(t.Context(), r)
	refusal(t, err, leafward.Invalid, "leave out one", "--nothing-newer")
	r.Ledgers = nil
	restored, err := app.Restore(t.Context(), r)
	if err != nil || restored.MasterKey != done.MasterKey || !restored.TakenAt.Equal(done.TakenAt) {
		t.Fatalf("%+v, %v", restored, err)
	}
	for name, mode := range map[string]fs.FileMode{"": 0o700, "leafward.db": 0o600} {
		if info, err := os.Stat(filepath.Join(r.DataDir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%q is %v (%v), not %o", name, info, err, mode)
		}
	}
	if _, err := os.Stat(filepath.Join(r.DataDir, "master.key")); err == nil {
		t.Error("the master key came with the backup")
	}
	served := settings
	served.DataDir = r.DataDir
	_, err = app.New(t.Context(), app.Config{Serve: served, Out: s.out, Log: s.log})
	refusal(t, err, leafward.Conflict, done.MasterKey)
	served.MasterKeyFile = done.KeptAt
	again := start(t, served)
	if again.dir != r.DataDir {
		t.Error(again.dir)
	}
}

func TestABackupTakesThePlaceOfNothingButABackup(t *testing.T) {
	settings, opener := fresh(t), passphrase(t, "correct horse battery")
	s := start(t, settings)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{filepath.Join(s.dir, "leafward.db"), filepath.Join(s.dir, "master.key"), filepath.Join(s.dir, "leafward.lock"), opener.PassphraseFile, empty, s.dir} {
		before, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = app.Backup(t.Context(), app.Backing{Serve: settings, Opener: opener, File: file, Force: true, Version: "test"})
		refusal(t, err, leafward.Conflict, file, "name another file")
		if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s was replaced: %v", file, err)
		}
	}
}

func TestABackupThatCannotBeRestoredLeavesNothing(t *testing.T) {
	settings, opener := fresh(t), passphrase(t, "correct horse battery")
	if err := start(t, settings).stop(); err != nil {
		t.Fatal(err)
	}
	newer := fresh(t)
	if err := start(t, newer).stop(); err != nil {
		t.Fatal(err)
	}
	age(t, filepath.Join(newer.DataDir, "leafward.db"), store.Newest()+1)
	backUp := func(settings config.Serve) string {
		file := filepath.Join(t.TempDir(), "backup.age")
		if _, err := app.Backup(t.Context(), app.Backing{Serve: settings, Opener: opener, File: file, Version: "v9.9"}); err != nil {
			t.Fatal(err)
		}
		return file
	}
	whole := backUp(settings)
	text, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	spoilt := func(content []byte) string {
		file := filepath.Join(t.TempDir(), "backup.age")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	changed := bytes.Clone(text)
	changed[len(changed)/2] ^= 1
	for name, c := range map[string]struct {
		file   string
		opener envelope.Opener
		kind   leafward.Kind
		word   string
	}{
		"a wrong passphrase": {whole, passphrase(t, "correct horse batterz"), leafward.Denied, "passphrase"},
		"cut off":            {spoilt(text[:len(text)-100]), opener, leafward.Invalid, "cut off"},
		"changed":            {spoilt(changed), opener, leafward.Invalid, "changed"},
		"no backup":          {spoilt([]byte("hello")), opener, leafward.Invalid, "no backup"},
		"a key that is away": {spoilt([]byte("-----BEGIN AGE ENCRYPTED FILE-----\n")), opener, leafward.Invalid, "ca offline"},
		"a newer schema":     {backUp(newer), opener, leafward.Conflict, "v9.9"},
		"no file":            {whole + "x", opener, leafward.NotFound, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := app.Restore(t.Context(), app.Restoring{Serve: config.Serve{DataDir: dir}, Opener: c.opener, File: c.file, NothingNewer: true})
			refusal(t, err, c.kind, c.word)
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("it left %v (%v)", left, err)
			}
		})
	}
}

func TestABackupIsRestoredFromStandardInput(t *testing.T) {
	settings, opener := fresh(t), passphrase(t, "correct horse battery")
	if err := start(t, settings).stop(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "backup.age")
	done, err := app.Backup(t.Context(), app.Backing{Serve: settings, Opener: opener, File: file, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := app.Restoring{Serve: config.Serve{DataDir: t.TempDir()}, Opener: opener, File: "-", NothingNewer: true, In: bytes.NewReader(text[:len(text)-1])}
	_, err = app.Restore(t.Context(), r)
	refusal(t, err, leafward.Invalid, "cut off")
	r.In = bytes.NewReader(text)
	restored, err := app.Restore(t.Context(), r)
	if err != nil || restored.MasterKey != done.MasterKey || restored.Gap.Events != done.Events {
		t.Errorf("%+v, %v", restored, err)
	}
}

func TestWhatTellsNothingNewerIsRefusedForWhatItIs(t *testing.T) {
	settings, opener := fresh(t), passphrase(t, "correct horse battery")
	if err := start(t, settings).stop(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "backup.age")
	if _, err := app.Backup(t.Context(), app.Backing{Serve: settings, Opener: opener, File: file, Version: "test"}); err != nil {
		t.Fatal(err)
	}
	here := t.TempDir()
	for name, c := range map[string]struct {
		newer app.Newer
		words []string
	}{
		"an endless ledger":            {app.Newer{Ledgers: []string{"/dev/zero"}}, []string{"/dev/zero is no ledger: not a directory", "name a directory", "./leafward-data/ledger"}},
		"a file as a ledger":           {app.Newer{Ledgers: []string{file}}, []string{"is no ledger: not a directory", "name a directory"}},
		"no such ledger":               {app.Newer{Ledgers: []string{here + "/none"}}, []string{"/none is no ledger: no such file", "name a directory"}},
		"a data directory as a ledger": {app.Newer{Ledgers: []string{settings.DataDir}}, []string{"it is a data directory", "--ledger " + settings.DataDir + "/ledger"}},
		"an empty ledger":              {app.Newer{Ledgers: []string{here}}, []string{"there is no file of a ledger in " + here}},
		"an endless export":            {app.Newer{Exports: []string{"/dev/zero"}}, []string{"/dev/zero is no export of an audit log", "name a file that `leafward audit export"}},
		"a directory as an export":     {app.Newer{Exports: []string{here}}, []string{here + " cannot be read: is a directory", "name a file that `leafward audit export"}},
		"a directory as a CRL":         {app.Newer{CRLs: []string{here}}, []string{here + " cannot be read: is a directory", "name a file with a CRL"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := app.Restore(t.Context(), app.Restoring{Serve: config.Serve{DataDir: dir}, Opener: opener, File: file, Newer: c.newer})
			refusal(t, err, leafward.Invalid, c.words...)
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("it left %v (%v)", left, err)
			}
			_, err = app.Reconcile(t.Context(), app.Reconciling{Serve: settings, Newer: c.newer})
			refusal(t, err, leafward.Invalid, c.words...)
		})
	}
}

// age sets the version of a database's schema.
func age(t *testing.T, path string, version int64) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Write(storetest.Admin(t.Context()), func(tx *store.Tx) error {
		tx.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1, 1)", version)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestABackupIsRefusedForItsReasons(t *testing.T) {
	settings, opener := fresh(t), passphrase(t, "correct horse battery")
	file := filepath.Join(t.TempDir(), "backup.age")
	_, err := app.Backup(t.Context(), app.Backing{Serve: settings, Opener: opener, File: file})
	refusal(t, err, leafward.NotFound, "--data-dir")
	if err := start(t, settings).stop(); err != nil {
		t.Fatal(err)
	}
	_, err = app.Backup(t.Context(), app.Backing{Serve: settings, Opener: passphrase(t, "short"), File: file})
	refusal(t, err, leafward.Invalid, "characters")
	open := passphrase(t, "correct horse battery")
	if err := os.Chmod(open.PassphraseFile, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = app.Backup(t.Context(), app.Backing{Serve: settings, Opener: open, File: file})
	refusal(t, err, leafward.Denied, "chmod 600")
	_, err = app.Backup(t.Context(), app.Backing{Serve: settings, Opener: opener, File: filepath.Join(file, "x", "y.age")})
	refusal(t, err, leafward.Invalid, "cannot be written")
	if _, err := os.Stat(file); err == nil {
		t.Error("a backup that was refused left a file")
	}
}

func TestReconcilingNeedsADatabaseAndSomethingNewer(t *testing.T) {
	settings := fresh(t)
	_, err := app.Reconcile(t.Context(), app.Reconciling{Serve: settings})
	refusal(t, err, leafward.Invalid, "--audit")
	_, err = app.Reconcile(t.Context(), app.Reconciling{Serve: settings, Newer: app.Newer{Ledgers: []string{t.TempDir()}}})
	refusal(t, err, leafward.NotFound, "restore")
	if err := start(t, settings).stop(); err != nil {
		t.Fatal(err)
	}
	other := fresh(t)
	if err := start(t, other).stop(); err != nil {
		t.Fatal(err)
	}
	for name, ledger := range map[string]string{"another server": filepath.Join(other.DataDir, "ledger"), "no file": t.TempDir()} {
		_, err = app.Reconcile(t.Context(), app.Reconciling{Serve: settings, Newer: app.Newer{Ledgers: []string{ledger}}})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	crl := filepath.Join(t.TempDir(), "crl")
	if err := os.WriteFile(crl, []byte("no CRL"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = app.Reconcile(t.Context(), app.Reconciling{Serve: settings, Newer: app.Newer{CRLs: []string{crl}}})
	refusal(t, err, leafward.Invalid, crl)
}

func TestARestoreFromCRLsNamesTheAuthoritiesThatGaveNone(t *testing.T) {
	settings, opener := fresh(t), passphrase(t, "correct horse battery")
	if err := start(t, settings).stop(); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), store.Config{Path: filepath.Join(settings.DataDir, "leafward.db")})
	if err != nil {
		t.Fatal(err)
	}
	dir, names := t.TempDir(), []string{}
	err = db.View(storetest.Admin(t.Context()), func(v *store.View) error {
		all, err := v.Authorities()
		for _, a := range all {
			names = append(names, a.Name)
			list, _, err := v.CRL(a.ID, 0)
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, a.Name), list.DER, 0o600)
			}
			if err != nil {
				return err
			}
		}
		return err
	})
	if err = errors.Join(err, db.Close()); err != nil || len(names) != 2 {
		t.Fatalf("%q %v", names, err)
	}
	file := filepath.Join(dir, "backup.age")
	if _, err := app.Backup(t.Context(), app.Backing{Serve: settings, Opener: opener, File: file, Version: "test"}); err != nil {
		t.Fatal(err)
	}
	restored := func(newer app.Newer) []string {
		t.Helper()
		into := config.Serve{DataDir: filepath.Join(t.TempDir(), "data")}
		done, err := app.Restore(t.Context(), app.Restoring{Serve: into, Opener: opener, Newer: newer, File: file})
		if err != nil {
			t.Fatal(err)
		}
		return done.Silent
	}
	one, two := filepath.Join(dir, names[0]), filepath.Join(dir, names[1])
	for name, c := range map[string]struct {
		newer app.Newer
		want  []string
	}{
		"one list":            {app.Newer{CRLs: []string{one}}, names[1:]},
		"both":                {app.Newer{CRLs: []string{one, two}}, nil},
		"a list and a ledger": {app.Newer{CRLs: []string{one}, Ledgers: []string{filepath.Join(settings.DataDir, "ledger")}}, nil},
	} {
		if got := restored(c.newer); !slices.Equal(got, c.want) {
			t.Errorf("%s: nothing is known of %q, and %q are named", name, c.want, got)
		}
	}
	_, err = app.Restore(t.Context(), app.Restoring{Serve: config.Serve{DataDir: filepath.Join(dir, "x")}, Opener: opener, File: dir, NothingNewer: true})
	refusal(t, err, leafward.NotFound, "cannot be read: is a directory")
	_, err = app.Restore(t.Context(), app.Restoring{Serve: config.Serve{DataDir: filepath.Join(dir, "x")}, Opener: opener, File: file, Newer: app.Newer{CRLs: []string{"/dev/zero"}}})
	refusal(t, err, leafward.Invalid, "/dev/zero", "has more than")
}

func TestADirectoryWithADatabaseIsOursWhoeverMayReadIt(t *testing.T) {
	settings := fresh(t)
	if err := start(t, settings).stop(); err != nil {
		t.Fatal(err)
	}
	err := errors.Join(os.Remove(filepath.Join(settings.DataDir, "leafward.lock")), os.Chmod(settings.DataDir, 0o755))
	if err != nil {
		t.Fatal(err)
	}
	start(t, settings)
	if info, err := os.Stat(settings.DataDir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its mode is %v: %v", info.Mode(), err)
	}
}
