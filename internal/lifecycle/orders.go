package lifecycle

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/issuer"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// Orders works the orders of certificates and draws the consequences of finished roots.
type Orders struct {
	db     *store.DB
	master *keys.Master
	open   func(ctx context.Context, row leafward.Issuer) (issuer.Issuer, error)
	hourly int
}

// NewOrders returns the work side; open gives the issuer that a configured row describes, and hourly is how many renewals
// the clock begins in any hour, 0 for any number.
func NewOrders(db *store.DB, master *keys.Master, open func(context.Context, leafward.Issuer) (issuer.Issuer, error), hourly int) *Orders {
	return &Orders{db: db, master: master, open: open, hourly: hourly}
}

// lanes begins the name of an issuer's lane, in which everything runs that it signs.
const lanes = "issuer/"

func laneOf(issuer string) string { return lanes + issuer }

// LaneLimit is how many jobs of a lane may run at once when each issuer may sign so many; 0: any number.
func LaneLimit(perIssuer int) func(lane string) int {
	return func(lane string) int {
		if strings.HasPrefix(lane, lanes) {
			return perIssuer
		}
		return 0
	}
}

// orderTimeout bounds one attempt to get a certificate signed.
const orderTimeout = 2 * time.Minute

// Kinds are the kinds of jobs that package lifecycle understands.
func (o *Orders) Kinds() []job.Kind {
	return []job.Kind{
		{Name: leafward.OrderJob, Work: o.work, Timeout: orderTimeout, Settled: o.orderSettled, Moot: unwanted},
		{Name: leafward.RootJob, Settled: o.rootSettled},
		{Name: replanJob, Work: o.replan},
		{Name: batchJob, Work: o.batch, Settled: batchSettled},
	}
}

// task is everything that one order needs.
type task struct {
	certificate leafward.Certificate
	around
	request leafward.Request
	found   bool
	now     time.Time
}

// work gets one CSR signed and stores the version, in that order: what is signed and stored is never signed again, and
// what was reserved for this request is resumed.
func (o *Orders) work(ctx context.Context, run *job.Run) error {
	t, err := o.read(ctx, run.Job)
	if err != nil {
		return err
	}
	if why, closed := t.certificate.Closed(); closed {
		return leafward.Errorf(leafward.Conflict, "make a new certificate", "nothing is signed for %s: %s", t.certificate.Name, why)
	}
	csr, err := o.csr(ctx, run, &t)
	if err != nil {
		return err
	}
	request, err := t.ask(csr)
	if err != nil {
		return err
	}
	if !t.issuer.Enabled {
		return leafward.Errorf(leafward.Later, "enable the issuer", "the issuer %s is switched off", t.issuer.Name)
	}
	signer, err := o.open(ctx, t.issuer)
	if err != nil {
		return err
	}
	var upstream waiting
	if _, err := run.Resume(&upstream); err != nil {
		return err
	}
	request.Order = upstream.Order
	chain, err := signer.Issue(ctx, request)
	if pending, ok := errors.AsType[*issuer.Pending](err); ok {
		if err := run.Checkpoint(ctx, waiting{Order: pending.Order}, nil); err != nil {
			return err
		}
		return job.Snooze{After: pending.After, WaitingFor: "the issuer " + t.issuer.Name}
	}
	if err != nil {
		return err
	}
	leaf, err := accept(chain, request, csr, t.now)
	if err != nil {
		return err
	}
	return run.Finish(ctx, func(tx *store.Tx) error { return o.store(tx, run.Job, &t, chain, leaf, csr) })
}

// waiting is the checkpoint of an order whose issuer answers later.
type waiting struct {
	Order string `json:"order,omitempty"` // what to ask the issuer again with
}

// csr is the one that is signed. The server makes its own key, anew when the record meanwhile asks for another kind.
func (o *Orders) csr(ctx context.Context, run *job.Run, t *task) (*pki.CSR, error) {
	mine := slotOf(run.Job) == serverSlot
	if !t.found && !mine {
		return nil, leafward.Errorf(leafward.Invalid, "renew the certificate again", "the order has no CSR")
	}
	if !t.found {
		if err := o.makeKey(ctx, run, t); err != nil {
			return nil, err
		}
	}
	csr, err := pki.ParseCSR(t.request.CSR)
	if err == nil && mine && csr.Kind != keyOf(&t.certificate, &t.profile) {
		if err := o.makeKey(ctx, run, t); err != nil {
			return nil, err
		}
		csr, err = pki.ParseCSR(t.request.CSR)
	}
	if err != nil {
		return nil, leafward.Errorf(leafward.Invalid, "send another CSR", "the stored CSR cannot be used: %v", err)
	}
	return csr, nil
}

