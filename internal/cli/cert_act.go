package cli

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki"
)

type certRenew struct {
	asking
	Name string `arg:"" help:"Name or id of the certificate."`
	CSR  string `name:"csr" placeholder:"FILE" help:"Certificate request, in PEM, of whoever holds the key; - for standard input."`
	waiting
}

func (c *certRenew) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	csr, err := readCSR(s, c.CSR)
	if err != nil {
		return err
	}
	id, err := r.certificate(ctx, c.Name)
	if err != nil {
		return err
	}
	job, err := r.renew(ctx, id, csr)
	if err != nil {
		return err
	}
	r.say(good, "", "the renewal of %s has begun", c.Name)
	return r.conclude(ctx, id, job, "renewal", c.waiting)
}

// readCSR reads the file of a request; "" is none.
func readCSR(s *Session, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	text, err := readFile(s, name)
	if err == nil && len(bytes.TrimSpace(text)) == 0 {
		err = failed(codeFile, "name a file with a request, such as `openssl req -new` makes", "%s is empty", name)
	}
	return string(text), err
}

// renew begins a renewal and brings the CSR, when there is one. One that is open already and waits for the CSR is used.
func (r *run) renew(ctx context.Context, id, csr string) (job string, err error) {
	if csr != "" {
		cert, err := api.GetCertificate.Call(ctx, r.Client, api.ByID{ID: id})
		if err != nil {
			return "", err
		}
		job = cert.JobID
	}
	if job == "" {
		begun, err := api.TriggerRenewal.Call(ctx, r.Client, api.Ask{ID: id})
		if err != nil {
			return "", err
		}
		job = begun.JobID
	}
	if csr != "" {
		_, err = api.SubmitCertificateCSR.Call(ctx, r.Client, api.SubmitCSRInput{ID: id, Body: api.CSRRequest{CSRPEM: csr}})
	}
	return job, err
}

type certDeploy struct {
	asking
	Name    string `arg:"" help:"Name or id of the certificate."`
	Target  string `placeholder:"TARGET" help:"Only to this target; to all of them unless given."`
	Version string `placeholder:"SERIAL" help:"Version to deploy instead of the newest: its serial, id or the beginning of its SHA-256. It stays there until deploy is called without."`
	waiting
}

// deployed is what deploying answers in JSON.
type deployed struct {
	Certificate string          `json:"certificate_id"`
	Jobs        []api.JobDetail `json:"jobs"`
}

func (c *certDeploy) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	id, err := r.certificate(ctx, c.Name)
	if err != nil {
		return err
	}
	var body api.DeployRequest
	if body.TargetID, err = r.target(ctx, c.Target); err != nil {
		return err
	}
	if body.VersionID, err = r.version(ctx, id, c.Version); err != nil {
		return err
	}
	begun, err := api.TriggerDeployment.Call(ctx, r.Client, api.AskWith[api.DeployRequest]{ID: id, Body: &body})
	if err != nil {
		return err
	}
	r.say(good, "", "%s of %s begun", count(int64(len(begun.JobIDs)), "deployment"), c.Name)
	jobs, wrong := r.deployments(ctx, begun.JobIDs, c.waiting)
	if err := r.answer(deployed{Certificate: id, Jobs: jobs}, func() {}); err != nil {
		return err
	}
	if wrong == nil {
		r.delivered(c.Name, c.waiting)
	}
	return wrong
}

// delivered tells of deployments that ended well, or were not waited for.
func (r *run) delivered(certificate string, w waiting) {
	look := "leafward cert get " + quoted(certificate) + r.where.flags()
	if w.Wait {
		r.say(good, look, "%s is deployed and proved", certificate)
	} else {
		r.say(wait, look, "the deployment goes on by itself")
	}
}

// deployments follows one after the other; the error is the first that one ended with.
func (r *run) deployments(ctx context.Context, ids []string, w waiting) (jobs []api.JobDetail, wrong error) {
	jobs = []api.JobDetail{}
	for _, id := range ids {
		ends, err := r.deployment(ctx, id, w)
		jobs = append(jobs, ends...)
		if wrong == nil {
			wrong = err
		}
	}
	return jobs, wrong
}

