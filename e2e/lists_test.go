//go:build linux

package e2e_test

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// A server that holds very many certificates lists, filters, sorts and searches them: every page has the rows that fit, and
// in the long form nobody waits for one.
func TestVeryManyCertificatesAreListed(t *testing.T) {
	eachAlone(t, func(t *testing.T, dsn string) {
		d := newDrill(t, "R19", engineOf(dsn))
		l := &longList{server: serve(t, dsn), many: sized(600, 100_000)}
		l.fill(t, dsn)
		l.pages(t)
		l.measures(t, "leafward_audit_unnumbered 0")
		l.measures(t, "leafward_ledger_behind 0")
		l.looks(t, d)
	})
}

// longList is a server with many certificates in three environments, a tenth of them revoked.
type longList struct {
	*server
	many int
}

const listModels = 10

func environmentOf(n int) string { return [...]string{"production", "staging", "test"}[n%listModels%3] }

func (l *longList) fill(t *testing.T, dsn string) {
	t.Helper()
	var models []string
	for n := range listModels {
		_, csr := newCSR(t, fmt.Sprintf("model-%d.%s.example.com", n, environmentOf(n)))
		made := l.admin.expect(t, 201, "POST", "/api/v1/certificates?wait=30", object{"csr_pem": csr, "environment": environmentOf(n)})
		models = append(models, text(made, "id"))
	}
	l.admin.expect(t, 200, "POST", "/api/v1/certificates/"+models[listModels-1]+"/revoke", object{"reason": "superseded"})
	l.multiply(t, dsn, l.many-listModels, models...)
}

// fitting is how many have an environment and, unless all do, are revoked or not.
func (l *longList) fitting(environment string, revoked ...bool) (count int) {
	for n := range l.many {
		if model := n % listModels; environmentOf(model) == environment && (len(revoked) == 0 || revoked[0] == (model == listModels-1)) {
			count++
		}
	}
	return count
}

// pages reads lists of a few hundred rows to their ends, by numbers and by cursors, and counts them.
func (l *longList) pages(t *testing.T) {
	t.Helper()
	for query, want := range map[string]int{
		"":                                      l.many,
		"environment=production":                l.fitting("production"),
		"environment=staging&status=Active":     l.fitting("staging", false),
		"environment=production&status=Revoked": l.fitting("production", true),
		"q=staging.example":                     l.fitting("staging"),
		"status=Failed":                         0,
	} {
		page := l.admin.get(t, "/api/v1/certificates?per_page=1&"+query)
		total, _ := page["total"].(float64)
		if capped := page["total_capped"] == true; capped && want <= 10_000 || int(total) != min(want, 10_000) && int(total) != want {
			t.Errorf("%s: a total of %v, not %d", query, total, want)
		}
		if want > 1000 {
			continue
		}
		seen := map[string]bool{}
		for _, row := range l.admin.rows(t, "/api/v1/certificates?sort=name&"+query) {
			seen[text(row, "id")] = true
		}
		if len(seen) != want {
			t.Errorf("%s: %d rows, not %d", query, len(seen), want)
		}
	}
}

// looks asks in every way, in an order of chance, and measures how long each answer takes.
func (l *longList) looks(t *testing.T, d *drill) {
	t.Helper()
	random := d.random(0)
	cursor := text(l.admin.get(t, fmt.Sprintf("/api/v1/certificates?page=%d", l.many/100)), "next_cursor")
	ways := []func(n int) string{
		func(int) string { return "" },
		func(n int) string { return fmt.Sprintf("page=%d", 1+n%(l.many/50)) },
		func(int) string { return "cursor=" + url.QueryEscape(cursor) },
		func(n int) string { return "environment=" + environmentOf(n) },
		func(n int) string {
			return "status=" + [...]string{"Active", "Expiring", "Revoked", "Failed", "Pending"}[n%5]
		},
		func(n int) string {
			return "sort=" + [...]string{"name", "-expires_at", "common_name", "-updated_at"}[n%4]
		},
		func(n int) string { return fmt.Sprintf("q=copy-%d.", n%(l.many-listModels)) },
		func(int) string { return "q=example.com" },
	}
	waits := make([][]time.Duration, len(ways))
	quick := l.admin.quick()
	for range sized(10, 200) {
		for way := range ways {
			query := ways[way](random.IntN(1 << 30))
			begun := time.Now()
			a, err := quick.send(t.Context(), "GET", "/api/v1/certificates?"+query, nil)
			waits[way] = append(waits[way], time.Since(begun))
			rows, _ := a.object()["data"].([]any)
			if err != nil || a.status != http.StatusOK {
				t.Fatalf("%s: %d %v: %s", query, a.status, err, a.body)
			}
			if len(rows) == 0 && !strings.HasPrefix(query, "status=") {
				t.Errorf("%s: nothing is listed", query)
			}
		}
	}
	if !*long {
		d.measured("%d certificates listed, filtered, sorted and searched in %d ways", l.many, len(ways))
		return
	}
	worst := time.Duration(0)
	for way, w := range waits {
		slices.SortFunc(w, cmp.Compare)
		p99 := w[len(w)*99/100]
		worst = max(worst, p99)
		if p99 > 25*time.Millisecond {
			t.Errorf("%q: 99 of 100 pages within %s", ways[way](0), p99)
		}
	}
	d.measured("%d certificates listed, filtered, sorted and searched in %d ways: p99 at most %s", l.many, len(ways), worst.Round(time.Millisecond/10))
}
