package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

type certCommands struct {
	Create  certCreate  `cmd:"" help:"Record a certificate; with a target, have it issued, deployed and proved."`
	List    certList    `cmd:"" help:"List certificates."`
	Get     certGet     `cmd:"" help:"Show a certificate, where it is, and its versions."`
	Bind    certBind    `cmd:"" help:"Install a certificate at more targets."`
	Unbind  certUnbind  `cmd:"" help:"Do not install a certificate at targets any more; the files there stay."`
	Renew   certRenew   `cmd:"" help:"Renew a certificate now."`
	Deploy  certDeploy  `cmd:"" help:"Deploy a certificate to its targets again, or an earlier version of it."`
	Revoke  certRevoke  `cmd:"" help:"Revoke a certificate."`
	Release certRelease `cmd:"" help:"Lift a revocation for certificateHold."`
	Archive certArchive `cmd:"" help:"Put a certificate away: it is not renewed any more, its history stays, its name is free."`
}

type certList struct {
	asking
	limited
	Search      string `short:"q" placeholder:"TEXT" help:"Only those with a name, serial, fingerprint or tag that begins so."`
	Status      string `placeholder:"STATE" help:"Only Pending, Active, Expiring, Expired, RenewalInProgress, Failed, Revoked or Archived; without it all but archived ones."`
	Struck      bool   `name:"version-revoked" help:"Only those of which a version in use is revoked although the certificate is not."`
	Target      string `placeholder:"NAME" help:"Only those at this target."`
	Agent       string `placeholder:"NAME" help:"Only those of this agent."`
	Issuer      string `placeholder:"NAME" help:"Only those of this issuer."`
	Profile     string `placeholder:"NAME" help:"Only those of this profile."`
	Policy      string `placeholder:"NAME" help:"Only those of this renewal policy."`
	Owner       string `placeholder:"NAME" help:"Only those of this owner."`
	Team        string `placeholder:"NAME" help:"Only those of this team."`
	Environment string `placeholder:"LABEL" help:"Only those of this environment."`
	Sort        string `placeholder:"KEY" help:"Order by this, with - in front the other way round, such as expires_at."`
}

// filter finds what the flags name.
func (c *certList) filter(ctx context.Context, r *run) (in api.ListCertificatesInput, err error) {
	in = api.ListCertificatesInput{Status: c.Status, Environment: c.Environment}
	if c.Struck {
		in.VersionRevoked = "true"
	}
	for _, given := range []struct {
		to   *string
		name string
		find func(context.Context, string) (string, error)
	}{
		{&in.TargetID, c.Target, r.target},
		{&in.AgentID, c.Agent, r.agent},
		{&in.IssuerID, c.Issuer, r.issuer},
		{&in.CertificateProfileID, c.Profile, r.profile},
		{&in.RenewalPolicyID, c.Policy, r.policy},
		{&in.OwnerID, c.Owner, r.owner},
		{&in.TeamID, c.Team, r.team},
	} {
		if *given.to, err = given.find(ctx, given.name); err != nil {
			return in, err
		}
	}
	return in, nil
}

func (c *certList) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	in, err := c.filter(ctx, r)
	if err != nil {
		return err
	}
	certs, err := collect(c.Limit, func(l api.Listing) (api.Page[api.Certificate], error) {
		in.Listing = l
		in.Search, in.Sort = c.Search, c.Sort
		return api.ListCertificates.Call(ctx, r.Client, in)
	})
	if err != nil {
		return err
	}
	err = r.answer(certs, func() {
		if len(certs.Data) == 0 {
			r.say(good, "leafward issue www.example.com"+r.where.flags(), "there are no such certificates")
			return
		}
		n, now := r.names(), time.Now()
		t := &table{head: []string{"NAME", "STATE", "EXPIRES", "RENEWS", "TARGETS", "TEAM", "NOTE"}, cut: []int{0, 4, 5, 6}}
		for i := range certs.Data {
			cert := &certs.Data[i]
			t.add(cert.Name, cert.Status, when(cert.ExpiresAt, now), soon(cert.RenewsAt, now), n.targets(ctx, cert.TargetIDs), n.team(ctx, cert.TeamID), firstLine(n.text(ctx, certNote(cert))))
		}
		r.print(t)
	})
	tell(r, "certificate", certs)
	return err
}

// soon is how far a moment is, "" when there is none.
func soon(t *time.Time, now time.Time) string {
	if t == nil {
		return ""
	}
	return distance(t.Sub(now))
}

