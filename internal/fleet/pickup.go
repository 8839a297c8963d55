package fleet

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// Pickup is a signed certificate for the agent that installs it.
type Pickup struct {
	Version leafward.Version
	PEM     []byte          // leaf, then chain
	Key     leafward.Secret // PEM, PKCS #8, of a key that the server made; else empty
}

// Pickup gives an agent the certificate that it is to install: of its own key, or else of the server's when the certificate
// is bound to a target of the agent. The private key goes with the latter, and each time is recorded. Version names one;
// "" is the one that is wanted at the agent's targets.
func (s *Service) Pickup(ctx context.Context, id, certificate, version string) (p Pickup, err error) {
	err = s.db.View(ctx, func(v *store.View) error {
		p, err = pickup(v, id, certificate, version)
		return err
	})
	if err != nil || p.Version.Slot != string(leafward.ServerKey) {
		return p, err
	}
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		if p, err = pickup(&tx.View, id, certificate, version); err != nil {
			return err
		}
		if p.Key, err = s.unseal(&tx.View, p.Version.Key); err != nil {
			return err
		}
		tx.Record(leafward.CertificateKeyHanded, certificate, p.Version.Team, leafward.Details{"version": p.Version.ID, "agent": id})
		return nil
	})
	return p, err
}

func pickup(v *store.View, id, certificate, version string) (p Pickup, err error) {
	if _, err := acting(v, id); err != nil {
		return p, err
	}
	wanted, err := wantedVersions(v, id, certificate)
	if err != nil {
		return p, err
	}
	found := false
	for _, w := range wanted {
		if !found && (version == "" || w.ID == version) {
			p.Version, found = w, true
		}
	}
	switch {
	case !found && len(wanted) > 0:
		return p, leafward.Missing("version", version)
	case !found:
		return p, leafward.Errorf(leafward.NotFound, "send the CSR first; the certificate is there once it is signed", "there is no certificate %q for the agent %s", certificate, id)
	case !p.Version.RevokedAt.IsZero():
		return p, leafward.Errorf(leafward.Conflict, "leave it: nothing is to be installed any more", "the version %s of the certificate %s is revoked", p.Version.ID, certificate)
	}
	chain, err := v.Chain(p.Version.Chain)
	if err != nil {
		return p, err
	}
	above, err := x509.ParseCertificates(chain)
	if err != nil {
		return p, fmt.Errorf("the stored chain of version %s: %w", p.Version.ID, err)
	}
	ders := [][]byte{p.Version.DER}
	for _, c := range above {
		ders = append(ders, c.Raw)
	}
	p.PEM = pki.EncodeChain(ders...)
	return p, nil
}

// wantedVersions are the versions of a certificate that the agent may fetch, the one it should have first: what its
// targets want, then what is current for its key. Versions of the server's key are for agents of bound targets only.
func wantedVersions(v *store.View, agent, certificate string) (out []leafward.Version, err error) {
	bound, err := v.InstallationsAtAgent(certificate, agent)
	if err != nil {
		return nil, err
	}
	for _, i := range bound {
		for _, id := range []string{i.Desired, i.Deployed} {
			version, found, err := v.VersionOfAny(id)
			if err != nil {
				return nil, err
			}
			if found && (version.Slot == agent || version.Slot == string(leafward.ServerKey)) {
				out = append(out, version)
			}
		}
	}
	current, err := v.CurrentVersions(certificate)
	for _, version := range current {
		if version.Slot == agent || version.Slot == string(leafward.ServerKey) && len(bound) > 0 {
			out = append(out, version)
		}
	}
	return out, err
}

// unseal is a key of the server's as PEM.
func (s *Service) unseal(v *store.View, id string) (leafward.Secret, error) {
	key, err := v.KeyPair(id)
	if err != nil {
		return nil, fmt.Errorf("the key %s: %w", id, err)
	}
	if !key.DestroyedAt.IsZero() || len(key.Sealed) == 0 {
		return nil, leafward.Errorf(leafward.Conflict, "renew the certificate: a new key is made then", "the private key of this version is not here any more")
	}
	der, err := s.master.Open(keys.Context{Table: "keys", Column: "sealed", Row: key.ID}, key.Sealed)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// OrderFor finds the certificate that a CSR of the agent is for: the named one, which must have a place at the agent or an
// order for it; without a name, the one whose order waits.
func (s *Service) OrderFor(ctx context.Context, id, named string) (certificate string, err error) {
	err = s.db.View(ctx, func(v *store.View) error {
		if _, err := acting(v, id); err != nil {
			return err
		}
		orders, err := v.OrdersAwaiting(id)
		if err != nil {
			return err
		}
		if named != "" {
			certificate = named
			return concerns(v, id, named, orders)
		}
		if len(orders) != 1 {
			var p leafward.Problems
			p.Add("certificate_id", fmt.Sprintf("is missing, and %d orders wait for a CSR of this agent", len(orders)), "name the certificate of the work item")
			return p.Err()
		}
		certificate = orders[0].Certificate
		return nil
	})
	return certificate, err
}

// concerns tells an agent that a certificate is missing when it has nothing to do with it.
func concerns(v *store.View, agent, certificate string, orders []leafward.Job) error {
	for _, o := range orders {
		if o.Certificate == certificate {
			return nil
		}
	}
	bound, err := v.InstallationsAtAgent(certificate, agent)
	if err == nil && len(bound) == 0 {
		return leafward.Missing("certificate", certificate)
	}
	return err
}

// Signed waits until the order of a slot below a root was signed, up to the given time; false means that it still waits for
// its turn. It is a Conflict when the order came to nothing.
func (s *Service) Signed(ctx context.Context, root, certificate, slot string, wait time.Duration) (bool, error) {
	if root == "" {
		return true, nil // signed before, and the root is over
	}
	var order leafward.Job
	err := s.db.View(ctx, func(v *store.View) error {
		children, err := v.Children(root)
		for _, j := range children {
			if j.Kind == leafward.OrderJob && j.Subject == certificate+"/"+slot {
				order = j
			}
		}
		return err
	})
	if err != nil || order.ID == "" {
		return err == nil, err
	}
	if order, err = s.Settled(ctx, order.ID, wait); err != nil {
		return false, err
	}
	switch order.Status {
	case leafward.JobFailed, leafward.JobCancelled:
		return false, leafward.Errorf(leafward.Conflict, "renew the certificate, and send a CSR for the new order", "the CSR was not signed: %s", order.LastError)
	case leafward.JobCompleted:
		return true, nil
	default:
		return false, nil
	}
}

// Settled waits until a job has ended, up to the given time, and returns it as it is then. Whoever may wait for the job was
// decided by its caller.
func (s *Service) Settled(ctx context.Context, jobID string, wait time.Duration) (j leafward.Job, err error) {
	end := time.NewTimer(wait)
	defer end.Stop()
	system := leafward.WithActor(ctx, leafward.System("waiting"))
	watch := s.db.Watch(jobID)
	defer watch.Close()
	for over := false; ; {
		changed := watch.Next()
		err := s.db.View(system, func(v *store.View) (err error) {
			j, _, err = v.JobOfAny(jobID)
			return err
		})
		if err != nil || over || !j.Status.Open() {
			return j, err
		}
		look := time.NewTimer(lookPace)
		select {
		case <-changed:
		case <-look.C: // another server may have ended it
		case <-end.C:
			over = true
		case <-leafward.Hurry(ctx):
			over = true
		case <-ctx.Done():
			look.Stop()
			return j, ctx.Err()
		}
		look.Stop()
	}
}