// deployment follows a deployment and the job that proves it, unless told not to wait.
func (r *run) deployment(ctx context.Context, id string, w waiting) ([]api.JobDetail, error) {
	if !w.Wait {
		j, err := api.GetJob.Call(ctx, r.Client, api.JobID{ID: id})
		return []api.JobDetail{j}, err
	}
	deploy, err := r.follow(ctx, id, w)
	ends := []api.JobDetail{deploy}
	if err != nil {
		return ends, err
	}
	if err := r.failure(ctx, &deploy); err != nil {
		return ends, err
	}
	proofs, err := api.ListJobs.Call(ctx, r.Client, api.ListJobsInput{
		Type: string(leafward.Validation), CertificateID: deploy.CertificateID, TargetID: deploy.TargetID, Paging: api.Paging{PerPage: 1, Sort: "-created_at"},
	})
	if err != nil || len(proofs.Data) == 0 || proofs.Data[0].VersionID != deploy.VersionID {
		return ends, err
	}
	proof, err := r.follow(ctx, proofs.Data[0].ID, w)
	ends = append(ends, proof)
	if err == nil {
		err = r.failure(ctx, &proof)
	}
	return ends, err
}

// failure is why a job that has ended did not succeed; nil when it did.
func (r *run) failure(ctx context.Context, j *api.JobDetail) error {
	if j.Status == string(leafward.JobCompleted) {
		return nil
	}
	n := r.names()
	return failed(codeFailed, "mend it on the host; leafward job get "+j.ID+r.where.flags()+" shows each step",
		"%s at %s: %s", strings.ToLower(j.Type), n.target(ctx, j.TargetID), n.text(ctx, first(j.LastError, "it was cancelled")))
}

// version finds a version of a certificate by its id, its serial or the beginning of its SHA-256; "" stays "".
func (r *run) version(ctx context.Context, certificate, given string) (string, error) {
	if given == "" {
		return "", nil
	}
	const least = 8 // characters of a hash that name one
	wanted := strings.TrimLeft(strings.ToLower(strings.ReplaceAll(given, ":", "")), "0")
	hash := strings.ToLower(strings.ReplaceAll(given, ":", ""))
	for in := (api.ListVersionsInput{ID: certificate, Paging: api.Paging{PerPage: leafward.MaxPerPage}}); ; {
		page, err := api.ListCertificateVersions.Call(ctx, r.Client, in)
		if err != nil {
			return "", err
		}
		for _, v := range page.Data {
			if v.ID == given || v.SerialNumber == wanted || len(hash) >= least && strings.HasPrefix(v.FingerprintSHA256, hash) {
				return v.ID, nil
			}
		}
		if page.NextCursor == "" {
			return "", failed(string(leafward.NotFound), "`leafward cert get` lists serials and hashes", "the certificate has no version %q", given)
		}
		in.Cursor = page.NextCursor
	}
}

type certRevoke struct {
	asking
	Name    string `arg:"" help:"Name or id of the certificate."`
	Reason  string `default:"unspecified" placeholder:"REASON" help:"unspecified, keyCompromise, caCompromise, affiliationChanged, superseded, cessationOfOperation, privilegeWithdrawn, or certificateHold, which can be lifted (${default})."`
	Version string `placeholder:"SERIAL" help:"Only this version: its serial, id or the beginning of its SHA-256. Otherwise every one that has not expired, and the certificate is closed."`
	Replace bool   `help:"First make, deploy and prove a version with a new key; for keyCompromise the revocation comes first."`
	waiting
}

func (c *certRevoke) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	id, err := r.certificate(ctx, c.Name)
	if err != nil {
		return err
	}
	version, err := r.version(ctx, id, c.Version)
	if err != nil {
		return err
	}
	done, err := api.RevokeCertificate.Call(ctx, r.Client, api.AskWith[api.RevokeRequest]{ID: id, Body: &api.RevokeRequest{Reason: c.Reason, VersionID: version, Replace: c.Replace}})
	if err != nil {
		return err
	}
	what := "the certificate " + done.Certificate.Name
	if version != "" {
		what = "version " + c.Version + " of " + done.Certificate.Name
	}
	if done.JobID != "" {
		r.say(good, "", "the replacement of %s has begun", what)
		r.alsoRevoked(ctx, done.AlsoRevoked)
		return r.replaced(ctx, &done, c.waiting)
	}
	return r.answer(struckCert{done.Certificate, done.AlsoRevoked}, func() {
		next := "get a new one under another name; leafward cert archive " + quoted(done.Certificate.Name) + r.where.flags() + " frees this one"
		switch {
		case c.Reason == "certificateHold":
			next = "leafward cert release " + quoted(done.Certificate.Name) + r.where.flags() + " lifts it"
		case done.Certificate.VersionRevokedAt != nil:
			next = r.insteadLine(ctx, &done.Certificate)
		case version != "":
			next = "leafward cert get " + quoted(done.Certificate.Name) + r.where.flags()
		}
		r.say(good, next, "%s is revoked (%s): in OCSP now, in the CRL within two seconds", what, c.Reason)
		r.alsoRevoked(ctx, done.AlsoRevoked)
	})
}