// targets are the names of targets.
func (n *names) targets(ctx context.Context, ids []string) string {
	found := make([]string, len(ids))
	for i, id := range ids {
		found[i] = n.target(ctx, id)
	}
	return strings.Join(found, ", ")
}

// certNote is what one must know of a certificate besides its state.
func certNote(c *api.Certificate) string {
	switch {
	case c.RevokedAt != nil:
		return c.RevocationReason
	case c.VersionRevokedAt != nil:
		return strings.TrimSuffix("its version is revoked; "+renewalNote(c), "; ")
	}
	return renewalNote(c)
}

// renewalNote is what one must know of its issuance or renewal.
func renewalNote(c *api.Certificate) string {
	switch {
	case c.LastError != "":
		return c.LastError
	case c.JobID != "" && heldByCaller(c):
		return "waits for a CSR"
	case c.PendingChange:
		return "a change waits for the next renewal"
	}
	return ""
}

// heldByCaller tells whether its key is with whoever sends the CSR: where nobody else makes one, it is.
func heldByCaller(c *api.Certificate) bool {
	return c.KeySource == string(leafward.ClientKey) || c.KeySource == string(leafward.AgentKey) && len(c.TargetIDs) == 0
}

type certGet struct {
	asking
	Name string `arg:"" help:"Name or id of the certificate."`
	PEM  bool   `name:"pem" help:"Print the newest version in PEM and nothing else: leaf first, then those above it."`
}

// wholeCert is what get answers in JSON.
type wholeCert struct {
	api.Certificate
	Deployments []api.Deployment         `json:"deployments"`
	Versions    []api.CertificateVersion `json:"versions"` // the newest first, 50 at most
}

func (c *certGet) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	id, err := r.certificate(ctx, c.Name)
	if err != nil {
		return err
	}
	if c.PEM {
		chain, err := api.ExportCertificatePEM.Call(ctx, r.Client, api.ExportPEMInput{ID: id})
		if err != nil {
			return err
		}
		return r.answer(chain, func() { fmt.Fprint(r.Out, chain.FullPEM) })
	}
	whole, err := r.wholeCert(ctx, id)
	if err != nil {
		return err
	}
	return r.answer(whole, func() { r.showCert(ctx, &whole) })
}

// wholeCert reads a certificate, its places and its newest versions.
func (r *run) wholeCert(ctx context.Context, id string) (whole wholeCert, err error) {
	if whole.Certificate, err = api.GetCertificate.Call(ctx, r.Client, api.ByID{ID: id}); err != nil {
		return whole, err
	}
	places, err := api.GetCertificateDeployments.Call(ctx, r.Client, api.ByID{ID: id})
	if err != nil {
		return whole, err
	}
	versions, err := api.ListCertificateVersions.Call(ctx, r.Client, api.ListVersionsInput{ID: id, Paging: api.Paging{PerPage: 50}})
	whole.Deployments, whole.Versions = places.Data, versions.Data
	return whole, err
}

// showCert shows it to a person.
func (r *run) showCert(ctx context.Context, c *wholeCert) {
	n, now := r.names(), time.Now()
	f := &facts{}
	f.add("name", "%s", c.Name)
	f.add("state", "%s %s", sign(r.mark(certTone(c.Status))), c.Status)
	f.add("note", "%s", n.text(ctx, certNote(&c.Certificate)))
	f.add("for", "%s", strings.Join(namesOf(&c.Certificate), ", "))
	f.add("expires", "%s", when(c.ExpiresAt, now))
	f.add("renews", "%s", when(c.RenewsAt, now))
	f.add("revoked", "%s", when(c.RevokedAt, now))
	f.add("key", "%s", keyOf(&c.Certificate))
	f.add("issuer", "%s%s", n.issuer(ctx, c.IssuerID), signedElsewhere(&c.Certificate))
	f.add("profile", "%s, renewal policy %s", n.profile(ctx, c.CertificateProfileID), n.policy(ctx, c.RenewalPolicyID))
	f.add("owner", "%s, team %s", n.owner(ctx, c.OwnerID), n.team(ctx, c.TeamID))
	f.add("environment", "%s", c.Environment)
	for _, tag := range sorted(c.Tags) {
		f.add("tag", "%s=%s", tag, c.Tags[tag])
	}
	f.add("work", "%s", c.JobID)
	r.facts(f)
	r.showPlaces(ctx, n, c)
	if len(c.Versions) == 0 {
		return
	}
	fmt.Fprintln(r.Out)
	t := &table{head: []string{"SERIAL", "KEY OF", "FROM", "UNTIL", "STATE", "SHA-256"}, cut: []int{5, 0}}
	for _, v := range c.Versions {
		t.add(v.SerialNumber, first(n.slot(ctx, v.Slot), "-"), v.NotBefore.Local().Format(time.DateOnly), when(&v.NotAfter, now), versionState(&v, now), v.FingerprintSHA256)
	}
	r.print(t)
}

