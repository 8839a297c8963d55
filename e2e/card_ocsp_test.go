//go:build linux

package e2e_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	foreign "golang.org/x/crypto/ocsp"

	"github.com/leafward/leafward/internal/pki/ocsp"
)

// OCSP as running servers speak it, against RFC 6960, 5019 and 9654 and those who rely on it.
func TestOCSPKeepsItsScoreCard(t *testing.T) {
	r := newRelying(t, serve(t, "", "--public-url", cardURL))
	_, made := r.server.issue(t, "revoked.example.com")
	r.server.admin.expect(t, 200, "POST", "/api/v1/certificates/"+text(made, "id")+"/revoke", object{"reason": "keyCompromise"})
	r.gone = leafOf(t, text(made, "version", "pem_chain"))
	r.revoked = r.gone.SerialNumber
	score(t, "OCSP", 25, slices.Concat(r.formPoints(), r.wrongPoints(), r.noncePoints(), r.responderPoints(), r.answerPoints(), r.clientPoints()))
}

// relying is a relying party of a server.
type relying struct {
	server        *server
	issuing, root *x509.Certificate
	leaf, gone    *x509.Certificate // good and revoked
	good, revoked *big.Int
}

func newRelying(t *testing.T, s *server) *relying {
	t.Helper()
	r := &relying{server: s}
	_, made := s.issue(t, "good.example.com")
	r.leaf = leafOf(t, text(made, "version", "pem_chain"))
	r.good = r.leaf.SerialNumber
	r.issuing = parsed(t, fetch(t, s.plain+"/.well-known/pki/ca/iss-local"))
	r.root = parsed(t, fetch(t, s.plain+"/.well-known/pki/ca/root"))
	return r
}

// door is where requests go.
func (r *relying) door() string { return r.server.plain + "/.well-known/pki/ocsp/iss-local" }

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// send sends a request whose path stands as it is, so that slashes are kept.
func (r *relying) send(t testing.TB, method, door string, body []byte, header http.Header) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, r.server.plain, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.URL.Opaque = door
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := (&http.Client{Timeout: patience}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, text}
}

func (r *relying) post(t testing.TB, der []byte) reply {
	t.Helper()
	return r.send(t, "POST", r.door(), der, http.Header{"Content-Type": {"application/ocsp-request"}})
}

func (r *relying) get(t testing.TB, text string) reply {
	t.Helper()
	return r.send(t, "GET", r.door()+"/"+text, nil, nil)
}

// ask is a request about serials.
func (r *relying) ask(t testing.TB, hash crypto.Hash, nonce []byte, serials ...*big.Int) []byte {
	t.Helper()
	var ids []ocsp.CertID
	for _, serial := range serials {
		id, err := ocsp.NewCertID(hash, r.issuing, serial)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	der, err := ocsp.EncodeRequest(ids, nonce)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// verified reads an answer that must be right.
func (r *relying) verified(t testing.TB, a reply) ocsp.Response {
	t.Helper()
	response, err := ocsp.ParseResponse(a.body)
	if err != nil || a.status != http.StatusOK || a.header.Get("Content-Type") != "application/ocsp-response" || response.Code != ocsp.Successful {
		t.Fatalf("%d %q, %v, %v: %x", a.status, a.header.Get("Content-Type"), response.Code, err, a.body)
	}
	if err := response.Verify(r.issuing, time.Now()); err != nil {
		t.Fatalf("the answer does not verify: %v", err)
	}
	return response
}

// says holds an answer against a status.
func (r *relying) says(t testing.TB, what string, a reply, want ocsp.Status) {
	t.Helper()
	if got := r.verified(t, a).Singles[0].Status; got != want {
		t.Errorf("%s: it is %s, not %s", what, got, want)
	}
}

// refuses holds an answer against a code that says why there is none.
func (r *relying) refuses(t testing.TB, what string, a reply, want ocsp.Code) {
	t.Helper()
	if a.status != http.StatusOK || !bytes.Equal(a.body, ocsp.ErrorResponse(want)) || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: %d %x %v, not %s", what, a.status, a.body, a.header, want)
	}
}

func (r *relying) formPoints() []point {
	return []point{
		{name: "POST and GET are answered", shown: func(t *testing.T) {
			der := r.ask(t, crypto.SHA256, nil, r.good)
			r.says(t, "POST", r.post(t, der), ocsp.Good)
			r.says(t, "GET", r.get(t, base64.StdEncoding.EncodeToString(der)), ocsp.Good)
		}},
		{name: "a GET of at most 255 octets may be kept by caches", shown: func(t *testing.T) {
			text := base64.StdEncoding.EncodeToString(r.ask(t, crypto.SHA1, nil, r.good))
			a := r.get(t, text)
			r.says(t, "GET", a, ocsp.Good)
			if n := len(r.door() + "/" + text); n > 255 || !strings.HasPrefix(a.header.Get("Cache-Control"), "public, max-age=") {
				t.Errorf("with %d octets it is %q", n, a.header.Get("Cache-Control"))
			}
		}},
		{name: "base64 is read as clients write it: with //, +, % and without padding", shown: r.written},
		{name: "SHA-1 and SHA-256 name the issuer", shown: func(t *testing.T) {
			for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
				r.says(t, hash.String(), r.post(t, r.ask(t, hash, nil, r.good)), ocsp.Good)
				r.says(t, hash.String(), r.post(t, r.ask(t, hash, nil, r.revoked)), ocsp.Revoked)
			}
		}},
	}
}

