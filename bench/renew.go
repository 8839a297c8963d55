//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/leafward/leafward/api"
)

const (
	renewals    = 9
	renewalTime = 2 * time.Second
	siteName    = "shop.bench.example.com"
)

// measureRenew renews a certificate again and again that an agent keeps on an nginx, each time until a handshake shows the
// new one. The limit is a new certificate that somebody writes beside that nginx, tests and reloads by hand.
func measureRenew(ctx context.Context, b *bench) ([]row, error) {
	s, err := b.serve(ctx)
	if err != nil {
		return nil, err
	}
	r, err := b.renews(ctx, s)
	return []row{r}, errors.Join(err, s.stop())
}

func (b *bench) renews(ctx context.Context, s *server) (r row, err error) {
	x, err := b.site(ctx, s)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, x.stop()) }()
	var waits []time.Duration
	spent := s.cpu()
	for n := range renewals {
		b.tell("renewal %d of %d", n+1, renewals)
		took, err := x.renew(ctx, s)
		if err != nil {
			return r, err
		}
		waits = append(waits, took)
	}
	each := (s.cpu() - spent) / renewals
	x.agent.end()
	var bare []time.Duration
	for n := range renewals {
		b.tell("the bare limit, %d of %d", n+1, renewals)
		took, err := x.byHand(ctx)
		if err != nil {
			return r, err
		}
		bare = append(bare, took)
	}
	usual, most, limit := middle(waits, itself), slices.Max(waits), middle(bare, itself)
	return row{
		what: "renew → served by nginx through an agent", figure: fmt.Sprintf("p50 %s, at most %s", short(usual), short(most)), cpu: each,
		bare: short(limit), ratio: float64(limit) / float64(usual), goal: "≤ 2 s", missed: most > renewalTime,
	}, nil
}

// site is an nginx with an agent beside it that keeps its certificate.
type site struct {
	dir, addr string
	nginx     *exec.Cmd
	agent     *program
	cert      string
}

// site starts both and waits until the first certificate is served.
func (b *bench) site(ctx context.Context, s *server) (x *site, err error) {
	addr, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	x = &site{dir: filepath.Join(s.home, "nginx"), addr: addr, agent: &program{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, x.stop())
		}
	}()
	if err := os.MkdirAll(x.file("tls"), 0o755); err != nil {
		return x, err
	}
	if err := os.Chmod(s.home, 0o755); err != nil { // nginx's workers are somebody else
		return x, err
	}
	if err := x.configure(false); err != nil {
		return x, err
	}
	heard := newListener("start worker process")
	x.nginx = exec.CommandContext(context.WithoutCancel(ctx), "nginx", x.args("-g", "daemon off;")...)
	x.nginx.Stdout, x.nginx.Stderr = heard, heard
	x.nginx.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := x.nginx.Start(); err != nil {
		x.nginx = nil
		return x, fmt.Errorf("nginx cannot be run; install it, on Debian by apt-get install nginx: %w", err)
	}
	if err := heard.wait(ctx, "nginx"); err != nil {
		return x, err
	}
	if err := x.configure(true); err != nil {
		return x, err
	}
	id, err := x.join(ctx, b.program, s)
	if err != nil {
		return x, err
	}
	if err := x.order(ctx, s, id); err != nil {
		return x, err
	}
	return x, x.served(ctx, s)
}

func (x *site) file(name string) string { return filepath.Join(x.dir, name) }

func (x *site) args(more ...string) []string {
	return append([]string{"-p", x.dir, "-c", x.file("nginx.conf")}, more...)
}

// test and reload are the commands for the agent's list.
func (x *site) test() string { return strings.Join(append([]string{"nginx"}, x.args("-t")...), " ") }

func (x *site) reload() string {
	return strings.Join(append([]string{"nginx"}, x.args("-s", "reload")...), " ")
}

// configure writes nginx's configuration, with a TLS server once there is an agent to bring its certificate.
func (x *site) configure(secure bool) error {
	var text strings.Builder
	fmt.Fprintf(&text, "worker_processes 1;\npid %s;\nerror_log stderr notice;\nevents {}\nhttp {\naccess_log off;\n", x.file("nginx.pid"))
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&text, "%s_temp_path %s;\n", kind, x.file("tmp_"+kind))
	}
	if secure {
		fmt.Fprintf(&text, "server {\nlisten %s ssl;\nssl_certificate %s;\nssl_certificate_key %s;\n}\n", x.addr, x.file("tls/site.pem"), x.file("tls/site.key"))
	}
	text.WriteString("}\n")
	return os.WriteFile(x.file("nginx.conf"), []byte(text.String()), 0o644)
}

