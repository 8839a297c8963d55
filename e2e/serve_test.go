// Package e2e drives the built binary from outside, as a user does. `make e2e` builds it first.
package e2e

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// ready is the line of the log that says where a server is.
type ready struct {
	Message string `json:"msg"`
	Listen  string `json:"listen"`
	Root    string `json:"root_sha256"`
	Socket  string `json:"socket"`
}

func TestTheServerStartsServesAndStops(t *testing.T) {
	binary, err := filepath.Abs("../bin/leafward")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(binary); err != nil {
		t.Skip("bin/leafward is not built: run make e2e")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := filepath.Join(t.TempDir(), "data")
	command := exec.CommandContext(ctx, binary, "serve", "--json", "--data-dir", dir, "--listen", "127.0.0.1:0", "--public-listen", "127.0.0.1:0")
	log, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(log)
	at := await(t, lines)
	client, fingerprint := trusting(t, filepath.Join(dir, "root.pem"))
	if fingerprint != at.Root {
		t.Errorf("root.pem has the fingerprint %s and the log says %s", fingerprint, at.Root)
	}
	response, err := client.Get("https://" + at.Listen + "/ready")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("/ready: %s", response.Status)
	}
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // the pipe is read to its end before Wait closes it
		t.Log(lines.Text())
	}
	if err := command.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// await reads the log until the server is ready.
func await(t *testing.T, lines *bufio.Scanner) ready {
	t.Helper()
	for lines.Scan() {
		var line ready
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("the log is not JSON: %s", lines.Text())
		}
		if line.Message == "ready" {
			return line
		}
		t.Log(lines.Text())
	}
	t.Fatal("the server ended before it was ready")
	return ready{}
}

// trusting is a client that trusts the root in the file, and the root's SHA-256.
func trusting(t *testing.T, file string) (client *http.Client, fingerprint string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}
	t.Cleanup(transport.CloseIdleConnections)
	sum := sha256.Sum256(block.Bytes)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}, hex.EncodeToString(sum[:])
}
