package store_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// crowd adds certificates of all kinds, some with a version, some archived after it, and returns them as they stand.
func crowd(t *testing.T, db *store.DB, many int) (all []leafward.Certificate) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	err := db.Write(storetest.Admin(t.Context()), func(tx *store.Tx) error {
		tx.AddIssuer(&leafward.Issuer{Row: leafward.Row{ID: leafward.DefaultIssuer}, Name: "local", Type: leafward.GenericCA, Config: []byte("{}"), Secrets: []string{}})
		for n := range many {
			name := fmt.Sprintf("%s-%d.%s.example.com", pick("web", "db", "be"), n, pick("oslo", "rome"))
			c := leafward.Certificate{
				Team: leafward.DefaultTeam, Name: name, CommonName: name, SANs: []string{name}, Tags: map[string]string{"Tier": pick("Front", "back")}, Owner: leafward.DefaultOwner,
				Profile: leafward.ServerProfile, Issuer: leafward.DefaultIssuer, Policy: leafward.DefaultPolicy, KeySource: leafward.AgentKey, Spec: 1,
				Environment: pick("production", "production", "staging"), ExpiresAt: tx.Now.Add(time.Duration(random.IntN(100)-5) * time.Hour),
			}
			if random.IntN(10) > 0 {
				c.Version = "cv-" + name
			}
			if random.IntN(20) == 0 {
				c.RevokedAt = tx.Now
			}
			c.WindowAt = c.ExpiresAt.Add(-10 * time.Hour)
			for i := range random.IntN(3) { // words that begin alike
				c.SANs = append(c.SANs, fmt.Sprintf("web-%d%d.example.com", n, i), fmt.Sprintf("webé%d.example.com", i))
			}
			tx.AddCertificate(&c)
			if c.Version != "" {
				tx.AddVersion(&leafward.Version{Row: leafward.Row{ID: c.Version}, Certificate: c.ID, Team: c.Team, Slot: "client", Authority: "ca", Serial: fmt.Sprintf("be%04x%s", n, c.UUID[24:]), SHA256: fmt.Sprintf("%064x", n), DER: []byte{}, Source: "issued", Key: "kp"})
			}
			all = append(all, c)
		}
		return tx.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Write(storetest.Admin(t.Context()), func(tx *store.Tx) error {
		for i := range all {
			if i%9 > 0 {
				continue
			}
			c, err := tx.Certificate(all[i].ID)
			if err != nil {
				return err
			}
			c.Archive(tx.Now)
			tx.PutCertificate(&c)
			all[i] = c
		}
		return tx.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// fits is what a query says of a certificate, without SQL.
func fits(c *leafward.Certificate, q leafward.Query, now time.Time) bool {
	status := c.Status(now)
	if want := q.Where["status"]; want != "" && want != string(status) || want == "" && status == leafward.StatusArchived {
		return false
	}
	if want := q.Where["environment"]; want != "" && want != c.Environment {
		return false
	}
	words := c.Terms()
	if n := strings.Index(c.Name, "-"); c.Version != "" {
		number := 0
		_, _ = fmt.Sscanf(c.Name[n:], "-%d", &number) // as crowd made it
		words = append(words, fmt.Sprintf("be%04x%s", number, c.UUID[24:]), fmt.Sprintf("%064x", number))
	}
	return slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(strings.ToLower(w), q.Text) })
}

// Few that fit are found by an index, among many the list is walked, and pages near its end are read from there: all give
// the same rows.
func TestEveryWayToAPageGivesTheRowsThatFit(t *testing.T) {
	if testing.Short() {
		t.Skip("one hand reads thousands of pages")
	}
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		all := crowd(t, db, 300)
		down := func(compare func(a, b *leafward.Certificate) int) func(a, b *leafward.Certificate) int {
			return func(a, b *leafward.Certificate) int { return -compare(a, b) }
		}
		born := func(a, b *leafward.Certificate) int { return a.CreatedAt.Compare(b.CreatedAt) }
		name := func(a, b *leafward.Certificate) int { return strings.Compare(a.Name, b.Name) }
		end := func(a, b *leafward.Certificate) int { return a.ExpiresAt.Compare(b.ExpiresAt) }
		sorts := []struct {
			key     string
			compare func(a, b *leafward.Certificate) int
		}{{"name", name}, {"-created_at", down(born)}, {"expires_at", end}, {"-name", down(name)}, {"created_at", born}}
		n := 0
		for _, status := range []string{"", "Active", "Expiring", "Expired", "Revoked", "Pending", "Archived"} {
			for _, environment := range []string{"", "production", "staging"} {
				for _, text := range []string{"", "web", "web-1", "webé", "oslo", "example.com", "be", "00", "tier=front", "none"} {
					q := leafward.Query{PerPage: 7, Text: text, Where: map[string]string{}}
					for name, value := range map[string]string{"status": status, "environment": environment} {
						if value != "" {
							q.Where[name] = value
						}
					}
					by := sorts[n%len(sorts)]
					n, q.Sort = n+1, by.key
					walkThrough(t, db, all, q, by.compare)
				}
			}
		}
	})
}

// walkThrough reads a list by its pages and by its cursors.
func walkThrough(t *testing.T, db *store.DB, all []leafward.Certificate, q leafward.Query, compare func(a, b *leafward.Certificate) int) {
	t.Helper()
	var want, pages, cursors []string
	err := db.View(storetest.Admin(t.Context()), func(v *store.View) error {
		for _, c := range slices.SortedFunc(slices.Values(all), func(a, b leafward.Certificate) int {
			down := 1
			if strings.HasPrefix(q.Sort, "-") {
				down = -1
			}
			return cmp.Or(compare(&a, &b), down*strings.Compare(a.ID, b.ID))
		}) {
			if fits(&c, q, v.Now) {
				want = append(want, c.ID)
			}
		}
		read := func(q leafward.Query, into *[]string) (next string) {
			page, err := v.Certificates(q)
			if err != nil {
				t.Fatal(err)
			}
			if page.Total != int64(len(want)) {
				t.Fatalf("%+v: a total of %d, not %d", q, page.Total, len(want))
			}
			for _, c := range page.Items {
				*into = append(*into, c.ID)
			}
			return page.Next
		}
		at := q
		for at.Page = 1; at.Page == 1 || (at.Page-1)*q.PerPage < len(want); at.Page++ {
			read(at, &pages)
		}
		at = q
		for more := true; more; more = at.Cursor != "" {
			at.Cursor = read(at, &cursors)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(pages, want) || !slices.Equal(cursors, want) {
		t.Errorf("%+v:\nby pages   %v\nby cursors %v\nnot        %v", q, pages, cursors, want)
	}
}