// join enrols an agent beside nginx and runs it.
func (x *site) join(ctx context.Context, path string, s *server) (id string, err error) {
	invitation, err := api.CreateAgentInvitation.Call(ctx, s.Client, api.Make[api.AgentInvitationWrite]{})
	if err != nil {
		return "", err
	}
	root, err := os.ReadFile(filepath.Join(s.data(), "root.pem"))
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(root)
	if block == nil {
		return "", errors.New("the server's root.pem holds no certificate")
	}
	pin := sha256.Sum256(block.Bytes)
	home, allowed := filepath.Join(s.home, "agent"), []string{"--allow-path", x.file("tls"), "--allow-command", x.test(), "--allow-command", x.reload()}
	join := slices.Concat([]string{"agent", "join", s.base, "--token", invitation.Token, "--root", hex.EncodeToString(pin[:]), "--data-dir", home}, allowed)
	if out, err := exec.CommandContext(ctx, path, join...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("the agent cannot join: %w: %s", err, out)
	}
	if err := x.agent.run(ctx, path, "the agent runs", slices.Concat([]string{"agent", "run", "--data-dir", home}, allowed)...); err != nil {
		return "", err
	}
	all, err := api.ListAgents.Call(ctx, s.Client, api.ListAgentsInput{Listing: api.Listing{Page: 1, PerPage: 1}})
	if err != nil || len(all.Data) == 0 {
		return "", errors.Join(err, errors.New("the agent that joined is not listed"))
	}
	return all.Data[0].ID, nil
}

// order has the server issue a certificate for nginx.
func (x *site) order(ctx context.Context, s *server, agent string) error {
	_, port, _ := strings.Cut(x.addr, ":")
	target, err := api.CreateTarget.Call(ctx, s.Client, api.Make[api.TargetWrite]{Body: api.TargetWrite{
		Name: api.Some("site"), Type: api.Some("NGINX"), AgentID: api.Some(agent), Config: api.Some(map[string]any{
			"cert_path": x.file("tls/site.pem"), "key_path": x.file("tls/site.key"), "address": "127.0.0.1", "port": json.Number(port), "hostname": siteName,
			"validate_command": x.test(), "reload_command": x.reload(),
		}),
	}})
	if err != nil {
		return err
	}
	made, err := api.CreateCertificate.Call(ctx, s.Client, api.CreateCertificateInput{Body: api.NewCertificate{
		CertificateWrite: api.CertificateWrite{CommonName: api.Some(siteName), TargetIDs: api.Some([]string{target.ID})},
	}})
	x.cert = made.ID
	return err
}

// served waits until nothing is under way for the certificate, and sees that nginx shows its newest version.
func (x *site) served(ctx context.Context, s *server) error {
	for begun := time.Now(); ; {
		c, err := api.GetCertificate.Call(ctx, s.Client, api.ByID{ID: x.cert})
		if err != nil {
			return err
		}
		if c.JobID == "" && c.Version != nil {
			shown, err := x.shown(ctx)
			if err == nil && shown != c.Version.FingerprintSHA256 {
				err = fmt.Errorf("nginx shows %s, and %s is the newest", shown, c.Version.FingerprintSHA256)
			}
			return err
		}
		if time.Since(begun) > time.Minute {
			return fmt.Errorf("after a minute the certificate is %s: %s", c.Status, c.LastError)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// renew asks for a renewal and waits until another certificate is shown than before.
func (x *site) renew(ctx context.Context, s *server) (took time.Duration, err error) {
	before, err := x.shown(ctx)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	if _, err := api.TriggerRenewal.Call(ctx, s.Client, api.Ask{ID: x.cert}); err != nil {
		return 0, err
	}
	if took, err = x.until(ctx, begun, func(shown string) bool { return shown != before }); err != nil {
		return 0, err
	}
	return took, x.served(ctx, s)
}

// byHand does the same without a server and an agent.
func (x *site) byHand(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	pair, err := pairFor(siteName)
	if err != nil {
		return 0, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return 0, err
	}
	for name, block := range map[string]*pem.Block{"tls/site.pem": {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, "tls/site.key": {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(x.file(name), pem.EncodeToMemory(block), 0o600); err != nil {
			return 0, err
		}
	}
	for _, args := range [][]string{{"-t"}, {"-s", "reload"}} {
		if out, err := exec.CommandContext(ctx, "nginx", x.args(args...)...).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("%w: %s", err, out)
		}
	}
	sum := sha256.Sum256(pair.Certificate[0])
	return x.until(ctx, begun, func(shown string) bool { return shown == hex.EncodeToString(sum[:]) })
}

// until makes handshakes until the certificate that is shown is the right one.
func (x *site) until(ctx context.Context, begun time.Time, right func(shown string) bool) (time.Duration, error) {
	for time.Since(begun) < time.Minute {
		shown, err := x.shown(ctx)
		if err != nil {
			return 0, err
		}
		if right(shown) {
			return time.Since(begun), nil
		}
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return 0, errors.New("after a minute nginx still shows the certificate from before")
}

// shown is the fingerprint of the certificate that a handshake shows.
func (x *site) shown(ctx context.Context) (string, error) {
	//nolint:gosec // what is shown is compared, not trusted
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: &tls.Config{ServerName: siteName, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(ctx, "tcp", x.addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	sum := sha256.Sum256(conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw)
	return hex.EncodeToString(sum[:]), nil
}

func (x *site) stop() error {
	x.agent.end()
	if x.nginx == nil {
		return nil
	}
	err := x.nginx.Process.Signal(syscall.SIGTERM)
	_ = x.nginx.Wait() // it is measured, not judged
	return err
}
