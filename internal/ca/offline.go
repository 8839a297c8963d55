package ca

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/envelope"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// MaxCRLDays bounds the life of the CRL that an authority leaves behind when its key goes offline.
const MaxCRLDays = 10 * 365

// CopyKey hands out the private key of an authority with its certificate, in PEM, sealed by age for the recipients, and notes
// the SHA-256 of what it handed out: with that the key can be taken offline. A later copy takes the place of an earlier one.
func (c *CA) CopyKey(ctx context.Context, id string, recipients []string) (sealed []byte, sha string, err error) {
	a, err := c.open(ctx, id)
	if err != nil {
		return nil, "", err
	}
	if err := c.mayLeave(ctx, a.ID); err != nil {
		return nil, "", err
	}
	var p leafward.Problems
	p.Check(len(recipients) > 0, "recipients", "is empty", "give at least one public key of age: age1…")
	to, err := envelope.ForRecipients(recipients)
	if err != nil {
		p.Add("recipients", err.Error(), "give the lines that `age-keygen` shows as public keys: age1…")
	}
	if err := p.Err(); err != nil {
		return nil, "", err
	}
	signer, err := c.signer(a)
	if err != nil {
		return nil, "", err
	}
	content, err := keyFile(a, signer)
	if err != nil {
		return nil, "", err
	}
	defer clear(content)
	if sealed, err = envelope.Seal(to, content); err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(sealed)
	sha = hex.EncodeToString(sum[:])
	return sealed, sha, c.db.Write(ctx, func(tx *store.Tx) error {
		row, err := tx.Authority(a.ID)
		if err != nil {
			return err
		}
		if err := row.Away(); err != nil {
			return err
		}
		row.Copy = sha
		tx.PutAuthority(&row)
		tx.Record(leafward.AuthorityKeyCopied, row.ID, "", leafward.Details{"name": row.Name, "recipients": recipients})
		return tx.Err()
	})
}

// keyFile is what stands in the file of an offline key: it can be read by others than leafward.
func keyFile(a *authority, signer crypto.Signer) ([]byte, error) {
	key, err := pki.EncodePrivateKey(signer)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return slices.Concat([]byte("The private key of the authority "+a.Name+" ("+a.ID+") and its certificate\n"), key, pki.EncodeChain(a.cert.Raw)), nil
}

// mayLeave refuses to let a key go that is needed here.
func (c *CA) mayLeave(ctx context.Context, id string) error {
	return c.db.View(ctx, func(v *store.View) error {
		row, err := v.Authority(id)
		if err != nil {
			return err
		}
		return leavable(v, &row)
	})
}

// leavable tells why the key of an authority of ours cannot go offline now: it signs certificates, or must be able to tell
// of the revocation of some at any time. What it signed for authorities may wait for it.
func leavable(v *store.View, row *leafward.Authority) error {
	if err := row.Away(); err != nil {
		return err
	}
	if row.State != leafward.AuthorityActive && row.State != leafward.AuthorityRetiring {
		return leafward.Errorf(leafward.Conflict, "`leafward ca list` shows the authorities that sign", "the authority %s is %s and signs nothing", row.Name, row.State)
	}
	if !row.NotAfter.After(v.Now) {
		return leafward.Errorf(leafward.Conflict, "`leafward ca list` shows when authorities end", "the authority %s has ended", row.Name)
	}
	issuers, err := v.SigningFor(row.ID)
	if err != nil {
		return err
	}
	if len(issuers) > 0 {
		return leafward.Errorf(leafward.Conflict, "switch the issuer off first (enabled: false), or take the root above it offline",
			"the authority %s signs the certificates of the issuer %s, which would get none any more", row.Name, strings.Join(issuers, ", "))
	}
	live, err := v.LiveLeaves(row.ID)
	if err != nil || live == 0 {
		return err
	}
	return &leafward.Error{
		Kind: leafward.Conflict, Message: fmt.Sprintf("the authority %s must be able to revoke %d valid certificates that are not of authorities", row.Name, live),
		Fix: "let them end or replace them first; with a root that signs authorities only, and these below it, the root can go at any time", Counts: map[string]int{"serials": live},
	}
}