// written asks for a serial whose request has every letter of base64 that paths change.
func (r *relying) written(t *testing.T) {
	for n := 0; ; n++ {
		octets := make([]byte, 14)
		_, _ = rand.Read(octets) // it never fails
		serial := new(big.Int).SetBytes(append([]byte{1}, octets...))
		der := r.ask(t, crypto.SHA1, nil, serial)
		text := base64.StdEncoding.EncodeToString(der)
		if !strings.Contains(text, "+") || !strings.Contains(text, "//") || !strings.HasSuffix(text, "=") {
			if n > 1_000_000 {
				t.Fatal("no request has them all")
			}
			continue
		}
		for name, form := range map[string]string{
			"as it is": text, "escaped": url.QueryEscape(text), "in part": strings.ReplaceAll(text, "+", "%2b"), "slashes": strings.ReplaceAll(text, "/", "%2F"),
			"without padding": strings.TrimRight(text, "="),
		} {
			a := r.get(t, form)
			if response := r.verified(t, a); response.Singles[0].ID.Serial.Cmp(serial) != 0 || response.Singles[0].Status != ocsp.Unknown {
				t.Errorf("%s: it is about %x", name, response.Singles[0].ID.Serial)
			}
		}
		return
	}
}

func (r *relying) wrongPoints() []point {
	return []point{
		{name: "another issuer's name or key is unauthorized, never good", shown: func(t *testing.T) {
			for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
				der := r.ask(t, hash, nil, r.good)
				name, key, err := ocsp.IssuerHashes(hash, r.issuing)
				if err != nil {
					t.Fatal(err)
				}
				for what, part := range map[string][]byte{"name": name, "key": key} {
					wrong := bytes.Clone(der)
					wrong[bytes.Index(wrong, part)] ^= 1
					r.refuses(t, what, r.post(t, wrong), ocsp.Unauthorized)
				}
			}
		}},
		{name: "a serial that nobody gave is unknown", shown: func(t *testing.T) {
			r.says(t, "a serial", r.post(t, r.ask(t, crypto.SHA256, nil, new(big.Int).Lsh(big.NewInt(1), 100))), ocsp.Unknown)
		}},
		{name: "what is malformed is told so with HTTP 200", shown: func(t *testing.T) {
			der := r.ask(t, crypto.SHA1, nil, r.good)
			for what, wrong := range map[string][]byte{"nothing": {}, "text": []byte("hello"), "half": der[:len(der)/2], "no list": []byte("\x30\x04\x30\x02\x30\x00")} {
				r.refuses(t, what, r.post(t, wrong), ocsp.MalformedRequest)
			}
			r.refuses(t, "odd base64", r.get(t, "MEUC!"), ocsp.MalformedRequest)
		}},
		{name: "what goes wrong inside is tryLater", shown: lostDatabase},
		{name: "what follows a request makes it malformed", shown: func(t *testing.T) {
			r.refuses(t, "an octet", r.post(t, append(r.ask(t, crypto.SHA1, nil, r.good), 0)), ocsp.MalformedRequest)
		}},
		{name: "two certificates and more are answered at once", shown: func(t *testing.T) {
			serials := []*big.Int{r.good, r.revoked, big.NewInt(77)}
			response := r.verified(t, r.post(t, r.ask(t, crypto.SHA256, nil, serials...)))
			for i, want := range []ocsp.Status{ocsp.Good, ocsp.Revoked, ocsp.Unknown} {
				if len(response.Singles) != 3 || response.Singles[i].Status != want || response.Singles[i].ID.Serial.Cmp(serials[i]) != 0 {
					t.Fatalf("it answers %+v", response.Singles)
				}
			}
		}},
		{name: "10 kB are refused", shown: func(t *testing.T) {
			if a := r.post(t, make([]byte, 10_000)); a.status != http.StatusRequestEntityTooLarge {
				t.Errorf("it is %d", a.status)
			}
		}},
		{name: "a signed request is answered like any other", shown: r.signed},
	}
}

