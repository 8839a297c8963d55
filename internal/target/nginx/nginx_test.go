package nginx_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/probe"
	"github.com/leafward/leafward/internal/target"
	"github.com/leafward/leafward/internal/target/nginx"
	"github.com/leafward/leafward/internal/target/targettest"
)

const name = "shop.example"

// server is a private nginx in a directory of its own, on a loopback port.
type server struct {
	t    testing.TB
	dir  string
	port int
}

// start runs an nginx whose configuration has no TLS server yet.
func start(t testing.TB) *server {
	t.Helper()
	if _, err := (target.Command{"nginx", "-v"}).Run(t.Context()); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("nginx must be installed: apt-get install nginx")
		}
		t.Skip("nginx is not installed")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, dir: dir, port: freePort(t)}
	for _, d := range []string{"tls", "own"} {
		if err := os.Mkdir(s.file(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.configure("")
	s.write("reload.sh", "if [ -e \"$1\" ]; then echo the reload is jammed; exit 1; fi; shift; exec \"$@\"")
	s.run(s.command()...)
	s.says("start worker process") // a signal that comes earlier may be lost on its master
	t.Cleanup(func() {
		s.configure("") // nginx does not stop before it understands its configuration, which the test may have spoilt
		_, _ = s.command("-s", "stop").Run(context.Background())
	})
	return s
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *server) file(name string) string { return filepath.Join(s.dir, name) }

func (s *server) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.file(name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// command is nginx with arguments, on this server's configuration.
func (s *server) command(args ...string) target.Command {
	return append(target.Command{"nginx", "-p", s.dir, "-c", s.file("nginx.conf")}, args...)
}

func (s *server) run(args ...string) {
	s.t.Helper()
	if _, err := target.Command(args).Run(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// configure writes the configuration with what the http block shall hold besides.
func (s *server) configure(http string) {
	s.t.Helper()
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "%s_temp_path %s/tmp_%s;\n", kind, s.dir, kind)
	}
	s.write("nginx.conf", fmt.Sprintf("worker_processes 1;\npid %s/nginx.pid;\nerror_log %s/error.log notice;\nevents {}\nhttp {\naccess_log off;\n%s%s}\n", s.dir, s.dir, &temp, http))
}

// secure gives nginx a TLS server with the certificate and key in these files.
func (s *server) secure(cert, key string) {
	s.t.Helper()
	s.configure(fmt.Sprintf("server {\nlisten 127.0.0.1:%d ssl;\nssl_certificate %s;\nssl_certificate_key %s;\n}\n", s.port, cert, key))
}

func (s *server) rules() target.Rules {
	s.t.Helper()
	rules, err := target.NewRules(s.file("own"), []string{s.file("tls")}, []string{
		s.command("-t").String(), s.command("-s", "reload").String(), s.jammable().String(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return rules
}

// jammable is a reload that fails when the file jam exists.
func (s *server) jammable() target.Command {
	return append(target.Command{"sh", s.file("reload.sh"), s.file("jam")}, s.command("-s", "reload")...)
}

func (s *server) host(at func(string) error, tell func(target.Step)) target.Host {
	s.t.Helper()
	files, err := target.NewFiles(s.file("own/swaps"), s.rules(), at)
	if err != nil {
		s.t.Fatal(err)
	}
	return target.Host{Files: files, Look: look, Tell: tell}
}

// look is what an agent gives its targets.
func look(ctx context.Context, address, serverName string) (seen []string, err error) {
	for _, r := range probe.LookAll(ctx, probe.Request{Address: address, ServerName: serverName}) {
		if r.Outcome == probe.OK {
			seen = append(seen, r.Fingerprint)
		} else {
			err = errors.New(r.Problem)
		}
	}
	if len(seen) > 0 {
		return seen, nil
	}
	return nil, err
}

func (s *server) config(change map[string]any) json.RawMessage {
	s.t.Helper()
	config := map[string]any{
		"cert_path": s.file("tls/shop.pem"), "key_path": s.file("tls/shop.key"), "port": s.port,
		"validate_command": s.command("-t").String(), "reload_command": s.jammable().String(),
	}
	for key, value := range change {
		config[key] = value
	}
	raw, err := json.Marshal(config)
	if err != nil {
		s.t.Fatal(err)
	}
	return raw
}

func (s *server) target(change map[string]any, tell func(target.Step)) target.Target {
	s.t.Helper()
	made, err := nginx.New(s.config(change), s.host(nil, tell))
	if err != nil {
		s.t.Fatal(err)
	}
	return made
}

func (s *server) served() string {
	seen, err := look(s.t.Context(), fmt.Sprintf("127.0.0.1:%d", s.port), name)
	if err != nil || len(seen) != 1 {
		return ""
	}
	return seen[0]
}

// serves waits until a certificate is served: what ran before a reload may answer for a moment after it.
func (s *server) serves(b target.Bundle) {
	s.t.Helper()
	s.eventually(b.Fingerprint()+" is served", func() bool { return s.served() == b.Fingerprint() })
}

// says waits for words in the error log.
func (s *server) says(words string) {
	s.t.Helper()
	s.eventually("the log says "+words, func() bool {
		text, err := os.ReadFile(s.file("error.log"))
		return err == nil && strings.Contains(string(text), words)
	})
}

func (s *server) eventually(what string, holds func() bool) {
	s.t.Helper()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for range 1000 {
		if holds() {
			return
		}
		<-look.C
	}
	s.t.Fatalf("it does not come so far that %s", what)
}

func (s *server) failTest()   { s.write("nginx.conf", "this is no configuration;\n") }
func (s *server) failReload() { s.write("jam", "") }

func TestNginxKeepsTheContractOfTargets(t *testing.T) {
	targettest.Run(t, func(t *testing.T) targettest.Bench {
		s := start(t)
		s.secure(s.file("tls/shop.pem"), s.file("tls/shop.key"))
		return targettest.Bench{
			Target: s.target(map[string]any{"chain_path": s.file("tls/chain.pem")}, nil), Name: name,
			Files: []string{s.file("tls/shop.pem"), s.file("tls/shop.key"), s.file("tls/chain.pem")}, Keys: []string{s.file("tls/shop.key")},
			Served: s.served, FailTest: s.failTest, FailReload: s.failReload,
		}
	})
}

func TestNginxKeepsTheContractWithOneFileForBoth(t *testing.T) {
	targettest.Run(t, func(t *testing.T) targettest.Bench {
		s := start(t)
		both := s.file("tls/shop.pem")
		s.secure(both, both)
		return targettest.Bench{
			Target: s.target(map[string]any{"key_path": both}, nil), Name: name, Files: []string{both}, Keys: []string{both},
			Served: s.served, FailTest: s.failTest, FailReload: s.failReload,
		}
	})
}

func TestEveryFileHoldsWhatNginxExpects(t *testing.T) {
	s := start(t)
	s.secure(s.file("tls/shop.pem"), s.file("tls/shop.key"))
	b := targettest.NewAuthority(t).Bundle(t, name)
	if err := s.target(map[string]any{"chain_path": s.file("tls/chain.pem")}, nil).Deploy(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"tls/shop.pem": string(b.FullChain()), "tls/shop.key": string(b.Key()), "tls/chain.pem": string(b.Chain())} {
		if got, err := os.ReadFile(s.file(file)); err != nil || string(got) != want {
			t.Errorf("%s holds something else (%v)", file, err)
		}
	}
	out, err := exec.CommandContext(t.Context(), "openssl", "x509", "-in", s.file("tls/shop.pem"), "-noout", "-ext", "subjectAltName").CombinedOutput()
	if err != nil || !strings.Contains(string(out), name) {
		t.Errorf("openssl reads %s (%v)", out, err)
	}
}

func TestACertificateOfSomebodyElsePutsEverythingBack(t *testing.T) {
	s := start(t)
	a := targettest.NewAuthority(t)
	s.secure(s.file("tls/shop.pem"), s.file("tls/shop.key"))
	if err := s.target(nil, nil).Deploy(t.Context(), a.Bundle(t, name)); err != nil {
		t.Fatal(err)
	}
	before := s.served()
	strange := a.Bundle(t, name)
	for file, content := range map[string][]byte{"tls/strange.pem": strange.FullChain(), "tls/strange.key": strange.Key()} {
		s.write(file, string(content))
	}
	s.secure(s.file("tls/strange.pem"), s.file("tls/strange.key"))
	err := s.target(nil, nil).Deploy(t.Context(), a.Bundle(t, name))
	if leafward.KindOf(err) != leafward.Precondition || !strings.Contains(err.Error(), strange.Fingerprint()) || !strings.Contains(err.Error(), "put back") {
		t.Errorf("got %v", err)
	}
	content, _ := os.ReadFile(s.file("tls/shop.pem"))
	if target.FingerprintIn(content) != before {
		t.Error("the old certificate is not back")
	}
}

func TestNotSeeingTheNewCertificatePutsNothingBack(t *testing.T) {
	s := start(t)
	s.secure(s.file("tls/shop.pem"), s.file("tls/shop.key"))
	a := targettest.NewAuthority(t)
	fresh := a.Bundle(t, name)
	var told []target.Step
	// Nothing listens on the port that is looked at.
	made := s.target(map[string]any{"port": freePort(t)}, func(step target.Step) { told = append(told, step) })
	if err := made.Deploy(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	if last := told[len(told)-1]; last.Name != "prove" || last.OK || !strings.Contains(last.Message, "shows nothing yet") {
		t.Errorf("told %+v", last)
	}
	s.serves(fresh)
}

// The reload says that it is done, and nginx goes on with what it had.
func TestStillServingTheOldCertificatePutsNothingBackAndIsNoProof(t *testing.T) {
	s := start(t)
	s.secure(s.file("tls/shop.pem"), s.file("tls/shop.key"))
	a := targettest.NewAuthority(t)
	old, fresh := a.Bundle(t, name), a.Bundle(t, name)
	if err := s.target(nil, nil).Deploy(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	s.serves(old)
	s.write("reload.sh", "exit 0")
	var told []target.Step
	if err := s.target(nil, func(step target.Step) { told = append(told, step) }).Deploy(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	if last := told[len(told)-1]; last.Name != "prove" || last.OK || !strings.Contains(last.Message, "does not serve the new certificate yet") {
		t.Errorf("told %+v", last)
	}
	content, _ := os.ReadFile(s.file("tls/shop.pem"))
	if target.FingerprintIn(content) != fresh.Fingerprint() || s.served() != old.Fingerprint() {
		t.Error("the new files are not there, or the old certificate is not served any more")
	}
	s.run(s.command("-s", "reload")...)
	s.serves(fresh)
}

// Two servers share an address, and the other one is the default: without the name its certificate would be seen.
func TestWhatIsLookedAtIsTheNameAtTheAddress(t *testing.T) {
	s := start(t)
	a := targettest.NewAuthority(t)
	other := a.Bundle(t, "other.example")
	for file, content := range map[string][]byte{"tls/other.pem": other.FullChain(), "tls/other.key": other.Key()} {
		s.write(file, string(content))
	}
	s.configure(fmt.Sprintf("server {\nlisten 127.0.0.1:%[1]d ssl default_server;\nserver_name other.example;\nssl_certificate %[2]s;\nssl_certificate_key %[3]s;\n}\n"+
		"server {\nlisten 127.0.0.1:%[1]d ssl;\nserver_name %[4]s;\nssl_certificate %[5]s;\nssl_certificate_key %[6]s;\n}\n",
		s.port, s.file("tls/other.pem"), s.file("tls/other.key"), name, s.file("tls/shop.pem"), s.file("tls/shop.key")))
	for _, settings := range []map[string]any{nil, {"hostname": name}, {"host": name, "address": "127.0.0.1"}} {
		fresh, last := a.Bundle(t, name), target.Step{}
		if err := s.target(settings, func(step target.Step) { last = step }).Deploy(t.Context(), fresh); err != nil {
			t.Fatalf("%v: %v", settings, err)
		}
		if last.Name != "prove" || !last.OK || s.served() != fresh.Fingerprint() {
			t.Errorf("%v: told %+v", settings, last)
		}
	}
	report, err := s.target(map[string]any{"hostname": "other.example"}, nil).(target.Checker).Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if look := report.Steps[len(report.Steps)-1]; !strings.Contains(look.Message, other.Fingerprint()) {
		t.Errorf("asked for the other name it sees %+v", look)
	}
}

// For a moment after a reload old and new workers answer in turn.
func TestOneLookAtANewWorkerIsNotProofWhileOldOnesAnswer(t *testing.T) {
	s := start(t)
	s.secure(s.file("tls/shop.pem"), s.file("tls/shop.key"))
	a := targettest.NewAuthority(t)
	old, fresh := a.Bundle(t, name), a.Bundle(t, name)
	looks, last := 0, target.Step{}
	turns := []target.Bundle{old, fresh, old, fresh, fresh, old} // the first is the look before the change
	host := s.host(nil, func(step target.Step) { last = step })
	host.Look = func(context.Context, string, string) ([]string, error) {
		looks++
		if looks <= len(turns) {
			return []string{turns[looks-1].Fingerprint()}, nil
		}
		return []string{fresh.Fingerprint()}, nil
	}
	made, err := nginx.New(s.config(nil), host)
	if err != nil {
		t.Fatal(err)
	}
	if err := made.Deploy(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	if looks <= len(turns)+1 || last.Name != "prove" || !last.OK {
		t.Errorf("after %d looks it told %+v", looks, last)
	}
}

func TestAnNginxThatDoesNotRunGetsItsFilesForTheNextStart(t *testing.T) {
	s := start(t)
	s.run(s.command("-s", "stop")...)
	s.eventually("nginx is gone", func() bool {
		_, err := os.Stat(s.file("nginx.pid"))
		return errors.Is(err, os.ErrNotExist)
	})
	s.secure(s.file("tls/shop.pem"), s.file("tls/shop.key"))
	b := targettest.NewAuthority(t).Bundle(t, name)
	var told []string
	plain := map[string]any{"reload_command": s.command("-s", "reload").String()}
	if err := s.target(plain, func(step target.Step) { told = append(told, step.Message) }).Deploy(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.Join(told, "\n"), "nothing runs that could be reloaded") {
		t.Errorf("told %q", told)
	}
	s.run(s.command()...)
	s.serves(b)
}

func TestTheDryRunNamesEveryObstacle(t *testing.T) {
	s := start(t)
	s.secure(s.file("tls/shop.pem"), s.file("tls/shop.key"))
	made := s.target(map[string]any{"cert_path": "/root/shop.pem", "chain_path": s.file("nginx.conf"), "reload_command": "reboot"}, nil)
	report, err := made.(target.Checker).Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	well := map[string]bool{"cert_path": false, "key_path": true, "chain_path": false, "reload_command": false, "validate_command": false, "look": true}
	for _, step := range report.Steps {
		if want, ok := well[step.Name]; !ok || step.OK != want || step.Message == "" {
			t.Errorf("%+v", step)
		}
		delete(well, step.Name)
	}
	if len(well) > 0 || report.OK() {
		t.Errorf("not in the report: %v", well)
	}
}

func TestSettings(t *testing.T) {
	for raw, want := range map[string]target.Endpoint{
		`{}`:                                   {Address: "127.0.0.1:443"},
		`{"host":"shop.example","port":8443}`:  {Address: "shop.example:8443", ServerName: "shop.example"},
		`{"host":"192.0.2.1"}`:                 {Address: "192.0.2.1:443"},
		`{"hostname":"shop.example"}`:          {Address: "127.0.0.1:443", ServerName: "shop.example"},
		`{"address":"::1","host":"a.example"}`: {Address: "[::1]:443", ServerName: "a.example"},
		`{"address":"b.example","host":"a.example","hostname":"c.example"}`: {Address: "b.example:443", ServerName: "c.example"},
	} {
		whole := `{"cert_path":"/etc/nginx/c.pem","key_path":"/etc/nginx/k.pem"` + strings.Replace(strings.Replace(raw, "{}", "}", 1), "{\"", ",\"", 1)
		got, err := nginx.Plugin().Endpoint(json.RawMessage(whole))
		if err != nil || got != want {
			t.Errorf("%s: got %+v %v, want %+v", whole, got, err, want)
		}
	}
	if err := nginx.Plugin().Parse(json.RawMessage(`{"cert_path":"C:\\nginx\\c.pem","key_path":"C:\\nginx\\k.pem"}`)); err != nil {
		t.Errorf("paths of a Windows host: %v", err)
	}
}

func TestAllWrongSettingsAreNamedAtOnce(t *testing.T) {
	err := nginx.Plugin().Parse(json.RawMessage(`{"cert_path":"etc/c.pem","chain_path":"etc/c.pem","validate_command":"nginx -t && rm x",
		"reload_command":"a | b","port":70000,"host":"https://x","hostname":"192.0.2.1","address":"-x","certpath":"x"}`))
	e, ok := errors.AsType[*leafward.Error](err)
	if !ok || e.Kind != leafward.Invalid {
		t.Fatalf("got %v", err)
	}
	named := map[string]bool{}
	for _, f := range e.Fields {
		named[f.Field] = true
	}
	for _, field := range []string{"cert_path", "key_path", "chain_path", "validate_command", "reload_command", "port", "host", "hostname", "address", "certpath"} {
		if !named[field] {
			t.Errorf("%s is not named in %v", field, err)
		}
	}
}

func TestTheManualNamesEverySetting(t *testing.T) {
	manual, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(nginx.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var settings map[string]any
	if err := json.Unmarshal(raw, &settings); err != nil {
		t.Fatal(err)
	}
	for setting := range settings {
		if !strings.Contains(string(manual), "| `"+setting+"` |") {
			t.Errorf("README.md does not explain %s", setting)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"cert_path":"/etc/nginx/c.pem","key_path":"/etc/nginx/k.pem","port":443,"host":"a.example"}`))
	f.Add([]byte(`{"cert_path":"C:\\c.pem","key_path":"/k","reload_command":"a 'b c'"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := nginx.Parse(raw)
		if err != nil {
			if leafward.KindOf(err) != leafward.Invalid {
				t.Fatalf("outside bytes gave %v", err)
			}
			return
		}
		if host, _, err := net.SplitHostPort(c.Endpoint().Address); err != nil || host == "" {
			t.Fatalf("%s leads to %+v", raw, c.Endpoint())
		}
	})
}
