package target

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// Target is one place that a certificate can be deployed to.
type Target interface {
	// Deploy makes the target use the bundle. Doing it again changes nothing; when it fails, what was there before is
	// back in its place and in use.
	Deploy(ctx context.Context, b Bundle) error
}

// Checker is a Target that can try a deployment without changing anything that lasts.
type Checker interface {
	// Check says whether a deployment would work. The error means that the check itself was cut short.
	Check(ctx context.Context) (Report, error)
}

// Step is one thing done or found, in words for people.
type Step struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Message string `json:"message"`
}

// Report is the result of a dry run.
type Report struct{ Steps []Step }

// OK tells whether every step is well.
func (r Report) OK() bool {
	for _, s := range r.Steps {
		if !s.OK {
			return false
		}
	}
	return len(r.Steps) > 0
}

// Add appends a step.
func (r *Report) Add(name string, ok bool, format string, args ...any) {
	r.Steps = append(r.Steps, Step{Name: name, OK: ok, Message: fmt.Sprintf(format, args...)})
}

// Look finds out what an address (host:port) serves under a name: the SHA-256 fingerprint, in lower hex, of the
// certificate that each address behind the host shows. The error says why none could be seen.
type Look func(ctx context.Context, address, serverName string) (fingerprints []string, err error)

// Host is what a target may use of the machine it stands on.
type Host struct {
	Files *Files
	Look  Look
	Tell  func(Step) // hears of each step while it is taken; may be nil
}

// Plugin is one kind of target: what the server needs to check its configuration, and the agent to make one.
type Plugin struct {
	Type     string // as in the REST contract, such as NGINX
	Title    string
	Doc      string // one sentence
	Config   any    // zero value of the Config struct, for its schema
	Parse    func(config json.RawMessage) error
	Endpoint func(config json.RawMessage) (Endpoint, error)
	Files    func(config json.RawMessage) map[string]string // what it writes: paths by the property that names them; no secrets are needed
	New      func(config json.RawMessage, host Host) (Target, error)
}

// Endpoint is where a target's certificate can be seen.
type Endpoint struct {
	Address    string // host:port
	ServerName string // the name to ask for; "" means the certificate's own first name
}

// AskFor is the DNS name to ask a server for (SNI) of those that a certificate holds: the first that is no wildcard, else
// one that the first wildcard covers; "" when there is none.
func AskFor(names []string) string {
	for _, name := range names {
		if !strings.HasPrefix(name, "*.") {
			return name
		}
	}
	for _, name := range names {
		return "www" + strings.TrimPrefix(name, "*")
	}
	return ""
}

// WrongCertificate is the proof that something is served which is neither the old nor the new certificate.
type WrongCertificate struct {
	Address string
	Served  []string // fingerprints
}

func (w *WrongCertificate) Error() string {
	return fmt.Sprintf("%s serves a certificate that is neither the old nor the new one (SHA-256 %s)", w.Address, strings.Join(w.Served, ", "))
}
