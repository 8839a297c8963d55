// Package nginx deploys certificates to nginx: it swaps the files that ssl_certificate and ssl_certificate_key name,
// tests the configuration, reloads, and looks at what is served. README.md is its manual page.
package nginx

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/target"
)

const (
	lookTime  = 3 * time.Second       // for one look at what is served
	proveTime = 5 * time.Second       // for the new workers to come up after a reload
	lingering = time.Second           // for workers of earlier reloads, which may still answer, to go
	provePace = 50 * time.Millisecond // between two looks

	// overlap is how long nothing else must be seen. nginx tells its old workers to go 100 ms after it started the new
	// ones (ngx_master_process_cycle), and both answer until then.
	overlap = 200 * time.Millisecond
)

// Plugin describes this kind of target.
func Plugin() target.Plugin {
	return target.Plugin{
		Type:   "NGINX",
		Title:  "nginx",
		Doc:    "Writes certificate and key where nginx reads them, tests its configuration, reloads it and looks at what it serves.",
		Config: Config{},
		Parse: func(raw json.RawMessage) error {
			_, err := Parse(raw)
			return err
		},
		Endpoint: func(raw json.RawMessage) (target.Endpoint, error) {
			c, err := Parse(raw)
			return c.Endpoint(), err
		},
		Files: func(raw json.RawMessage) map[string]string {
			c, _ := Parse(raw) // what is wrong with it is told where it is written
			return map[string]string{"cert_path": c.CertPath, "key_path": c.KeyPath, "chain_path": c.ChainPath}
		},
		New: New,
	}
}

// server is one nginx on this host.
type server struct {
	config Config
	host   target.Host
}

// New makes the target from its configuration as the server sent it.
func New(raw json.RawMessage, host target.Host) (target.Target, error) {
	config, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	if host.Tell == nil {
		host.Tell = func(target.Step) {}
	}
	return &server{config: config, host: host}, nil
}

// stopped are the texts of a failed reload that mean that nginx does not run: a signal without a process to take it
// (ngx_os_signal_process, an absent or empty pid file) and systemctl's word for an inactive unit.
func stopped() []string {
	return []string{
		"invalid PID number \"\"",
		".pid\" failed (2: No such file or directory)",
		"failed (3: No such process)",
		"is not active, cannot reload",
	}
}

// Deploy writes the files as one change; a failed test, a failed reload, or something served that is neither the old nor
// the new certificate puts them back. Not being able to see what is served, or still seeing the old one, does not.
func (s *server) Deploy(ctx context.Context, b target.Bundle) error {
	if b.IsZero() {
		return leafward.Errorf(leafward.Invalid, "make the bundle of a certificate and its key", "there is no certificate to deploy")
	}
	rules := s.host.Files.Rules()
	validate, err := rules.Command(s.config.ValidateCommand)
	if err != nil {
		return err
	}
	reload, err := rules.Command(s.config.ReloadCommand)
	if err != nil {
		return err
	}
	files, want := s.files(b), b.Fingerprint()
	before, _ := s.look(ctx, b)
	if holds, err := s.host.Files.Holds(files); err != nil {
		return err
	} else if holds && len(before) > 0 && !slices.ContainsFunc(before, func(f string) bool { return f != want }) {
		s.host.Tell(target.Step{Name: "keep", OK: true, Message: "the files hold the certificate, and it is served"})
		return nil
	}
	known := before
	if content, err := os.ReadFile(s.config.CertPath); err == nil {
		known = append(known, target.FingerprintIn(content))
	}
	return s.host.Files.Swap(ctx, target.Change{
		Files: files, Validate: validate, Reload: reload, Stopped: stopped(), Tell: s.host.Tell,
		Prove: func(ctx context.Context) error { return s.prove(ctx, b, known) },
	})
}

// files are what nginx reads: certificate first, then the key, in the order in which nginx opens them.
func (s *server) files(b target.Bundle) []target.File {
	c := s.config
	files := []target.File{
		{Path: c.CertPath, Kind: target.Certificate, Content: b.FullChain()},
		{Path: c.KeyPath, Kind: target.Key, Content: b.Key()},
	}
	if c.CertPath == c.KeyPath {
		files = []target.File{{Path: c.CertPath, Kind: target.Combined, Content: slices.Concat(b.FullChain(), b.Key().Reveal())}}
	}
	if c.ChainPath != "" {
		// ssl_trusted_certificate must not be an empty file: without a chain the certificate is its own.
		chain := b.Chain()
		if len(chain) == 0 {
			chain = b.Leaf()
		}
		files = append(files, target.File{Path: c.ChainPath, Kind: target.Chain, Content: chain})
	}
	return files
}

// look sees what is served now.
func (s *server) look(ctx context.Context, b target.Bundle) ([]string, error) {
	where := s.config.Endpoint()
	if where.ServerName == "" {
		where.ServerName = target.AskFor(b.Names())
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	return s.host.Look(ctx, where.Address, where.ServerName)
}

// prove looks until nothing but the new certificate is served or the time is over. known are the certificates that may still be
// seen. Only when every address goes on showing something else is it wrong: behind a name there may be other hosts.
func (s *server) prove(ctx context.Context, b target.Bundle, known []string) error {
	want, address := b.Fingerprint(), s.config.Endpoint().Address
	tell := func(ok bool, format string, args ...any) error {
		s.host.Tell(target.Step{Name: "prove", OK: ok, Message: fmt.Sprintf(format, args...)})
		return nil
	}
	begun, alone := time.Now(), time.Time{} // since when only the new one is seen
	for {
		served, err := s.look(ctx, b)
		if other := slices.ContainsFunc(served, func(f string) bool { return f != want }); len(served) == 0 || other {
			alone = time.Time{}
		} else if alone.IsZero() {
			alone = time.Now()
		}
		foreign := func(f string) bool { return f != want && !slices.Contains(known, f) }
		switch {
		case !alone.IsZero() && time.Since(alone) >= overlap:
			return tell(true, "%s serves the new certificate", address)
		case len(served) > 0 && time.Since(begun) > lingering && !slices.ContainsFunc(served, func(f string) bool { return !foreign(f) }):
			wrong := &target.WrongCertificate{Address: address, Served: served}
			_ = tell(false, "%v", wrong)
			return wrong
		}
		select {
		case <-ctx.Done():
			return tell(false, "looking at %s was cut short: what it serves is not known", address)
		case <-time.After(provePace):
		}
		if time.Since(begun) < proveTime {
			continue
		}
		if err != nil {
			return tell(false, "%s shows nothing yet: %v", address, err)
		}
		return tell(false, "%s does not serve the new certificate yet", address)
	}
}
