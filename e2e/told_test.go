//go:build linux

package e2e_test

import (
	"strings"
	"testing"
)

// Who types a command at a host whose nginx is broken reads each step, why it failed, and what to do; mended, it goes on.
func TestAFailedDeploymentIsToldStepByStep(t *testing.T) {
	t.Parallel()
	n := startNginx(t)
	s := serve(t, "", "--probe-allow", "127.0.0.0/8")
	a := s.join(t, s.url, n)
	a.run(t)
	n.secure(t)
	leafward := program(t, "leafward-testhooks")
	typed := func(args ...string) (string, error) {
		return try(t, nil, leafward, append(args, "--data-dir", s.dir)...)
	}
	if _, err := typed("target", "add", "shop", "--type", "nginx", "--agent", a.id, "--cert-path", n.file("tls/site.pem"), "--key-path", n.file("tls/site.key"),
		"--validate", n.test(), "--reload", n.reload(), "--address", n.addr); err != nil {
		t.Fatal(err)
	}
	if _, err := typed("cert", "create", "shop.example.com", "--target", "shop"); err != nil {
		t.Fatal(err)
	}
	n.spoil(t)
	_, err := typed("cert", "renew", "shop.example.com", "--timeout", "10s")
	if err == nil {
		t.Fatal("the renewal went well on a broken nginx")
	}
	for _, words := range []string{"✔ signature for ", ": signed\n", "✔ deploy to shop: wrote ", "✖ deploy to shop: nginx ", "✔ deploy to shop: put back ", "attempt 2 of 4", "✖ failed\n  why   it is not done after 10s: nginx ", "leafward job get job-"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%q is not in:\n%v", words, err)
		}
	}
	if out, err := typed("status"); err != nil || !strings.Contains(out, "! certificate shop.example.com: its ") || !strings.Contains(out, "does not get on\n  why  ") {
		t.Errorf("status says %v:\n%s", err, out)
	}
	if out, err := typed("cert", "get", "shop.example.com"); err != nil || !strings.Contains(out, "shop at ") || strings.Contains(out, "shop at "+a.id) {
		t.Errorf("the certificate is shown as %v:\n%s", err, out)
	}
	if out, err := typed("job", "get", "shop.example.com"); err != nil || !strings.Contains(out, "\n! deploy to shop: Pending, again in ") || strings.Contains(out, " in-") {
		t.Errorf("the job is shown as %v:\n%s", err, out)
	}
	n.secure(t)
	if _, err := typed("job", "cancel", "shop.example.com"); err != nil {
		t.Fatal(err)
	}
	if _, err := typed("cert", "renew", "shop.example.com"); err != nil {
		t.Error(err)
	}
}
