package lifecycle

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/issuer"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// straightTime bounds how long it takes to sign and record what nothing else keeps waiting.
const straightTime = 15 * time.Second

// signed is a new certificate that was signed before it is recorded.
type signed struct {
	task
	first bool          // nobody can have asked for it before
	slot  string        // who holds the key
	key   *leafward.Key // that the server made; nil for a caller's
	csr   *pki.CSR
	chain issuer.Chain
	leaf  *x509.Certificate
}

// straight has a new certificate signed by an issuer that answers at once, from a caller's CSR or, for a caller who waits, with
// a key that the server makes, and then records certificate, version and jobs in one transaction, in the states that an order
// would have brought them to. When done is false nothing was recorded and the certificate goes the long way, by a job: that is
// also where everything that is wrong is told. With a caller's CSR it goes on with the same request, and so with the serial
// that was reserved for it.
func (s *Service) straight(ctx context.Context, n *fresh, once Once) (shown Shown, done bool, err error) {
	waits := n.asked.CSR == "" && n.asked.Waits
	if n.csr == nil && !waits || len(n.asked.targets()) > 0 {
		return shown, false, nil
	}
	o := signed{csr: n.csr, slot: clientSlot}
	if ready, err := s.prepare(ctx, n, once, &o); err != nil || !ready {
		return shown, false, err
	}
	n.ask = o.request.ID
	signer, ready := s.orders.immediate(ctx, o.issuer)
	if !ready || waits && !o.keyless() {
		return shown, false, nil
	}
	leave, err := s.engine.Enter(ctx, laneOf(o.issuer.ID))
	switch {
	case waits && leafward.KindOf(err) == leafward.Later: // a job waits longer for its turn
		return shown, false, nil
	case err != nil:
		return shown, true, err
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), straightTime) // who hangs up leaves no serial without a certificate
	defer stop()
	func() {
		defer leave()
		ready = (!waits || s.orders.keyed(&o)) && s.orders.sign(leafward.WithActor(ctx, leafward.System("issuance")), signer, &o)
	}()
	if !ready {
		return shown, false, ctx.Err()
	}
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		shown, done = Shown{}, false
		if replayed, err := once.begin(tx, func(string) error { return nil }); err != nil || replayed {
			return err
		}
		done = true
		shown, err = s.record(tx, &o)
		once.end(tx, shown.ID)
		return err
	})
	switch kind := leafward.KindOf(err); {
	case err == nil:
		return shown, done, nil
	case kind == leafward.Later, kind == leafward.StorageFull, ctx.Err() != nil:
		return shown, true, err // it may have been recorded all the same
	}
	return shown, false, nil
}

// prepare reads and checks everything that the order of a new certificate needs; it is not ready where the request was
// answered before or anything is wrong.
func (s *Service) prepare(ctx context.Context, n *fresh, once Once, o *signed) (ready bool, err error) {
	err = s.db.View(ctx, func(v *store.View) error {
		if replayed, err := once.known(v); err != nil || replayed {
			return err
		}
		c, a, p, err := n.look(v)
		if err != nil || p.Err() != nil || ours(v.Actor, &c) != nil {
			return err
		}
		if taken, err := v.CertificateNamed(c.Team, c.ID, c.Name); err != nil || taken {
			return err
		}
		ask := store.NewID("req") // with a key of our own nobody can go on with it
		if o.first = n.csr == nil || once.Key == ""; !o.first {
			ask, err = once.ask(v)
		}
		o.task, ready = task{certificate: c, around: a, request: leafward.Request{Row: leafward.Row{ID: ask}}, now: v.Now}, err == nil
		return err
	})
	return ready, err
}

// keyless tells whether the server is to make the key, unless that takes so long that it is left to the workers.
func (o *signed) keyless() bool {
	return o.certificate.KeySource == leafward.ServerKey && keyOf(&o.certificate, &o.profile).Algorithm != pki.RSA
}

// keyed makes the key and the CSR of a certificate whose key the server makes; false where anything goes wrong.
func (o *Orders) keyed(s *signed) bool {
	key, der, err := o.newKey(&s.task)
	if err != nil {
		return false
	}
	s.slot, s.key = serverSlot, &key
	s.csr, err = pki.ParseCSR(der)
	return err == nil
}

// immediate opens an issuer that answers at once; false where it is none.
func (o *Orders) immediate(ctx context.Context, row leafward.Issuer) (issuer.Issuer, bool) {
	signer, err := o.open(leafward.WithActor(ctx, leafward.System("issuance")), row)
	if err != nil {
		return nil, false
	}
	at, ok := signer.(issuer.Immediate)
	return signer, ok && at.SignsAtOnce()
}

// sign gets the certificate from an issuer that answers at once; false where anything goes wrong.
func (o *Orders) sign(ctx context.Context, signer issuer.Issuer, s *signed) bool {
	request, err := s.ask(s.csr)
	if err != nil {
		return false
	}
	request.First = s.first
	if s.chain, err = signer.Issue(ctx, request); err != nil {
		return false
	}
	s.leaf, err = accept(s.chain, request, s.csr, s.now)
	return err == nil
}

// record writes a signed certificate with everything that belongs to it.
func (s *Service) record(tx *store.Tx, o *signed) (Shown, error) {
	c := o.certificate
	if c.ID == "" {
		c.ID = store.NewID("mc")
	}
	c.Spec = 1
	key, err := o.stored(tx)
	if err != nil {
		return Shown{}, err
	}
	v := o.version(&c, o.slot, o.chain, o.leaf, o.csr)
	v.ID, v.Key = store.NewID("cv"), key
	c.Activate(&v, []leafward.Version{v}, &o.policy, tx.Now)
	c.Succeed(&o.policy)
	tx.AddCertificate(&c)
	tx.Record(leafward.CertificateRequested, c.ID, c.Team, leafward.Details{"name": c.Name, "names": c.Names(), "issuer": c.Issuer, "profile": c.Profile})
	root := leafward.Job{Kind: leafward.RootJob, Type: leafward.Issuance, Subject: c.ID, Team: c.Team, Certificate: c.ID, MaxAttempts: o.policy.MaxRetries + 1}
	part := root
	part.Kind, part.Subject, part.Lane, part.RetryMax, part.Deadline = leafward.OrderJob, c.ID+"/"+o.slot, laneOf(c.Issuer), o.policy.RetryInterval, deadline(&c, tx.Now)
	if err := s.engine.Done(tx, &root, &part); err != nil {
		return Shown{}, err
	}
	if err := publish(tx, &v, o.chain); err != nil {
		return Shown{}, err
	}
	request := o.request
	request.Certificate, request.Job, request.Slot, request.CSR, request.Key = c.ID, part.ID, o.slot, o.csr.DER, key
	request.State, request.Version = leafward.RequestIssued, v.ID
	tx.AddRequest(&request)
	recordIssued(tx, &c, &v)
	return Shown{
		Certificate: c, Targets: []string{}, Status: c.Status(tx.Now), Job: root.ID, Version: &v,
		Chain: pki.EncodeChain(o.chain.Certificates...), CSR: pki.EncodeCSR(o.csr.DER),
	}, tx.Err()
}

// stored is the id of the key that was certified, which it stores where it is not known.
func (o *signed) stored(tx *store.Tx) (id string, err error) {
	if o.key == nil {
		return keyRow(tx, o.csr, clientSlot)
	}
	key := *o.key
	tx.AddKeyPair(&key)
	return key.ID, tx.Err()
}
