package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/app"
	"github.com/leafward/leafward/internal/cli"
	"github.com/leafward/leafward/internal/config"
	"github.com/leafward/leafward/internal/envelope"
)

// dataFlags say which server's data is meant, as for serve.
type dataFlags struct {
	DataDir  string `name:"data-dir" placeholder:"DIR" help:"The server's data directory (./leafward-data)."`
	Database string `name:"database" placeholder:"URL" help:"PostgreSQL, when the server uses it."`
	Config   string `name:"config" placeholder:"FILE" help:"The server's YAML file of settings."`
	JSON     bool   `name:"json" help:"Answer and fail in JSON."`
}

func (f dataFlags) settings() (config.Serve, error) {
	if err := app.RunsOn(runtime.GOOS); err != nil {
		return config.Serve{}, err
	}
	loaded, err := config.Load(config.Flags{DataDir: f.DataDir, Database: f.Database, Config: f.Config}, os.Environ())
	if mistakes, ok := config.AsMistakes(err); ok {
		return loaded, explained(nil, mistakes)
	}
	return loaded, err
}

// where are the flags that name the data once more, but for the database, whose URL may hold a password.
func (f dataFlags) where() (flags string) {
	for _, given := range [][2]string{{"--data-dir", f.DataDir}, {"--config", f.Config}} {
		if given[1] != "" {
			flags += " " + given[0] + " " + cli.Quoted(given[1])
		}
	}
	if f.Database != "" {
		flags += " --database URL"
	}
	return flags
}

// answer prints what came of it, for a program or for a person.
func (f dataFlags) answer(s *cli.Session, done any, words func(io.Writer)) error {
	if !f.JSON {
		words(s.Out)
		return nil
	}
	e := json.NewEncoder(s.Out)
	e.SetIndent("", "  ")
	return e.Encode(done)
}

// backupCommand writes a backup of the database.
type backupCommand struct {
	File           string   `arg:"" help:"File to write, 0600."`
	PassphraseFile string   `name:"passphrase-file" placeholder:"FILE" xor:"key" help:"File whose first line is the passphrase; asked for on the terminal unless given."`
	Recipient      []string `name:"recipient" sep:"none" placeholder:"AGE1…" xor:"key" help:"Encrypt to this public key of age instead of a passphrase. Can be repeated."`
	Force          bool     `help:"Replace the file when it is there and is a backup."`
	dataFlags
}

// Help is shown below the flags.
func (*backupCommand) Help() string {
	return "Examples:\n  leafward backup leafward.age --passphrase-file backup.pass\n  leafward backup leafward.age --recipient age1…\n\n" +
		"The server may run. The master key is not in the backup: keep it elsewhere, for without it the backup is of no use. For PostgreSQL it says which command of PostgreSQL to run."
}

// Run is called by kong.
func (c *backupCommand) Run(ctx context.Context, s *cli.Session) error {
	settings, err := c.settings()
	if err != nil {
		return err
	}
	if c.File == "-" {
		return leafward.Errorf(leafward.Invalid, "name a file, such as leafward.age", "a backup goes into a file, not to standard output")
	}
	opener := envelope.Opener{PassphraseFile: c.PassphraseFile, Recipients: c.Recipient, Ask: s.AskPassphrase("--recipient")}
	done, err := app.Backup(ctx, app.Backing{Serve: settings, Opener: opener, File: c.File, Force: c.Force, Version: version})
	if err != nil {
		return err
	}
	return c.answer(s, done, func(w io.Writer) {
		fmt.Fprintf(w, "✔ %s: the database up to event %d, %d octets, encrypted\n", done.File, done.Events, done.Size)
		fmt.Fprintf(w, "  it needs master key %s, which is not in it: %s\n", done.MasterKey, done.KeptAt)
		fmt.Fprintf(w, "Next: keep both, apart from each other and from this machine; leafward restore %s puts it back\n", cli.Quoted(done.File))
	})
}

// newerFlags name what may know more than a backup.
type newerFlags struct {
	Ledger []string `name:"ledger" sep:"none" placeholder:"DIR" help:"Take over what a ledger knows: that of the old data directory, or of another server on the database. Can be repeated."`
	Audit  []string `name:"audit" sep:"none" placeholder:"FILE" help:"Take over what an export of the audit log knows. Can be repeated."`
	CRL    []string `name:"crl" sep:"none" placeholder:"FILE" help:"Take over a CRL as it was published, in DER or PEM. Can be repeated."`
}

func (f newerFlags) newer() app.Newer {
	return app.Newer{Ledgers: f.Ledger, Exports: f.Audit, CRLs: f.CRL}
}

