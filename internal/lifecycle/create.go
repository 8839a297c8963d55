package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// Create records a certificate of what fill writes and opens its issuance. Fill also gets how the new certificate would
// be shown, so that it can refuse what cannot be written.
func (s *Service) Create(ctx context.Context, fill func(Shown, *leafward.Certificate) error, asked Asked, once Once) (shown Shown, err error) {
	n := fresh{fill: fill, asked: asked}
	n.csr, n.wrong = asked.parse()
	if shown, done, err := s.straight(ctx, &n, once); done || err != nil {
		return shown, err
	}
	room := s.engine.Place()
	defer room.Drop()
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		shown = Shown{}
		room.Clear()
		replayed, err := once.begin(tx, func(id string) error { shown.ID = id; return nil })
		if err != nil || replayed {
			return err
		}
		c, a, p, err := n.look(&tx.View)
		if err != nil {
			return err
		}
		if err := usable(&tx.View, &p, n.csr); err != nil {
			return err
		}
		if err := vacant(tx, &p, &c, a, nil, asked.targets()); err != nil {
			return err
		}
		if err := p.Err(); err != nil {
			return err
		}
		if err := ours(tx.Actor, &c); err != nil {
			return err
		}
		shown.Job, err = s.add(tx, &c, a, &n, room)
		if err == nil {
			once.end(tx, c.ID)
		}
		shown.ID = c.ID
		return err
	})
	if err != nil {
		return Shown{}, named(err)
	}
	room.Start()
	return s.show(ctx, shown.ID, shown.Job)
}

// fresh is what a caller asks for in a new certificate.
type fresh struct {
	fill  func(Shown, *leafward.Certificate) error
	asked Asked
	csr   *pki.CSR          // nil when there is none, or it cannot be read
	wrong leafward.Problems // with the CSR
	ask   string            // id of the request for a signature that was begun already, "" while none was
}

// look makes the record of what is asked for and holds it against everything that it refers to. What is wrong with it is
// in the problems.
func (n *fresh) look(v *store.View) (c leafward.Certificate, a around, p leafward.Problems, err error) {
	p = n.wrong
	if err := p.Merge(n.fill(Shown{Status: leafward.StatusPending}, &c)); err != nil {
		return c, a, p, err
	}
	if n.asked.CSR != "" {
		p.Check(c.KeySource == "" || c.KeySource == leafward.ClientKey, "key_source", "does not go with csr_pem, whose key the caller holds", "leave one of them out")
		c.KeySource = leafward.ClientKey
		if n.csr == nil {
			return c, a, p, p.Err()
		}
		takeCSR(&p, &c, n.csr)
	}
	complete(v.Actor, &c)
	a, err = check(v, &c, n.csr, nil, n.asked.targets(), &p)
	return c, a, p, err
}

// add stores a new certificate with its places and begins its issuance.
func (s *Service) add(tx *store.Tx, c *leafward.Certificate, a around, n *fresh, room *job.Place) (root string, err error) {
	c.Spec = 1
	st := start{typ: leafward.Issuance, room: room, root: store.NewID("job")}
	c.Begin(st.root)
	tx.AddCertificate(c)
	for _, t := range a.targets {
		tx.AddInstallation(&leafward.Installation{Certificate: c.ID, Target: t.ID, Proof: leafward.ProofNone})
	}
	if err := tx.Err(); err != nil {
		return "", err
	}
	tx.Record(leafward.CertificateRequested, c.ID, c.Team, leafward.Details{"name": c.Name, "names": c.Names(), "issuer": c.Issuer, "profile": c.Profile})
	if csr := n.csr; csr != nil {
		st.csr, st.ask = csr.DER, n.ask
	}
	_, err = begin(tx, c, a, st)
	return st.root, err
}

// ours refuses an actor who may not write certificates of the team.
func ours(actor leafward.Actor, c *leafward.Certificate) error {
	if actor.MayWrite(c.Team) {
		return nil
	}
	return leafward.Errorf(leafward.Denied, "use a key of that team", "certificates of the team %s are not yours to write", c.Team)
}