// showPlaces shows where the certificate is.
func (r *run) showPlaces(ctx context.Context, n *names, c *wholeCert) {
	if len(c.Deployments) > 0 {
		fmt.Fprintln(r.Out)
	}
	for _, d := range c.Deployments {
		place := d.Name
		if agent := n.agent(ctx, d.AgentID); agent != "" {
			place += " at " + agent
		}
		switch {
		case d.LastError != "":
			fmt.Fprintf(r.Out, "%s %s: %s\n", r.mark(bad), clean(place), indented(n.text(ctx, d.LastError), "  "))
		case d.DesiredVersion != "" && d.ProvedVersion == d.DesiredVersion:
			fmt.Fprintf(r.Out, "%s %s: proved (%s) %s%s\n", r.mark(good), clean(place), d.Proof, when(d.ProvedAt, time.Now()), pinned(&d))
		case d.DesiredVersion != "" && d.DeployedVersion == d.DesiredVersion:
			fmt.Fprintf(r.Out, "%s %s: deployed %s, not proved yet\n", r.mark(wait), clean(place), when(d.DeployedAt, time.Now()))
		case d.ProvedVersion != "":
			fmt.Fprintf(r.Out, "%s %s: still has the version before; the new one is to come\n", r.mark(wait), clean(place))
		default:
			fmt.Fprintf(r.Out, "%s %s: not deployed yet\n", r.mark(wait), clean(place))
		}
	}
}

func pinned(d *api.Deployment) string {
	if d.Pinned {
		return "; an earlier version stays here until cert deploy without --version"
	}
	return ""
}

// slot is who holds the key of a version.
func (n *names) slot(ctx context.Context, slot string) string {
	if strings.HasPrefix(slot, "ag-") {
		return n.agent(ctx, slot)
	}
	return slot
}

func versionState(v *api.CertificateVersion, now time.Time) string {
	switch {
	case v.RevokedAt != nil:
		return "revoked: " + v.RevocationReason
	case !now.Before(v.NotAfter):
		return "expired"
	case v.Current:
		return "newest"
	}
	return "replaced"
}

// namesOf are all names of a certificate, each once.
func namesOf(c *api.Certificate) []string {
	out := []string{}
	if c.CommonName != "" {
		out = append(out, c.CommonName)
	}
	for _, san := range c.SANs {
		if san != c.CommonName {
			out = append(out, san)
		}
	}
	return out
}

// signedElsewhere says who signed the version in use where that is nobody here.
func signedElsewhere(c *api.Certificate) string {
	if !foreign(c) {
		return ""
	}
	by := "somebody else"
	if leaf, err := leafOf(c.Version); err == nil {
		by = leaf.Issuer.String()
	}
	return fmt.Sprintf(", from the next renewal on; this version was signed by %.200s", by)
}

// keyOf is the certificate's key for people.
func keyOf(c *api.Certificate) string {
	kind := c.KeyAlgorithm
	size := c.KeySize
	if c.Version != nil {
		kind, size = c.Version.KeyAlgorithm, c.Version.KeySize
	}
	if size > 0 && kind != "Ed25519" {
		kind = fmt.Sprintf("%s %d", kind, size)
	}
	holder := "made by each agent"
	switch {
	case heldByCaller(c):
		holder = "held by whoever sends the CSR"
	case c.KeySource == string(leafward.ServerKey):
		holder = "made by the server"
	}
	if kind == "" {
		return holder
	}
	return kind + ", " + holder
}

func certTone(status string) tone {
	switch leafward.CertificateStatus(status) {
	case leafward.StatusActive:
		return good
	case leafward.StatusPending, leafward.StatusInProgress:
		return wait
	case leafward.StatusExpiring, leafward.StatusArchived:
		return warn
	}
	return bad
}
