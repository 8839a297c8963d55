//go:build linux

package e2e_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/pki/inventory/inventorytest"
)

// What an import of 100,000 certificates may take.
const (
	importTime   = 120 * time.Second
	importMemory = 400 << 20
)

// Certificates are taken in from a PEM bundle, from a CSV and by the API, some of them damaged, and the server is killed in the
// midst of each. The same again does what is left: nothing is lost or there twice, and every damaged row is told with its line.
func TestAnImportThatIsKilledGoesOnWhereItWas(t *testing.T) {
	eachAlone(t, func(t *testing.T, dsn string) {
		i := &importing{drill: newDrill(t, "R18", engineOf(dsn)), server: serve(t, dsn), files: t.TempDir(), ids: map[string]string{}}
		i.run(t)
	})
}

// importing is the drill at work.
type importing struct {
	*drill
	*server
	files string            // directory of the lists
	ids   map[string]string // of certificates by fingerprint, as the server acknowledged them
	peak  int               // memory of the server, in bytes
	kills int
}

func (i *importing) run(t *testing.T) {
	third := sized(400, 33_400)
	elsewhere, err := inventorytest.New("elsewhere", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var lists []listed
	for n, name := range []string{"bundle.pem", "inventory.csv", "api.pem"} {
		lists = append(lists, i.list(t, elsewhere, name, n*third, (n+1)*third))
	}
	begun, good, bad := time.Now(), 0, 0
	for _, l := range lists[:2] {
		i.interrupt(t, l)
		i.whole(t, l, "imported")
		good, bad = good+l.Rows-len(l.Bad), bad+len(l.Bad)
	}
	i.send(t, lists[2], true)
	good, bad = good+lists[2].Rows-len(lists[2].Bad), bad+len(lists[2].Bad)
	took := time.Since(begun)
	i.counted(t, good)
	for _, l := range lists[:2] {
		i.whole(t, l, "known")
	}
	i.send(t, lists[2], false)
	i.counted(t, good)
	i.note(t)
	if *long && (took > importTime || i.peak > importMemory) {
		t.Errorf("it took %s, and the server had %d MB", took, i.peak>>20)
	}
	i.measured("%d certificates taken in, %d bad rows told, %d kills, %s in all, the server had at most %d MB", good, bad, i.kills, took.Round(time.Second/10), i.peak>>20)
}

// listed is a list in a file.
type listed struct {
	inventorytest.Listed
	file string
}

func (i *importing) list(t *testing.T, a *inventorytest.Authority, name string, from, to int) (l listed) {
	t.Helper()
	var text bytes.Buffer
	write := a.WritePEM
	if strings.HasSuffix(name, ".csv") {
		write = a.WriteCSV
	}
	var err error
	if l.Listed, err = write(&text, from, to, 100); err != nil {
		t.Fatal(err)
	}
	l.file = filepath.Join(i.files, name)
	if err := os.WriteFile(l.file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return l
}

// note remembers the most memory that the server had, while it runs.
func (i *importing) note(t *testing.T) { i.peak = max(i.peak, i.memory(t, "VmHWM")) }

// again kills the server and starts it anew.
func (i *importing) again(t *testing.T) {
	t.Helper()
	i.note(t)
	i.kill()
	i.kills++
	i.start(t)
}

// interrupt has the command take a list in and kills the server in the midst of that.
func (i *importing) interrupt(t *testing.T, l listed) {
	t.Helper()
	has := i.total(t)
	enough := has + 1 + i.random(i.kills).IntN(l.Rows/2)
	p := start(t, program(t, "leafward"), "import", l.file, "--data-dir", i.dir)
	for over := false; !over && i.total(t) < enough; {
		select {
		case <-p.gone:
			over = true
		default:
		}
	}
	i.again(t)
	if code := p.ended(t); code == 0 {
		t.Errorf("an import with bad rows, or cut off, ends with 0:\n%s", p.tell())
	}
}

func (i *importing) total(t *testing.T) int {
	t.Helper()
	return int(i.admin.get(t, "/api/v1/certificates?per_page=1")["total"].(float64))
}

// whole has the command take in what is left of a list. Every good row is there then, and every bad one is told.
func (i *importing) whole(t *testing.T, l listed, outcome string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t, "leafward"), "import", l.file, "--data-dir", i.dir, "--json")
	out, most := watched(t, cmd)
	var told struct {
		Imported, Known, Refused int
		Problems                 []struct {
			File         string
			Line         int
			Problem, Fix string
		}
	}
	if err := json.Unmarshal(out, &told); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var lines []int
	for _, p := range told.Problems {
		if p.File != l.file || p.Problem == "" || p.Fix == "" {
			t.Errorf("a row is told as %+v", p)
		}
		lines = append(lines, p.Line)
	}
	if slices.Sort(lines); !slices.Equal(lines, l.Bad) || told.Refused != len(l.Bad) {
		t.Errorf("of %s the lines %v are told as bad, and %v are", l.file, lines, l.Bad)
	}
	if told.Imported+told.Known != l.Rows-len(l.Bad) || outcome == "known" && told.Imported > 0 {
		t.Errorf("of %d rows of %s %d are imported and %d known", l.Rows, l.file, told.Imported, told.Known)
	}
	if *long && most > importMemory {
		t.Errorf("the command had %d MB", most>>20)
	}
}

