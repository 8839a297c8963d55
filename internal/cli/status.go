package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki"
)

type statusCommand struct{ asking }

// standing is what status tells, also in JSON.
type standing struct {
	Server     string     `json:"server"` // where it was asked
	Version    string     `json:"version"`
	Ready      bool       `json:"ready"`
	User       string     `json:"user"`
	Role       string     `json:"role"`
	RootSHA256 string     `json:"root_sha256"`
	Breaks     []breaking `json:"breaks"` // what is broken or breaks next, the most urgent first
	Next       *nextEnd   `json:"next"`   // the certificate that ends first; null without one
	At         time.Time  `json:"at"`

	told map[string]bool // ids of the certificates that are told of as broken
}

// nextEnd is the certificate in use that ends first.
type nextEnd struct {
	Name      string     `json:"name"`
	ExpiresAt *time.Time `json:"expires_at"`
	RenewsAt  *time.Time `json:"renews_at"`
}

// breaking is one thing that needs somebody.
type breaking struct {
	What string `json:"what"`
	Why  string `json:"why"`
	Fix  string `json:"fix"`    // the one thing to do
	Bad  bool   `json:"broken"` // it is broken already
}

// Run exits with 1 when something is broken, so that a script can ask.
func (c *statusCommand) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	now := standing{Server: r.where.name(), Breaks: []breaking{}, At: time.Now().UTC().Truncate(time.Second)}
	for _, look := range []func(context.Context, *standing) error{r.server, r.brokenCertificates, r.troubled, r.awaited, r.late, r.awaitedAuthorities, r.brokenAgents, r.nextToEnd} {
		if err := look(ctx, &now); err != nil {
			return err
		}
	}
	slices.SortStableFunc(now.Breaks, func(a, b breaking) int { return cmp.Compare(btoi(b.Bad), btoi(a.Bad)) })
	if err := r.answer(now, func() { r.status(&now) }); err != nil {
		return err
	}
	if broken := len(slices.DeleteFunc(slices.Clone(now.Breaks), func(b breaking) bool { return !b.Bad })); broken > 0 {
		return failed(codeFailed, "do what is said above", "%s broken", count(int64(broken), "thing")+map[bool]string{true: " is", false: " are"}[broken == 1])
	}
	return nil
}

func btoi(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// name is the place for people.
func (p place) name() string {
	if p.server != "" {
		return p.server
	}
	return "the socket in " + p.dir
}

// server asks how the server is and who asks.
func (r *run) server(ctx context.Context, now *standing) error {
	version, err := api.GetVersion.Call(ctx, r.Client, api.Nothing{})
	if err != nil {
		return err
	}
	who, err := api.CheckAuth.Call(ctx, r.Client, api.Nothing{})
	if err != nil {
		return err
	}
	now.Version, now.User, now.Role = version.Version, who.User, who.Role
	if now.RootSHA256, err = r.rootSHA256(ctx); err != nil {
		return err
	}
	_, err = api.GetReady.Call(ctx, r.Client, api.Nothing{})
	now.Ready = err == nil
	if wire, ok := errors.AsType[*api.Error](err); ok && wire.Code == string(leafward.Later) {
		for _, f := range wire.Fields {
			now.Breaks = append(now.Breaks, breaking{What: "server: " + f.Field, Why: f.Problem, Fix: first(f.Fix, "read the server's log"), Bad: true})
		}
		return nil
	}
	return err
}

// rootSHA256 is what other machines give to --root; "" when the server does not tell.
func (r *run) rootSHA256(ctx context.Context) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.Base+"/.well-known/pki/ca/root", nil)
	if err != nil {
		return "", err
	}
	response, err := r.HTTP.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", nil
	}
	der, err := io.ReadAll(io.LimitReader(response.Body, maxRoot))
	return pki.Fingerprint(der), err
}

// renewal is what is to be said of the moment at which a certificate is renewed; nil is none.
func renewal(at *time.Time, now time.Time) string {
	switch {
	case at == nil:
		return "is renewed by hand only"
	case now.Sub(*at) >= time.Second:
		return "was due to be renewed " + distance(at.Sub(now))
	default:
		return "is renewed " + distance(at.Sub(now))
	}
}

// status shows it to a person.
func (r *run) status(now *standing) {
	f := &facts{}
	state := r.mark(good) + " ready"
	if !now.Ready {
		state = r.mark(bad) + " not ready"
	}
	f.add("server", "%s, %s, %s", now.Server, now.Version, sign(state))
	f.add("you", "%s (%s)", now.User, now.Role)
	f.add("root", "%s", now.RootSHA256)
	if now.Next != nil {
		at := time.Now()
		f.add("next", "%s expires %s and %s", now.Next.Name, when(now.Next.ExpiresAt, at), renewal(now.Next.RenewsAt, at))
	}
	r.facts(f)
	if len(now.Breaks) == 0 {
		fmt.Fprintf(r.Out, "\n%s nothing is broken, and nothing breaks next\n", r.mark(good))
		return
	}
	fmt.Fprintln(r.Out, "\nWhat breaks next")
	for _, b := range now.Breaks {
		sign := warn
		if b.Bad {
			sign = bad
		}
		fmt.Fprintf(r.Out, "%s %s\n", r.mark(sign), clean(b.What))
		fmt.Fprintf(r.Out, "  why  %s\n", indented(b.Why, "       "))
		fmt.Fprintf(r.Out, "  do   %s\n", indented(b.Fix, "       "))
	}
}
