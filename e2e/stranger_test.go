//go:build linux

package e2e_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// stranger is an agent of another make: it knows the wire protocol and nothing else of us. Its key is openssl's, and it
// writes IP addresses into the CSR as DNS names, as such agents do.
type stranger struct {
	server *server
	id     string
	api    *client // with the agent's own key
	dir    string
	target string
	cert   string // id of the certificate
	web    net.Listener
}

// names of the stranger's host.
const strangerName, strangerIP = "web.example.com", "127.0.0.1"

// newStranger registers one by an administrator's call and gives it a certificate to deploy.
func newStranger(t *testing.T, s *server, name string) *stranger {
	t.Helper()
	x := register(t, s, name)
	beat := x.api.expect(t, 200, "POST", x.path("heartbeat"), object{"architecture": "amd64", "hostname": "web1", "ip_address": "192.0.2.7", "os": "linux", "version": "9.9", "uptime": 5})
	if text(beat, "status") != "heartbeat_recorded" {
		t.Errorf("the heartbeat is answered with %v", beat)
	}
	made := s.admin.expect(t, 201, "POST", "/api/v1/certificates", object{"name": name, "common_name": strangerName, "sans": []string{strangerName, strangerIP}, "target_ids": []string{x.target}})
	x.cert = text(made, "id")
	return x
}

// register makes one with a target on its host.
func register(t *testing.T, s *server, name string) *stranger {
	t.Helper()
	installed(t, "openssl")
	made := s.admin.expect(t, 201, "POST", "/api/v1/agents", object{"name": name, "hostname": name + "1"})
	x := &stranger{server: s, id: text(made, "id"), api: s.admin.as(text(made, "api_key")), dir: t.TempDir()}
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = web.Close() })
	x.web = web
	_, port, _ := net.SplitHostPort(web.Addr().String())
	number, _ := strconv.Atoi(port)
	config := object{"cert_path": "/etc/nginx/web.pem", "key_path": "/etc/nginx/web.key", "address": "127.0.0.1", "port": number, "hostname": strangerName}
	x.target = text(s.admin.expect(t, 201, "POST", "/api/v1/targets", object{"name": name, "type": "NGINX", "agent_id": x.id, "config": config}), "id")
	return x
}

// beside registers another host that shall serve the same certificate.
func (x *stranger) beside(t *testing.T, name string) *stranger {
	t.Helper()
	y := register(t, x.server, name)
	y.cert = x.cert
	x.bind(t, x, y)
	return y
}

// bind makes the hosts those on which the certificate is.
func (x *stranger) bind(t *testing.T, hosts ...*stranger) {
	t.Helper()
	ids := make([]string, len(hosts))
	for i, h := range hosts {
		ids[i] = h.target
	}
	x.server.admin.expect(t, 200, "PUT", "/api/v1/certificates/"+x.cert, object{"target_ids": ids})
}

func (x *stranger) path(rest string) string { return "/api/v1/agents/" + x.id + "/" + rest }

func (x *stranger) file(name string) string { return filepath.Join(x.dir, name) }

// work is the one work item that there is.
func (x *stranger) work(t testing.TB) object {
	t.Helper()
	list := x.api.get(t, x.path("work"))
	jobs, _ := list["jobs"].([]any)
	if len(jobs) != 1 || text(list, "count") != "1" {
		t.Fatalf("the work is %v, not one job", list)
	}
	return jobs[0].(object)
}

// order answers the demand for a CSR.
func (x *stranger) order(t testing.TB) {
	t.Helper()
	item := x.work(t)
	if text(item, "status") != "AwaitingCSR" || text(item, "certificate_id") != x.cert || text(item, "common_name") != strangerName || len(item["sans"].([]any)) != 2 {
		t.Fatalf("the work is %v, not a wish for a CSR", item)
	}
	tool(t, nil, "openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", x.file("web.key"), "-out", x.file("web.csr"),
		"-subj", "/CN="+strangerName, "-addext", "subjectAltName=DNS:"+strangerName+",DNS:"+strangerIP)
	csr, err := os.ReadFile(x.file("web.csr"))
	if err != nil {
		t.Fatal(err)
	}
	if a := x.api.expect(t, 202, "POST", x.path("csr"), object{"certificate_id": x.cert, "csr_pem": string(csr)}); text(a, "status") != "csr_signed" {
		t.Errorf("the CSR is answered with %v", a)
	}
	x.server.ledger.await(t, "certificate.issued", x.cert)
}

