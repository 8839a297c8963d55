package lifecycle

import (
	"bytes"
	"context"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// SubmitCSR brings the CSR that an order waits for: the caller's when agent is "", else that of the agent, who needs no
// other right. The same CSR again is answered as the first was.
func (s *Service) SubmitCSR(ctx context.Context, id, agent, text string, once Once) (shown Shown, err error) {
	csr, wrong := Asked{CSR: text}.parse()
	root := ""
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		replayed, err := once.begin(tx, func(job string) error { root = job; return nil })
		if err != nil || replayed {
			return err
		}
		c, err := tx.Certificate(id)
		if err != nil {
			return err
		}
		slot := agent
		if agent == "" {
			slot = clientSlot
			if err := ours(tx.Actor, &c); err != nil {
				return err
			}
		}
		p := wrong
		if err := p.Err(); err != nil {
			return err
		}
		if csr == nil {
			p.Add("csr_pem", "is missing", "send one CERTIFICATE REQUEST block")
			return p.Err()
		}
		if root, err = s.takeUp(tx, &c, slot, csr); err == nil {
			once.end(tx, root)
		}
		return err
	})
	if err != nil {
		return shown, err
	}
	return s.show(ctx, id, root)
}

// takeUp gives an order the CSR that it waits for and makes it due.
func (s *Service) takeUp(tx *store.Tx, c *leafward.Certificate, slot string, csr *pki.CSR) (root string, err error) {
	j, found, err := tx.OpenJob(leafward.OrderJob, c.ID+"/"+slot)
	if err != nil {
		return "", err
	}
	if !found || j.Status != leafward.JobAwaitingCSR {
		return j.Parent, s.known(tx, c, &j, found, slot, csr)
	}
	if why, closed := c.Closed(); closed {
		return "", leafward.Errorf(leafward.Conflict, instead(c), "nothing is signed for %s: %s", c.Name, why)
	}
	profile, err := tx.Profile(c.Profile)
	if err != nil {
		return "", err
	}
	var p leafward.Problems
	takeCSR(&p, c, csr)
	obey(&p, c, csr, &profile)
	if err := usable(&tx.View, &p, csr); err != nil {
		return "", err
	}
	if err := p.Err(); err != nil {
		return "", err
	}
	tx.AddRequest(&leafward.Request{Certificate: c.ID, Job: j.ID, Slot: slot, CSR: csr.DER, State: leafward.RequestOpen})
	j.Agent = ""
	return j.Parent, s.engine.Snooze(tx, &j, 0, "")
}

// known accepts a CSR that was taken up before, since its sender may have missed the answer.
func (s *Service) known(tx *store.Tx, c *leafward.Certificate, j *leafward.Job, open bool, slot string, csr *pki.CSR) error {
	if open {
		r, found, err := tx.RequestOfJob(j.ID)
		if err != nil || found && bytes.Equal(r.CSR, csr.DER) {
			return err
		}
		return leafward.Errorf(leafward.Conflict, "wait for its end, or cancel it: `leafward job cancel "+j.Parent+"`", "another CSR for %s is being signed already", c.Name)
	}
	last, err := lastCSR(&tx.View, c.ID, slot)
	if err != nil || bytes.Equal(last, csr.DER) {
		return err
	}
	return leafward.Errorf(leafward.Conflict, "renew the certificate first", "nothing waits for a CSR of %s for the certificate %s", slot, c.Name)
}

// usable refuses the key of a CSR that was reported as compromised. Whoever has it signed at once leaves that to the authority.
func usable(v *store.View, p *leafward.Problems, csr *pki.CSR) error {
	if csr == nil {
		return nil
	}
	spki, err := pki.SPKISHA256(csr.PublicKey)
	if err != nil {
		return err
	}
	k, found, err := v.KeyPairOf(spki)
	if err == nil && found && !k.CompromisedAt.IsZero() {
		p.Add("csr_pem", "is for a key that was reported as compromised on "+k.CompromisedAt.Format(time.DateOnly), "make a new key")
	}
	return err
}

// keyReplayed is how long a server-made key is in the answers to a repeated request.
const keyReplayed = 10 * time.Minute

// FirstKey is the PEM of the key that the server made for a new certificate, when it may be answered: once, and for ten
// minutes again to a repeated request. Otherwise it is nil.
func (s *Service) FirstKey(ctx context.Context, shown *Shown, replayed bool) (leafward.Secret, error) {
	if shown.Version == nil || shown.Version.Slot != serverSlot {
		return nil, nil
	}
	_, key, err := s.handOut(ctx, shown.Version, replayed, Once{})
	if leafward.KindOf(err) == leafward.Gone {
		return nil, nil
	}
	return key, err
}

// TakeKey hands out, once, the PEM of the key that the server made for the current version of a certificate.
func (s *Service) TakeKey(ctx context.Context, id string, once Once) (version string, key leafward.Secret, err error) {
	shown, err := s.show(ctx, id, "")
	if err != nil {
		return "", nil, err
	}
	if shown.Version == nil || shown.Version.Slot != serverSlot {
		return "", nil, leafward.Errorf(leafward.Conflict, "ask whoever holds the key", "the server holds no key of the certificate %s", shown.Name)
	}
	return s.handOut(ctx, shown.Version, false, once)
}

// handOut gives out the server-made key of a version, or of the one that the same request was answered with before, and
// records that. It is Gone when that happened before.
func (s *Service) handOut(ctx context.Context, of *leafward.Version, again bool, once Once) (version string, key leafward.Secret, err error) {
	var k leafward.Key
	var v leafward.Version
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		v = *of
		c, err := s.mine(tx, v.Certificate)
		if err != nil {
			return err
		}
		replayed, err := once.begin(tx, func(id string) (err error) { v, err = tx.Version(id); return err })
		if err != nil {
			return err
		}
		if k, err = tx.KeyPair(v.Key); err != nil {
			return err
		}
		may := k.DeliveredAt.IsZero() || (again || replayed) && tx.Now.Sub(k.DeliveredAt) <= keyReplayed
		if !may || len(k.Sealed) == 0 {
			return leafward.Errorf(leafward.Gone, "renew the certificate, which makes a new key", "the key was handed out at %s and is not handed out again", k.DeliveredAt.Format(time.RFC3339))
		}
		if k.DeliveredAt.IsZero() {
			k.DeliveredAt = tx.Now
			tx.PutKeyPair(&k)
		}
		if !replayed {
			once.end(tx, v.ID)
		}
		tx.Record(leafward.CertificateKeyHanded, c.ID, c.Team, leafward.Details{"version": v.ID, "to": tx.Actor.Name})
		return nil
	})
	if err != nil {
		return "", nil, err
	}
	der, err := s.orders.master.Open(keys.Context{Table: "keys", Column: "sealed", Row: k.ID}, k.Sealed)
	if err != nil {
		return "", nil, err
	}
	defer clear(der)
	private, err := pki.ParsePrivateKey(der)
	if err != nil {
		return "", nil, err
	}
	text, err := pki.EncodePrivateKey(private)
	return v.ID, leafward.Secret(text), err
}
