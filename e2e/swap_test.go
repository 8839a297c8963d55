//go:build linux

package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// An agent is killed in the midst of deployments, while a client looks at what nginx serves again and again and another hand
// reloads it: every handshake shows a pair that belongs together, and the agent finishes or undoes each change when it is back.
func TestAnAgentIsKilledWhileNginxIsLookedAtAndReloaded(t *testing.T) {
	d := newDrill(t, "R15", "sqlite")
	many := sized(4, 500)
	x := newSite(t, "", "--clock="+ago(time.Duration(many+60)*time.Minute)) // each return moves it on
	x.agent.run(t)
	x.server.ledger.await(t, "certificate.proved", x.cert)
	x.agent.stop(t)
	w := &swaps{site: x, drill: d, random: d.random(0), span: time.Second, roots: x509.NewCertPool()}
	w.roots.AppendCertsFromPEM(x.server.root(t))
	w.mode(t, 0o600)
	w.change(t, 0o644) // which lets others read it
	ctx, stop := context.WithCancel(t.Context())
	var around sync.WaitGroup
	around.Go(func() { w.look(ctx, t, sized(200, 1100)) })
	around.Go(func() { w.reload(ctx, t) })
	for n := range many {
		w.deployment(t, n)
		if n == 0 {
			w.mode(t, 0o640)
			w.change(t, 0o600)
		}
	}
	w.mode(t, 0o600)
	w.restore(t)
	stop()
	around.Wait()
	w.judge(t)
	rate := float64(w.handshakes) / w.lasted.Seconds()
	if *long && rate < minHandshakes {
		t.Errorf("at least %d handshakes a second are asked for", minHandshakes)
	}
	d.measured("%d deployments, %d kills, %d changes finished and %d undone; %d handshakes at %.0f/s, 0 of a wrong pair; %d reloads by another hand, %d more refused by nginx in the midst of a change",
		many+1, w.kills, w.finished, w.undone, w.handshakes, rate, w.reloads, w.refused)
}

const (
	minHandshakes = 1000 // in a second
	lookers       = 8    // who make them
)

// swaps is one run of the drill.
type swaps struct {
	*site
	drill  *drill
	random *rand.Rand
	roots  *x509.CertPool
	span   time.Duration // of a whole deployment

	kills, finished, undone int

	shown      map[string]bool // by fingerprint
	handshakes int
	lasted     time.Duration
	reloads    int
	refused    int
}

// steps are those at which an agent can be killed for certain, with how often each comes: a renewal changes the certificate
// and its key, and the file of the chain holds already what it shall.
func steps() map[string]int {
	return map[string]int{"record open": 1, "write": 2, "save": 2, "sync": 2, "rename": 2, "validate": 1, "record validated": 1, "reload": 1, "prove": 1, "record done": 1, "clear": 4, "close": 1, "report": 1}
}

// deployment is one renewal in which the agent is killed: at a step, or some time after its begin.
func (w *swaps) deployment(t *testing.T, n int) {
	t.Helper()
	begun := time.Now()
	if n%2 == 0 {
		all := slices.Sorted(maps.Keys(steps()))
		step := all[w.random.IntN(len(all))]
		if after := w.random.IntN(steps()[step]); after > 0 {
			step += "=after:" + string(rune('0'+after)) + ","
		} else {
			step += "="
		}
		w.renew(t)
		w.killedAt(t, step+"kill")
	} else {
		w.agent.run(t)
		w.agent.heard(t, "the agent runs")
		w.renew(t)
		<-time.After(time.Duration(w.random.Int64N(int64(w.span))))
		w.agent.kill()
	}
	w.kills++
	open := w.interrupted(t)
	w.agent.run(t)
	if open {
		if line := w.agent.heard(t, "the change that was interrupted"); strings.Contains(line, "finished") {
			w.finished++
		} else {
			w.undone++
		}
		w.whole(t)
	}
	w.server.advance(t, time.Minute) // its lease from before is over
	w.server.ledger.await(t, "certificate.proved", w.cert)
	w.serves(t, text(w.server.admin.get(t, "/api/v1/certificates/"+w.cert), "version", "fingerprint_sha256"))
	w.agent.stop(t)
	w.span = max(200*time.Millisecond, min(time.Since(begun), 2*time.Second))
	w.whole(t)
	if n > 0 { // in the first one the mode of the key is another on purpose
		w.tidy(t, "after a kill")
	}
}

