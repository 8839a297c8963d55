package lifecycle

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// taking is a transaction that takes certificates in.
type taking struct {
	*Service
	tx      *store.Tx
	known   map[string]store.Held   // by fingerprint
	keys    map[string]leafward.Key // by SPKI
	names   map[[2]string]string    // ids of certificates by team and name
	serials map[[2]string]string    // ids of certificates by authority of ours and serial
	chains  map[string]string       // ids by what they hold
	added   struct {
		certificates []leafward.Certificate
		versions     []leafward.Version
		keys         []leafward.Key
	}
}

// takeIn stores a few rows, each unless something in the database is in its way.
func (s *Service) takeIn(tx *store.Tx, some []*candidate) error {
	t := &taking{Service: s, tx: tx, chains: make(map[string]string)}
	if err := t.look(some); err != nil {
		return err
	}
	for _, c := range some {
		c.Problems, c.Outcome, c.Archived = nil, ImportRefused, false // it may run again
		if err := t.take(c); err != nil {
			return err
		}
	}
	t.flush()
	return tx.Err()
}

// look reads what the rows may meet.
func (t *taking) look(some []*candidate) (err error) {
	var sums, spkis []string
	byTeam, bySigner := make(map[string][]string), make(map[string][]string)
	for _, c := range some {
		sums, spkis = append(sums, c.SHA256), append(spkis, c.spki)
		byTeam[c.record.Team] = append(byTeam[c.record.Team], c.record.Name, c.otherName())
		if c.signer.issuer != "" {
			bySigner[c.signer.authority] = append(bySigner[c.signer.authority], c.serial())
		}
	}
	if t.known, err = t.tx.HeldByFingerprint(sums); err != nil {
		return err
	}
	if t.keys, err = t.tx.KeyPairsOf(spkis); err != nil {
		return err
	}
	if t.names, err = paired(byTeam, t.tx.CertificatesNamed); err != nil {
		return err
	}
	t.serials, err = paired(bySigner, t.tx.CertificatesOfSerials)
	return err
}

// paired asks for the values of each group, and puts the group in front of what comes.
func paired(groups map[string][]string, ask func(string, []string) (map[string]string, error)) (map[[2]string]string, error) {
	all := make(map[[2]string]string)
	for group, values := range groups {
		found, err := ask(group, values)
		if err != nil {
			return nil, err
		}
		for key, value := range found {
			all[[2]string{group, key}] = value
		}
	}
	return all, nil
}

func (c *candidate) serial() string { return pki.SerialHex(c.leaf.SerialNumber) }

// otherName is the name of a record whose own is taken: with the beginning of the fingerprint.
func (c *candidate) otherName() string {
	name := []rune(c.record.Name)
	return fmt.Sprintf("%s (%s)", string(name[:min(len(name), leafward.MaxName-11)]), c.SHA256[:8])
}

// take takes one row in, or says why not.
func (t *taking) take(c *candidate) error {
	if v, known := t.known[c.SHA256]; known {
		switch {
		case t.tx.Actor.Sees(v.Team):
			c.Outcome, c.Certificate, c.Version, c.Name, c.Archived = ImportKnown, v.Certificate, v.Version, v.Name, v.Archived
			if v.Bare && len(c.chain()) > 0 && !v.Archived && t.tx.Actor.MayWrite(v.Team) {
				return t.complete(c, v)
			}
		case v.Archived:
			c.refuse("certificate", "have it renewed where it comes from, and import the new one", "was archived by a team that you do not see")
		default:
			c.refuse("certificate", "ask an administrator to give it to your team", "is managed already, for a team that you do not see")
		}
		return nil
	}
	if k := t.keys[c.spki]; !k.CompromisedAt.IsZero() {
		c.refuse("certificate", "have it replaced with a new key, and revoked", "is for a key that was reported as compromised on %s", k.CompromisedAt.Format(time.DateOnly))
		return nil
	}
	strange, err := t.strange(c)
	if err != nil || len(c.Problems) > 0 {
		return err
	}
	name := c.record.Name
	if id := t.names[[2]string{c.record.Team, c.record.Name}]; id != "" {
		if done, err := t.renewed(c, id, strange); done || err != nil {
			return err
		}
		if t.names[[2]string{c.record.Team, c.otherName()}] != "" || c.named {
			c.refuse("name", "give it another name", "%.255q is the name of another certificate", c.record.Name)
			return nil
		}
		name = c.otherName()
	}
	t.add(c, name, strange)
	return t.tx.Err()
}

