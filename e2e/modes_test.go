//go:build linux

package e2e_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// nobody is the account that owns nothing else.
const nobody = 65534

// Whatever the umask, and as an account without any rights, server, command line and agent leave nothing that others may
// read; a key that others may read is refused.
func TestNothingThatIsSecretMayBeReadByOthers(t *testing.T) {
	d := newDrill(t, "R34", "sqlite")
	m := &modes{bin: lent(t)}
	masks := []string{"000", "022", "077"}
	for _, mask := range masks {
		m.round(t, mask)
	}
	exposure := sandboxed(t)
	d.measured("umask %s, account %d, %d secret files, %d directories and %d sockets looked at, a key that others may read is refused, %s", strings.Join(masks, " "), nobody, m.files, m.dirs, m.sockets, exposure)
}

// modes is one run of the drill.
type modes struct {
	bin                  string
	files, dirs, sockets int
}

// lent is the shipped program in a directory that every account may enter.
func lent(t *testing.T) string {
	t.Helper()
	installed(t, "setpriv")
	if os.Geteuid() != 0 {
		t.Skip("skipped: only root can run programs as another account")
	}
	dir := shortDir(t)
	content, err := os.ReadFile(program(t, "leafward"))
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "leafward")
	if err := os.WriteFile(bin, content, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return bin
}

// as is a command line under a umask and as nobody.
func (m *modes) as(mask string, args ...string) []string {
	id := strconv.Itoa(nobody)
	return append([]string{"--reuid=" + id, "--regid=" + id, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "sh", "-c", "umask " + mask + `; exec "$@"`, "sh", m.bin}, args...)
}

func (m *modes) round(t *testing.T, mask string) {
	t.Helper()
	home := shortDir(t)
	if err := os.Chown(home, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	data, listen := filepath.Join(home, "data"), freeAddress(t)
	serving := m.as(mask, "serve", "--data-dir", data, "--listen", listen, "--public-listen", freeAddress(t))
	running := start(t, "setpriv", serving...)
	running.heard(t, "is ready")
	tool(t, nil, "setpriv", m.as(mask, "issue", "www.example.com", "--data-dir", data, "--out", filepath.Join(home, "tls"))...)
	token := text(overSocketOf(data).expect(t, 201, "POST", "/api/v1/agents/invitations", object{}), "token")
	tool(t, nil, "setpriv", m.as(mask, "agent", "join", "https://"+listen, "--token", token, "--root", (&server{dir: data}).rootSHA256(t), "--data-dir", filepath.Join(home, "agent"))...)
	m.look(t, mask, home)
	running.stop(t)
	m.look(t, mask, home)
	m.refuses(t, serving, filepath.Join(data, "master.key"))
	m.refuses(t, m.as(mask, "agent", "run", "--data-dir", filepath.Join(home, "agent")), m.secretOf(t, filepath.Join(home, "agent")))
}

// look walks over everything that was made. What everybody needs is no secret: certificates, and the root.
func (m *modes) look(t *testing.T, mask, home string) {
	t.Helper()
	err := filepath.WalkDir(home, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == home {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode, most := info.Mode().Perm(), fs.FileMode(0o600)
		switch {
		case entry.Name() == "tls" || entry.Name() == "root.pem" || strings.HasSuffix(path, ".crt"):
			if mode&0o022 != 0 {
				t.Errorf("umask %s: others may write %s: %o", mask, path, mode)
			}
			return nil
		case entry.IsDir():
			m.dirs++
			most = 0o700
		case info.Mode()&fs.ModeSocket != 0:
			m.sockets++
			most = 0o660
		default:
			m.files++
		}
		if mode&^most != 0 {
			t.Errorf("umask %s: %s has the mode %o, more than %o", mask, path, mode, most)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// secretOf is the file of an agent that holds its key.
func (m *modes) secretOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the agent's files are %q: %v", files, err)
	}
	return files[0]
}

// refuses: a program that finds a key that others may read does not start, and says which.
func (m *modes) refuses(t *testing.T, args []string, file string) {
	t.Helper()
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	p := start(t, "setpriv", args...)
	if code := p.ended(t); code == 0 {
		t.Errorf("with a %s that others may read it starts", filepath.Base(file))
	}
	if said := strings.Join(p.last(100), "\n"); !strings.Contains(said, filepath.Base(file)) || !strings.Contains(said, "chmod") {
		t.Errorf("%s is not named with its remedy:\n%s", filepath.Base(file), said)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
}

// sandboxed is how exposed systemd finds the server's unit; where it is missing, that is said.
func sandboxed(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		return "systemd is not here to judge its unit"
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--threshold=20", "../packaging/leafward.service").CombinedOutput()
	level := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
	if err != nil || level == nil {
		t.Errorf("systemd finds the unit too open: %v\n%s", err, out)
		return "systemd finds the unit too open"
	}
	return "exposure of the unit by systemd: " + string(level[1])
}
