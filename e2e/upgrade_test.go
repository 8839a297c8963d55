//go:build linux

package e2e_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/audit"
	"github.com/leafward/leafward/internal/pki/ocsp"
	"github.com/leafward/leafward/internal/store"
)

// maxUpgrade is how long a server with 100,000 certificates takes from its start to being ready on an old schema.
const maxUpgrade = time.Minute

// Databases of programs of the past are taken over by this one, which is killed at every step on the way: what they told is
// still so, and what they had begun goes on. One of three servers that start at once migrates, and an older program keeps its
// hands off.
func TestDatabasesOfThePastAreTakenOver(t *testing.T) {
	eachAlone(t, func(t *testing.T, dsn string) {
		u := &upgrade{drill: newDrill(t, "R36", engineOf(dsn)), fresh: freshSchema(t, dsn)}
		all := pastOf(t, engineOf(dsn))
		chosen := all
		if !*long {
			chosen = []*past{all[u.random(0).IntN(len(all))]}
		}
		for _, p := range chosen {
			t.Run(p.name, func(t *testing.T) { u.takeOver(t, p) })
		}
		if dsn != "" {
			t.Run("three at once", func(t *testing.T) { u.together(t, all[0]) })
		}
		if *long {
			t.Run("100,000 certificates", func(t *testing.T) { u.large(t, all[0]) })
		}
		u.measured("%d databases of schema %d to %d brought to %d, %d kills on the way, ready after %s at most%s",
			u.taken, chosen[0].Schema, chosen[len(chosen)-1].Schema, store.Newest(), u.kills, u.worst.Round(time.Millisecond), u.more)
	})
}

// upgrade is one run of the drill on an engine.
type upgrade struct {
	*drill
	fresh []string // the schema of a new database
	taken int
	kills int
	worst time.Duration // from the last start to being ready
	more  string        // figures besides
}

// moments are the moments on the way to this program's schema at which it can be killed, in their order.
func moments(p *past) (all []string) {
	for v := p.Schema + 1; v <= store.Newest(); v++ {
		all = append(all, fmt.Sprintf("store.migrating-%d", v), fmt.Sprintf("store.before-migrated-%d", v))
		if p.engine == "sqlite" && v == 16 {
			all = append(all, "store.rebuilt-16")
		}
	}
	return append(all, "store.migrated")
}

// some are all moments in the long form, and two of them otherwise.
func (u *upgrade) some(all []string) []string {
	if *long {
		return all
	}
	first := u.random(1).IntN(len(all) - 1)
	return []string{all[first], all[first+1+u.random(2).IntN(len(all)-first-1)]}
}

func (u *upgrade) takeOver(t *testing.T, p *past) {
	s, dsn := p.restored(t)
	if p.Schema < store.Newest() {
		for _, at := range u.some(moments(p)) {
			s.killedAt(t, at)
			u.kills++
		}
	}
	u.worst = max(u.worst, s.start(t))
	s.admin = s.local()
	p.judge(t, s)
	if got := schema(t, s.database(dsn)); !slices.Equal(got, u.fresh) {
		t.Errorf("the schema is not that of a new database:\n%s", difference(got, u.fresh))
	}
	p.goesOn(t, s)
	s.stop(t)
	p.refused(t, s, dsn)
	u.taken++
}

// killedAt starts the server, which is killed at a failpoint on its way.
func (s *server) killedAt(t *testing.T, at string) {
	t.Helper()
	s.process = start(t, program(t, "leafward-testhooks"), slices.Concat(s.flags, []string{"--failpoint", at + "=kill"})...)
	s.ended(t)
	if status := s.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		t.Fatalf("%s: the server was not killed: %v\n%s", at, s.cmd.ProcessState, s.tell())
	}
}

