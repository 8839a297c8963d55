package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// facts are what a certificate's status follows from; which of them hold is told by the bits of a number.
func facts(c *leafward.Certificate, bits int, now time.Time) (archived, revoked, expired, open, failed, late, signed bool) {
	has := func(bit int) bool { return bits>>bit&1 == 1 }
	archived, revoked, expired, open, failed, late, signed = has(0), has(1), has(2), has(3), has(4), has(5), has(6)
	past, future := now.Add(-time.Hour), now.Add(time.Hour)
	at := func(holds bool, to *time.Time, otherwise time.Time) {
		if *to = otherwise; holds {
			*to = past
		}
	}
	at(archived, &c.ArchivedAt, time.Time{})
	at(revoked, &c.RevokedAt, time.Time{})
	at(failed, &c.FailedAt, time.Time{})
	at(expired, &c.ExpiresAt, future)
	at(late, &c.WindowAt, future)
	if open {
		c.OpenJob = "job-1"
	}
	if signed {
		c.Version = "cv-1"
	}
	return archived, revoked, expired, open, failed, late, signed
}

func TestACertificateIsListedUnderTheFirstStatusThatHolds(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := storetest.Admin(t.Context())
		want := map[leafward.CertificateStatus][]string{}
		err := db.Write(ctx, func(tx *store.Tx) error {
			clear(want)
			tx.AddIssuer(&leafward.Issuer{Row: leafward.Row{ID: leafward.DefaultIssuer}, Name: "local", Type: leafward.GenericCA, Config: []byte("{}"), Secrets: []string{}})
			for bits := range 128 {
				id := fmt.Sprintf("mc-%03d", bits)
				c := leafward.Certificate{
					Row: leafward.Row{ID: id}, Team: leafward.DefaultTeam, Name: id, CommonName: id, SANs: []string{}, Tags: map[string]string{}, Owner: leafward.DefaultOwner,
					Profile: leafward.ServerProfile, Issuer: leafward.DefaultIssuer, Policy: leafward.DefaultPolicy, KeySource: leafward.AgentKey, Spec: 1,
				}
				archived, revoked, expired, open, failed, late, signed := facts(&c, bits, tx.Now)
				status := leafward.StatusPending
				switch {
				case archived:
					status = leafward.StatusArchived
				case revoked:
					status = leafward.StatusRevoked
				case expired:
					status = leafward.StatusExpired
				case open && signed:
					status = leafward.StatusInProgress
				case failed:
					status = leafward.StatusFailed
				case late:
					status = leafward.StatusExpiring
				case signed:
					status = leafward.StatusActive
				}
				if got := c.Status(tx.Now); got != status {
					t.Errorf("%07b is shown as %s, not %s", bits, got, status)
				}
				want[status] = append(want[status], id)
				tx.AddCertificate(&c)
			}
			return tx.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		list := func(where map[string]string) (ids []string) {
			t.Helper()
			err := db.View(ctx, func(v *store.View) error {
				page, err := v.Certificates(leafward.Query{PerPage: 500, Sort: "id", Where: where})
				for _, c := range page.Items {
					ids = append(ids, c.ID)
				}
				if page.Total != int64(len(ids)) {
					t.Errorf("%v: %d in all, and %d rows", where, page.Total, len(ids))
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return ids
		}
		for _, status := range leafward.CertificateStatuses() {
			if got := list(map[string]string{"status": string(status)}); !slices.Equal(got, want[status]) || len(got) == 0 {
				t.Errorf("%s lists %v, not %v", status, got, want[status])
			}
		}
		if got := list(nil); len(got) != 128-len(want[leafward.StatusArchived]) {
			t.Errorf("without a status %d are listed", len(got))
		}
	})
}

func TestATotalIsExactToTenThousandAndThenSaysThatThereIsMore(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := storetest.Admin(t.Context())
		record := func(n int) {
			t.Helper()
			for left := n; left > 0; left -= 500 {
				err := db.Write(ctx, func(tx *store.Tx) error {
					for range min(left, 500) {
						tx.Record(leafward.TeamUpdated, "t-x", "t-x", nil)
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		told := func(total int64, capped bool) {
			t.Helper()
			err := db.View(ctx, func(v *store.View) error {
				page, err := v.Events(leafward.Query{PerPage: 1, Where: map[string]string{"resource_id": "t-x"}})
				if page.Total != total || page.TotalCapped != capped {
					t.Errorf("there are %d, capped %t; want %d, %t", page.Total, page.TotalCapped, total, capped)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		record(10_000)
		told(10_000, false)
		record(1)
		told(10_000, true)
	})
}