// complete gives a certificate that was imported alone what stands above it.
func (t *taking) complete(c *candidate, have store.Held) error {
	t.flush()
	v, err := t.tx.Version(have.Version)
	if err != nil {
		return err
	}
	v.Chain = t.tx.AddChain(c.chain())
	t.tx.PutVersion(&v)
	t.tx.Record(leafward.CertificateUpdated, v.Certificate, v.Team, leafward.Details{"version": v.ID, "chain": len(c.chain())})
	have.Bare = false
	t.known[c.SHA256] = have
	c.Outcome = ImportDone
	return t.tx.Err()
}

// strange tells whether an authority of ours signed the certificate and does not know it any more, as after a restore. It
// refuses what the authority says must not be used, and a second certificate of one serial number.
func (t *taking) strange(c *candidate) (bool, error) {
	if c.signer.issuer == "" {
		return false, nil
	}
	s, found, err := t.tx.Serial(c.signer.authority, c.serial())
	other := t.serials[[2]string{c.signer.authority, c.serial()}]
	switch {
	case err != nil:
		return false, err
	case s.ServersOwn():
		c.refuse("certificate", "leave it out", "is a server's own, which the server itself replaces in time")
	case t.tx.Actor.Teams != nil: // whose it was is not known any more
		c.refuse("certificate", "ask an administrator of all teams to take it in", "was signed by an authority of this server, which keeps no record of whose it is")
	case other != "":
		c.refuse("certificate", "leave it out; what is revoked is told by its serial number alone", "has the serial number %s of another certificate of the same authority, a version of %s", c.serial(), other)
	case !found:
		return true, nil
	case !s.RevokedAt.IsZero():
		c.refuse("certificate", "leave it out", "is revoked since %s", s.RevokedAt.Format(time.RFC3339))
	case s.State == leafward.SerialReserved:
		c.refuse("certificate", "try again in a few minutes", "is just being issued here")
	}
	return false, nil
}

// answer makes an authority of ours answer for what it signed.
func (t *taking) answer(c *candidate, name string) {
	t.tx.AddSerial(&leafward.Serial{
		Authority: c.signer.authority, Serial: c.serial(), State: leafward.SerialImported, Name: name, Subject: c.SHA256,
		NotBefore: c.leaf.NotBefore.UTC(), NotAfter: c.leaf.NotAfter.UTC(),
	})
}

// add makes the record with its version; flush stores them.
func (t *taking) add(c *candidate, name string, strange bool) {
	if strange {
		t.answer(c, name)
	}
	record, v := c.record, t.version(c)
	record.ID, record.Name, record.Spec = store.NewID("mc"), name, 1
	v.Certificate, v.Team = record.ID, record.Team
	if c.signer.issuer == record.Issuer {
		v.Spec = record.Spec
	}
	record.Activate(&v, []leafward.Version{v}, &c.around.policy, t.tx.Now)
	t.added.certificates, t.added.versions = append(t.added.certificates, record), append(t.added.versions, v)
	t.names[[2]string{record.Team, record.Name}] = record.ID
	t.done(c, &record, &v)
}