// TakeOffline removes the private key of an authority, of which the copy with the SHA-256 was handed out last. Before, the
// authority signs a CRL for so many days, to its own end at most, which stays until the key is back. Doing it again with the
// same copy changes nothing.
func (c *CA) TakeOffline(ctx context.Context, id, sha string, days int) error {
	var p leafward.Problems
	p.Check(days >= 1 && days <= MaxCRLDays, "crl_days", fmt.Sprintf("is %d", days), fmt.Sprintf("give 1 to %d days", MaxCRLDays))
	p.Check(len(sha) == 2*sha256.Size, "copy_sha256", "is no SHA-256 in hex", "give the copy_sha256 that came with the copy of the key")
	if err := p.Err(); err != nil {
		return err
	}
	a, err := c.open(ctx, id)
	if err != nil {
		return err
	}
	if a.Away() != nil && a.Copy == sha {
		return nil
	}
	if a.Copy != sha {
		return leafward.Errorf(leafward.Conflict, "take a copy again: leafward ca offline '"+a.Name+"' --out FILE", "the copy of the key of %s that was handed out last is another, or there is none", a.Name)
	}
	return c.leave(ctx, a.ID, func(v *store.View, row *leafward.Authority) error {
		if row.Copy != sha {
			return leafward.Errorf(leafward.Conflict, "take a copy again", "another copy of the key of %s was handed out meanwhile", row.Name)
		}
		if err := leavable(v, row); err != nil {
			return err
		}
		row.CRLHours = max(1, int(min(time.Duration(days)*day, row.NotAfter.Sub(v.Now))/time.Hour))
		return nil
	}, func(tx *store.Tx, row *leafward.Authority, list *leafward.CRL) {
		tx.Record(leafward.AuthorityTakenOffline, row.ID, "", leafward.Details{
			"name": row.Name, "copy_sha256": sha, "crl_hours": row.CRLHours, "crl_next_update": list.NextUpdate.Format(time.RFC3339),
		})
	})
}

// leave publishes a last CRL and removes the key of an authority, in one transaction. may refuses it and sets how long the
// list is valid; note records it.
func (c *CA) leave(ctx context.Context, id string, may func(*store.View, *leafward.Authority) error, note func(*store.Tx, *leafward.Authority, *leafward.CRL)) error {
	const tries = 5 // a revocation or another replica's list may come between
	intake, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		done, err := c.tryToLeave(ctx, id, intake, may, note)
		if err == nil && !done && try < tries {
			continue
		}
		if err == nil && !done {
			err = leafward.Errorf(leafward.Later, "try again in a moment", "revocations come faster than the last CRL can be signed")
		}
		if err == nil {
			c.forget(ctx)
			err = c.points.Hit("ca.after-leave")
		}
		return err
	}
}

func (c *CA) tryToLeave(ctx context.Context, id string, intake *age.X25519Identity, may func(*store.View, *leafward.Authority) error, note func(*store.Tx, *leafward.Authority, *leafward.CRL)) (done bool, err error) {
	var u unpublished
	err = c.db.View(ctx, func(v *store.View) error {
		if u, err = c.unpublished(v, id); err != nil {
			return err
		}
		if err := u.all(v); err != nil {
			return err
		}
		return may(v, &u.authority.Authority)
	})
	if err != nil {
		return false, err
	}
	signer, err := c.unlock(u.authority)
	if err != nil {
		return false, err
	}
	list, err := buildCRL(u, signer)
	if err != nil {
		return false, err
	}
	err = c.db.Write(ctx, func(tx *store.Tx) error {
		done = false
		row, err := tx.Authority(id)
		if err != nil {
			return err
		}
		if err := may(&tx.View, &row); err != nil {
			return err
		}
		signing, err := tx.Reserved(id)
		if err != nil {
			return err
		}
		if signing {
			return leafward.Errorf(leafward.Later, "try again in a few minutes: it is closed by then", "the authority %s is signing a certificate", row.Name)
		}
		seqs, err := tx.Unpublished(id)
		if err != nil || !slices.Equal(seqs, u.seqs) || !tx.PutCRL(&list, u.last.Number) {
			return err
		}
		done = true
		tx.Published(seqs)
		tx.RecordOn(leafward.CRLPublished, "crl", id, "", leafward.Details{"number": list.Number, "entries": list.Entries, "next_update": list.NextUpdate.Format(time.RFC3339)})
		key, err := tx.KeyPair(row.Key)
		if err != nil {
			return err
		}
		tx.EraseKeyPair(&key)
		row.Custody, row.OfflineAt, row.CRLHours = leafward.CustodyOffline, tx.Now, u.authority.CRLHours
		row.Recipient, row.Intake = intake.Recipient().String(), c.master.Seal(intakeContext(id), []byte(intake.String()))
		tx.PutAuthority(&row)
		note(tx, &row, &list)
		return tx.Err()
	})
	return done, err
}