// interrupted tells whether a change is open of which the agent will tell when it is back.
func (w *swaps) interrupted(t *testing.T) bool {
	t.Helper()
	journals, err := filepath.Glob(filepath.Join(w.agent.dir, "swaps", "*.swap"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range journals {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(content), `"state":"done"`) {
			return true
		}
	}
	return false
}

// whole sees that nginx would start with what is on the disk.
func (w *swaps) whole(t *testing.T) {
	t.Helper()
	if _, err := try(t, nil, "nginx", w.nginx.args("-t")...); err != nil {
		t.Errorf("nginx refuses what is on the disk: %v", err)
	}
	if _, err := tls.LoadX509KeyPair(w.nginx.file("tls/site.pem"), w.nginx.file("tls/site.key")); err != nil {
		t.Errorf("certificate and key on the disk: %v", err)
	}
}

// mode sees that the key has a mode, and change gives it one.
func (w *swaps) mode(t *testing.T, want fs.FileMode) {
	t.Helper()
	if info, err := os.Stat(w.nginx.file("tls/site.key")); err != nil || info.Mode().Perm() != want {
		t.Errorf("the key has the mode %v, not %v (%v)", info.Mode().Perm(), want, err)
	}
}

func (w *swaps) change(t *testing.T, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(w.nginx.file("tls/site.key"), mode); err != nil {
		t.Fatal(err)
	}
}

// restore brings the version before to nginx again.
func (w *swaps) restore(t *testing.T) {
	t.Helper()
	versions := w.server.admin.rows(t, "/api/v1/certificates/"+w.cert+"/versions?sort=-created_at")
	w.server.admin.expect(t, 202, "POST", "/api/v1/certificates/"+w.cert+"/deploy", object{"version_id": text(versions[1], "id")})
	w.agent.run(t)
	w.server.ledger.await(t, "certificate.proved", w.cert)
	w.agent.stop(t)
	w.serves(t, text(versions[1], "fingerprint_sha256"))
	w.whole(t)
}

// serves awaits that nginx serves a certificate: for a moment after a reload its old workers still answer beside the new.
func (w *swaps) serves(t *testing.T, print string) {
	t.Helper()
	w.until(t, func() bool {
		leaf, err := w.shake()
		if err != nil {
			t.Fatalf("a handshake: %v", err)
		}
		return sha256Hex(leaf.Raw) == print
	})
}

// shake is one handshake, which shows that certificate and key belong together, and the chain that it leads to our root.
func (w *swaps) shake() (*x509.Certificate, error) {
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: &tls.Config{RootCAs: w.roots, ServerName: siteName, MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(context.Background(), "tcp", w.nginx.addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// look makes so many handshakes in a second until the context ends.
func (w *swaps) look(ctx context.Context, t *testing.T, rate int) {
	begun := time.Now()
	w.shown = map[string]bool{}
	seen := make(chan *x509.Certificate, lookers)
	var all sync.WaitGroup
	for range lookers {
		all.Go(func() { w.gaze(ctx, t, lookers*time.Second/time.Duration(rate), seen) })
	}
	go func() { all.Wait(); close(seen) }()
	for leaf := range seen {
		w.handshakes++
		w.shown[sha256Hex(leaf.Raw)] = true
	}
	w.lasted = time.Since(begun)
}

// gaze makes a handshake in every pace until the context ends.
func (w *swaps) gaze(ctx context.Context, t *testing.T, pace time.Duration, seen chan<- *x509.Certificate) {
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for ctx.Err() == nil {
		leaf, err := w.shake()
		if err != nil {
			t.Errorf("a handshake: %v", err)
			return
		}
		seen <- leaf
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// reload is another hand that tests the configuration and reloads nginx, twice a second.
func (w *swaps) reload(ctx context.Context, t *testing.T) {
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		_, err := try(t, nil, "nginx", w.nginx.args("-t")...)
		if err == nil {
			_, err = try(t, nil, "nginx", w.nginx.args("-s", "reload")...) // which reads everything once more
		}
		switch {
		case err == nil:
			w.reloads++
		case strings.Contains(err.Error(), "key values mismatch"):
			w.refused++
		default:
			t.Errorf("another hand cannot reload nginx: %v", err)
		}
	}
}

// judge holds what was seen against what was signed.
func (w *swaps) judge(t *testing.T) {
	t.Helper()
	signed := map[string]bool{}
	for _, v := range w.server.admin.rows(t, "/api/v1/certificates/"+w.cert+"/versions") {
		signed[text(v, "fingerprint_sha256")] = true
	}
	for print := range w.shown {
		if !signed[print] {
			t.Errorf("nginx served %s, which is no version of the certificate", print)
		}
	}
	for _, j := range w.server.admin.rows(t, "/api/v1/jobs?certificate_id="+w.cert) {
		if text(j, "status") != "Completed" {
			t.Errorf("the job %s is %s: %s", text(j, "id"), text(j, "status"), text(j, "last_error"))
		}
	}
}
