//go:build linux

package e2e_test

import (
	"bytes"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/leafward/leafward/internal/pgtest"
)

// above is the authority over the issuing one.
func (c *lists) above(t *testing.T) string {
	t.Helper()
	issuing := parsed(t, fetch(t, c.server.plain+"/.well-known/pki/ca/iss-local"))
	if len(issuing.CRLDistributionPoints) != 1 {
		t.Fatalf("the issuing authority names %q", issuing.CRLDistributionPoints)
	}
	return path.Base(issuing.CRLDistributionPoints[0])
}

// grows revokes one certificate more and returns the number of the list that has it, which is greater than the last.
func (c *lists) grows(t *testing.T, by, at *server, last *big.Int, what string) *big.Int {
	t.Helper()
	_, made := by.issue(t, fmt.Sprintf("n%d.example.com", time.Now().UnixNano()))
	c.revoke(t, by, made, "superseded")
	list := at.listed(t, "iss-local", serialOf(t, made))
	if last != nil && list.Number.Cmp(last) <= 0 || len(list.Number.Bytes()) > 20 || list.Number.Sign() < 0 {
		t.Errorf("%s: %s follows %s", what, list.Number, last)
	}
	return list.Number
}

func (c *lists) numbers(t *testing.T) {
	s := serve(t, "")
	last := c.grows(t, s, s, c.list(t, s).Number, "after a revocation")
	s.kill()
	s.start(t)
	last = c.grows(t, s, s, last, "after a kill")
	s.stop(t)
	older := snapshot(t, s.dir)
	s.start(t)
	for range 3 {
		last = c.grows(t, s, s, last, "after a restart")
	}
	s.stop(t)
	older(t)
	s.process = start(t, program(t, "leafward-testhooks"), s.flags...)
	s.heard(t, `"msg":"ready"`) // it listens; that the database is an older one keeps it from being called ready
	last = c.grows(t, s, s, last, "after an older database was put back")
	c.restored(t, s, last)

	pair := replicas(t, 2)
	last = nil
	for n := range 4 {
		last = c.grows(t, pair[n%2], pair[(n+1)%2], last, "at another replica")
	}
}

