//go:build linux

package main

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"testing"
)

func TestABareServerSendsWhatAnotherOneSent(t *testing.T) {
	for _, over := range []bool{false, true} {
		given := reply{Header: http.Header{"Content-Type": {"application/ocsp-response"}, "Etag": {`"a"`}, "Content-Length": {"3"}}, Body: []byte{1, 0, 2}, TLS: over}
		in, give := io.Pipe()
		told, out := io.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- serveBare(in, out) }()
		if err := json.NewEncoder(give).Encode(given); err != nil {
			t.Fatal(err)
		}
		var at reached
		if err := json.NewDecoder(told).Decode(&at); err != nil {
			t.Fatal(err)
		}
		trusted := x509.NewCertPool()
		if over {
			root, err := x509.ParseCertificate(at.Root)
			if err != nil {
				t.Fatal(err)
			}
			trusted.AddCert(root)
		}
		got, err := fetch(t.Context(), clientThatTrusts(trusted), http.MethodPost, at.URL+"/any/path", "", []byte("anything"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Body, given.Body) || got.TLS != over || !maps.EqualFunc(got.Header, given.Header, func(a, b []string) bool { return a[0] == b[0] }) {
			t.Errorf("it sent %+v, and was given %+v", got, given)
		}
		if err := give.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Errorf("when nothing more can come it ends with %v", err)
		}
	}
}