// judge holds the server against what the past program told.
func (p *past) judge(t *testing.T, s *server) {
	t.Helper()
	v := newVerdict(t, &crashes{server: s})
	if serials := v.wrong(t, p.Certificates); len(serials) > 0 {
		t.Errorf("of %q the CRL does not say what OCSP said before", serials)
	}
	for _, want := range p.Certificates {
		if got := v.told(t, want.ID); !reflect.DeepEqual(got, want) {
			t.Errorf("a certificate was %+v and is %+v", want, got)
		}
	}
	if n := len(s.admin.rows(t, "/api/v1/certificates")) + len(s.admin.rows(t, "/api/v1/certificates?status=Archived")); n != len(p.Certificates) {
		t.Errorf("there are %d certificates, and were %d", n, len(p.Certificates))
	}
	if found := s.admin.rows(t, "/api/v1/certificates?q=repeated"); len(found) != 1 {
		t.Errorf("%d certificates are found by a name", len(found))
	}
	for _, want := range p.Jobs {
		if got := text(s.admin.get(t, "/api/v1/jobs/"+want.ID), "status"); got != want.Status {
			t.Errorf("the job %s (%s) was %s and is %s", want.ID, want.Type, want.Status, got)
		}
	}
	if c := s.admin.get(t, "/api/v1/certificates/"+p.Installed); !slices.Contains(c["target_ids"].([]any), any(p.Target)) || text(c, "last_deployment_at") == "" {
		t.Errorf("the certificate that was deployed at %s is %v", p.Target, c)
	}
	s.admin.get(t, "/api/v1/agents/"+p.Agent)
	if b := s.admin.get(t, "/api/v1/batches/"+p.Batch); text(b, "total_done") != "2" || text(b, "status") != "completed" {
		t.Errorf("the batch is %v", b)
	}
	a, err := s.admin.send(t.Context(), "POST", "/api/v1/certificates?wait=20", p.Repeated, "Idempotency-Key", "repeated")
	if err != nil || text(a.object(), "id") != p.RepeatedID {
		t.Errorf("a request that is sent again is answered with %d %v: %s", a.status, err, a.body)
	}
	if _, head := headOf(t, s.auditVerifies(t), p.Events); head != p.Head {
		t.Errorf("the chain of the audit log was %s at event %d and is %s", p.Head, p.Events, head)
	}
	p.keyed(t, s).get(t, "/api/v1/auth/check")
}

// keyed is a client with the key of the past, which believes that it is as late as the server does.
func (p *past) keyed(t *testing.T, s *server) *client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.root(t))
	over := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, Time: func() time.Time { return p.At.Add(time.Hour) }}}
	t.Cleanup(over.CloseIdleConnections)
	return &client{base: s.url, key: p.Key, http: &http.Client{Transport: over}}
}

// goesOn: certificates are issued, revoked and renewed as before, and all that is on record.
func (p *past) goesOn(t *testing.T, s *server) {
	t.Helper()
	s.ledger = follow(t, filepath.Join(s.dir, "ledger"))
	_, csr := newCSR(t, "present.example.com")
	made := s.admin.expect(t, 201, "POST", "/api/v1/certificates?wait=20", object{"common_name": "present.example.com", "csr_pem": csr})
	s.admin.expect(t, 200, "POST", "/api/v1/certificates/"+text(made, "id")+"/revoke", object{"reason": "superseded"})
	s.advance(t, 65*day)
	s.ledger.await(t, "certificate.renewed", p.Renewable)
	if rows := s.admin.rows(t, "/api/v1/certificates/"+p.Renewable+"/versions"); len(rows) != 2 {
		t.Errorf("the certificate that is renewed has %d versions", len(rows))
	}
	v := newVerdict(t, &crashes{server: s})
	if now := v.told(t, text(made, "id")); now.Status != "Revoked" || now.Versions[0].OCSP != ocsp.Revoked {
		t.Errorf("a new certificate was revoked and is %+v", now)
	}
	s.auditVerifies(t)
}