// struckCert is what revoke answers in JSON.
type struckCert struct {
	api.Certificate
	AlsoRevoked []string `json:"also_revoked"` // ids of certificates that have the compromised key
}

// replaced concludes a replacement. It answers what else lost a version also when nobody knows yet how that ends.
func (r *run) replaced(ctx context.Context, done *api.Revocation, w waiting) error {
	answered := false
	wrong := r.concludeAs(ctx, done.Certificate.ID, done.JobID, "replacement", w, func(now api.Certificate) any {
		answered = true
		return struckCert{now, done.AlsoRevoked}
	})
	if answered {
		return wrong
	}
	if err := r.answer(struckCert{done.Certificate, done.AlsoRevoked}, func() {}); err != nil {
		return err
	}
	return wrong
}

// alsoRevoked tells of the certificates that lost versions because they have the compromised key.
func (r *run) alsoRevoked(ctx context.Context, ids []string) {
	for _, id := range ids {
		name, next := id, "leafward status"+r.where.flags()+" says what to do"
		if c, err := api.GetCertificate.Call(ctx, r.Client, api.ByID{ID: id}); err == nil {
			name, next = c.Name, r.insteadLine(ctx, &c)
		}
		r.say(warn, next, "%s has the same key: its version is revoked as well", name)
	}
}

// insteadLine is renewLine for a certificate whose version is revoked. Where a caller holds the key, nothing is renewed by itself.
func (r *run) insteadLine(ctx context.Context, c *api.Certificate) string {
	line := r.renewLine(ctx, c)
	if !heldByCaller(c) {
		line += ", unless it is renewed by itself"
	}
	return line
}

type certRelease struct {
	asking
	Name string `arg:"" help:"Name or id of the certificate."`
}

func (c *certRelease) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	id, err := r.certificate(ctx, c.Name)
	if err != nil {
		return err
	}
	done, err := api.ReleaseCertificate.Call(ctx, r.Client, api.Ask{ID: id})
	if err != nil {
		return err
	}
	return r.answer(done.Certificate, func() {
		r.say(good, "leafward cert get "+quoted(done.Certificate.Name)+r.where.flags(), "the certificate %s counts again", done.Certificate.Name)
	})
}

type certArchive struct {
	asking
	Name string `arg:"" help:"Name or id of the certificate."`
}

// archived is what archiving answers in JSON.
type archived struct {
	Archived string `json:"archived"`
}

func (c *certArchive) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	id, err := r.certificate(ctx, c.Name)
	if err != nil {
		return err
	}
	cert, err := api.GetCertificate.Call(ctx, r.Client, api.ByID{ID: id})
	if err != nil {
		return err
	}
	if _, err := api.ArchiveCertificate.Call(ctx, r.Client, api.ByID{ID: id}); err != nil {
		return err
	}
	return r.answer(archived{id}, func() {
		next := "its history stays: leafward cert get " + id + r.where.flags()
		if cert.ExpiresAt != nil && cert.ExpiresAt.After(time.Now()) && cert.RevokedAt == nil {
			next = fmt.Sprintf("what was issued ends %s; when its key is not safe: %s", distance(time.Until(*cert.ExpiresAt)), r.revoking(&cert))
		}
		r.say(good, next, "the certificate %s is archived", cert.Name)
	})
}

// revoking is how to have what was signed revoked: here, unless it was signed elsewhere.
func (r *run) revoking(c *api.Certificate) string {
	if !foreign(c) {
		return "leafward cert revoke " + c.ID + r.where.flags()
	}
	leaf, err := leafOf(c.Version)
	switch {
	case err != nil:
		return "have whoever signed it revoke it"
	case bytes.Equal(leaf.RawIssuer, leaf.RawSubject):
		return "take it from wherever it is trusted, for it signed itself and nobody revokes it"
	}
	return fmt.Sprintf("have %.200s revoke it, which signed it, by its serial number 0x%s", leaf.Issuer, c.Version.SerialNumber)
}

// foreign tells whether the version in use was signed elsewhere, on nobody's request here.
func foreign(c *api.Certificate) bool { return c.Version != nil && c.Version.IssuerID == "" }

// leafOf is what was signed.
func leafOf(v *api.CertificateVersion) (*x509.Certificate, error) {
	chain, err := pki.ParseChainPEM([]byte(v.PEMChain))
	if err != nil {
		return nil, err
	}
	return chain[0], nil
}
