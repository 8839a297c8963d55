package lifecycle

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// Service is what callers ask of certificates.
type Service struct {
	db     *store.DB
	engine *job.Engine
	master *keys.Master
	log    *slog.Logger
}

// New returns the service; the engine works the jobs that it opens.
func New(db *store.DB, engine *job.Engine, master *keys.Master, log *slog.Logger) *Service {
	return &Service{db: db, engine: engine, master: master, log: log}
}

// Shown is a certificate with what is shown beside it.
type Shown struct {
	leafward.Certificate
	Targets []string
	Status  leafward.CertificateStatus
	Job     string            // the root that a change opened, "" when none did
	Version *leafward.Version // current version, nil before the first
	Chain   []byte            // PEM of the current version, leaf first; only where one certificate is shown
	CSR     []byte            // DER of the current version's request
	Key     leafward.Secret   // PEM, once, of a key the server made
}

// Create records a certificate of what fill writes and opens its issuance.
func (s *Service) Create(ctx context.Context, fill func(*leafward.Certificate) error, asked Asked, once Once) (shown Shown, err error) {
	csr, wrong := asked.parse()
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		shown = Shown{}
		replayed, err := once.begin(tx, func(id string) error { shown.ID = id; return nil })
		if err != nil || replayed {
			return err
		}
		c := leafward.Certificate{}
		p := wrong
		if err := p.Merge(fill(&c)); err != nil {
			return err
		}
		if csr != nil {
			c.KeySource = leafward.ClientKey
			takeCSR(&p, &c, csr)
		}
		if c.KeySource == "" {
			c.KeySource = leafward.AgentKey
		}
		complete(tx, &c)
		c.Spec = 1
		targets := asked.targets()
		a, err := check(tx, &c, csr, targets, &p)
		if err != nil {
			return err
		}
		if err := p.Err(); err != nil {
			return err
		}
		if !tx.Actor.MayWrite(c.Team) {
			return leafward.Errorf(leafward.Denied, "use a key of that team", "certificates of the team %s are not yours to make", c.Team)
		}
		tx.AddCertificate(&c)
		for _, t := range a.targets {
			tx.AddInstallation(&leafward.Installation{Certificate: c.ID, Target: t.ID, Proof: leafward.ProofNone})
		}
		tx.Record(leafward.CertificateRequested, c.ID, c.Team, leafward.Details{"name": c.Name, "names": c.Names(), "issuer": c.Issuer, "profile": c.Profile})
		st := start{typ: leafward.Issuance}
		if csr != nil {
			st.csr = csr.DER
		}
		root, err := begin(tx, &c, a, st)
		if err != nil {
			return err
		}
		tx.PutCertificate(&c)
		once.end(tx, c.ID)
		shown.ID, shown.Job = c.ID, root.ID
		return nil
	})
	if err != nil {
		return Shown{}, named(err)
	}
	return s.show(ctx, shown.ID, shown.Job)
}

// named tells a conflict in the words of certificates.
func named(err error) error {
	if e, ok := err.(*leafward.Error); ok && e.Kind == leafward.Conflict && strings.HasPrefix(e.Message, "something with") { //nolint:errorlint // made by the store, never wrapped
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

// show reads what is shown of one certificate.
func (s *Service) show(ctx context.Context, id, root string) (shown Shown, err error) {
	err = s.db.View(ctx, func(v *store.View) error {
		shown, err = show(v, id)
		shown.Job = root
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
	r, _, err := v.Request(version.Request)
	shown.CSR = r.CSR
	return shown, err
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
		for _, c := range list.Items {
			row := Shown{Certificate: c, Status: c.Status(v.Now), Targets: []string{}}
			for _, i := range places[c.ID] {
				row.Targets = append(row.Targets, i.Target)
			}
			page.Items = append(page.Items, row)
		}
		return nil
	})
	return page, err
}

// Versions lists what was signed for a certificate, each with its chain in PEM and its CSR.
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
			r, _, err := v.Request(row.Version.Request)
			if err != nil {
				return err
			}
			row.CSR = r.CSR
			page.Items = append(page.Items, row)
		}
		return nil
	})
	return page, err
}

// Update changes the record. Names, key and profile of the version in use stay until the next renewal; targets are bound
// and unbound at once, and a target whose agent has no key yet gets an order of its own.
func (s *Service) Update(ctx context.Context, id, match string, change func(*leafward.Certificate) error, asked Asked) (shown Shown, err error) {
	root := ""
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		root = ""
		c, err := tx.Certificate(id)
		if err != nil {
			return err
		}
		if err := store.Match(&c.Row, match); err != nil {
			return err
		}
		if !tx.Actor.MayWrite(c.Team) {
			return leafward.Errorf(leafward.Denied, "use a key of that team", "the certificate %s is not yours to change", c.Name)
		}
		before := c
		var p leafward.Problems
		if err := p.Merge(change(&c)); err != nil {
			return err
		}
		have, err := targetsOf(&tx.View, id)
		if err != nil {
			return err
		}
		want := have
		if asked.Targets != nil {
			want = asked.targets()
		}
		a, err := check(tx, &c, nil, want, &p)
		if err != nil {
			return err
		}
		if err := p.Err(); err != nil {
			return err
		}
		if why, closed := c.Closed(); closed {
			return leafward.Errorf(leafward.Conflict, "make a new certificate", "the certificate %s cannot be changed: %s", c.Name, why)
		}
		if respecified(&before, &c) {
			c.Spec++
		}
		c.Plan(&a.policy)
		if root, err = s.rebind(tx, &c, a, have, want); err != nil {
			return err
		}
		if same(&before, &c) && slices.Equal(have, want) {
			return nil
		}
		tx.PutCertificate(&c)
		tx.Record(leafward.CertificateUpdated, c.ID, c.Team, leafward.Details{"targets": want, "spec": c.Spec})
		return nil
	})
	if err != nil {
		return shown, named(err)
	}
	return s.show(ctx, id, root)
}