// watched runs a command, however it ends, and tells what it wrote and how many bytes of memory it had at most. Those are asked
// for again and again while it runs: what the system counts up for a process that ended begins with what its parent had.
func watched(t *testing.T, cmd *exec.Cmd) (out []byte, most int) {
	t.Helper()
	var written bytes.Buffer
	cmd.Stdout = &written
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-ended:
			return written.Bytes(), most
		case <-look.C:
			most = max(most, memoryOf(cmd.Process.Pid, "VmHWM"))
		}
	}
}

// send has the API take a list in, a part at a time; the server may be killed while it takes one of them.
func (i *importing) send(t *testing.T, l listed, killed bool) {
	t.Helper()
	text, err := os.ReadFile(l.file)
	if err != nil {
		t.Fatal(err)
	}
	parts := slices.Collect(slices.Chunk(strings.SplitAfter(string(text), "-----END CERTIFICATE-----\n"), 200))
	victim := i.random(7).IntN(len(parts))
	line := 1
	var bad []int
	for n, part := range parts {
		body := object{"pem": strings.Join(part, ""), "first_line": line}
		line += strings.Count(body["pem"].(string), "\n")
		if body["pem"] == "" {
			continue
		}
		if killed && n == victim {
			done := make(chan struct{})
			go func() {
				defer close(done)
				if a, err := i.admin.send(t.Context(), "POST", "/api/v1/certificates/import", body); err == nil && a.status == 200 {
					i.acknowledged(t, a.object(), nil)
				}
			}()
			i.again(t)
			<-done
		}
		i.acknowledged(t, i.admin.expect(t, 200, "POST", "/api/v1/certificates/import", body), &bad)
	}
	if !slices.Equal(bad, l.Bad) {
		t.Errorf("of %s the lines %v are told as bad, and %v are", l.file, bad, l.Bad)
	}
}

// acknowledged keeps what the server says of each row. Of one certificate it always says the same.
func (i *importing) acknowledged(t *testing.T, out object, bad *[]int) {
	t.Helper()
	for _, r := range out["rows"].([]any) {
		row := r.(object)
		if row["outcome"] == "refused" {
			if bad != nil {
				*bad = append(*bad, int(row["line"].(float64)))
			}
			continue
		}
		sum, id := text(row, "fingerprint_sha256"), text(row, "certificate_id")
		if known := i.ids[sum]; known != "" && known != id {
			t.Errorf("%s is %s, and was %s before", sum, id, known)
		}
		i.ids[sum] = id
	}
}

// counted: there are so many certificates, each once, those that were acknowledged among them.
func (i *importing) counted(t *testing.T, good int) {
	t.Helper()
	there, names := map[string]bool{}, map[string]bool{}
	for _, row := range i.admin.rows(t, "/api/v1/certificates") {
		there[text(row, "id")], names[text(row, "name")] = true, true
		if row["status"] != "Active" || row["renews_at"] == nil {
			t.Errorf("%s is %v and renewed at %v", row["name"], row["status"], row["renews_at"])
		}
	}
	if len(there) != good || len(names) != good {
		t.Errorf("there are %d certificates of %d names, and %d were taken in", len(there), len(names), good)
	}
	for sum, id := range i.ids {
		if !there[id] {
			t.Errorf("%s was acknowledged as %s and is not there", sum, id)
		}
	}
}