// signed asks as OpenSSL does when it is given a key.
func (r *relying) signed(t *testing.T) {
	installed(t, "openssl")
	dir := r.files(t)
	tool(t, nil, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=asker", "-keyout", filepath.Join(dir, "asker.key"), "-out", filepath.Join(dir, "asker.pem"))
	tool(t, nil, "openssl", "ocsp", "-issuer", filepath.Join(dir, "issuing.pem"), "-cert", filepath.Join(dir, "leaf.pem"), "-signer", filepath.Join(dir, "asker.pem"), "-signkey", filepath.Join(dir, "asker.key"), "-reqout", filepath.Join(dir, "signed.der"))
	der, err := os.ReadFile(filepath.Join(dir, "signed.der"))
	if err != nil {
		t.Fatal(err)
	}
	if len(der) < 400 {
		t.Fatalf("it has %d octets and cannot be signed", len(der))
	}
	r.says(t, "signed", r.post(t, der), ocsp.Good)
}

// files are the certificates in a directory.
func (r *relying) files(t testing.TB) string {
	t.Helper()
	dir := shortDir(t)
	for name, cert := range map[string]*x509.Certificate{"root.pem": r.root, "issuing.pem": r.issuing, "leaf.pem": r.leaf} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func (r *relying) noncePoints() []point {
	return []point{
		{name: "a nonce of 1 to 128 octets comes back among the extensions of the response", shown: func(t *testing.T) {
			for _, n := range []int{1, 8, 16, 32, 33, 128} {
				nonce := make([]byte, n)
				_, _ = rand.Read(nonce) // it never fails
				a := r.post(t, r.ask(t, crypto.SHA256, nonce, r.good))
				if got := r.verified(t, a).Nonce; !bytes.Equal(got, nonce) {
					t.Errorf("of %x comes %x", nonce, got)
				}
				if single, err := foreign.ParseResponse(a.body, r.issuing); err != nil || len(single.Extensions) != 0 {
					t.Errorf("x/crypto reads %+v: %v", single, err)
				}
			}
		}},
		{name: "a nonce of 0 or more than 128 octets is malformed, and answered at once", shown: func(t *testing.T) {
			for _, n := range []int{0, 129, 4096} {
				r.refuses(t, strconv.Itoa(n)+" octets", r.post(t, withNonce(t, r.ask(t, crypto.SHA1, nil, r.good), n)), ocsp.MalformedRequest)
			}
		}},
		{name: "who sends a nonce gets no answer that was kept, and nobody keeps it", shown: func(t *testing.T) {
			der := r.ask(t, crypto.SHA256, []byte("0123456789abcdef"), r.good)
			first, second := r.get(t, base64.StdEncoding.EncodeToString(der)), r.get(t, base64.StdEncoding.EncodeToString(der))
			if bytes.Equal(first.body, second.body) || first.header.Get("Cache-Control") != "no-store" {
				t.Errorf("the same answer twice: %t, %v", bytes.Equal(first.body, second.body), first.header)
			}
			if plain := r.verified(t, r.post(t, r.ask(t, crypto.SHA256, nil, r.good))); plain.Nonce != nil {
				t.Errorf("who sent none gets %x", plain.Nonce)
			}
		}},
	}
}

// withNonce adds a nonce of any length to a request (RFC 9654 §2.1).
func withNonce(t *testing.T, der []byte, n int) []byte {
	t.Helper()
	var request struct{ TBS struct{ List asn1.RawValue } }
	if _, err := asn1.Unmarshal(der, &request); err != nil {
		t.Fatal(err)
	}
	wrap := func(class, tag int, parts ...[]byte) []byte {
		out, err := asn1.Marshal(asn1.RawValue{Class: class, Tag: tag, IsCompound: true, Bytes: bytes.Join(parts, nil)})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	octets := func(value []byte) []byte {
		out, err := asn1.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	oid, err := asn1.Marshal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2})
	if err != nil {
		t.Fatal(err)
	}
	extension := wrap(0, asn1.TagSequence, oid, octets(octets(make([]byte, n))))
	extensions := wrap(asn1.ClassContextSpecific, 2, wrap(0, asn1.TagSequence, extension))
	return wrap(0, asn1.TagSequence, wrap(0, asn1.TagSequence, request.TBS.List.FullBytes, extensions))
}

// maxAge is how long caches may keep an answer.
func maxAge(header http.Header) (time.Duration, error) {
	for _, part := range strings.Split(header.Get("Cache-Control"), ",") {
		if seconds, found := strings.CutPrefix(strings.TrimSpace(part), "max-age="); found {
			return time.ParseDuration(seconds + "s")
		}
	}
	return 0, fmt.Errorf("%q does not say it", header.Get("Cache-Control"))
}