// deploy fetches the certificate, serves it and says so; it returns the job and the fingerprint.
func (x *stranger) deploy(t testing.TB) (job, served string) {
	t.Helper()
	item := x.work(t)
	job = text(item, "id")
	if text(item, "type") != "Deployment" || text(item, "target_type") != "NGINX" || text(item, "target_config", "cert_path") != "/etc/nginx/web.pem" || text(item, "target_id") == "" {
		t.Fatalf("the work is %v, not a deployment", item)
	}
	if a := x.status(t, job, "Running"); text(a, "status") != "updated" {
		t.Errorf("the status is answered with %v", a)
	}
	chain := text(x.api.get(t, x.path("certificates/"+x.cert)), "certificate_pem")
	leaf := leafOf(t, chain)
	if len(leaf.IPAddresses) != 1 || len(leaf.DNSNames) != 1 || strings.Count(chain, "BEGIN CERTIFICATE") < 2 {
		t.Errorf("the certificate has the names %v %v and the chain\n%s", leaf.DNSNames, leaf.IPAddresses, chain)
	}
	key, err := os.ReadFile(x.file("web.key"))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(chain), key)
	if err != nil {
		t.Fatal(err)
	}
	go serveTLS(x.web, pair)
	x.status(t, job, "Completed")
	return job, fingerprint(t, chain)
}

// serveTLS shakes hands with everybody until the listener is closed.
func serveTLS(on net.Listener, pair tls.Certificate) {
	for {
		conn, err := on.Accept()
		if err != nil {
			return
		}
		go func() {
			_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}).Handshake()
			_ = conn.Close()
		}()
	}
}

func (x *stranger) status(t testing.TB, job, status string) object {
	t.Helper()
	return x.api.expect(t, 200, "POST", x.path("jobs/"+job+"/status"), object{"status": status})
}

// verify says that it saw what it deployed.
func (x *stranger) verify(t testing.TB, job, print string) object {
	t.Helper()
	return x.api.expect(t, 200, "POST", "/api/v1/jobs/"+job+"/verify", object{
		"target_id": x.target, "expected_fingerprint": print, "actual_fingerprint": print, "verified": true, "error": "", "tool": "another",
	})
}

func TestAnAgentOfAnotherMakeProvesByItsOwnLook(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		x := newStranger(t, serve(t, dsn), "web")
		x.order(t)
		job, print := x.deploy(t)
		said := x.verify(t, job, print)
		if text(said, "job_id") != job || text(said, "verified") != "true" || text(said, "verified_at") == "" {
			t.Errorf("its look is answered with %v", said)
		}
		x.server.ledger.await(t, "certificate.proved", x.cert)
		if got := x.server.admin.get(t, "/api/v1/jobs/"+job+"/verification"); text(got, "verified") != "true" {
			t.Errorf("the verification of its job is %v", got)
		}
		if got := x.server.admin.get(t, "/api/v1/certificates/"+x.cert); text(got, "status") != "Active" {
			t.Errorf("the certificate is %v", got)
		}
		if list := x.api.get(t, x.path("work")); text(list, "count") != "0" {
			t.Errorf("there is still work: %v", list)
		}
	})
}

func TestTheServerLooksWhenAnAgentOfAnotherMakeSaysNothing(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		x := newStranger(t, serve(t, dsn, "--probe-allow", "127.0.0.0/8"), "web")
		x.order(t)
		job, print := x.deploy(t)
		x.server.advance(t, 5*time.Minute+time.Second)
		x.server.ledger.await(t, "certificate.proved", x.cert)
		got := x.server.admin.get(t, "/api/v1/jobs/"+job+"/verification")
		if text(got, "verified") != "true" || !strings.Contains(fmt.Sprint(got), print) {
			t.Errorf("the verification of its job is %v", got)
		}
	})
}

func TestAnAgentOfAnotherMakeMayOnlyDoItsOwnWork(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := serve(t, dsn)
		x := newStranger(t, s, "web")
		other := s.admin.as(text(s.admin.expect(t, 201, "POST", "/api/v1/agents", object{"name": "other"}), "api_key"))
		order := x.work(t)
		for _, c := range []struct {
			method, path string
			body         any
		}{
			{"GET", x.path("work"), nil},
			{"POST", x.path("heartbeat"), object{}},
			{"POST", x.path("csr"), object{"certificate_id": x.cert, "csr_pem": "x"}},
			{"POST", x.path("jobs/" + text(order, "id") + "/status"), object{"status": "Running"}},
			{"GET", x.path("certificates/" + x.cert), nil},
			{"GET", "/api/v1/certificates", nil},
			{"POST", "/api/v1/certificates/" + x.cert + "/revoke", object{}},
		} {
			a, err := other.send(t.Context(), c.method, c.path, c.body)
			if err != nil || a.status != 403 && a.status != 404 {
				t.Errorf("%s %s is answered to another agent with %d %v: %s", c.method, c.path, a.status, err, a.body)
			}
		}
	})
}
