//go:build linux

package e2e_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts in testdata are stories, told on both engines. Besides the commands of testscript they know
//
//	server start [FLAG…]          start a server, or the same again; --clock=-65d starts it in the past
//	server stop|kill              end it in order, or as a power failure would
//	clock now|+24h                move the server's clock to the present, or on
//	nginx start|secure|spoil|mend a private nginx; secure gives it a TLS server
//	agent join|run|stop|kill      an agent of ours on this host
//	api METHOD PATH STATUS [FILE] call the API; variables in FILE are filled in, the answer is stdout
//	eventually PATH REGEXP        GET until the answer, which is stdout, matches
//	set NAME REGEXP [stderr]      take the group out of stdout, or stderr, into a variable
//	await [-within 2s] ACTION [RESOURCE]  wait for an event in the ledger; -within counts from the last answer of api
//	fetch URL FILE                GET without TLS
//	fingerprint NAME FILE         the SHA-256 of the certificate in FILE into a variable
//	differ A B, same A B          compare two texts
//
// and the variables ROOT (file), DATA, URL (through a proxy that judges every answer), PLAIN, NGINX (host:port).
func TestScripts(t *testing.T) {
	installed(t, "openssl", "nginx")
	eachEngine(t, func(t *testing.T, database func(testing.TB) string) {
		t.Parallel()
		files, err := filepath.Glob("testdata/*.txtar")
		if err != nil || len(files) == 0 {
			t.Fatal("there are no scripts", err)
		}
		testscript.Run(t, testscript.Params{
			Files: files,
			Setup: func(env *testscript.Env) error {
				env.Values[storyKey{}] = &story{t: t, database: database}
				env.Setenv("PATH", filepath.Dir(program(t, "leafward"))+":"+os.Getenv("PATH")+":/usr/sbin:/sbin")
				return nil
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){
				"server": told((*story).serverCmd), "clock": told((*story).clockCmd), "nginx": told((*story).nginxCmd), "agent": told((*story).agentCmd),
				"api": told((*story).apiCmd), "eventually": told((*story).eventuallyCmd), "await": told((*story).awaitCmd), "fetch": told((*story).fetchCmd),
				"set": told((*story).setCmd), "fingerprint": told((*story).fingerprintCmd), "differ": told((*story).differCmd), "same": told((*story).sameCmd),
			},
		})
	})
}

type storyKey struct{}

// story is what one script has started.
type story struct {
	t        testing.TB              // of the engine
	database func(testing.TB) string // a fresh one

	server *server
	nginx  *nginx
	agent  *agent
	url    string
	asked  time.Time // the last answer of api came then
}

// teller lets the harness speak to the script that runs: what is fatal ends the script, what is cleaned up is at its end.
type teller struct {
	testing.TB
	ts *testscript.TestScript
}

func (t *teller) Helper()                      {}
func (t *teller) Fatal(args ...any)            { t.ts.Fatalf("%v", args) }
func (t *teller) Fatalf(f string, args ...any) { t.ts.Fatalf(f, args...) }
func (t *teller) Cleanup(f func())             { t.ts.Defer(f) }
func (t *teller) Logf(f string, args ...any)   { t.ts.Logf(f, args...) }
func (t *teller) Context() context.Context     { return context.Background() }
func (t *teller) Failed() bool                 { return true } // a script that goes well shows no log

// told makes a command of testscript. None can be negated.
func told(do func(*story, *teller, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) == 0 {
			ts.Fatalf("the command cannot be negated, and wants arguments")
		}
		s := ts.Value(storyKey{}).(*story)
		do(s, &teller{s.t, ts}, args)
	}
}

func (s *story) serverCmd(t *teller, args []string) {
	switch args[0] {
	case "start":
		flags := slices.Clone(args[1:])
		for i, flag := range flags {
			if days, ok := strings.CutPrefix(flag, "--clock=-"); ok {
				n, err := strconv.Atoi(strings.TrimSuffix(days, "d"))
				t.ts.Check(err)
				flags[i] = "--clock=" + ago(time.Duration(n)*day)
			}
		}
		if s.server != nil {
			s.server.start(t, flags...)
			return
		}
		s.server = newServer(t, s.database(t))
		s.server.start(t, flags...)
		s.server.open(t)
		s.url = s.server.watch(t)
		for name, value := range map[string]string{
			"ROOT": filepath.Join(s.server.dir, "root.pem"), "DATA": s.server.dir, "URL": s.url, "PLAIN": s.server.plain,
			"LEAFWARD_SERVER": s.url, "LEAFWARD_KEY": s.server.admin.key, "LEAFWARD_ROOT": filepath.Join(s.server.dir, "root.pem"),
		} {
			t.ts.Setenv(name, value)
		}
	case "stop":
		if code := s.server.stop(t); code != 0 {
			t.Fatalf("the server ended with %d", code)
		}
	case "kill":
		s.server.kill()
	default:
		t.Fatalf("the server cannot %s", args[0])
	}
}

