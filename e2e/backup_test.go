//go:build linux

package e2e_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/leafward/leafward/internal/audit"
	"github.com/leafward/leafward/internal/pki/ocsp"
)

// How many certificates are restored, and how long that may take.
const (
	restored   = 100_000
	asked      = 6_000 // of them by clients
	maxRestore = time.Minute
)

// A backup that is taken under load is restored elsewhere, with what is left of the time after it: a ledger, or published
// CRLs and later an export. Nothing that was acknowledged as revoked is good again, no CRL has a lower number, and what was
// issued after the backup is known again. The judge is the clients' own list.
func TestABackupIsRestoredWithoutForgettingARevocation(t *testing.T) {
	eachEngine(t, func(t *testing.T, database func(testing.TB) string) {
		if !*long {
			t.Parallel()
		}
		d := newBackups(t, database)
		d.fill(t)
		d.backUpUnderLoad(t)
		d.goOn(t)
		d.lose(t)
		d.withLedger(t)
		d.withLists(t)
		d.measured("%d certificates, the backup under load took %s, restoring with the ledger %s, %d serials and %d revocations of after the backup",
			len(d.all())+sized(0, restored-asked), d.backupTook.Round(time.Millisecond), d.restoreTook.Round(time.Millisecond), d.after.acked.Load(), len(d.late))
		if d.restoreTook > maxRestore && *long {
			t.Errorf("restoring took %s; the limit is %s", d.restoreTook, maxRestore)
		}
	})
}

// backups is one run of the drill.
type backups struct {
	*drill
	database func(testing.TB) string
	server   *server
	dir      string // of the files
	identity string

	before, during, after *crashes // clients that issued and revoked
	late                  []*certificate

	lists                   map[string][]byte // the last CRLs, by the name of their file
	backupTook, restoreTook time.Duration
}

