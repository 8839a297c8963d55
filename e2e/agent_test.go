//go:build linux

package e2e_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// agent is one of ours on this host.
type agent struct {
	id   string
	dir  string
	home string // the server's URL
	*process
	flags []string
}

// rootSHA256 is what a joining agent pins.
func (s *server) rootSHA256(t testing.TB) string {
	t.Helper()
	block, _ := pem.Decode(s.root(t))
	return sha256Hex(block.Bytes)
}

// invite makes a token for one agent.
func (s *server) invite(t testing.TB) string {
	t.Helper()
	return text(s.admin.expect(t, 201, "POST", "/api/v1/agents/invitations", object{}), "token")
}

// join enrols a new agent that may work on the nginx; it does not run yet.
func (s *server) join(t testing.TB, home string, n *nginx) *agent {
	t.Helper()
	a := &agent{dir: filepath.Join(shortDir(t), "agent"), home: home, flags: n.allowed()}
	args := slices.Concat([]string{"agent", "join", home, "--token", s.invite(t), "--root", s.rootSHA256(t), "--data-dir", a.dir}, a.flags)
	tool(t, nil, program(t, "leafward-testhooks"), args...)
	a.id = s.ledger.await(t, "agent.joined", "").Event.Resource
	return a
}

// run starts it. The flags are for this run only.
func (a *agent) run(t testing.TB, flags ...string) {
	t.Helper()
	a.process = start(t, program(t, "leafward-testhooks"), slices.Concat([]string{"agent", "run", "--data-dir", a.dir}, a.flags, flags)...)
}

// sha256Hex is the fingerprint of a certificate in DER.
func sha256Hex(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// fingerprint is the SHA-256 of the first certificate in a text, as openssl tells it, in hex.
func fingerprint(t testing.TB, pemText string) string {
	t.Helper()
	out := tool(t, []byte(pemText), "openssl", "x509", "-noout", "-fingerprint", "-sha256")
	_, hexed, _ := strings.Cut(strings.TrimSpace(out), "=")
	return strings.ToLower(strings.ReplaceAll(hexed, ":", ""))
}
