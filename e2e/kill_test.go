//go:build linux

package e2e_test

import (
	"crypto/tls"
	"encoding/json"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// site is a certificate that an agent of ours keeps on an nginx.
type site struct {
	server *server
	nginx  *nginx
	agent  *agent
	cert   string
}

const siteName = "shop.example.com"

// newSite orders a certificate that goes partly into a directory which does not exist yet; the agent does not run.
func newSite(t testing.TB, dsn string, flags ...string) *site {
	t.Helper()
	s, n := serve(t, dsn, flags...), startNginx(t)
	x := &site{server: s, nginx: n, agent: s.join(t, s.url, n)}
	n.secure(t)
	_, port, _ := strings.Cut(n.addr, ":")
	config := object{
		"cert_path": n.file("tls/site.pem"), "key_path": n.file("tls/site.key"), "chain_path": n.file("tls/new/chain.pem"), "address": "127.0.0.1",
		"port": json.Number(port), "hostname": siteName, "validate_command": n.test(), "reload_command": n.reload(),
	}
	target := text(s.admin.expect(t, 201, "POST", "/api/v1/targets", object{"name": "site", "type": "NGINX", "agent_id": x.agent.id, "config": config}), "id")
	x.cert = text(s.admin.expect(t, 201, "POST", "/api/v1/certificates", object{"common_name": siteName, "target_ids": []string{target}}), "id")
	return x
}

// renew opens a renewal.
func (x *site) renew(t testing.TB) {
	t.Helper()
	x.server.admin.expect(t, 202, "POST", "/api/v1/certificates/"+x.cert+"/renew", nil)
}

// killedAt runs the agent until it is killed at a step.
func (x *site) killedAt(t testing.TB, step string) {
	t.Helper()
	x.agent.run(t, "--failpoint", step)
	x.agent.ended(t)
	if status := x.agent.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		t.Fatalf("%s: the agent was not killed: %v\n%s", step, x.agent.cmd.ProcessState, x.agent.tell())
	}
}

// back runs the agent until the certificate is proved, once its lease from before is over, and holds everything against
// the newest version.
func (x *site) back(t testing.TB, step string) {
	t.Helper()
	x.server.advance(t, time.Minute)
	x.agent.run(t)
	x.server.ledger.await(t, "certificate.proved", x.cert)
	x.agent.stop(t)
	want := text(x.server.admin.get(t, "/api/v1/certificates/"+x.cert), "version", "fingerprint_sha256")
	x.seen(t, want)
	pair, err := tls.LoadX509KeyPair(x.nginx.file("tls/site.pem"), x.nginx.file("tls/site.key"))
	if err != nil {
		t.Errorf("%s: certificate and key on the disk: %v", step, err)
	} else if got := sha256Hex(pair.Certificate[0]); got != want {
		t.Errorf("%s: on the disk is %s, not %s", step, got, want)
	}
	x.tidy(t, step)
}

// seen awaits that openssl sees a certificate: for a moment after a reload the old workers of nginx still answer beside the new.
func (x *site) seen(t testing.TB, print string) {
	t.Helper()
	x.until(t, func() bool {
		shown := tool(t, nil, "openssl", "s_client", "-connect", x.nginx.addr, "-servername", siteName, "-verify_return_error", "-CAfile", filepath.Join(x.server.dir, "root.pem"))
		return fingerprint(t, shown) == print
	})
}

// tidy sees that nothing is left beside the files, no change is open, and the last two keys are there.
func (x *site) tidy(t testing.TB, step string) {
	t.Helper()
	keys := 0
	for _, dir := range []string{x.nginx.tls(), x.agent.dir} {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			name := filepath.Base(path)
			if strings.HasPrefix(name, ".leafward-") || strings.Contains(name, ".swap") || strings.HasSuffix(name, ".pending") || strings.HasSuffix(name, ".tmp") {
				t.Errorf("%s: left behind: %s", step, path)
			}
			if strings.HasSuffix(name, ".key") {
				if info, err := entry.Info(); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%s: the key %s has the mode %v (%v)", step, path, info.Mode(), err)
				}
				if dir == x.agent.dir {
					keys++
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if versions := x.server.admin.rows(t, "/api/v1/certificates/"+x.cert+"/versions"); keys != min(len(versions), 2) {
		t.Errorf("%s: %d keys are kept of %d versions", step, keys, len(versions))
	}
}

func TestAnAgentThatIsKilledAtAnyStepComesBackToTheNewCertificate(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		x := newSite(t, dsn, "--clock="+ago(time.Hour)) // each return moves it on
		x.killedAt(t, "mkdir=kill")
		x.back(t, "mkdir")
		for _, step := range []string{
			"send csr", "fetch", "record open", "write", "save", "sync", "rename", "rename=after:1,", "sync=after:1,", "validate", "record validated",
			"reload", "prove", "record done", "clear", "clear=after:3,", "close", "report", "verify",
		} {
			x.renew(t)
			if !strings.Contains(step, "=") {
				step += "="
			}
			x.killedAt(t, step+"kill")
			x.back(t, step)
		}
		for _, step := range []string{"record undoing=kill", "restore=kill", "restore=after:1,kill", "clear=kill"} {
			x.renew(t)
			x.nginx.spoil(t)
			x.killedAt(t, step)
			x.nginx.secure(t)
			x.back(t, "putting back, "+step)
		}
		if said := x.server.tell(); strings.Contains(said, `"status":5`) {
			t.Errorf("an agent that is gone counts as a failure of the server:\n%s", said)
		}
	})
}