// restored restores a backup elsewhere that is older than the last list.
func (c *lists) restored(t *testing.T, s *server, last *big.Int) {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	dir := shortDir(t)
	backup, identity := filepath.Join(dir, "backup.age"), filepath.Join(dir, "identity")
	if err := os.WriteFile(identity, []byte(key.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, nil, program(t, "leafward"), "backup", backup, "--data-dir", s.dir, "--recipient", key.Recipient().String())
	for range 2 {
		last = c.grows(t, s, s, last, "after a backup")
	}
	s.kill()
	other := newServer(t, "", "--master-key-file", filepath.Join(s.dir, "master.key"))
	tool(t, nil, program(t, "leafward"), "restore", backup, "--data-dir", other.dir, "--identity", identity, "--ledger", filepath.Join(s.dir, "ledger"))
	other.start(t)
	other.admin = newClient(t, other.url, s.admin.key, other.root(t))
	if first := c.list(t, other).Number; first.Cmp(last) <= 0 {
		t.Errorf("after a restore it is %s; %s was published", first, last)
	}
	c.grows(t, other, other, last, "after a restore")
}

// snapshot keeps the database of a server that is stopped, and puts it back.
func snapshot(t *testing.T, dir string) func(*testing.T) {
	t.Helper()
	kept := map[string][]byte{}
	files, err := filepath.Glob(filepath.Join(dir, "leafward.db*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no database in %s: %v", dir, err)
	}
	for _, file := range files {
		if kept[file], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	return func(t *testing.T) {
		t.Helper()
		now, err := filepath.Glob(filepath.Join(dir, "leafward.db*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range now {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		for file, content := range kept {
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (c *lists) expired(t *testing.T) {
	s := serve(t, "")
	_, csr := newCSR(t, "week.example.com")
	made := s.admin.expect(t, 201, "POST", "/api/v1/certificates?wait=30", object{"csr_pem": csr, "ttl_seconds": int(7 * day / time.Second)})
	c.revoke(t, s, made, "superseded")
	before := s.listed(t, "iss-local", serialOf(t, made))
	s.advance(t, 7*day+time.Hour)
	list := s.until(t, "iss-local", "is new", func(l crl) bool { return l.Number.Cmp(before.Number) > 0 })
	if list.entry(serialOf(t, made)) == nil {
		t.Error("the first list after its end does not have it")
	}
	s.advance(t, 3*day)
	s.until(t, "iss-local", "has lost it", func(l crl) bool { return l.entry(serialOf(t, made)) == nil })
}

func (c *lists) succeeded(t *testing.T) {
	s := serve(t, "")
	old := parsed(t, fetch(t, s.plain+"/.well-known/pki/ca/iss-local"))
	_, csr := newCSR(t, "late.example.com")
	s.setClock(t, old.NotAfter.Add(-181*day))
	made := s.local().expect(t, 201, "POST", "/api/v1/certificates?wait=30", object{"csr_pem": csr})
	former := path.Base(text(s.local().get(t, "/api/v1/issuers/iss-local"), "authority_id"))
	s.setClock(t, old.NotAfter.Add(-179*day))
	s.ledger.await(t, "authority.succeeded", "")
	s.local().expect(t, 200, "POST", "/api/v1/certificates/"+text(made, "id")+"/revoke", object{"reason": "superseded"})
	list := s.listed(t, former, serialOf(t, made))
	if err := list.CheckSignatureFrom(old); err != nil {
		t.Errorf("the old authority's list: %v", err)
	}
	heir := parsed(t, fetch(t, s.plain+"/.well-known/pki/ca/iss-local"))
	own := c.list(t, s)
	if err := own.CheckSignatureFrom(heir); err != nil || heir.Equal(old) || own.entry(serialOf(t, made)) != nil {
		t.Errorf("the successor's list: %v", err)
	}
	s.advance(t, day) // and it is kept up
	s.until(t, former, "is new", func(l crl) bool { return l.Number.Cmp(list.Number) > 0 && l.CheckSignatureFrom(old) == nil })
}

func (c *lists) doorPoints() []point {
	return []point{
		{name: "it comes as application/pkix-crl, in DER", shown: func(t *testing.T) {
			if l := c.list(t, c.server); l.header.Get("Content-Type") != "application/pkix-crl" || l.Raw[0] != 0x30 {
				t.Errorf("it comes as %q", l.header.Get("Content-Type"))
			}
		}},
		{name: "whoever has it is told 304", shown: c.known},
		{name: "it is given out while the database is down", shown: c.down},
		{name: "a revocation is on the list of every replica within 5 seconds", shown: func(t *testing.T) {
			servers := replicas(t, 2)
			for n := range 3 {
				_, made := servers[n%2].issue(t, fmt.Sprintf("soon%d.example.com", n))
				c.revoke(t, servers[n%2], made, "superseded")
				at := time.Now()
				for _, s := range servers {
					s.listed(t, "iss-local", serialOf(t, made))
				}
				if took := time.Since(at); *long && took > 5*time.Second {
					t.Errorf("it took %s", took)
				}
			}
		}},
	}
}

func (c *lists) known(t *testing.T) {
	l := c.list(t, c.server)
	ask := func(tag string) *http.Response {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.server.plain+"/.well-known/pki/crl/iss-local", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("If-None-Match", tag)
		response, err := plain(t).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response
	}
	tag := l.header.Get("ETag")
	if same, other := ask(tag), ask(`"another"`); tag == "" || same.StatusCode != http.StatusNotModified || other.StatusCode != http.StatusOK {
		t.Errorf("with the tag %q it is %d, with another %d", tag, same.StatusCode, other.StatusCode)
	}
}

func (c *lists) down(t *testing.T) {
	cluster := pgtest.Cluster(t, pgtest.Fast)
	s := serve(t, cluster.URL())
	before := c.list(t, s)
	if err := cluster.Stop(); err != nil {
		t.Fatal(err)
	}
	if after := c.list(t, s); !bytes.Equal(after.Raw, before.Raw) {
		t.Errorf("it is %s, and was %s", after.Number, before.Number)
	}
}