// restoreCommand puts a backup into an empty data directory.
type restoreCommand struct {
	File           string `arg:"" help:"File that backup wrote; - for standard input."`
	PassphraseFile string `name:"passphrase-file" placeholder:"FILE" xor:"key" help:"File whose first line is the passphrase; asked for on the terminal unless given."`
	Identity       string `name:"identity" placeholder:"FILE" xor:"key" help:"Private key of age, as age-keygen writes it, for a backup that was encrypted to a recipient."`
	NothingNewer   bool   `name:"nothing-newer" help:"Restore although nothing is left that tells what was revoked after the backup."`
	newerFlags
	dataFlags
}

// Help is shown below the flags.
func (*restoreCommand) Help() string {
	return "Examples:\n  leafward restore leafward.age --data-dir ./restored --ledger ./leafward-data/ledger\n  leafward restore leafward.age --passphrase-file backup.pass --crl issuing.crl --crl root.crl\n\n" +
		"What was issued and revoked after the backup is taken over from the ledger, an export or published CRLs, so that no revocation is forgotten and no CRL has a lower number than one that was published."
}

// Run is called by kong.
func (c *restoreCommand) Run(ctx context.Context, s *cli.Session) error {
	settings, err := c.settings()
	if err != nil {
		return err
	}
	opener := envelope.Opener{PassphraseFile: c.PassphraseFile, IdentityFile: c.Identity, Ask: s.AskPassphrase("--identity FILE")}
	done, err := app.Restore(ctx, app.Restoring{Serve: settings, Opener: opener, Newer: c.newer(), File: c.File, In: s.In, NothingNewer: c.NothingNewer, Version: version})
	if err != nil {
		return err
	}
	return c.answer(s, done, func(w io.Writer) {
		fmt.Fprintf(w, "✔ restored into %s: the backup of %s\n", done.DataDir, done.TakenAt.Format("2006-01-02 15:04 MST"))
		tell(w, done.Taken, c.newerFlags)
		fmt.Fprintf(w, "Next: put master key %s into %s (mode 0600), or name its file with --master-key-file; then leafward serve --data-dir %s\n",
			done.MasterKey, cli.Quoted(done.DataDir+"/master.key"), cli.Quoted(done.DataDir))
	})
}

// tell says what was taken over.
func tell(w io.Writer, taken app.Taken, from newerFlags) {
	switch {
	case taken.Gap.Known > 0:
		fmt.Fprintf(w, "  the database goes to event %d; what happened up to event %d is known, and taken over: %s, %s, %s\n",
			taken.Gap.Events, taken.Gap.Known, cli.Count(taken.Serials, "serial"), cli.Count(taken.Revocations, "revocation"), cli.Count(taken.Keys, "revoked key"))
	case len(from.Ledger)+len(from.Audit) > 0:
		fmt.Fprintf(w, "  the database goes to event %d; what was given knows nothing that is newer\n", taken.Gap.Events)
	case len(taken.CRLs) > 0:
		fmt.Fprintf(w, "  the database goes to event %d; known of what happened afterwards, from CRLs: %s\n", taken.Gap.Events, cli.Count(taken.Revocations, "revocation"))
	default:
		fmt.Fprintf(w, "  the database goes to event %d; what happened afterwards is not known\n", taken.Gap.Events)
	}
	for _, name := range slices.Sorted(maps.Keys(taken.CRLs)) {
		fmt.Fprintf(w, "  the CRL of %s goes on behind number %d\n", name, taken.CRLs[name])
	}
	for _, name := range taken.Silent {
		fmt.Fprintf(w, "! no CRL of %s was given: what it revoked afterwards is good again, until `leafward reconcile` tells of it\n", name)
	}
	if taken.Offline > 0 {
		fmt.Fprintf(w, "  the keys of authorities that had gone offline: %d; the server removes them again when it starts\n", taken.Offline)
	}
	if taken.Lost > 0 {
		fmt.Fprintf(w, "  certificates of authorities that are not in the backup: %d; nobody answers for them\n", taken.Lost)
	}
}

// reconcileCommand teaches a restored database what is newer.
type reconcileCommand struct {
	newerFlags
	dataFlags
}

// Help is shown below the flags.
func (*reconcileCommand) Help() string {
	return "Examples:\n  leafward reconcile --audit audit.jsonl\n  leafward reconcile --database postgres://leafward@db/leafward --ledger ./old/ledger\n\n" +
		"For a database that was restored, whose server does not run. Certificates that were issued after the backup are known again to OCSP and CRLs."
}

// Run is called by kong.
func (c *reconcileCommand) Run(ctx context.Context, s *cli.Session) error {
	settings, err := c.settings()
	if err != nil {
		return err
	}
	taken, err := app.Reconcile(ctx, app.Reconciling{Serve: settings, Newer: c.newer()})
	if err != nil {
		return err
	}
	return c.answer(s, taken, func(w io.Writer) {
		fmt.Fprintln(w, "✔ reconciled")
		tell(w, taken, c.newerFlags)
		fmt.Fprintln(w, "Next: leafward serve"+c.where())
	})
}
