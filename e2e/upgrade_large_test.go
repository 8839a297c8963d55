//go:build linux

package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/store/storetest"
)

// large: a database of the past with 100,000 certificates is taken over within its time.
func (u *upgrade) large(t *testing.T, p *past) {
	const many = 100_000
	s, dsn := p.restored(t)
	err := storetest.Multiply(t.Context(), s.database(dsn), storetest.Copies{
		Of: []string{p.Renewable, p.RepeatedID}, Many: many, Spread: 50 * day, Host: func(n int) string { return fmt.Sprintf("copy-%d", n) },
	})
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	s.process = start(t, program(t, "leafward-testhooks"), s.flags...)
	s.heardWithin(t, 2*maxUpgrade, `"msg":"ready"`)
	took := time.Since(begun)
	s.admin = s.local()
	if took > maxUpgrade {
		t.Errorf("a server with %d certificates on an old schema was ready after %s; the limit is %s", many, took, maxUpgrade)
	}
	if found := s.admin.get(t, "/api/v1/certificates?per_page=1"); text(found, "total") != fmt.Sprint(many+len(p.Certificates)-1) {
		t.Errorf("%s certificates are there", text(found, "total"))
	}
	if found := s.admin.rows(t, "/api/v1/certificates?q=copy-77"); len(found) == 0 {
		t.Error("a copy is not found by its name")
	}
	s.auditVerifies(t)
	u.more += fmt.Sprintf("; with %d certificates ready after %s", many, took.Round(time.Millisecond))
}
