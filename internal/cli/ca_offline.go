package cli

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"filippo.io/age"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/envelope"
)

// maxCRLDays is what the server takes.
const maxCRLDays = 3650

type caOffline struct {
	asking
	Name           string   `arg:"" optional:"" help:"Name or id of the authority; the root unless given."`
	Out            string   `required:"" placeholder:"FILE" help:"File to write, 0600; it must not be there."`
	PassphraseFile string   `name:"passphrase-file" placeholder:"FILE" xor:"to" help:"File whose first line is the passphrase; asked for on the terminal unless given."`
	Recipient      []string `name:"recipient" sep:"none" placeholder:"AGE1…" xor:"to" help:"Encrypt to this public key of age instead of a passphrase. Can be repeated."`
	Identity       string   `placeholder:"FILE" help:"With --recipient: prove with this private key that the file opens, before the key leaves the server."`
	CRLDays        int      `name:"crl-days" default:"365" placeholder:"N" help:"For how many days the CRL is valid that it signs before, to its own end at most (${default})."`
}

// Help is shown below the flags.
func (*caOffline) Help() string {
	return "Examples:\n  leafward ca offline --out root.age --passphrase-file root.pass\n  leafward ca offline 'corp root' --out root.age --recipient age1… --identity key.txt\n\n" +
		"The file is written and read back before the key leaves the server. Certificates are issued as before; what the authority itself must sign waits until `leafward ca online`. Backups from before hold the key."
}

// Run takes the authority offline.
func (c *caOffline) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	if c.Identity != "" && len(c.Recipient) == 0 {
		return failed(codeUsage, "leave it out: what a passphrase encrypts is opened with it at once", "--identity goes with --recipient")
	}
	if c.Out == "-" {
		return failed(codeUsage, "name a file, such as offline.age", "the key goes into a file, not to standard output")
	}
	if c.CRLDays < 1 || c.CRLDays > maxCRLDays {
		return failed(codeUsage, fmt.Sprintf("give 1 to %d days", maxCRLDays), "--crl-days is %d", c.CRLDays)
	}
	a, err := r.authority(ctx, c.Name)
	if err != nil {
		return err
	}
	if a.Custody == string(leafward.CustodyOffline) {
		return failed(string(leafward.Conflict), "its key is in the file that was written then; leafward ca online brings it back", "the authority %s is offline since %s", a.Name, a.OfflineSince.Format("2006-01-02"))
	}
	if _, err := os.Lstat(c.Out); err == nil {
		return failed(codeExists, "name another --out; the file may hold a key", "the file %s is there already", c.Out)
	}
	copied, err := c.fetch(ctx, r, &a)
	if err != nil {
		return err
	}
	if err := writeOnce(c.Out, copied.file); err != nil {
		return err
	}
	if err := copied.prove(c.Out); err != nil {
		return errors.Join(err, os.Remove(c.Out))
	}
	in := api.OfflineInput{ID: a.ID}
	in.Body.CopySHA256, in.Body.CRLDays = copied.sha, c.CRLDays
	done, err := api.TakeOffline.Call(ctx, r.Client, in)
	if err != nil {
		if done, err = c.gone(ctx, r, &a, copied.sha, err); err != nil {
			return err
		}
	}
	return r.answer(done, func() {
		proof := "the file was read back, and holds the key"
		if copied.public == nil {
			proof = "the file was read back; that it opens, nobody tried: age -d -i KEY " + quoted(c.Out)
		}
		r.say(good, "", "the key of %s is in %s and no more on the server; %s", a.Name, c.Out, proof)
		r.say(warn, "keep the file, twice, away from this machine; leafward ca online "+quoted(a.Name)+" FILE"+r.where.flags()+" brings the key back",
			"its CRL is valid until %s, and nothing replaces it meanwhile; backups from before hold the key, and the database's log and free space may, sealed, for a while", done.CRLNextUpdate.Format("2006-01-02"))
	})
}