func slotOf(j leafward.Job) string {
	_, slot, _ := strings.Cut(j.Subject, "/")
	return slot
}

func (o *Orders) read(ctx context.Context, j leafward.Job) (t task, err error) {
	err = o.db.View(ctx, func(v *store.View) error {
		t.now = v.Now
		if t.certificate, err = v.Certificate(j.Certificate); err != nil {
			return err
		}
		if t.profile, err = v.Profile(t.certificate.Profile); err != nil {
			return err
		}
		if t.issuer, err = v.Issuer(t.certificate.Issuer); err != nil {
			return err
		}
		t.request, t.found, err = v.RequestOfJob(j.ID)
		return err
	})
	return t, err
}

// newKey makes the server's key for a certificate, sealed and not stored yet, and a CSR of it.
func (o *Orders) newKey(t *task) (row leafward.Key, csr []byte, err error) {
	kind := keyOf(&t.certificate, &t.profile)
	key, err := pki.GenerateKey(kind)
	if err != nil {
		return row, nil, err
	}
	all, err := names(&t.certificate)
	if err != nil {
		return row, nil, err
	}
	if csr, err = pki.MakeCSR(key, t.certificate.CommonName, all); err != nil {
		return row, nil, err
	}
	spki, err := pki.SPKISHA256(key.Public())
	if err != nil {
		return row, nil, err
	}
	row = leafward.Key{Row: leafward.Row{ID: store.NewID("kp")}, SPKI: spki, Algorithm: kind.Algorithm, Size: kind.Size, Custody: leafward.ServerKey, Retrieval: "once"}
	row.Sealed, err = o.master.SealKey(keys.Context{Table: "keys", Column: "sealed", Row: row.ID}, key)
	return row, csr, err
}

// makeKey makes the server's key for the order and stores it sealed with its request, so that a retry uses the same.
func (o *Orders) makeKey(ctx context.Context, run *job.Run, t *task) error {
	row, csr, err := o.newKey(t)
	if err != nil {
		return err
	}
	request := leafward.Request{Certificate: t.certificate.ID, Job: run.Job.ID, Slot: serverSlot, CSR: csr, Key: row.ID, State: leafward.RequestOpen}
	err = run.Checkpoint(ctx, waiting{}, func(tx *store.Tx) error {
		fresh, pair := request, row
		tx.AddKeyPair(&pair)
		tx.AddRequest(&fresh)
		t.request = fresh
		return tx.Err()
	})
	return err
}

// ask is what the issuer is asked: the record and the profile decide the names, the CSR gives the key only.
func (t *task) ask(csr *pki.CSR) (issuer.Request, error) {
	var p leafward.Problems
	obey(&p, &t.certificate, csr, &t.profile)
	if err := p.Err(); err != nil {
		return issuer.Request{}, err
	}
	all, err := names(&t.certificate)
	if err != nil {
		return issuer.Request{}, err
	}
	ttl := time.Duration(ttlOf(&t.certificate, &t.profile)) * time.Second
	return issuer.Request{
		ID: t.request.ID, Name: t.certificate.Name, CSR: csr.DER, PublicKey: csr.PublicKey, CommonName: t.certificate.CommonName, Names: all, TTL: ttl,
		MaxTTL: time.Duration(t.profile.MaxTTL) * time.Second, Backdate: time.Duration(t.profile.Backdate) * time.Second, EKUs: t.profile.EKUs,
		CutToIssuer: t.profile.CutToIssuer, ShortLived: ttl < leafward.ShortLived,
	}, nil
}

