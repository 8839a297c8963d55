package cli

import (
	"context"
	"crypto"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki"
)

type issueCommand struct {
	asking
	wanted
	Out     string        `default:"." placeholder:"DIR" help:"Directory for NAME.crt and NAME.key (the present one unless given)."`
	Force   bool          `help:"Replace the files when they are there."`
	Timeout time.Duration `default:"1m" placeholder:"TIME" help:"How long to wait for the certificate (${default})."`
}

// pairOf is what issue answers in JSON.
type pairOf struct {
	Certificate api.Certificate `json:"certificate"`
	CertFile    string          `json:"cert_file"`
	KeyFile     string          `json:"key_file"`
}

func (c *issueCommand) Run(ctx context.Context, s *Session) error {
	id, err := c.identity()
	if err != nil {
		return err
	}
	kind, err := c.kind()
	if err != nil {
		return err
	}
	if kind.Algorithm == "" {
		kind = usualKey()
	}
	key, err := pki.GenerateKey(kind)
	if err != nil {
		return err
	}
	text, err := pki.EncodePrivateKey(key)
	if err != nil {
		return err
	}
	files, err := preparePair(c.Out, first(id.common, c.Names[0]), c.Force, text)
	if err != nil {
		return err
	}
	defer files.drop()
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	cert, err := c.obtain(ctx, r, id, key)
	if err != nil {
		return err
	}
	if err := files.keep([]byte(cert.Version.PEMChain)); err != nil {
		return err
	}
	return r.answer(pairOf{cert, files.cert, files.key}, func() {
		fmt.Fprintf(r.Out, "%s\n%s\n", files.cert, files.key)
		again := quoted(c.Names...) + r.asNamed(&cert) + r.inTeam(ctx, &cert) + keyFlag(&cert) + " --force"
		if c.Out != "." {
			again += " --out " + quoted(c.Out)
		}
		r.say(good, "name both files in your server's configuration; before it ends: leafward issue "+again+r.where.flags(),
			"%s is issued%s", cert.Name, until(&cert))
	})
}

// obtain gets a certificate for the key: a new record, or the next version of the one that has the name.
func (c *issueCommand) obtain(ctx context.Context, r *run, id identity, key crypto.Signer) (cert api.Certificate, err error) {
	der, err := pki.MakeCSR(key, id.common, id.names)
	if err != nil {
		return cert, failed(codeUsage, "use other names", "no CSR can be made: %v", err)
	}
	csr := string(pki.EncodeCSR(der))
	body, err := c.body(ctx, r, id)
	if err != nil {
		return cert, err
	}
	known, err := api.ListCertificates.Call(ctx, r.Client, api.ListCertificatesInput{Name: c.called(id), TeamID: body.TeamID.Value})
	if err != nil {
		return cert, err
	}
	wait := min(max(int(c.Timeout/time.Second), 1), 60)
	kind, err := pki.KindOf(key.Public())
	if err != nil {
		return cert, err
	}
	switch len(known.Data) {
	case 0:
		body.CSRPEM = csr
		cert, err = api.CreateCertificate.Call(ctx, r.Client, api.CreateCertificateInput{Wait: wait, Body: body})
	case 1:
		cert, err = c.again(ctx, r, id, &known.Data[0], kind, csr, wait)
	default:
		err = failed(string(leafward.Conflict), "say which with --team, or choose another --name", "there are %d certificates named %q", len(known.Data), c.called(id))
	}
	if err != nil {
		return cert, err
	}
	return c.signed(ctx, r, &cert, key)
}

// again renews a certificate whose key is held by whoever sends the CSR.
func (c *issueCommand) again(ctx context.Context, r *run, id identity, known *api.Certificate, kind pki.KeyKind, csr string, wait int) (api.Certificate, error) {
	other := "choose another name with --name"
	switch flags := c.recorded(); {
	case !heldByCaller(known):
		return *known, failed(string(leafward.Conflict), other, "the certificate %s is there already, and its key is not made here", known.Name)
	case !sameNames(id, known):
		return *known, failed(string(leafward.Conflict), other+", or give the names that it has", "the certificate %s is there already, for other names: %s", known.Name, strings.Join(namesOf(known), ", "))
	case len(flags) > 0:
		return *known, failed(string(leafward.Conflict), "leave them out, or choose another name with --name", "the certificate %s is there already, and only new ones take %s", known.Name, strings.Join(flags, " "))
	}
	if recorded := kindOf(known); recorded != (pki.KeyKind{}) && recorded != kind {
		return *known, failed(string(leafward.Conflict), "give --key-type "+recorded.String(), "the certificate %s has keys of the type %s, not %s", known.Name, recorded, kind)
	}
	if known.JobID == "" {
		if _, err := api.TriggerRenewal.Call(ctx, r.Client, api.Ask{ID: known.ID}); err != nil {
			return *known, err
		}
	}
	return api.SubmitCertificateCSR.Call(ctx, r.Client, api.SubmitCSRInput{ID: known.ID, Wait: wait, Body: api.CSRRequest{CSRPEM: csr}})
}

// sameNames tells whether a certificate is for the same names, in whatever order.
func sameNames(id identity, c *api.Certificate) bool {
	known, err := pki.ParseNames(namesOf(c))
	if err != nil {
		return false
	}
	a, b := id.all(), identity{names: known}.all()
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// signed is the certificate once its newest version is for the key; it waits as long as the flag says.
func (c *issueCommand) signed(ctx context.Context, r *run, cert *api.Certificate, key crypto.Signer) (api.Certificate, error) {
	if job := cert.JobID; job != "" && !isFor(cert.Version, key) {
		r.say(wait, "", "%s is not signed yet", cert.Name)
		ended, err := r.follow(ctx, job, waiting{Timeout: c.Timeout})
		if err != nil {
			return *cert, err
		}
		if *cert, err = api.GetCertificate.Call(ctx, r.Client, api.ByID{ID: cert.ID}); err != nil {
			return *cert, err
		}
		cert.LastError = first(ended.LastError, cert.LastError)
	}
	if !isFor(cert.Version, key) {
		return *cert, failed(codeFailed, "mend the cause and type it again: the next version is made then", "%s was not issued: %s", cert.Name, first(cert.LastError, "somebody else's CSR came first"))
	}
	return *cert, nil
}

// isFor tells whether a version is for the key.
func isFor(v *api.CertificateVersion, key crypto.Signer) bool {
	if v == nil {
		return false
	}
	chain, err := pki.ParseChainPEM([]byte(v.PEMChain))
	if err != nil || len(chain) == 0 {
		return false
	}
	public, ok := chain[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(key.Public())
}