// gone asks, after an answer that refused or did not come, whether the key has left with this copy all the same. The file is
// removed only when the server refused. Hazard: what was sent and not answered may still be done after we asked.
func (c *caOffline) gone(ctx context.Context, r *run, a *api.Authority, sha string, cause error) (api.Authority, error) {
	now, err := api.GetAuthority.Call(ctx, r.Client, api.AuthorityID{ID: a.ID})
	switch {
	case err != nil:
		r.say(warn, "keep it when `leafward ca list"+r.where.flags()+"` says offline; else remove it and try again", "the file %s holds the key of %s, and it is not known whether the server has it still", c.Out, a.Name)
	case now.Custody == string(leafward.CustodyOffline) && now.CopySHA256 == sha:
		return now, nil
	case now.Custody == string(leafward.CustodyLocal) && refusal(cause):
		return now, errors.Join(cause, os.Remove(c.Out))
	case now.Custody == string(leafward.CustodyLocal):
		r.say(warn, "keep it, and run leafward ca offline again with another --out: what was asked now can come to nothing then", "the file %s holds the key of %s, which may still leave the server with it", c.Out, a.Name)
	}
	return now, cause
}

// refusal tells whether an error is the server's word that it did nothing.
func refusal(err error) bool {
	e, ok := errors.AsType[*leafward.Error](err)
	return ok && slices.Contains([]leafward.Kind{leafward.Invalid, leafward.Unauthorized, leafward.Denied, leafward.NotFound, leafward.Conflict, leafward.RateLimited}, e.Kind)
}

// keyCopy is a copy of a key that was handed out, as it is to be kept.
type keyCopy struct {
	sha    string // of what was handed out
	file   []byte
	with   []age.Identity   // opens the file; nil: nobody here can
	public crypto.PublicKey // of the authority, when the file can be opened here
	of     *api.Authority
}

// fetch has the key handed out. For a passphrase it travels sealed for a key that lives as long as this command.
func (c *caOffline) fetch(ctx context.Context, r *run, a *api.Authority) (k keyCopy, err error) {
	k.of = a
	in := api.KeyCopyInput{ID: a.ID}
	in.Body.Recipients = c.Recipient
	var to []age.Recipient
	var once *age.X25519Identity
	if len(c.Recipient) == 0 {
		ask := envelope.Opener{PassphraseFile: c.PassphraseFile, Ask: r.AskPassphrase("--recipient")}
		secret, err := ask.NewPassphrase("the key of " + a.Name)
		if err != nil {
			return k, err
		}
		if to, err = envelope.ForPassphrase(secret); err != nil {
			return k, err
		}
		if k.with, err = envelope.ByPassphrase(secret); err != nil {
			return k, err
		}
		if once, err = age.GenerateX25519Identity(); err != nil {
			return k, err
		}
		in.Body.Recipients = []string{once.Recipient().String()}
	} else if c.Identity != "" {
		if k.with, err = (envelope.Opener{IdentityFile: c.Identity}).With("the key"); err != nil {
			return k, err
		}
	}
	if k.with != nil {
		cert, err := r.authorityCertificate(ctx, a)
		if err != nil {
			return k, err
		}
		k.public = cert.PublicKey
	}
	got, err := api.CopyAuthorityKey.Call(ctx, r.Client, in)
	if err != nil {
		return k, err
	}
	sum := sha256.Sum256([]byte(got.SealedKey))
	if k.sha = got.CopySHA256; hex.EncodeToString(sum[:]) != k.sha {
		return k, failed(codeFailed, "try again", "the copy of the key is not what the server sent")
	}
	k.file = []byte(got.SealedKey)
	if once == nil {
		return k, nil
	}
	text, err := envelope.Open(k.file, []age.Identity{once})
	if err != nil {
		return k, err
	}
	defer clear(text.Reveal())
	k.file, err = envelope.Seal(to, text.Reveal())
	return k, err
}

