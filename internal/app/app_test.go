package app_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/config"
)

func TestAFreshDirectoryBecomesAServer(t *testing.T) {
	each(t, func(t *testing.T, settings config.Serve) {
		s := start(t, settings)
		if got := get(t, s.https(t), "https://"+s.API+"/ready"); got.status != 200 {
			t.Errorf("not ready: %+v", got)
		}
		if got := get(t, s.https(t), "http://"+s.Public+"/.well-known/pki/crl/iss-local"); got.status != 200 || got.header.Get("Content-Type") != "application/pkix-crl" {
			t.Errorf("no CRL over plain HTTP: %+v", got)
		}
		if got := get(t, s.https(t), "http://"+s.Public+"/api/v1/auth/info"); got.status != 404 {
			t.Errorf("the API is on plain HTTP: %+v", got)
		}
		for name, mode := range map[string]fs.FileMode{"": 0o700, "root.pem": 0o644, "master.key": 0o600, "server.pem": 0o600, "leafward.sock": 0o600, "ledger": 0o700, "leafward.lock": 0o600} {
			if info, err := os.Stat(filepath.Join(s.dir, name)); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%q: %v %v, want mode %o", name, info, err, mode)
			}
		}
	})
}

func TestTheStartTellsAPersonWhatMatters(t *testing.T) {
	settings := fresh(t)
	settings.PublicURL = "http://pki.example.com"
	settings.Hostnames = []string{"a.example"}
	for i := range 30 {
		settings.Hostnames = append(settings.Hostnames, fmt.Sprintf("h%d.example", i))
	}
	settings.DataDirGiven = true
	s := start(t, settings)
	get(t, s.owner(t), "http://local/health")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(s.dir, "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	sum := sha256.Sum256(block.Bytes)
	words := s.out.String()
	if lines := strings.Count(words, "\n"); lines > 22 {
		t.Errorf("%d lines", lines)
	}
	for _, want := range []string{"Data       " + s.dir + " (SQLite)", hex.EncodeToString(sum[:]), "leafward issuing", "https://a.example:", "http://" + s.Public, "http://pki.example.com", "leafward issue "} {
		if !strings.Contains(words, want) {
			t.Errorf("%q is not told in:\n%s", want, words)
		}
	}
}

func TestAPublicURLThatIsThisMachineAloneIsNotSaidToBeInCertificates(t *testing.T) {
	settings := fresh(t)
	settings.PublicURL = "http://[::1]:8480"
	s := start(t, settings)
	get(t, s.owner(t), "http://local/health")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if words := s.out.String(); !strings.Contains(words, "             http://[::1]:8480 is this machine alone: not in certificates\n") {
		t.Error(words)
	}
}

func TestAListenerOnAllAddressesIsToldByTheServersName(t *testing.T) {
	settings := fresh(t)
	settings.PublicListen, settings.Hostnames = ":0", []string{"a.example", "b.example"}
	s := start(t, settings)
	get(t, s.owner(t), "http://local/health")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if words := s.out.String(); !strings.Contains(words, "CRL, OCSP  http://a.example:") {
		t.Error(words)
	}
}

func TestASecondProcessOnTheDataDirectoryIsRefused(t *testing.T) {
	each(t, func(t *testing.T, settings config.Serve) {
		s := start(t, settings)
		if err := refused(t, settings); leafward.KindOf(err) != leafward.Conflict || !strings.Contains(err.Error(), "another process") {
			t.Error(err)
		}
		if got := get(t, s.owner(t), "http://local/ready"); got.status != 200 {
			t.Errorf("the first server was disturbed: %+v", got)
		}
	})
}

func TestARestartKeepsAuthorityAndCertificate(t *testing.T) {
	each(t, func(t *testing.T, settings config.Serve) {
		files := func() string {
			var all []string
			for _, name := range []string{"root.pem", "server.pem", "master.key"} {
				text, err := os.ReadFile(filepath.Join(settings.DataDir, name))
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, string(text))
			}
			return strings.Join(all, "\n")
		}
		if err := start(t, settings).stop(); err != nil {
			t.Fatal(err)
		}
		before := files()
		s := start(t, settings)
		if files() != before {
			t.Error("root, certificate or master key changed")
		}
		if got := get(t, s.https(t), "https://"+s.API+"/ready"); got.status != 200 {
			t.Errorf("%+v", got)
		}
	})
}

