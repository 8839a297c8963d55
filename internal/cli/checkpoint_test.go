package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leafward/leafward/internal/audit"
)

// signed is a checkpoint over as many events as export writes, in a file, and the key that verifies it.
func signed(t *testing.T, n int) (file, key string) {
	t.Helper()
	private, public, err := audit.NewCheckpointKey()
	if err != nil {
		t.Fatal(err)
	}
	var tree audit.Frontier
	for i := range n {
		tree.Add(audit.Leaf([]byte(`{"action":"team.created","id":"ev-` + string(rune('a'+i)) + `"}`)))
	}
	text, err := audit.SignCheckpoint(&tree, private)
	if err != nil {
		t.Fatal(err)
	}
	return put(t, []byte(text)), public
}

func put(t *testing.T, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestVerifyHoldsAnExportAgainstACheckpointKeptElsewhere(t *testing.T) {
	checkpoint, key := signed(t, 3)
	_, other := signed(t, 3)
	whole, short := put(t, export(t, 5)), put(t, export(t, 2))
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"it fits":             {[]string{whole, "--checkpoint", checkpoint, "--log-key", key}, 0, "5 events, 1 to 5"},
		"cut off":             {[]string{short, "--checkpoint", checkpoint, "--log-key", key}, 1, "the end of the log was cut off"},
		"no key":              {[]string{whole, "--checkpoint", checkpoint, "--log-key", "abc"}, 2, "--log-key is not the public key of a log"},
		"endless":             {[]string{whole, "--checkpoint", "/dev/zero", "--log-key", key}, 1, "/dev/zero cannot be read: it has more than"},
		"another log's key":   {[]string{whole, "--checkpoint", checkpoint, "--log-key", other}, 1, "proves nothing"},
		"no checkpoint":       {[]string{whole, "--checkpoint", whole, "--log-key", key}, 1, "proves nothing"},
		"no such checkpoint":  {[]string{whole, "--checkpoint", "/no/such/file", "--log-key", key}, 1, "/no/such/file"},
		"a key without one":   {[]string{whole, "--log-key", key}, 2, "go together"},
		"one without its key": {[]string{whole, "--checkpoint", checkpoint}, 2, "go together"},
	} {
		t.Run(name, func(t *testing.T) {
			typed(t, nil, append([]string{"audit", "verify"}, c.args...)...).has(t, c.code, c.want)
		})
	}
}

func TestACheckpointTakesThePlaceOfNoFile(t *testing.T) {
	d := atServer(t)
	kept := put(t, []byte("an older one"))
	d.refused("file_exists", "is there already", "audit", "checkpoint", "--out", kept)
	if text, err := os.ReadFile(kept); err != nil || string(text) != "an older one" {
		t.Errorf("what was kept is %q now: %v", text, err)
	}
}

func TestADashIsStandardOutput(t *testing.T) {
	d := atServer(t)
	t.Chdir(t.TempDir())
	if s := d.ok("audit", "export", "--out", "-"); !strings.Contains(s.out, `"action"`) {
		t.Errorf("on standard output is %q", s.out)
	}
	if _, err := os.Lstat("-"); err == nil {
		t.Error("a file has the name -")
	}
}