// prove reads the file back: it is whole, and holds the key where it can be opened here.
func (k *keyCopy) prove(path string) error {
	back, err := readBounded(path, envelope.MaxSealed)
	if err != nil || !bytes.Equal(back, k.file) {
		return failed(codeFailed, "write it to another disk", "the file %s is not what was written: %v", path, err)
	}
	if k.with == nil {
		return nil
	}
	text, err := envelope.Open(back, k.with)
	if err != nil {
		return inFile(path, err)
	}
	defer clear(text.Reveal())
	return proveKey(k.of, k.public, text.Reveal())
}

// inFile is an error about the content of a file, with its name.
func inFile(path string, err error) error {
	if e, ok := errors.AsType[*leafward.Error](err); ok {
		return failed(string(e.Kind), e.Fix, "the file %s: %s", path, e.Message)
	}
	return fmt.Errorf("the file %s: %w", path, err)
}

// writeOnce writes a file that must not be there, 0600, and returns when it is on disk.
func writeOnce(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return failed(codeExists, "name another --out; the file may hold a key", "the file %s is there already", path)
	}
	if err != nil {
		return cannotWrite(path, err)
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return cannotWrite(path, errors.Join(err, os.Remove(path)))
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return cannotWrite(path, errors.Join(err, os.Remove(path)))
	}
	return nil
}

type caOnline struct {
	asking
	Name           string `arg:"" help:"Name or id of the authority."`
	File           string `arg:"" help:"File that ca offline wrote."`
	PassphraseFile string `name:"passphrase-file" placeholder:"FILE" xor:"with" help:"File whose first line is the passphrase; asked for on the terminal unless given."`
	Identity       string `placeholder:"FILE" xor:"with" help:"Private key of age, as age-keygen writes it, for a file that was encrypted to a recipient."`
}

// Help is shown below the flags.
func (*caOnline) Help() string {
	return "Examples:\n  leafward ca online 'leafward root x1y2z3' root.age --passphrase-file root.pass\n  leafward ca online 'corp root' root.age --identity key.txt\n\n" +
		"A CRL is published at once, and successors that waited for the key are made. The file stays as it is."
}

// Run brings the authority back.
func (c *caOnline) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	a, err := r.authority(ctx, c.Name)
	if err != nil {
		return err
	}
	if a.Custody != string(leafward.CustodyOffline) {
		return failed(string(leafward.Conflict), "nothing has to be done; leafward ca list"+r.where.flags()+" shows where keys are", "the key of %s is %s, not offline", a.Name, a.Custody)
	}
	file, err := readBounded(c.File, envelope.MaxSealed)
	if err != nil {
		kind := leafward.Invalid
		if errors.Is(err, fs.ErrNotExist) {
			kind = leafward.NotFound
		}
		return failed(string(kind), "name the file that `leafward ca offline` wrote", "the file %s cannot be read: %v", c.File, cause(err))
	}
	with, err := envelope.Opener{PassphraseFile: c.PassphraseFile, IdentityFile: c.Identity, Ask: r.AskPassphrase("--identity FILE")}.With("the key of " + a.Name)
	if err != nil {
		return err
	}
	text, err := envelope.Open(file, with)
	if err != nil {
		return inFile(c.File, err)
	}
	defer clear(text.Reveal())
	cert, err := r.authorityCertificate(ctx, &a)
	if err != nil {
		return err
	}
	if err := proveKey(&a, cert.PublicKey, text.Reveal()); err != nil {
		return err
	}
	to, err := envelope.ForRecipients([]string{a.Recipient})
	if err != nil {
		return err
	}
	sealed, err := envelope.Seal(to, text.Reveal())
	if err != nil {
		return err
	}
	in := api.OnlineInput{ID: a.ID}
	in.Body.SealedKey = string(sealed)
	done, err := api.BringOnline.Call(ctx, r.Client, in)
	if err != nil {
		return err
	}
	return r.answer(done, func() {
		r.say(good, "leafward ca offline "+quoted(a.Name)+" --out FILE"+r.where.flags()+" takes it away again, with a new CRL",
			"the key of %s is on the server, and its CRL is new: valid until %s", a.Name, done.CRLNextUpdate.Format("2006-01-02 15:04 MST"))
	})
}
