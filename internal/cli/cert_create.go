package cli

import (
	"context"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki"
)

type certCreate struct {
	asking
	wanted
	Target    []string `sep:"none" placeholder:"TARGET" help:"Where it is installed; the target's agent makes the key. Can be repeated."`
	CSR       string   `name:"csr" xor:"key" placeholder:"FILE" help:"Certificate request, in PEM, of whoever holds the key; - for standard input."`
	ServerKey bool     `xor:"key" help:"Let the server make one key for all targets, instead of each agent its own."`
	waiting
}

func (c *certCreate) Run(ctx context.Context, s *Session) error {
	id, err := c.identity()
	if err != nil {
		return err
	}
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	body, err := c.request(ctx, r, id)
	if err != nil {
		return err
	}
	made, err := api.CreateCertificate.Call(ctx, r.Client, api.CreateCertificateInput{Body: body})
	if err != nil {
		return err
	}
	r.say(good, "", "the certificate %s is recorded", made.Name)
	if made.JobID == "" && made.Version != nil {
		return r.answered(made)
	}
	return r.conclude(ctx, made.ID, made.JobID, "issuance", c.waiting)
}

// request is the body with where the certificate goes and who makes the key.
func (c *certCreate) request(ctx context.Context, r *run, id identity) (body api.NewCertificate, err error) {
	if c.ServerKey && len(c.Target) == 0 {
		return body, failed(codeUsage, "add --target, or use leafward issue, which makes the key here", "--server-key is for targets")
	}
	if c.CSR != "" {
		if len(c.Target) > 0 {
			return body, failed(codeUsage, "leave one of them out", "--csr does not go with --target: the agent of a target makes its own key")
		}
		text, err := readCSR(r.Session, c.CSR)
		if err != nil {
			return body, err
		}
		defer func() { body.CSRPEM = text }()
	}
	if body, err = c.body(ctx, r, id); err != nil {
		return body, err
	}
	targets, err := all(c.Target, func(name string) (string, error) { return r.target(ctx, name) })
	if err != nil {
		return body, err
	}
	if len(targets) > 0 {
		body.TargetIDs = api.Some(targets)
	}
	if c.ServerKey {
		body.KeySource = api.Some(string(leafward.ServerKey))
	}
	return body, nil
}

// answered tells of a certificate that was issued when the request was answered.
func (r *run) answered(cert api.Certificate) error {
	if err := r.answer(cert, func() {}); err != nil {
		return err
	}
	r.say(good, "", "signature: signed")
	r.say(good, "leafward cert get "+quoted(cert.Name)+r.where.flags(), "%s: the issuance is complete%s", cert.Name, until(&cert))
	return nil
}

// conclude waits for the end of the work on a certificate unless told not to, and answers how the certificate is then.
// It fails when the work did.
func (r *run) conclude(ctx context.Context, id, job, work string, w waiting) error {
	return r.concludeAs(ctx, id, job, work, w, func(c api.Certificate) any { return c })
}

// concludeAs is conclude for an answer that says more than how the certificate is.
func (r *run) concludeAs(ctx context.Context, id, job, work string, w waiting, in func(api.Certificate) any) error {
	ended, err := r.outcome(ctx, job, w)
	if err != nil {
		return err
	}
	cert, err := api.GetCertificate.Call(ctx, r.Client, api.ByID{ID: id})
	if err != nil {
		return err
	}
	if err := r.answer(in(cert), func() {}); err != nil {
		return err
	}
	look := "leafward cert get " + quoted(cert.Name) + r.where.flags()
	switch status := leafward.JobStatus(ended.Status); {
	case status == leafward.JobCompleted:
		r.say(good, look, "%s: the %s is complete%s", cert.Name, work, until(&cert))
	case status == leafward.JobFailed, status == leafward.JobCancelled:
		why := r.names().text(ctx, first(ended.LastError, cert.LastError, "it was cancelled"))
		return failed(codeFailed, "mend the cause; `leafward job get "+job+r.where.flags()+"` shows each step; it is tried again by itself, or at once with `"+r.renewLine(ctx, &cert)+"`",
			"the %s of %s failed: %s", work, cert.Name, why)
	case status == leafward.JobAwaitingCSR && len(cert.TargetIDs) == 0:
		r.say(wait, r.issueLine(ctx, &cert)+" makes a key and sends its CSR", "%s waits for a CSR", cert.Name)
	case status.Open():
		r.say(wait, look, "%s: the %s goes on by itself", cert.Name, work)
	default:
		r.say(good, look, "%s: nothing is left to do", cert.Name)
	}
	return nil
}

// outcome is the job, at its end unless told not to wait; without one it is empty.
func (r *run) outcome(ctx context.Context, job string, w waiting) (api.JobDetail, error) {
	switch {
	case job == "":
		return api.JobDetail{}, nil
	case w.Wait:
		return r.follow(ctx, job, w)
	}
	return api.GetJob.Call(ctx, r.Client, api.JobID{ID: job})
}

// renewLine is the command that gets the next version of a certificate.
func (r *run) renewLine(ctx context.Context, c *api.Certificate) string {
	if heldByCaller(c) {
		return r.issueLine(ctx, c)
	}
	return "leafward cert renew " + quoted(c.Name) + r.where.flags()
}

// issueLine is the command that gets the next version of a certificate whose key is held by whoever sends the CSR.
func (r *run) issueLine(ctx context.Context, c *api.Certificate) string {
	force := ""
	if c.ExpiresAt != nil {
		force = " --force"
	}
	return "leafward issue " + quoted(namesOf(c)...) + r.asNamed(c) + r.inTeam(ctx, c) + keyFlag(c) + force + r.where.flags()
}

// usualKey is what issue makes when no --key-type is given.
func usualKey() pki.KeyKind { return pki.KeyKind{Algorithm: pki.ECDSA, Size: 256} }

// kindOf is the kind of keys that a certificate's record asks for; the zero value when it takes any.
func kindOf(c *api.Certificate) pki.KeyKind {
	return pki.KeyKind{Algorithm: c.KeyAlgorithm, Size: c.KeySize}
}

// keyFlag is the flag of issue for a record that asks for keys of another kind than the usual one.
func keyFlag(c *api.Certificate) string {
	if kind := kindOf(c); kind.String() != "" && kind != usualKey() {
		return " --key-type " + kind.String()
	}
	return ""
}

// asNamed is the flag that names a record whose name is not what its names say.
func (r *run) asNamed(c *api.Certificate) string {
	if c.Name == c.CommonName {
		return ""
	}
	return " --name " + quoted(c.Name)
}

// inTeam is the flag that names the team of a record where another team has one of the same name.
func (r *run) inTeam(ctx context.Context, c *api.Certificate) string {
	same, err := api.ListCertificates.Call(ctx, r.Client, api.ListCertificatesInput{Name: c.Name, Listing: api.Listing{PerPage: 2}})
	if err == nil && len(same.Data) < 2 {
		return ""
	}
	return " --team " + quoted(r.names().team(ctx, c.TeamID))
}
