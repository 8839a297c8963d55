// Package agenttest runs what an agent lives between: a whole server, and an nginx.
package agenttest

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/app"
	"github.com/leafward/leafward/internal/config"
	"github.com/leafward/leafward/internal/pki"
)

// House is a server with its own store, authorities and TLS certificate, that lives as long as a test.
type House struct {
	URL        string
	RootSHA256 string
	Admin      *api.Client // over the local socket: may do everything

	t    testing.TB
	dir  string
	stop func()
}

// New starts a server.
func New(t testing.TB) *House {
	t.Helper()
	dir, err := os.MkdirTemp("", "lw") // short, for the path of the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return NewIn(t, dir)
}

// NewIn starts a server in a data directory.
func NewIn(t testing.TB, dir string) *House {
	t.Helper()
	h := &House{t: t, dir: dir, URL: "https://" + FreeAddress(t)}
	h.Start()
	t.Cleanup(func() { h.Stop() })
	text, err := os.ReadFile(h.RootFile())
	if err != nil {
		t.Fatal(err)
	}
	root, err := pki.ParseChainPEM(text)
	if err != nil {
		t.Fatal(err)
	}
	h.RootSHA256 = pki.Fingerprint(root[0].Raw)
	return h
}

// Dir is its data directory.
func (h *House) Dir() string { return h.dir }

// RootFile is where the server's root certificate lies, in PEM.
func (h *House) RootFile() string { return filepath.Join(h.dir, "root.pem") }

// FreeAddress is a loopback address with a port at which nothing listens.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Start starts the server, or starts it again where it was.
func (h *House) Start() {
	h.t.Helper()
	server, err := app.New(context.Background(), app.Config{
		Serve: config.Serve{
			DataDir: h.dir, Listen: h.URL[len("https://"):], PublicListen: "127.0.0.1:0",
			ProbeAllow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		},
		Version: "test", Program: "leafward", Out: io.Discard, Log: io.Discard,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	socket := server.Addresses().Socket
	h.Admin = &api.Client{Base: "http://leafward", Name: "test", HTTP: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	h.stop = func() {
		cancel()
		h.Admin.HTTP.CloseIdleConnections()
		if err := <-ended; err != nil {
			h.t.Error(err)
		}
		if err := server.Close(); err != nil {
			h.t.Error(err)
		}
	}
}

// Stop stops the server, if it runs.
func (h *House) Stop() {
	if h.stop != nil {
		h.stop()
		h.stop = nil
	}
}

// Invite makes a token for a new agent.
func (h *House) Invite() string {
	h.t.Helper()
	made, err := api.CreateAgentInvitation.Call(h.t.Context(), h.Admin, api.Make[api.AgentInvitationWrite]{})
	if err != nil {
		h.t.Fatal(err)
	}
	return made.Token
}

// Target makes a target of an agent.
func (h *House) Target(agent, name string, settings map[string]any) string {
	h.t.Helper()
	made, err := api.CreateTarget.Call(h.t.Context(), h.Admin, api.Make[api.TargetWrite]{Body: api.TargetWrite{
		Name: api.Some(name), Type: api.Some("NGINX"), AgentID: api.Some(agent), Config: api.Some(settings),
	}})
	if err != nil {
		h.t.Fatal(err)
	}
	return made.ID
}

// Until asks again and again, for at most half a minute, until the answer is yes.
func Until(t testing.TB, what string, yes func() bool) {
	t.Helper()
	end := time.NewTimer(30 * time.Second)
	defer end.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !yes() {
		select {
		case <-end.C:
			t.Fatalf("in vain: %s", what)
		case <-tick.C:
		}
	}
}