func newBackups(t *testing.T, database func(testing.TB) string) *backups {
	t.Helper()
	dsn := database(t)
	d := &backups{drill: newDrill(t, "R37", engineOf(dsn)), database: database, server: serve(t, dsn), dir: t.TempDir(), lists: map[string][]byte{}}
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	d.identity = filepath.Join(d.dir, "identity")
	if err := os.WriteFile(d.identity, []byte("# "+key.Recipient().String()+"\n"+key.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

// clients are some that issue so many certificates.
func (d *backups) clients(t *testing.T, name string, many int) *crashes {
	c := &crashes{drill: d.drill, server: d.server, target: int64(many), up: make(chan struct{})}
	close(c.up)
	for i := range crashClients {
		c.clients = append(c.clients, &crasher{crashes: c, t: t, name: fmt.Sprintf("%s%d", name, i), random: d.random(i)})
	}
	return c
}

// work lets clients work to their end.
func (d *crashes) work() {
	var working sync.WaitGroup
	for _, c := range d.clients {
		working.Go(c.work)
	}
	working.Wait()
}

// fill has clients issue and revoke. In the long form many more that nobody asked for stand beside theirs.
func (d *backups) fill(t *testing.T) {
	d.before = d.clients(t, "before", sized(48, asked))
	d.before.work()
	if !*long {
		return
	}
	var models []string
	for _, client := range d.before.clients {
		for _, c := range client.list {
			if c.revoked == "" && len(models) < 10 {
				models = append(models, c.id)
			}
		}
	}
	d.server.multiply(t, databaseOf(d.server), restored-asked, models...)
}

func (d *backups) backUpUnderLoad(t *testing.T) {
	d.during = d.clients(t, "during", sized(64, 4_000))
	var working sync.WaitGroup
	working.Go(d.during.work)
	defer working.Wait()
	if !d.during.reached(t, d.during.target/4) {
		return
	}
	begun := time.Now()
	d.backUp(t)
	d.backupTook = time.Since(begun)
}

// recipient is who can open the backup.
func (d *backups) recipient(t *testing.T) string {
	text, err := os.ReadFile(d.identity)
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimPrefix(line, "# ")
}

func (d *backups) file() string { return filepath.Join(d.dir, "backup.age") }

// backUp takes the backup, or has PostgreSQL's own tool take it, as the program says.
func (d *backups) backUp(t *testing.T) {
	args := []string{"backup", d.file(), "--data-dir", d.server.dir, "--recipient", d.recipient(t), "--json"}
	dsn := databaseOf(d.server)
	if dsn == "" {
		tool(t, nil, program(t, "leafward"), args...)
		return
	}
	installed(t, "pg_dump", "pg_restore")
	d.asTold(t, dsn, "", append(args, "--database", dsn)...)
}

// databaseOf is the URL of a server's database; "" for SQLite.
func databaseOf(s *server) string {
	if i := slices.Index(s.flags, "--database"); i >= 0 {
		return s.flags[i+1]
	}
	return ""
}

// asTold types the command that the program tells instead of doing it by itself. The password is not in it.
func (d *backups) asTold(t *testing.T, dsn, dump string, args ...string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	_, failed := try(t, nil, program(t, "leafward"), args...)
	if failed == nil || strings.Contains(failed.Error(), password) {
		t.Fatalf("%v: it should tell what to run, without the password", failed)
	}
	_, told, _ := strings.Cut(failed.Error(), ": ")
	var said struct{ Fix string }
	if err := json.Unmarshal([]byte(told), &said); err != nil {
		t.Fatalf("%v: %s", err, told)
	}
	command, _, _ := strings.Cut(said.Fix, " (")
	command, _, _ = strings.Cut(command, " into an empty")
	tool(t, nil, "sh", "-euc", "export PGPASSWORD="+password+"; "+strings.Replace(command, " DUMP", " "+dump, 1))
}

// goOn issues and revokes after the backup, also what is in it.
func (d *backups) goOn(t *testing.T) {
	d.after = d.clients(t, "after", sized(24, 1_000))
	d.after.work()
	for _, c := range d.before.clients {
		for _, cert := range c.list[:min(len(c.list), sized(3, 50))] {
			if cert.revoked == "" {
				c.revoke(cert)
				d.late = append(d.late, cert)
			}
		}
	}
}

// all are the certificates of all clients.
func (d *backups) all() (all []*certificate) {
	for _, c := range [][]*crasher{d.before.clients, d.during.clients, d.after.clients} {
		for _, client := range c {
			all = append(all, client.list...)
		}
	}
	return all
}

// lose waits until the CRL tells everything, keeps what would be left elsewhere, and ends the server for good.
func (d *backups) lose(t *testing.T) {
	d.verdict(t, d.server).crl(t)
	for _, name := range []string{"iss-local", d.root(t)} {
		file := filepath.Join(d.dir, fmt.Sprintf("crl-%d", len(d.lists)))
		d.lists[file] = fetch(t, d.server.plain+"/.well-known/pki/crl/"+name)
		if err := os.WriteFile(file, d.lists[file], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tool(t, nil, program(t, "leafward"), "audit", "export", "--data-dir", d.server.dir, "--out", d.export())
	d.server.kill()
}

func (d *backups) export() string { return filepath.Join(d.dir, "audit.jsonl") }

// root is the authority above the issuing one.
func (d *backups) root(t *testing.T) string {
	rows := d.server.admin.rows(t, "/api/v1/audit?action=authority.created")
	for _, row := range rows {
		if details, _ := row["details"].(object); text(details, "parent") == "" {
			return text(row, "resource_id")
		}
	}
	t.Fatalf("no event tells of the root: %v", rows)
	return ""
}

// verdict is that of all clients on a server.
func (d *backups) verdict(t *testing.T, s *server) *verdict {
	t.Helper()
	every := &crashes{drill: d.drill, server: s}
	for _, c := range []*crashes{d.before, d.during, d.after} {
		every.clients = append(every.clients, c.clients...)
	}
	return newVerdict(t, every)
}

// elsewhere is a server on another machine, which runs once it is restored. It has the master key from where that is kept.
func (d *backups) elsewhere(t *testing.T) *server {
	t.Helper()
	dsn := d.database(t)
	s := newServer(t, dsn, "--master-key-file", filepath.Join(d.server.dir, "master.key"))
	if dsn != "" {
		d.asTold(t, dsn, d.file(), "restore", d.file(), "--data-dir", s.dir, "--database", dsn, "--json")
	}
	return s
}

// cutOff kills a restore that has got half of the backup. The directory counts as empty then, and is restored into.
func (d *backups) cutOff(t *testing.T, into string) {
	whole, err := os.ReadFile(d.file())
	if err != nil {
		t.Fatal(err)
	}
	restore := func(file string) []string {
		return []string{"restore", file, "--data-dir", into, "--identity", d.identity, "--ledger", filepath.Join(d.server.dir, "ledger")}
	}
	pipe := filepath.Join(d.dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, program(t, "leafward"), restore(pipe)...)
	go func() { // which waits for the restore to open the pipe, and leaves it open
		if out, err := os.OpenFile(pipe, os.O_WRONLY, 0); err == nil {
			_, _ = out.Write(whole[:len(whole)/2])
			<-p.gone
			_ = out.Close()
		}
	}()
	begun, done := filepath.Join(into, ".restoring", "leafward.db"), filepath.Join(into, "leafward.db")
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for _, err := os.Stat(begun); err != nil; _, err = os.Stat(begun) {
		select {
		case <-look.C:
		case <-p.gone:
			t.Fatalf("the restore ended before it was killed: %s", p.tell())
		}
	}
	p.kill()
	if _, err := os.Stat(done); err == nil {
		t.Error("the restore was killed while it wrote, and its database is in its place")
	}
	tool(t, nil, program(t, "leafward"), restore(d.file())...)
	if left, err := os.ReadDir(into); err != nil || slices.ContainsFunc(left, func(e os.DirEntry) bool { return e.Name() == ".restoring" }) {
		t.Errorf("the second restore left %v: %v", left, err)
	}
}

// withLedger restores with the ledger of the lost server. On PostgreSQL it lies beside the restored database, and the server
// takes over what it knows when it starts.
func (d *backups) withLedger(t *testing.T) {
	if databaseOf(d.server) == "" {
		d.cutOff(t, filepath.Join(d.dir, "cut-off"))
	}
	begun := time.Now()
	s := d.elsewhere(t)
	ledger := filepath.Join(d.server.dir, "ledger")
	if databaseOf(d.server) == "" {
		tool(t, nil, program(t, "leafward"), "restore", d.file(), "--data-dir", s.dir, "--identity", d.identity, "--ledger", ledger)
	} else {
		if err := os.CopyFS(filepath.Join(s.dir, "ledger"), os.DirFS(ledger)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(s.dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.start(t)
	d.restoreTook = time.Since(begun)
	s.admin = newClient(t, s.url, d.server.admin.key, s.root(t)) // a key of before the backup
	d.numbers(t, s)
	v := d.verdict(t, s)
	v.crl(t)
	v.ocsp(t)
	d.rows(t, s)
	gaps := d.gaps(t, s)
	if len(gaps) != 1 || gaps[0].Known <= gaps[0].Events {
		t.Errorf("the log tells of the gaps %+v: it should tell of one, whose events are on record", gaps)
	}
	s.kill()
}

// numbers: the CRLs have greater numbers than those that were published.
func (d *backups) numbers(t *testing.T, s *server) {
	published := map[string]*big.Int{}
	for _, der := range d.lists {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			t.Fatal(err)
		}
		published[list.Issuer.String()] = list.Number
	}
	for _, name := range []string{"iss-local", d.rootOf(t, s)} {
		list, err := x509.ParseRevocationList(fetch(t, s.plain+"/.well-known/pki/crl/"+name))
		if err != nil {
			t.Fatal(err)
		}
		if last := published[list.Issuer.String()]; last == nil || list.Number.Cmp(last) <= 0 {
			t.Errorf("the CRL of %s has the number %s; %s was published", list.Issuer, list.Number, last)
		}
	}
}

// rootOf is the root of a restored server, which is the same authority.
func (d *backups) rootOf(t *testing.T, s *server) string {
	return (&backups{drill: d.drill, server: s}).root(t)
}

// rows: what was acknowledged before the backup is there as it was, or revoked as it was afterwards.
func (d *backups) rows(t *testing.T, s *server) {
	there := map[string]object{}
	for _, row := range s.admin.rows(t, "/api/v1/certificates") {
		there[text(row, "id")] = row
	}
	for _, client := range d.before.clients {
		for _, c := range client.list {
			want := "Active"
			if c.revoked != "" {
				want = "Revoked"
			}
			if row := there[c.id]; text(row, "status") != want || text(row, "revocation_reason") != c.revoked {
				t.Errorf("%s is %q (%q) after the restore, not %s (%s)", c.name, text(row, "status"), text(row, "revocation_reason"), want, c.revoked)
			}
		}
	}
}

// gaps verifies the log of a server and gives what it says is missing.
func (d *backups) gaps(t *testing.T, s *server) []audit.Gap {
	t.Helper()
	a, err := s.admin.send(t.Context(), "GET", "/api/v1/audit/export", nil)
	if err != nil || a.status != 200 {
		t.Fatalf("%d %v", a.status, err)
	}
	report, err := audit.Verify(bytes.NewReader(a.body))
	if err != nil {
		t.Errorf("the audit log does not verify after record %d: %v", report.Last, err)
	}
	return report.Gaps
}

// withLists restores with the published CRLs alone. What was issued after the backup is unknown, until an export tells of it.
func (d *backups) withLists(t *testing.T) {
	s := d.elsewhere(t)
	place := []string{"--data-dir", s.dir}
	args := []string{"restore", d.file(), "--identity", d.identity}
	if dsn := databaseOf(s); dsn != "" {
		place, args = append(place, "--database", dsn), []string{"reconcile"}
	}
	args = append(args, place...)
	for file := range d.lists {
		args = append(args, "--crl", file)
	}
	tool(t, nil, program(t, "leafward"), args...)
	s.start(t)
	s.admin = newClient(t, s.url, d.server.admin.key, s.root(t)) // a key of before the backup
	d.numbers(t, s)
	v := d.verdict(t, s)
	v.crl(t)
	for _, client := range d.after.clients {
		for _, c := range client.list {
			if status, err := v.ask(t, c); c.revoked == "" && (err != nil || status != ocsp.Unknown) {
				t.Errorf("%s was issued after the backup, and OCSP says %v (%v) before anybody told of it", c.name, status, err)
			}
		}
	}
	s.kill()
	tool(t, nil, program(t, "leafward"), append([]string{"reconcile", "--audit", d.export()}, place...)...)
	s.start(t)
	s.admin = newClient(t, s.url, d.server.admin.key, s.root(t)) // a key of before the backup
	d.numbers(t, s)
	v = d.verdict(t, s)
	v.crl(t)
	v.ocsp(t)
	if gaps := d.gaps(t, s); len(gaps) != 2 || gaps[0].Known != 0 || gaps[1].Beside == "" {
		t.Errorf("the log tells of the gaps %+v: it should tell of the restore, and of the export that goes on besides", gaps)
	}
}