// respecified tells whether the next version will differ from the current one.
func respecified(a, b *leafward.Certificate) bool {
	return a.CommonName != b.CommonName || !slices.Equal(a.SANs, b.SANs) || a.Profile != b.Profile || a.Issuer != b.Issuer || a.TTL != b.TTL ||
		a.Algorithm != b.Algorithm || a.Size != b.Size || a.KeySource != b.KeySource
}

func same(a, b *leafward.Certificate) bool { return fmt.Sprint(*a) == fmt.Sprint(*b) }

// rebind binds and unbinds targets. What is needed to serve a new one is begun: a deployment where its agent's key is
// certified already, else an order for that agent, which joins the open root.
func (s *Service) rebind(tx *store.Tx, c *leafward.Certificate, a around, have, want []string) (root string, err error) {
	installations, err := tx.Installations(c.ID)
	if err != nil {
		return "", err
	}
	for _, i := range installations {
		if !slices.Contains(want, i.Target) {
			if open, found, err := tx.OpenJob(leafward.DeployJob, i.ID); err != nil {
				return "", err
			} else if found {
				if err := s.engine.Cancel(tx, &open, tx.Actor.Name); err != nil {
					return "", err
				}
			}
			tx.RemoveInstallation(&i)
		}
	}
	var added []leafward.Target
	for _, t := range a.targets {
		if !slices.Contains(have, t.ID) {
			tx.AddInstallation(&leafward.Installation{Certificate: c.ID, Target: t.ID, Proof: leafward.ProofNone})
			added = append(added, t)
		}
	}
	if len(added) == 0 {
		return "", tx.Err()
	}
	return s.serve(tx, c, a, added)
}

// serve begins what new targets need.
func (s *Service) serve(tx *store.Tx, c *leafward.Certificate, a around, added []leafward.Target) (string, error) {
	current, err := tx.CurrentVersions(c.ID)
	if err != nil {
		return "", err
	}
	has := make(map[string]*leafward.Version)
	for i := range current {
		has[current[i].Slot] = &current[i]
	}
	var slots []string
	for _, t := range added {
		slot := t.Agent
		if c.KeySource == leafward.ServerKey {
			slot = serverSlot
		}
		if v := has[slot]; v != nil && c.OpenJob == "" {
			if _, err := install(tx, c, v, &a.policy, "", ""); err != nil {
				return "", err
			}
		} else if v == nil && !slices.Contains(slots, slot) {
			slots = append(slots, slot)
		}
	}
	if c.OpenJob != "" {
		return c.OpenJob, s.join(tx, c, a, slots)
	}
	if len(slots) == 0 {
		return "", nil
	}
	root, err := begin(tx, c, a, start{typ: leafward.Issuance, slots: slots})
	return root.ID, err
}

// join adds orders for new agents to the open root; one that waited for anybody's CSR becomes the first agent's.
func (s *Service) join(tx *store.Tx, c *leafward.Certificate, a around, slots []string) error {
	root, found, err := tx.JobOfAny(c.OpenJob)
	if err != nil || !found || len(slots) == 0 {
		return err
	}
	waiting, found, err := tx.OpenJob(leafward.OrderJob, c.ID+"/"+clientSlot)
	if err != nil {
		return err
	}
	if found && waiting.Status == leafward.JobAwaitingCSR {
		waiting.Subject, waiting.Agent, waiting.WaitingFor = c.ID+"/"+slots[0], slots[0], "the agent "+slots[0]
		tx.PutJob(&waiting)
		slots = slots[1:]
	}
	for _, slot := range slots {
		if err := order(tx, c, a, start{typ: root.Type}, &root, slot); err != nil {
			return err
		}
	}
	return tx.Err()
}

// Archive takes the certificate out of the lists and cancels what is open; its history stays.
func (s *Service) Archive(ctx context.Context, id, match string) error {
	return s.db.Write(ctx, func(tx *store.Tx) error {
		c, err := s.mine(tx, id)
		if err != nil {
			return err
		}
		if err := store.Match(&c.Row, match); err != nil || !c.ArchivedAt.IsZero() {
			return err
		}
		if err := s.stop(tx, &c); err != nil {
			return err
		}
		c.Archive(tx.Now)
		tx.PutCertificate(&c)
		tx.Record(leafward.CertificateArchived, c.ID, c.Team, leafward.Details{"name": c.Name})
		return nil
	})
}

// mine reads a certificate that the actor may change.
func (s *Service) mine(tx *store.Tx, id string) (leafward.Certificate, error) {
	c, err := tx.Certificate(id)
	if err == nil && !tx.Actor.MayWrite(c.Team) {
		err = leafward.Errorf(leafward.Denied, "use a key of that team", "the certificate %s is not yours to change", c.Name)
	}
	return c, err
}

// stop cancels every open job of the certificate.
func (s *Service) stop(tx *store.Tx, c *leafward.Certificate) error {
	open, err := tx.OpenJobsOf(c.ID)
	if err != nil {
		return err
	}
	c.Abandon()
	tx.PutCertificate(c)
	for _, j := range open {
		if j.Parent != "" {
			continue
		}
		if err := s.engine.Cancel(tx, &j, tx.Actor.Name); err != nil {
			return err
		}
	}
	fresh, err := tx.Certificate(c.ID)
	*c = fresh
	return err
}