func (s *story) clockCmd(t *teller, args []string) {
	if args[0] == "now" {
		s.server.setClock(t, time.Now())
		return
	}
	d, err := time.ParseDuration(args[0])
	t.ts.Check(err)
	s.server.advance(t, d)
}

func (s *story) nginxCmd(t *teller, args []string) {
	switch args[0] {
	case "start":
		s.nginx = startNginx(t)
		t.ts.Setenv("NGINX", s.nginx.addr)
		t.ts.Setenv("TLS", s.nginx.tls())
		t.ts.Setenv("TEST", s.nginx.test())
		t.ts.Setenv("RELOAD", s.nginx.reload())
		_, port, _ := strings.Cut(s.nginx.addr, ":")
		t.ts.Setenv("PORT", port)
	case "secure", "mend":
		s.nginx.secure(t)
	case "spoil":
		s.nginx.spoil(t)
	default:
		t.Fatalf("nginx cannot %s", args[0])
	}
}

func (s *story) agentCmd(t *teller, args []string) {
	switch args[0] {
	case "join":
		s.agent = s.server.join(t, s.url, s.nginx)
		t.ts.Setenv("AGENT", s.agent.id)
	case "run":
		s.agent.run(t)
	case "stop":
		if code := s.agent.stop(t); code != 0 {
			t.Fatalf("the agent ended with %d", code)
		}
	case "kill":
		s.agent.kill()
	default:
		t.Fatalf("the agent cannot %s", args[0])
	}
}

func (s *story) apiCmd(t *teller, args []string) {
	if len(args) < 3 {
		t.Fatalf("usage: api METHOD PATH STATUS [FILE]")
	}
	want, err := strconv.Atoi(args[2])
	t.ts.Check(err)
	var body any
	if len(args) > 3 {
		body = []byte(os.Expand(t.ts.ReadFile(args[3]), t.ts.Getenv))
	}
	a, err := s.server.admin.send(t.Context(), args[0], args[1], body)
	t.ts.Check(err)
	s.asked = time.Now()
	_, err = t.ts.Stdout().Write(a.body)
	t.ts.Check(err)
	if a.status != want {
		t.Fatalf("it is %d, not %d: %s", a.status, want, a.body)
	}
}

// eventuallyCmd is for what is no event, such as that a job waits.
func (s *story) eventuallyCmd(t *teller, args []string) {
	want := regexp.MustCompile(args[1])
	look, deadline := time.NewTicker(20*time.Millisecond), time.After(patience)
	defer look.Stop()
	for {
		a, err := s.server.admin.send(t.Context(), "GET", args[0], nil)
		t.ts.Check(err)
		if a.status == http.StatusOK && want.Match(a.body) {
			_, err = t.ts.Stdout().Write(a.body)
			t.ts.Check(err)
			return
		}
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("after %s it still is %d: %s", patience, a.status, a.body)
		}
	}
}

func (s *story) awaitCmd(t *teller, args []string) {
	within := time.Duration(0)
	if args[0] == "-within" {
		var err error
		within, err = time.ParseDuration(args[1])
		t.ts.Check(err)
		args = args[2:]
	}
	resource := ""
	if len(args) > 1 {
		resource = args[1]
	}
	s.server.ledger.await(t, args[0], resource)
	if took := time.Since(s.asked); within > 0 && took > within {
		t.Fatalf("%s took %s, longer than %s", args[0], took, within)
	}
}

func (s *story) fetchCmd(t *teller, args []string) {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, args[0], nil)
	t.ts.Check(err)
	response, err := plain(t).Do(request)
	t.ts.Check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	t.ts.Check(err)
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %s", args[0], response.Status, body)
	}
	t.ts.Check(os.WriteFile(t.ts.MkAbs(args[1]), body, 0o600))
}

func (s *story) setCmd(t *teller, args []string) {
	from := "stdout"
	if len(args) > 2 {
		from = args[2]
	}
	found := regexp.MustCompile(args[1]).FindStringSubmatch(t.ts.ReadFile(from))
	if len(found) != 2 {
		t.Fatalf("%s does not have one group %s", from, args[1])
	}
	t.ts.Setenv(args[0], found[1])
}

func (s *story) fingerprintCmd(t *teller, args []string) {
	t.ts.Setenv(args[0], fingerprint(t, t.ts.ReadFile(args[1])))
}

func (s *story) differCmd(t *teller, args []string) {
	if args[0] == args[1] {
		t.Fatalf("both are %q", args[0])
	}
}

func (s *story) sameCmd(t *teller, args []string) {
	if args[0] != args[1] {
		t.Fatalf("%q is not %q", args[0], args[1])
	}
}
