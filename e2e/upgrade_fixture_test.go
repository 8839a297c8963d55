//go:build linux

package e2e_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/leafward/leafward/internal/pgtest"
	"github.com/leafward/leafward/internal/pki/ocsp"
)

// fixtures is where the databases of past programs lie.
const fixtures = "testdata/upgrade"

// past is what a program of the past said of the database that it made: the data directory and the database lie beside it.
type past struct {
	Program      string     `json:"program"` // the commit that it was built of
	Schema       int64      `json:"schema"`
	At           time.Time  `json:"at"`  // when it was ended
	Key          string     `json:"key"` // of an administrator
	Certificates []pastCert `json:"certificates"`
	Jobs         []pastJob  `json:"jobs"`
	Agent        string     `json:"agent"`
	Target       string     `json:"target"`
	Installed    string     `json:"installed"` // the certificate that was proved at the target
	Renewable    string     `json:"renewable"` // one that the server renews alone
	Repeated     object     `json:"repeated"`  // a request that was answered under the Idempotency-Key "repeated"
	RepeatedID   string     `json:"repeated_id"`
	Batch        string     `json:"batch"`
	Events       int64      `json:"events"`
	Head         string     `json:"head"` // the chain at the last of them

	name, engine string
}

// pastCert is a certificate as the API showed it.
type pastCert struct {
	ID       string        `json:"id"`
	Name     string        `json:"name"`
	Status   string        `json:"status"`
	Reason   string        `json:"revocation_reason"`
	Versions []pastVersion `json:"versions"`
}

// pastVersion is a version, and what OCSP said of it.
type pastVersion struct {
	Serial      string      `json:"serial"`
	Fingerprint string      `json:"fingerprint"`
	OCSP        ocsp.Status `json:"ocsp"`
}

type pastJob struct {
	ID     string `json:"id"`
	Type   string `json:"type"`
	Status string `json:"status"`
}

// pastOf reads what there is of an engine, the oldest first.
func pastOf(t *testing.T, engine string) (all []*past) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(fixtures, "*-"+engine+".tar.gz"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no databases of past programs in %s: %v", fixtures, err)
	}
	slices.Sort(files)
	for _, file := range files {
		p := &past{name: strings.TrimSuffix(filepath.Base(file), ".tar.gz"), engine: engine}
		if err := json.Unmarshal(p.unpack(t, "")["list.json"], p); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, p)
	}
	return all
}

// unpack writes the data directory, unless it is "", and returns the files beside it.
func (p *past) unpack(t *testing.T, data string) map[string][]byte {
	t.Helper()
	file, err := os.Open(filepath.Join(fixtures, p.name+".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	packed, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	beside := map[string][]byte{}
	for all := tar.NewReader(packed); ; {
		head, err := all.Next()
		if errors.Is(err, io.EOF) {
			return beside
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(all)
		if err != nil {
			t.Fatal(err)
		}
		name, within := strings.CutPrefix(head.Name, "data/")
		switch {
		case !within:
			beside[head.Name] = content
		case data == "":
		default:
			path := filepath.Join(data, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, head.FileInfo().Mode())); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// restored is a server on a copy of the fixture, which does not run yet, and the URL of its database.
func (p *past) restored(t *testing.T) (*server, string) {
	t.Helper()
	dsn := ""
	if p.engine == "postgres" {
		dsn = pgtest.DSN(t)
	}
	s := newServer(t, dsn, "--clock", p.At.Add(time.Hour).Format(time.RFC3339))
	beside := p.unpack(t, s.dir)
	if dsn == "" {
		return s, dsn
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.PgConn().Exec(t.Context(), string(beside["dump.sql"])).ReadAll(); err != nil {
		t.Fatal(err)
	}
	return s, dsn
}

// built is the program that made the database, built anew of the history; "" where that is not at hand.
func (p *past) built(t *testing.T) string {
	t.Helper()
	sources := t.TempDir()
	text, err := try(t, nil, "git", "-C", "..", "archive", p.Program)
	if err != nil {
		t.Logf("the history does not go back to %s: %v", p.Program, err)
		return ""
	}
	tool(t, []byte(text), "tar", "x", "-C", sources, "-f", "-")
	path := filepath.Join(t.TempDir(), "leafward-"+p.Program)
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-tags", "testhooks", "-o", path, "./cmd/leafward")
	build.Dir, build.Env = sources, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// pack writes the data directory of a server that has ended and what belongs beside it.
func (p *past) pack(t *testing.T, data string, beside map[string][]byte) {
	t.Helper()
	var packed bytes.Buffer
	compressed, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression) // the level is one
	all := tar.NewWriter(compressed)
	add := func(name string, mode fs.FileMode, content []byte) {
		head := &tar.Header{Name: name, Mode: int64(mode.Perm()), Size: int64(len(content)), ModTime: p.At}
		if err := all.WriteHeader(head); err != nil {
			t.Fatal(err)
		}
		if _, err := all.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"list.json", "dump.sql"} {
		if content, there := beside[name]; there {
			add(name, 0o644, content)
		}
	}
	err := filepath.WalkDir(data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || entry.Name() == "leafward.lock" {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(data, path)
		add("data/"+name, info.Mode(), content)
		return err
	})
	path := filepath.Join(fixtures, p.name+".tar.gz")
	if err := errors.Join(err, all.Close(), compressed.Close(), os.WriteFile(path, packed.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s has %d bytes", path, packed.Len())
}