func TestANewHostnameGetsANewCertificate(t *testing.T) {
	settings := fresh(t)
	if err := start(t, settings).stop(); err != nil {
		t.Fatal(err)
	}
	settings.Hostnames = []string{"pki.example.com", "192.0.2.7"}
	s := start(t, settings)
	client := s.https(t)
	transport := client.Transport.(*http.Transport)
	for _, name := range []string{"pki.example.com", "192.0.2.7", "localhost", "::1"} {
		transport.CloseIdleConnections()
		transport.TLSClientConfig.ServerName = name
		if got := get(t, client, "https://"+s.API+"/health"); got.status != 200 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestAnotherMasterKeyIsRefusedByName(t *testing.T) {
	each(t, func(t *testing.T, settings config.Serve) {
		if err := start(t, settings).stop(); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(settings.DataDir, "master.key")); err != nil {
			t.Fatal(err)
		}
		missing := refused(t, settings)
		settings.MasterKey = config.Secret("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f")
		other := refused(t, settings)
		for _, err := range []error{missing, other} {
			if leafward.KindOf(err) != leafward.Conflict || !strings.Contains(err.Error(), "sealed with master key") {
				t.Error(err)
			}
		}
		if _, err := os.Stat(filepath.Join(settings.DataDir, "master.key")); err == nil {
			t.Error("a new master key was made for a database that has one")
		}
	})
}

func TestADirectoryOfOthersIsLeftAlone(t *testing.T) {
	settings := fresh(t)
	if err := os.Mkdir(settings.DataDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(settings.DataDir, "thesis.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := refused(t, settings); leafward.KindOf(err) != leafward.Denied {
		t.Error(err)
	}
	if entries, err := os.ReadDir(settings.DataDir); err != nil || len(entries) != 1 {
		t.Errorf("%v %v", entries, err)
	}
}

func TestPortsInUseAreAllNamed(t *testing.T) {
	s := start(t, fresh(t))
	settings := fresh(t)
	settings.Listen, settings.PublicListen = s.API, s.Public
	err := refused(t, settings)
	if !strings.Contains(err.Error(), s.API) || !strings.Contains(err.Error(), s.Public) {
		t.Error(err)
	}
	e, ok := errors.AsType[*leafward.Error](err)
	if !ok || len(e.Fields) != 2 || !strings.Contains(e.Fields[0].Problem, s.API) || !strings.Contains(e.Fields[1].Problem, s.Public) {
		t.Errorf("a person is not told of both: %+v", e)
	}
}

func TestTheLocalSocketAdmitsTheOwnerWithoutAKey(t *testing.T) {
	each(t, func(t *testing.T, settings config.Serve) {
		s := start(t, settings)
		if got := get(t, s.owner(t), "http://local/api/v1/auth/check"); got.status != 200 || got.json("role") != "admin" {
			t.Errorf("%+v", got)
		}
		if got := get(t, s.https(t), "https://"+s.API+"/api/v1/auth/check"); got.status != 401 {
			t.Errorf("without a key over TLS: %+v", got)
		}
	})
}

func TestALongPathOfTheSocketIsReplacedByAShortOne(t *testing.T) {
	settings := fresh(t)
	settings.DataDir = filepath.Join(settings.DataDir, strings.Repeat("x", 60), strings.Repeat("y", 60))
	s := start(t, settings)
	pointer, err := os.ReadFile(filepath.Join(s.dir, "socket.path"))
	if err != nil || strings.TrimSpace(string(pointer)) != s.Socket || len(s.Socket) > 100 {
		t.Fatalf("%q %q %v", pointer, s.Socket, err)
	}
	if got := get(t, s.owner(t), "http://local/api/v1/auth/check"); got.status != 200 {
		t.Errorf("%+v", got)
	}
	if info, err := os.Stat(filepath.Dir(s.Socket)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info, err)
	}
}

// The server says 100 Continue when a handler reads the body: then the request is under way.
func TestStoppingLetsARequestEnd(t *testing.T) {
	each(t, func(t *testing.T, settings config.Serve) {
		s := start(t, settings)
		client := s.owner(t)
		client.Transport.(*http.Transport).ExpectContinueTimeout = 1 << 40
		body, feed := io.Pipe()
		began := make(chan struct{})
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() { close(began) }})
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://local/api/v1/teams", body)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Expect", "100-continue")
		got := make(chan int, 1)
		go func() {
			response, err := client.Do(request)
			if err != nil {
				got <- -1
				return
			}
			_ = response.Body.Close()
			got <- response.StatusCode
		}()
		<-began
		stopped := make(chan error, 1)
		go func() { stopped <- s.stop() }()
		for err := error(nil); err == nil; { // until nothing new is taken
			var response *http.Response
			fresh := s.owner(t)
			if response, err = fresh.Get("http://local/health"); err == nil {
				_ = response.Body.Close()
			}
		}
		if _, err := io.WriteString(feed, `{"name":"last"}`); err != nil {
			t.Error(err)
		}
		_ = feed.Close()
		if status := <-got; status != 201 {
			t.Errorf("the request under way got %d", status)
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

func TestAServerThatStopsAnswersThoseWhoWait(t *testing.T) {
	each(t, func(t *testing.T, settings config.Serve) {
		s := start(t, settings)
		made := post(t, s.owner(t), "/api/v1/agents", `{"hostname":"host"}`)
		if made.status != 201 {
			t.Fatalf("%+v", made)
		}
		asked, answers := make(chan struct{}), make(chan answer)
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { close(asked) }})
		work, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://local/api/v1/agents/%s/work?wait=60", made.json("id")), nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() { answers <- send(t, s.owner(t), work) }()
		<-asked
		go func() {
			answers <- post(t, s.owner(t), "/api/v1/certificates?wait=60", `{"common_name":"a.example.com"}`)
		}()
		until(t, "it is recorded", func() bool {
			return get(t, s.owner(t), "http://local/api/v1/certificates").json("total") == 1.0
		})
		stopped := make(chan error, 1)
		go func() { stopped <- s.stop() }()
		for range 2 {
			if got := <-answers; got.status/100 != 2 || got.status == 201 && got.json("status") != "Pending" {
				t.Errorf("%+v", got)
			}
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

// post sends JSON over the local socket.
func post(t *testing.T, client *http.Client, path, body string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://local"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	return send(t, client, request)
}
