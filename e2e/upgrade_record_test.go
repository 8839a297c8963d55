//go:build linux

package e2e_test

import (
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/pki/ocsp"
)

var (
	recordWith = flag.String("upgrade.record", "", "make a database with this program, built with the tag testhooks, and put it into "+fixtures)
	recordOf   = flag.String("upgrade.commit", "", "the commit that the program of -upgrade.record was built of")
)

// A program fills a database by its API, as later ones shall find it.
func TestADatabaseOfThisProgramIsRecorded(t *testing.T) {
	if *recordWith == "" {
		t.Skip("skipped: -upgrade.record names no program")
	}
	if *recordOf == "" {
		t.Fatal("-upgrade.commit says which commit the program was built of")
	}
	eachAlone(t, func(t *testing.T, dsn string) {
		r := &recorder{server: newServer(t, dsn), past: &past{Program: *recordOf, engine: engineOf(dsn)}}
		r.process = start(t, *recordWith, r.flags...)
		r.heard(t, `"msg":"ready"`)
		r.admin = r.local()
		r.ledger = follow(t, filepath.Join(r.dir, "ledger"))
		r.fill(t)
		r.list(t)
		r.stop(t)
		r.At = time.Now().UTC().Truncate(time.Second)
		r.Schema = schemaVersion(t, r.database(dsn))
		r.name = fmt.Sprintf("schema-%02d-%s", r.Schema, r.engine)
		text, err := json.MarshalIndent(r.past, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		beside := map[string][]byte{"list.json": text}
		if dsn != "" {
			beside["dump.sql"] = dump(t, dsn)
		}
		r.pack(t, r.dir, beside)
	})
}

// recorder is a server of a program that may be old, and what it tells.
type recorder struct {
	*server
	*past
	ids []string // certificates
}

// make has a certificate issued.
func (r *recorder) make(t *testing.T, body object, headers ...string) string {
	t.Helper()
	path := "/api/v1/certificates"
	if body["csr_pem"] != nil {
		path += "?wait=20"
	}
	a, err := r.admin.send(t.Context(), "POST", path, body, headers...)
	if err != nil || a.status/100 != 2 {
		t.Fatalf("%v: %d %v: %s", body, a.status, err, a.body)
	}
	id := text(a.object(), "id")
	r.ids = append(r.ids, id)
	return id
}

// ours is a certificate whose key the server makes.
func (r *recorder) ours(t *testing.T, name string) string {
	t.Helper()
	id := r.make(t, object{"common_name": name + ".example.com", "key_source": "server"})
	r.ledger.await(t, "certificate.issued", id)
	return id
}

// theirs is one whose key the caller has.
func (r *recorder) theirs(t *testing.T, name string, headers ...string) (id string, body object) {
	t.Helper()
	_, csr := newCSR(t, name+".example.com")
	body = object{"common_name": name + ".example.com", "csr_pem": csr, "environment": "past", "tags": object{"of": "the past"}}
	return r.make(t, body, headers...), body
}

// do asks for something of a certificate.
func (r *recorder) do(t *testing.T, id, what string, body any) {
	t.Helper()
	a, err := r.admin.send(t.Context(), "POST", "/api/v1/certificates/"+id+"/"+what, body)
	if err != nil || a.status/100 != 2 {
		t.Fatalf("%s of %s: %d %v: %s", what, id, a.status, err, a.body)
	}
}

// fill does one of everything.
func (r *recorder) fill(t *testing.T) {
	t.Helper()
	r.Key = r.key(t, "past", "admin")
	r.Renewable = r.ours(t, "renewable")
	renewed := r.ours(t, "renewed")
	r.do(t, renewed, "renew", nil)
	r.ledger.await(t, "certificate.renewed", renewed)
	r.RepeatedID, r.Repeated = r.theirs(t, "repeated", "Idempotency-Key", "repeated")
	for name, reason := range map[string]string{"replaced": "superseded", "stolen": "keyCompromise", "held": "certificateHold", "released": "certificateHold"} {
		id, _ := r.theirs(t, name)
		r.do(t, id, "revoke", object{"reason": reason})
		if name == "released" {
			r.do(t, id, "release", nil)
		}
	}
	archived, _ := r.theirs(t, "archived")
	r.admin.expect(t, http.StatusNoContent, "DELETE", "/api/v1/certificates/"+archived, nil)
	one, _ := r.theirs(t, "one")
	two, _ := r.theirs(t, "two")
	r.Batch = text(r.admin.expect(t, 200, "POST", "/api/v1/certificates/bulk-revoke", object{"reason": "cessationOfOperation", "certificate_ids": []string{one, two}}), "batch_id")
	r.ledger.await(t, "certificate.revoked", two)
	r.make(t, object{"common_name": "waiting.example.com", "key_source": "client"})
	cancelled := r.make(t, object{"common_name": "cancelled.example.com", "key_source": "client"})
	r.admin.expect(t, 200, "POST", "/api/v1/jobs/"+text(r.admin.get(t, "/api/v1/certificates/"+cancelled), "job_id")+"/cancel", nil)
	r.install(t)
	tool(t, nil, *recordWith, "audit", "checkpoint", "--data-dir", r.dir, "--out", filepath.Join(t.TempDir(), "checkpoint"))
}

// install has an agent bring a certificate to an nginx, and opens a renewal that it does not live to see.
func (r *recorder) install(t *testing.T) {
	t.Helper()
	n := startNginx(t)
	dir := filepath.Join(shortDir(t), "agent")
	token := text(r.admin.expect(t, 201, "POST", "/api/v1/agents/invitations", object{}), "token")
	tool(t, nil, *recordWith, slices.Concat([]string{"agent", "join", r.url, "--token", token, "--root", r.rootSHA256(t), "--data-dir", dir}, n.allowed())...)
	r.Agent = r.ledger.await(t, "agent.joined", "").Event.Resource
	agent := start(t, *recordWith, slices.Concat([]string{"agent", "run", "--data-dir", dir}, n.allowed())...)
	n.secure(t)
	_, port, _ := strings.Cut(n.addr, ":")
	config := object{
		"cert_path": n.file("tls/site.pem"), "key_path": n.file("tls/site.key"), "address": "127.0.0.1", "port": json.Number(port),
		"hostname": "installed.example.com", "validate_command": n.test(), "reload_command": n.reload(),
	}
	r.Target = text(r.admin.expect(t, 201, "POST", "/api/v1/targets", object{"name": "site", "type": "NGINX", "agent_id": r.Agent, "config": config}), "id")
	r.Installed = r.make(t, object{"common_name": "installed.example.com", "target_ids": []string{r.Target}})
	r.ledger.await(t, "certificate.proved", r.Installed)
	agent.stop(t)
	r.do(t, r.Installed, "renew", nil)
}

// list writes down what the program tells of everything.
func (r *recorder) list(t *testing.T) {
	t.Helper()
	v := newVerdict(t, &crashes{server: r.server})
	for _, id := range r.ids {
		r.Certificates = append(r.Certificates, v.told(t, id))
	}
	look, deadline := time.NewTicker(20*time.Millisecond), time.Now().Add(patience)
	defer look.Stop()
	for ; len(v.wrong(t, r.Certificates)) > 0; <-look.C {
		if time.Now().After(deadline) {
			t.Fatalf("the CRL does not come to say of these what OCSP does: %q", v.wrong(t, r.Certificates))
		}
	}
	for _, j := range r.admin.rows(t, "/api/v1/jobs") {
		r.Jobs = append(r.Jobs, pastJob{text(j, "id"), text(j, "type"), text(j, "status")})
	}
	r.Events, r.Head = headOf(t, r.auditVerifies(t), 0)
}

// told is what the server tells of a certificate.
func (v *verdict) told(t *testing.T, id string) pastCert {
	t.Helper()
	shown := v.server.admin.get(t, "/api/v1/certificates/"+id)
	c := pastCert{ID: id, Name: text(shown, "name"), Status: text(shown, "status"), Reason: text(shown, "revocation_reason")}
	for _, row := range v.server.admin.rows(t, "/api/v1/certificates/"+id+"/versions") {
		version := pastVersion{Serial: text(row, "serial_number"), Fingerprint: text(row, "fingerprint_sha256")}
		var err error
		if version.OCSP, err = v.ask(t, &certificate{serial: version.Serial}); err != nil {
			t.Fatal(err)
		}
		c.Versions = append(c.Versions, version)
	}
	slices.SortFunc(c.Versions, func(a, b pastVersion) int { return strings.Compare(a.Serial, b.Serial) })
	return c
}

// wrong are the serials of which the CRL does not say what OCSP said.
func (v *verdict) wrong(t *testing.T, all []pastCert) (serials []string) {
	t.Helper()
	list, err := x509.ParseRevocationList(fetch(t, v.server.plain+"/.well-known/pki/crl/iss-local"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, e := range list.RevokedCertificateEntries {
		listed[e.SerialNumber.Text(16)] = true
	}
	for _, c := range all {
		for _, version := range c.Versions {
			if listed[number(t, version.Serial).Text(16)] != (version.OCSP == ocsp.Revoked) {
				serials = append(serials, version.Serial)
			}
		}
	}
	return serials
}

// dump is a PostgreSQL database as SQL without what only psql knows.
func dump(t *testing.T, dsn string) []byte {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump")
	if err != nil || len(found) == 0 {
		t.Fatalf("pg_dump is missing: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), found[len(found)-1], "--no-owner", "--no-privileges", "--no-comments", "--rows-per-insert=100", dsn)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(fmt.Errorf("pg_dump: %w", err))
	}
	lines := slices.DeleteFunc(strings.Split(string(out), "\n"), func(line string) bool {
		return strings.HasPrefix(line, `\`) || strings.HasPrefix(line, "--")
	})
	return []byte(strings.Join(lines, "\n"))
}