// intakeContext is the place of the key that opens what a returning key is sealed in.
func intakeContext(authority string) keys.Context {
	return keys.Context{Table: "authorities", Column: "intake", Row: authority}
}

// forget lets go of the keys of offline authorities that this process has open, and empties the database's log of what they
// were sealed in.
func (c *CA) forget(ctx context.Context) {
	err := c.db.View(ctx, c.forgetKeys)
	if err = errors.Join(err, c.db.Truncate(ctx)); err != nil {
		c.log.WarnContext(ctx, "the sealed key of an authority that went offline stays in the log of the database until that is used again", "error", err)
	}
}

// forgetKeys lets go of the keys of offline authorities. Every replica does it as often as it looks for revocations.
func (c *CA) forgetKeys(v *store.View) error {
	rows, err := v.Authorities()
	for _, row := range rows {
		if row.Away() != nil {
			c.ring.Forget(keyContext(row.Key))
		}
	}
	return err
}

// BringOnline puts the private key of an authority back. It comes as the file that it left in, sealed for the authority's
// Recipient. A CRL is published at once, and what waited for the key goes on. Doing it again changes nothing more.
func (c *CA) BringOnline(ctx context.Context, id, sealed string) error {
	var p leafward.Problems
	p.Check(envelope.IsSealed([]byte(sealed)), "sealed_key", "is nothing that age encrypted as text", "seal the opened file for the recipient of the authority: age --armor -r RECIPIENT")
	if err := p.Err(); err != nil {
		return err
	}
	a, err := c.open(ctx, id)
	if err != nil {
		return err
	}
	if len(a.Intake) == 0 {
		return leafward.Errorf(leafward.Conflict, "`leafward ca list` shows which are offline", "the authority %s was never offline", a.Name)
	}
	signer, err := c.returned(a, sealed)
	if err != nil {
		return err
	}
	again, err := c.master.SealKey(keyContext(a.key.ID), signer)
	if err != nil {
		return err
	}
	err = c.db.Write(ctx, func(tx *store.Tx) error {
		row, err := tx.Authority(a.ID)
		if err != nil || row.Away() == nil {
			return err
		}
		key, err := tx.KeyPair(row.Key)
		if err != nil {
			return err
		}
		key.Sealed = again
		tx.PutKeyPair(&key)
		row.Custody, row.OfflineAt, row.CRLHours, row.Copy = leafward.CustodyLocal, time.Time{}, crlHours, ""
		tx.PutAuthority(&row)
		tx.Record(leafward.AuthorityBroughtOnline, row.ID, "", leafward.Details{"name": row.Name})
		return tx.Err()
	})
	if err != nil {
		return err
	}
	if err := c.publish(ctx, a.ID); err != nil {
		return fmt.Errorf("publishing the CRL of %s: %w", a.Name, err)
	}
	later := system(ctx)
	if err := errors.Join(c.Succeed(later), c.remakeAll(later)); err != nil {
		c.log.ErrorContext(ctx, "what waited for the key of an authority does not go on", "authority", a.ID, "error", err)
	}
	return nil
}

// returned opens what came back and makes sure that it is the key of the authority.
func (c *CA) returned(a *authority, sealed string) (crypto.Signer, error) {
	text, err := c.master.Open(intakeContext(a.ID), a.Intake)
	if err != nil {
		return nil, err
	}
	identity, err := age.ParseX25519Identity(string(text))
	if err != nil {
		return nil, errors.New("the stored intake is no identity of age")
	}
	var p leafward.Problems
	const field = "sealed_key"
	content, err := envelope.Open([]byte(sealed), []age.Identity{identity})
	if err != nil {
		p.Add(field, err.Error(), "seal the opened file for the recipient of the authority, "+a.Recipient)
		return nil, p.Err()
	}
	defer clear(content.Reveal())
	signer, err := pki.ParseKeyFile(content.Reveal())
	switch {
	case err != nil:
		p.Add(field, "holds no private key in PEM", "give the file that `leafward ca offline` wrote")
	case !isKeyOf(signer, a.cert):
		p.Add(field, "holds the key of another authority", "give the file of the authority "+a.Name)
	}
	return signer, p.Err()
}