// accept checks what an issuer returned before it is stored: the key, the names, the lifetime and the chain.
func accept(chain issuer.Chain, r issuer.Request, csr *pki.CSR, now time.Time) (*x509.Certificate, error) {
	refuse := func(format string, args ...any) error {
		return leafward.Errorf(leafward.Invalid, "check the issuer's configuration", "the issuer returned a certificate that cannot be used: "+format, args...)
	}
	if len(chain.Certificates) == 0 {
		return nil, refuse("it is empty")
	}
	ders := chain.Certificates
	if chain.Authority != "" { // which verified its signature when it made it, and keeps the chain itself
		ders = ders[:1]
	}
	parsed := make([]*x509.Certificate, len(ders))
	for i, der := range ders {
		c, err := pki.ParseCertificate(der)
		if err != nil {
			return nil, refuse("%v", err)
		}
		parsed[i] = c
	}
	leaf := parsed[0]
	if leaf.IsCA {
		return nil, refuse("it is that of an authority")
	}
	want, err := pki.SPKISHA256(csr.PublicKey)
	if err != nil {
		return nil, err
	}
	if have, err := pki.SPKISHA256(leaf.PublicKey); err != nil || have != want {
		return nil, refuse("it is for another key")
	}
	if more := pki.NamesOf(leaf).Within(r.Names); len(more) > 0 {
		return nil, refuse("it names %s, which nobody asked for", strings.Join(more, ", "))
	}
	if missing := r.Names.Within(pki.NamesOf(leaf)); len(missing) > 0 {
		return nil, refuse("it lacks the names %s", strings.Join(missing, ", "))
	}
	if lifetime := leaf.NotAfter.Sub(leaf.NotBefore) + time.Second; lifetime > r.MaxTTL {
		return nil, refuse("it lives for %s, longer than the profile's %s", lifetime, r.MaxTTL)
	}
	if !now.Before(leaf.NotAfter) {
		return nil, refuse("it ended at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	for i := 1; i < len(parsed); i++ {
		if err := parsed[i-1].CheckSignatureFrom(parsed[i]); err != nil {
			return nil, refuse("its chain does not hold: %v", err)
		}
	}
	return leaf, nil
}

// store writes the signed version and everything that follows from it. The record may have changed since it was read for
// the issuer: the version is that of the record as it was then.
func (o *Orders) store(tx *store.Tx, j leafward.Job, t *task, chain issuer.Chain, leaf *x509.Certificate, csr *pki.CSR) error {
	c, err := tx.Certificate(j.Certificate)
	if err != nil {
		return err
	}
	if why, closed := c.Closed(); closed {
		return leafward.Errorf(leafward.Conflict, "make a new certificate", "the certificate %s was closed meanwhile: %s", c.Name, why)
	}
	policy, err := tx.RenewalPolicy(c.Policy)
	if err != nil {
		return err
	}
	request, found, err := tx.Request(t.request.ID)
	if err != nil || !found {
		return errors.Join(err, leafward.Errorf(leafward.Conflict, "renew the certificate again", "the request is gone"))
	}
	if request.Key, err = keyRow(tx, csr, slotOf(j)); err != nil {
		return err
	}
	v := t.version(&c, slotOf(j), chain, leaf, csr)
	v.Key = request.Key
	if err := publish(tx, &v, chain); err != nil {
		return err
	}
	request.State, request.Version = leafward.RequestIssued, v.ID
	tx.PutRequest(&request)
	live, used, err := served(&tx.View, &c)
	if err != nil {
		return err
	}
	c.Activate(&v, live, &policy, tx.Now)
	c.Strike(used, &policy)
	tx.PutCertificate(&c)
	recordIssued(tx, &t.certificate, &v)
	_, err = install(tx, &c, &v, &policy, j.Parent, j.Batch)
	return err
}

// version is what was signed, for a slot of the certificate as it is now.
func (t *task) version(c *leafward.Certificate, slot string, chain issuer.Chain, leaf *x509.Certificate, csr *pki.CSR) leafward.Version {
	return leafward.Version{
		Certificate: c.ID, Team: c.Team, Slot: slot, Request: t.request.ID, Issuer: t.issuer.ID, Authority: chain.Authority,
		Serial: pki.SerialHex(leaf.SerialNumber), SHA256: pki.Fingerprint(leaf.Raw), Subject: leaf.Subject.String(), Algorithm: csr.Kind.Algorithm, Size: csr.Kind.Size,
		NotBefore: leaf.NotBefore.UTC(), NotAfter: leaf.NotAfter.UTC(), DER: leaf.Raw, Spec: max(t.certificate.Spec, 1), Source: leafward.VersionIssued,
	}
}

// publish stores a version with its chain; from the commit on its serial is good.
func publish(tx *store.Tx, v *leafward.Version, chain issuer.Chain) error {
	v.Chain = tx.AddChain(chain.Certificates[1:])
	tx.AddVersion(v)
	if v.Authority == "" {
		return tx.Err()
	}
	return ca.MarkIssued(tx, v.Authority, v.Serial)
}

// recordIssued notes what was signed; asked is the record that it was signed for.
func recordIssued(tx *store.Tx, asked *leafward.Certificate, v *leafward.Version) {
	tx.Record(leafward.CertificateIssued, v.Certificate, v.Team, leafward.Details{
		"version": v.ID, "serial": v.Serial, "authority": v.Authority, "sha256": v.SHA256,
		"not_after": v.NotAfter.Format(time.RFC3339), "slot": v.Slot, "names": asked.Names(),
	})
}

// keyRow is the row of the CSR's key: the known one, or a new one of a holder outside.
func keyRow(tx *store.Tx, csr *pki.CSR, slot string) (string, error) {
	spki, err := pki.SPKISHA256(csr.PublicKey)
	if err != nil {
		return "", err
	}
	known, found, err := tx.KeyPairOf(spki)
	if err == nil && found && !known.CompromisedAt.IsZero() {
		err = leafward.Errorf(leafward.Denied, "make a new key", "the key was reported as compromised meanwhile")
	}
	if err != nil {
		return "", err
	}
	if found {
		tx.UseKeyPair(known.ID)
		return known.ID, tx.Err()
	}
	k := leafward.Key{SPKI: spki, Algorithm: csr.Kind.Algorithm, Size: csr.Kind.Size, Custody: leafward.ClientKey, Holder: slot, Retrieval: "never"}
	if slot != clientSlot {
		k.Custody = leafward.AgentKey
	}
	tx.AddKeyPair(&k)
	return k.ID, tx.Err()
}

// unwanted tells whether the holder of an order's key serves no target of the certificate any more.
func unwanted(v *store.View, j *leafward.Job) (bool, error) {
	c, found, err := v.CertificateOfAny(j.Certificate)
	if err != nil || !found {
		return !found, err
	}
	targets, err := v.TargetsOf(c.ID)
	return !slices.Contains(slotsOf(&c, targets), slotOf(*j)), err
}

// orderSettled closes the request of an order that ended without a version.
func (o *Orders) orderSettled(tx *store.Tx, j *leafward.Job) error {
	r, found, err := tx.RequestOfJob(j.ID)
	if err != nil || !found || r.State != leafward.RequestOpen {
		return err
	}
	r.State, r.Error = leafward.RequestFailed, j.LastError
	if j.Status != leafward.JobFailed {
		r.State = leafward.RequestCancelled
	}
	tx.PutRequest(&r)
	return nil
}

// after is what a root does once it is completed; it stands in the root's checkpoint.
type after struct {
	Revoke []string `json:"revoke,omitempty"` // versions
	Reason string   `json:"reason,omitempty"`
}

// rootSettled draws the consequences of a finished issuance or renewal.
func (o *Orders) rootSettled(tx *store.Tx, j *leafward.Job) error {
	c, err := tx.Certificate(j.Certificate)
	if err != nil || c.OpenJob != j.ID {
		return err
	}
	policy, err := tx.RenewalPolicy(c.Policy)
	if err != nil {
		return err
	}
	switch j.Status {
	case leafward.JobCompleted:
		return succeed(tx, &c, j, &policy)
	case leafward.JobFailed:
		c.Fail(j.LastError, &policy, tx.Now)
	default:
		due := !c.RenewAt.IsZero() && !c.RenewAt.After(tx.Now)
		c.Abandon(&policy, tx.Now)
		if err := use(tx, &c, &policy); err != nil {
			return err
		}
		tx.PutCertificate(&c)
		if !due { // a version in use may have been revoked meanwhile
			return hasten(tx, c.ID)
		}
	}
	tx.PutCertificate(&c)
	return tx.Err()
}

// succeed draws the consequences of a root whose every part is done: what is in use ends later, and what was to be
// replaced is revoked.
func succeed(tx *store.Tx, c *leafward.Certificate, root *leafward.Job, policy *leafward.RenewalPolicy) error {
	c.Succeed(policy)
	if err := use(tx, c, policy); err != nil {
		return err
	}
	if !c.StruckAt.IsZero() {
		_, used, err := served(&tx.View, c)
		if err != nil {
			return err
		}
		c.Strike(used, policy)
	}
	if root.Type == leafward.Renewal {
		tx.Record(leafward.CertificateRenewed, c.ID, c.Team, leafward.Details{"version": c.Version, "job": root.ID})
	}
	tx.PutCertificate(c)
	if root.Checkpoint == "" {
		return tx.Err()
	}
	var then after
	if err := json.Unmarshal([]byte(root.Checkpoint), &then); err != nil {
		return fmt.Errorf("the checkpoint of root %s: %w", root.ID, err)
	}
	return revokeNow(tx, c, then.Revoke, then.Reason)
}

// use sets when the certificate in use ends: the earliest of the versions proved where it is installed, else of the newest
// versions of the slots that serve it.
func use(tx *store.Tx, c *leafward.Certificate, policy *leafward.RenewalPolicy) error {
	end, err := tx.EarliestProved(c.ID)
	if err != nil {
		return err
	}
	if end.IsZero() {
		live, err := inUse(&tx.View, c)
		if err != nil || len(live) == 0 {
			return err
		}
		end = slices.MinFunc(live, func(a, b leafward.Version) int { return a.NotAfter.Compare(b.NotAfter) }).NotAfter
	}
	c.Use(end, policy)
	return nil
}

// split cuts concatenated DER into its certificates.
func split(all []byte) (ders [][]byte, err error) {
	if len(all) == 0 {
		return nil, nil
	}
	certificates, err := x509.ParseCertificates(all)
	for _, c := range certificates {
		ders = append(ders, c.Raw)
	}
	return ders, err
}