// version is the row of the certificate, with its key and its chain.
func (t *taking) version(c *candidate) leafward.Version {
	k, known := t.keys[c.spki]
	if !known {
		k = leafward.Key{Row: leafward.Row{ID: store.NewID("kp")}, SPKI: c.spki, Algorithm: c.kind.Algorithm, Size: c.kind.Size, Custody: leafward.UnknownKey, Holder: clientSlot, Retrieval: "never"}
		t.keys[c.spki] = k
		t.added.keys = append(t.added.keys, k)
	} else {
		t.tx.UseKeyPair(k.ID)
	}
	ders := c.chain()
	chain, stored := t.chains[string(slices.Concat(ders...))]
	if !stored {
		chain = t.tx.AddChain(ders)
		t.chains[string(slices.Concat(ders...))] = chain
	}
	id := store.NewID("cv")
	return leafward.Version{
		Row: leafward.Row{ID: id}, Slot: clientSlot, Key: k.ID, Issuer: c.signer.issuer, Authority: cmp.Or(c.signer.authority, leafward.ForeignAuthority(id)), Serial: c.serial(), SHA256: c.SHA256,
		Subject: plainly(c.leaf.Subject.String()), Algorithm: c.kind.Algorithm, Size: c.kind.Size, NotBefore: c.leaf.NotBefore.UTC(), NotAfter: c.leaf.NotAfter.UTC(),
		DER: c.leaf.Raw, Chain: chain, Source: leafward.VersionImported,
	}
}

// done notes that the row is in.
func (t *taking) done(c *candidate, record *leafward.Certificate, v *leafward.Version) {
	c.Outcome, c.Certificate, c.Version, c.Name = ImportDone, record.ID, v.ID, record.Name
	t.known[c.SHA256] = store.Held{Version: v.ID, Certificate: record.ID, Name: record.Name, Team: record.Team, Bare: len(c.chain()) == 0}
	t.serials[[2]string{v.Authority, v.Serial}] = record.ID
	t.tx.Record(leafward.CertificateImported, record.ID, record.Team, leafward.Details{
		"version": v.ID, "serial": v.Serial, "authority": v.Authority, "signed_by": plainly(c.leaf.Issuer.String()), "sha256": v.SHA256,
		"not_after": v.NotAfter.Format(time.RFC3339), "name": record.Name, "names": record.Names(), "issuer": record.Issuer, "predecessor": v.Predecessor,
	})
}

// flush stores what was made so far.
func (t *taking) flush() {
	t.tx.AddCertificates(t.added.certificates, t.added.versions, t.added.keys)
	t.added.certificates, t.added.versions, t.added.keys = nil, nil, nil
}

// renewed makes the certificate the next version of one that was imported before and renewed elsewhere since: it has the same
// name, the same names and a key of the same kind, and nothing of it is from here. Done is false when it is another.
func (t *taking) renewed(c *candidate, id string, strange bool) (done bool, err error) {
	t.flush()
	have, err := t.tx.Certificate(id)
	if err != nil {
		return false, err
	}
	current, err := t.tx.CurrentVersions(id)
	if err != nil {
		return false, err
	}
	targets, err := t.tx.TargetsOf(id)
	if err != nil {
		return false, err
	}
	_, closed := have.Closed()
	if closed || len(targets) > 0 || len(current) != 1 || !current[0].Foreign() || (pki.KeyKind{Algorithm: current[0].Algorithm, Size: current[0].Size}) != c.kind || !alike(&have, &c.record) {
		return false, nil
	}
	if !c.leaf.NotAfter.After(current[0].NotAfter) {
		c.refuse("certificate", "leave it out; where the one that is here is wrong, archive that first", "is older than the version of %s that is here, which ends at %s", have.Name, current[0].NotAfter.Format(time.RFC3339))
		return true, nil
	}
	policy, err := t.tx.RenewalPolicy(have.Policy)
	if err != nil {
		return false, err
	}
	if have.OpenJob != "" { // which waits for a CSR that is not needed any more
		if err := t.stop(t.tx, &have); err != nil {
			return false, err
		}
	}
	if strange {
		t.answer(c, have.Name)
	}
	v := t.version(c)
	t.flush()
	v.Certificate, v.Team = have.ID, have.Team
	t.tx.AddVersion(&v)
	have.Activate(&v, []leafward.Version{v}, &policy, t.tx.Now)
	if err := use(t.tx, &have, &policy); err != nil {
		return false, err
	}
	t.tx.PutCertificate(&have)
	t.done(c, &have, &v)
	return true, t.tx.Err()
}

// alike tells whether two records have the same names.
func alike(a, b *leafward.Certificate) bool {
	return slices.Equal(slices.Sorted(slices.Values(a.Names())), slices.Sorted(slices.Values(b.Names())))
}
