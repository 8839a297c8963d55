package cli

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki"
)

type caCommands struct {
	List    caList    `cmd:"" help:"List authorities: where their keys are, and until when their CRLs are valid."`
	Show    caShow    `cmd:"" help:"Show one authority, and what it needs."`
	Offline caOffline `cmd:"" help:"Move the private key of an authority, such as the root, from the server into an encrypted file."`
	Online  caOnline  `cmd:"" help:"Put the private key of an authority back from its file."`
}

type caList struct{ asking }

// Run lists every authority that the caller sees.
func (c *caList) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	all, err := api.ListAuthorities.Call(ctx, r.Client, api.Nothing{})
	if err != nil {
		return err
	}
	return r.answer(all, func() {
		now := time.Now()
		t := &table{head: []string{"NAME", "ROLE", "KEY", "STATE", "ENDS", "CRL UNTIL"}, cut: []int{0}}
		for _, a := range all.Data {
			t.add(a.Name, a.Role, a.Custody, a.State, when(&a.NotAfter, now), when(a.CRLNextUpdate, now))
		}
		r.print(t)
		for _, a := range all.Data {
			r.needs(&a)
		}
	})
}

// needs tells what an authority needs, with what to do.
func (r *run) needs(a *api.Authority) {
	for _, n := range a.Needs {
		tone := warn
		if n.Broken {
			tone = bad
		}
		r.say(tone, n.Fix+r.where.flags(), "%s: %s", a.Name, n.Message)
	}
}

type caShow struct {
	asking
	Name string `arg:"" optional:"" help:"Name or id of the authority; the root unless given."`
	PEM  bool   `name:"pem" help:"Print its certificate in PEM and nothing else, for those who are to trust it."`
}

// authorityPEM is what show --pem answers in JSON.
type authorityPEM struct {
	ID             string `json:"id"`
	CertificatePEM string `json:"certificate_pem"`
}

// Run shows one authority.
func (c *caShow) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	a, err := r.authority(ctx, c.Name)
	if err != nil {
		return err
	}
	if c.PEM {
		cert, err := r.authorityCertificate(ctx, &a)
		if err != nil {
			return err
		}
		text := string(pki.EncodeChain(cert.Raw))
		return r.answer(authorityPEM{a.ID, text}, func() { fmt.Fprint(r.Out, text) })
	}
	return r.answer(a, func() {
		now, f := time.Now(), &facts{}
		f.add("name", "%s", a.Name)
		f.add("role", "%s, %s", a.Role, a.State)
		key := a.Custody
		if a.OfflineSince != nil {
			key += " since " + when(a.OfflineSince, now)
		}
		f.add("key", "%s %d, %s", a.KeyAlgorithm, a.KeySize, key)
		f.add("SHA-256", "%s", a.SHA256)
		f.add("ends", "%s", when(&a.NotAfter, now))
		f.add("CRL", "%s", crlLine(&a, now))
		f.add("OCSP", "%s", first(when(a.ResponderEnds, now), "no responder"))
		f.add("successor", "%s", when(a.SuccessorAt, now))
		r.facts(f)
		r.needs(&a)
	})
}

func crlLine(a *api.Authority, now time.Time) string {
	if a.CRLNextUpdate == nil {
		return "of somebody else"
	}
	return fmt.Sprintf("number %d, until %s", a.CRLNumber, when(a.CRLNextUpdate, now))
}

// authority finds one by its name or id; without one the root that the server is known by.
func (r *run) authority(ctx context.Context, given string) (api.Authority, error) {
	all, err := api.ListAuthorities.Call(ctx, r.Client, api.Nothing{})
	if err != nil {
		return api.Authority{}, err
	}
	sha := ""
	if given == "" {
		if sha, err = r.rootSHA256(ctx); err != nil {
			return api.Authority{}, err
		}
	}
	var found []api.Authority
	for _, a := range all.Data {
		if given == "" && a.SHA256 == sha || given != "" && (a.ID == given || a.Name == given) {
			found = append(found, a)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return api.Authority{}, failed(string(leafward.Conflict), "use an id, such as "+found[0].ID+"; --json lists show them", "there are %d authorities named %q", len(found), given)
	case given == "":
		return api.Authority{}, failed(string(leafward.NotFound), "name one: leafward ca list"+r.where.flags()+" shows them", "you do not see the root of the server")
	}
	return api.Authority{}, failed(string(leafward.NotFound), "leafward ca list"+r.where.flags()+" shows them", "there is no authority named %q", given)
}

// authorityCertificate is the certificate of an authority, as the world may fetch it.
func (r *run) authorityCertificate(ctx context.Context, a *api.Authority) (*x509.Certificate, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.Base+"/.well-known/pki/ca/"+a.ID, nil)
	if err != nil {
		return nil, err
	}
	response, err := r.HTTP.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	der, err := io.ReadAll(io.LimitReader(response.Body, maxRoot))
	if err != nil || response.StatusCode != http.StatusOK || pki.Fingerprint(der) != a.SHA256 {
		return nil, failed(codeFailed, "try again", "the certificate of %s cannot be fetched: %s %v", a.Name, response.Status, err)
	}
	return pki.ParseCertificate(der)
}

// proveKey makes sure that a text holds the private key of an authority.
func proveKey(a *api.Authority, public crypto.PublicKey, text []byte) error {
	signer, err := pki.ParseKeyFile(text)
	if err != nil {
		return failed(codeFailed, "give the file that `leafward ca offline` wrote", "the file holds no private key: %v", err)
	}
	key, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !key.Equal(public) {
		named, _, _ := strings.Cut(string(text), "\n")
		return failed(codeFailed, "give the file of "+a.Name, "the file holds the key of another authority: %s", clean(named))
	}
	return nil
}

// awaitedAuthorities tells what authorities need, for status.
func (r *run) awaitedAuthorities(ctx context.Context, now *standing) error {
	all, err := api.ListAuthorities.Call(ctx, r.Client, api.Nothing{})
	if err != nil {
		return err
	}
	for _, a := range all.Data {
		for _, n := range a.Needs {
			now.Breaks = append(now.Breaks, breaking{What: "authority " + a.Name + ": " + n.Code, Why: n.Message, Fix: n.Fix, Bad: n.Broken})
		}
	}
	return nil
}