// refused: on a schema that is newer than it knows a program ends, says why, and changes nothing.
func (p *past) refused(t *testing.T, s *server, dsn string) {
	t.Helper()
	database := s.database(dsn)
	refuses := func(by string, has, knows int64) {
		before, rows := schema(t, database), tables(t, database)
		s.process = start(t, by, s.flags...)
		code, said := s.ended(t), strings.Join(s.last(20), "\n")
		if code != 1 || !strings.Contains(said, fmt.Sprintf("the schema has version %d and this leafward knows %d only", has, knows)) || !strings.Contains(said, "run the newer leafward") {
			t.Errorf("%s, on a newer schema, ended with %d and said\n%s", by, code, said)
		}
		if !slices.Equal(schema(t, database), before) || !maps.Equal(tables(t, database), rows) {
			t.Errorf("%s refused a newer schema and changed the database", by)
		}
	}
	if *long && p.Schema < store.Newest() {
		if older := p.built(t); older != "" {
			refuses(older, store.Newest(), p.Schema)
		}
	}
	execute(t, database, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, TRUE)")
	refuses(program(t, "leafward-testhooks"), 9999, store.Newest())
}

// together starts three servers on one old database at once.
func (u *upgrade) together(t *testing.T, p *past) {
	first, dsn := p.restored(t)
	servers := []*server{first}
	for range 2 {
		servers = append(servers, newServer(t, dsn, "--master-key-file", filepath.Join(first.dir, "master.key"), "--clock", p.At.Add(time.Hour).Format(time.RFC3339)))
	}
	for _, s := range servers {
		s.process = start(t, program(t, "leafward-testhooks"), s.flags...)
	}
	migrated := 0
	for i, s := range servers {
		s.heard(t, `"msg":"ready"`)
		migrated += strings.Count(strings.Join(s.last(1000), "\n"), `"msg":"the schema is migrated"`)
		s.admin = s.local()
		_, csr := newCSR(t, "present.example.com")
		s.admin.expect(t, 201, "POST", "/api/v1/certificates?wait=20", object{"name": fmt.Sprintf("by %d", i), "common_name": "present.example.com", "csr_pem": csr})
	}
	if migrated != 1 {
		t.Errorf("%d of three servers say that they migrated the schema", migrated)
	}
	if steps := versions(t, dsn); len(steps) != int(store.Newest()) {
		t.Errorf("the steps %v are on record", steps)
	}
	if got := schema(t, dsn); !slices.Equal(got, u.fresh) {
		t.Errorf("the schema is not that of a new database:\n%s", difference(got, u.fresh))
	}
	alike(t, servers)
	for _, s := range servers[1:] {
		s.auditVerifies(t)
	}
	u.more += "; of 3 servers at once 1 migrated"
}

// headOf verifies an export and returns the number and the chain of its last event, or of the one with a number.
func headOf(t *testing.T, export []byte, at int64) (seq int64, chain string) {
	t.Helper()
	for line := range bytes.Lines(export) {
		var r audit.Record
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		if seq, chain = r.Seq, fmt.Sprintf("%x", r.Chain[:]); seq == at {
			break
		}
	}
	return seq, chain
}

// execute runs statements on a database, given as a path or a URL.
func execute(t *testing.T, database string, statements ...string) {
	t.Helper()
	db := connect(t, database)
	defer db.Close()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func connect(t *testing.T, database string) *sql.DB {
	t.Helper()
	driver := "pgx"
	if database[0] == '/' {
		driver = "sqlite"
	}
	db, err := sql.Open(driver, database)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// versions are the steps on record.
func versions(t *testing.T, database string) []string {
	t.Helper()
	return lines(t, database, "SELECT version_id FROM goose_db_version WHERE version_id > 0 ORDER BY version_id")
}

// schemaVersion is the newest step on record.
func schemaVersion(t *testing.T, database string) (version int64) {
	t.Helper()
	all := versions(t, database)
	if _, err := fmt.Sscan(all[len(all)-1], &version); err != nil {
		t.Fatal(err)
	}
	return version
}
