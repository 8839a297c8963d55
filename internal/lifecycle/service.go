package lifecycle

import (
	"context"
	"log/slog"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// Service is what callers ask of certificates.
type Service struct {
	db     *store.DB
	engine *job.Engine
	orders *Orders
	log    *slog.Logger
}

// New returns the service; the engine works the jobs that it opens, with the orders among its kinds.
func New(engine *job.Engine, orders *Orders, log *slog.Logger) *Service {
	return &Service{db: orders.db, engine: engine, orders: orders, log: log}
}

// Shown is a certificate with what is shown beside it.
type Shown struct {
	leafward.Certificate
	Targets []string
	Status  leafward.CertificateStatus
	Job     string            // the root that a change opened, "" when none did
	Version *leafward.Version // current version, nil before the first
	Chain   []byte            // PEM of the current version, leaf first; only where one certificate is shown
	CSR     []byte            // PEM of the current version's request
	Key     leafward.Secret   // PEM, once, of a key the server made
	Also    []string          // other certificates that lost versions by a revocation, since they have its key
	Waits   string            // why it is not renewed although it is due, "" when nothing keeps it
}

// Place is a target of a certificate and what is known of the certificate there.
type Place struct {
	Target       leafward.Target
	Installation leafward.Installation
}

// show reads what is shown of one certificate.
func (s *Service) show(ctx context.Context, id, root string) (shown Shown, err error) {
	err = s.db.View(ctx, func(v *store.View) error {
		if shown, err = show(v, id); err != nil {
			return err
		}
		shown.Job = root
		shown.Waits, err = s.orders.waits(v)(&shown.Certificate)
		return err
	})
	return shown, err
}

func show(v *store.View, id string) (shown Shown, err error) {
	if shown.Certificate, err = v.Certificate(id); err != nil {
		return shown, err
	}
	shown.Status = shown.Certificate.Status(v.Now)
	if shown.Targets, err = targetsOf(v, id); err != nil || shown.Certificate.Version == "" {
		return shown, err
	}
	version, err := v.Version(shown.Certificate.Version)
	if err != nil {
		return shown, err
	}
	shown.Version = &version
	if shown.Chain, err = chainPEM(v, &version); err != nil {
		return shown, err
	}
	shown.CSR, err = csrPEM(v, &version)
	return shown, err
}

// csrPEM is what the version was signed from.
func csrPEM(v *store.View, version *leafward.Version) ([]byte, error) {
	r, found, err := v.Request(version.Request)
	if err != nil || !found {
		return nil, err
	}
	return pki.EncodeCSR(r.CSR), nil
}

func targetsOf(v *store.View, id string) ([]string, error) {
	installations, err := v.Installations(id)
	ids := make([]string, len(installations))
	for i := range installations {
		ids[i] = installations[i].Target
	}
	return ids, err
}

// chainPEM is the version and the certificates above it.
func chainPEM(v *store.View, version *leafward.Version) ([]byte, error) {
	above, err := v.Chain(version.Chain)
	if err != nil {
		return nil, err
	}
	ders, err := split(above)
	return pki.EncodeChain(append([][]byte{version.DER}, ders...)...), err
}

// Get reads one certificate with its current version.
func (s *Service) Get(ctx context.Context, id string) (Shown, error) { return s.show(ctx, id, "") }

// List returns one page of certificates.
func (s *Service) List(ctx context.Context, q leafward.Query) (page leafward.List[Shown], err error) {
	err = s.db.View(ctx, func(v *store.View) error {
		list, err := v.Certificates(q)
		if err != nil {
			return err
		}
		ids := make([]string, len(list.Items))
		for i := range list.Items {
			ids[i] = list.Items[i].ID
		}
		places, err := v.InstallationsOf(ids)
		if err != nil {
			return err
		}
		page = leafward.List[Shown]{Total: list.Total, TotalCapped: list.TotalCapped, Page: list.Page, PerPage: list.PerPage, Next: list.Next, Items: []Shown{}}
		waits := s.orders.waits(v)
		for _, c := range list.Items {
			row := Shown{Certificate: c, Status: c.Status(v.Now), Targets: []string{}}
			for _, i := range places[c.ID] {
				row.Targets = append(row.Targets, i.Target)
			}
			if row.Waits, err = waits(&row.Certificate); err != nil {
				return err
			}
			page.Items = append(page.Items, row)
		}
		return nil
	})
	return page, err
}

// Versions lists what was signed for a certificate, each with its chain and its CSR in PEM.
func (s *Service) Versions(ctx context.Context, id string, q leafward.Query) (page leafward.List[Shown], err error) {
	err = s.db.View(ctx, func(v *store.View) error {
		list, err := v.Versions(id, q)
		if err != nil {
			return err
		}
		page = leafward.List[Shown]{Total: list.Total, TotalCapped: list.TotalCapped, Page: list.Page, PerPage: list.PerPage, Next: list.Next, Items: []Shown{}}
		for i := range list.Items {
			row := Shown{Version: &list.Items[i]}
			if row.Chain, err = chainPEM(v, row.Version); err != nil {
				return err
			}
			if row.CSR, err = csrPEM(v, row.Version); err != nil {
				return err
			}
			page.Items = append(page.Items, row)
		}
		return nil
	})
	return page, err
}

// Export is the current version in PEM: the certificate, and those above it.
func (s *Service) Export(ctx context.Context, id string) (leaf, above []byte, err error) {
	shown, err := s.show(ctx, id, "")
	if err != nil {
		return nil, nil, err
	}
	if shown.Version == nil {
		return nil, nil, leafward.Errorf(leafward.Conflict, "wait until it is issued", "nothing was issued for the certificate %s yet", shown.Name)
	}
	leaf = pki.EncodeChain(shown.Version.DER)
	return leaf, shown.Chain[len(leaf):], nil
}

// Places lists where a certificate must be and what is known of it there.
func (s *Service) Places(ctx context.Context, id string) (places []Place, err error) {
	err = s.db.View(ctx, func(v *store.View) error {
		if _, err := v.Certificate(id); err != nil {
			return err
		}
		installations, err := v.Installations(id)
		if err != nil {
			return err
		}
		targets, err := v.TargetsOf(id)
		places = make([]Place, len(installations))
		for i, at := range installations {
			places[i] = Place{targets[at.Target], at}
		}
		return err
	})
	return places, err
}

// Wait waits until the certificate has a version or its issuance ended otherwise, at most as long as said, and shows it
// as it is then.
func (s *Service) Wait(ctx context.Context, shown Shown, most time.Duration) (Shown, error) {
	if most <= 0 || shown.OpenJob == "" {
		return shown, nil
	}
	err := s.watch(ctx, shown.ID, most, func() (done bool, err error) {
		err = s.db.View(ctx, func(v *store.View) error {
			now, err := v.Certificate(shown.ID)
			done = now.OpenJob == "" || now.Version != "" && now.Version != shown.Certificate.Version
			return err
		})
		return done, err
	})
	if err != nil {
		return shown, err
	}
	return s.show(ctx, shown.ID, shown.Job)
}

// watch looks after every change of a row until it sees what is waited for, at most as long as said.
func (s *Service) watch(ctx context.Context, id string, most time.Duration, look func() (done bool, err error)) error {
	over := time.NewTimer(most)
	defer over.Stop()
	watch := s.db.Watch(id)
	defer watch.Close()
	for {
		changed := watch.Next()
		if done, err := look(); done || err != nil {
			return err
		}
		elsewhere := time.NewTimer(otherReplica)
		select {
		case <-changed:
		case <-elsewhere.C:
		case <-over.C:
			elsewhere.Stop()
			return nil
		case <-leafward.Hurry(ctx):
			elsewhere.Stop()
			return nil
		case <-ctx.Done():
			elsewhere.Stop()
			return ctx.Err()
		}
		elsewhere.Stop()
	}
}

// otherReplica is how late a change that another process made is seen.
const otherReplica = time.Second