// named tells a conflict in the words of certificates.
func named(err error) error {
	if e, ok := errors.AsType[*leafward.Error](err); ok && e.Kind == leafward.Conflict && strings.HasPrefix(e.Message, "something with") {
		e.Message = "a certificate with the same id or name exists already"
	}
	return err
}

func (a Asked) parse() (*pki.CSR, leafward.Problems) {
	var p leafward.Problems
	if a.CSR == "" {
		return nil, p
	}
	return parseCSR(&p, a.CSR), p
}

func (a Asked) targets() []string {
	if a.Targets == nil {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(*a.Targets)))
}

// Update changes the record. Names, key and profile of the version in use stay until the next renewal; targets are bound
// and unbound at once, and a target whose agent has no key yet gets an order of its own. Change also gets how the
// certificate is shown, so that it can refuse what cannot be written.
func (s *Service) Update(ctx context.Context, id, match string, change func(Shown, *leafward.Certificate) error, asked Asked) (shown Shown, err error) {
	root := ""
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		root = ""
		before, err := show(&tx.View, id)
		if err != nil {
			return err
		}
		if before.Waits, err = s.orders.waits(&tx.View)(&before.Certificate); err != nil {
			return err
		}
		c := before.Certificate
		if err := store.Match(&c.Row, match); err != nil {
			return err
		}
		if err := ours(tx.Actor, &c); err != nil {
			return err
		}
		var p leafward.Problems
		if err := p.Merge(change(before, &c)); err != nil {
			return err
		}
		want := before.Targets
		if asked.Targets != nil {
			want = asked.targets()
		}
		if why, closed := c.Closed(); closed {
			return leafward.Errorf(leafward.Conflict, instead(&c), "the certificate %s cannot be changed: %s", c.Name, why)
		}
		a, err := check(&tx.View, &c, nil, before.Targets, want, &p)
		if err != nil {
			return err
		}
		if err := vacant(tx, &p, &c, a, before.Targets, want); err != nil {
			return err
		}
		if err := p.Err(); err != nil {
			return err
		}
		if err := ours(tx.Actor, &c); err != nil {
			return err
		}
		root, err = s.apply(tx, &before, &c, a, want)
		return err
	})
	if err != nil {
		return shown, named(err)
	}
	return s.show(ctx, id, root)
}

// apply writes a checked change and begins what it needs.
func (s *Service) apply(tx *store.Tx, before *Shown, c *leafward.Certificate, a around, want []string) (root string, err error) {
	if same(&before.Certificate, c) && slices.Equal(before.Targets, want) {
		return "", nil
	}
	if respecified(&before.Certificate, c) {
		c.Spec++
	}
	if before.Team != c.Team {
		tx.MoveCertificate(c.ID, c.Team)
	}
	moved := before.Policy != c.Policy || before.KeySource != c.KeySource || !slices.Equal(before.Targets, want)
	tx.PutCertificate(c)
	if root, err = s.rebind(tx, c, a, before.Targets, want); err != nil {
		return "", err
	}
	if moved {
		live, used, err := served(&tx.View, c)
		if err != nil {
			return "", err
		}
		c.Follow(live, &a.policy)
		c.Strike(used, &a.policy)
		tx.PutCertificate(c)
	}
	tx.Record(leafward.CertificateUpdated, c.ID, c.Team, leafward.Details{"targets": want, "spec": c.Spec})
	return root, tx.Err()
}

// respecified tells whether the next version will differ from the current one.
func respecified(a, b *leafward.Certificate) bool {
	return a.CommonName != b.CommonName || !slices.Equal(a.SANs, b.SANs) || a.Profile != b.Profile || a.Issuer != b.Issuer || a.TTL != b.TTL ||
		a.Algorithm != b.Algorithm || a.Size != b.Size || a.KeySource != b.KeySource
}

func same(a, b *leafward.Certificate) bool { return fmt.Sprint(*a) == fmt.Sprint(*b) }
