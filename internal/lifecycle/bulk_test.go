package lifecycle_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/pki/ocsp"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// bulk runs a batch to its end.
func (w *world) bulk(t *testing.T, kind leafward.BatchKind, sel leafward.Selector, change leafward.Change) lifecycle.Batch {
	t.Helper()
	b, err := w.Bulk(w.ctx, kind, sel, change, lifecycle.Once{})
	check(t, err)
	if b.EndedAt.IsZero() || b.LastError != "" {
		t.Fatalf("the batch did not come to its end: %+v", b.Batch)
	}
	return b
}

// is fails the test unless a batch did, skipped and refused as many.
func is(t *testing.T, b lifecycle.Batch, done, skipped, failed int64) {
	t.Helper()
	if b.Done != done || b.Skipped != skipped || b.Failed != failed || int64(len(b.Failures)) != failed {
		t.Errorf("%d done, %d skipped, %d failed: %v; wanted %d, %d, %d", b.Done, b.Skipped, b.Failed, b.Failures, done, skipped, failed)
	}
}

// owner makes an owner of a team.
func (w *world) owner(t *testing.T, id, team string) {
	t.Helper()
	_, err := store.Owners().Create(w.ctx, w.db, func(o *leafward.Owner) error {
		o.ID, o.Name, o.Team = id, id, team
		return nil
	}, nil)
	check(t, err)
}

func (w *world) team(t *testing.T, id string) {
	t.Helper()
	_, err := store.Teams().Create(w.ctx, w.db, func(team *leafward.Team) error {
		team.ID, team.Name, team.Slug = id, id, id
		return nil
	}, nil)
	check(t, err)
}

// many records certificates of an owner that look as if they had been issued, without their versions.
func (w *world) many(t *testing.T, n int, owner string) {
	t.Helper()
	for from := 0; from < n; from += 100 {
		w.write(t, func(tx *store.Tx) error {
			for i := from; i < min(from+100, n); i++ {
				name := fmt.Sprintf("many-%04d.example.com", i)
				tx.AddCertificate(&leafward.Certificate{
					Row: leafward.Row{ID: fmt.Sprintf("mc-many-%04d", i)}, Team: leafward.DefaultTeam, Name: name, CommonName: name, SANs: []string{name}, Owner: owner,
					Profile: leafward.ServerProfile, Issuer: leafward.DefaultIssuer, Policy: leafward.DefaultPolicy, KeySource: leafward.AgentKey, Tags: map[string]string{},
					Spec: 1, Version: "cv-none", VersionSpec: 1, NotBefore: tx.Now, NotAfter: tx.Now.Add(90 * 24 * time.Hour), ExpiresAt: tx.Now.Add(90 * 24 * time.Hour),
				})
			}
			return tx.Err()
		})
	}
}

func ofOwner(id string) func(*leafward.Certificate) {
	return func(c *leafward.Certificate) { c.Owner = id }
}

func TestABatchReachesEveryCertificateThatMatches(t *testing.T) {
	if testing.Short() {
		t.Skip("one batch reaches more than a thousand")
	}
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		const n = 1200
		w.owner(t, "o-many", leafward.DefaultTeam)
		w.owner(t, "o-heir", leafward.DefaultTeam)
		w.many(t, n, "o-many")
		b := w.bulk(t, leafward.BatchRenew, leafward.Selector{Owner: "o-many"}, leafward.Change{})
		is(t, b, n, 0, 0)
		if len(b.Begun) != n {
			t.Fatalf("%d renewals were told", len(b.Begun))
		}
		for _, item := range []leafward.BatchItem{b.Begun[0], b.Begun[n-1]} {
			w.view(t, func(v *store.View) error {
				j, err := v.Job(item.Job)
				if j.Certificate != item.Certificate || j.Batch != b.ID || j.Type != leafward.Renewal || !j.Status.Open() {
					t.Errorf("the job of %s is %+v", item.Certificate, j)
				}
				return err
			})
		}
		ids := make([]string, 0, n+3)
		for _, item := range b.Begun {
			ids = append(ids, item.Certificate)
		}
		ids = append(ids, ids[0], "mc-nobody", ids[n-1])
		given := slices.Clone(ids)
		moved := w.bulk(t, leafward.BatchReassign, leafward.Selector{Certificates: ids}, leafward.Change{Owner: "o-heir"})
		is(t, moved, n, 0, 1)
		if moved.Failures[0].Certificate != "mc-nobody" || !strings.Contains(moved.Failures[0].Reason, "mc-nobody") {
			t.Errorf("told of the unknown id: %+v", moved.Failures)
		}
		if !slices.Equal(ids, given) { // which a transaction that runs again reads anew
			t.Error("the caller's list was changed")
		}
		is(t, w.bulk(t, leafward.BatchRevoke, leafward.Selector{Owner: "o-heir"}, leafward.Change{Reason: "superseded"}), n, 0, 0)
		w.view(t, func(v *store.View) error {
			list, err := v.Certificates(leafward.Query{PerPage: 1, Where: map[string]string{"status": "Revoked", "owner_id": "o-heir"}})
			if list.Total != n {
				t.Errorf("%d are revoked", list.Total)
			}
			return err
		})
	})
}

func TestABatchGoesOnWhereAServerLeftIt(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		const n = 400
		w.owner(t, "o-many", leafward.DefaultTeam)
		w.many(t, n, "o-many")
		once := lifecycle.Once{Operation: "bulkRenewCertificates", Key: "k", Body: []byte("b"), Replayed: new(bool)}
		ask := func(s *lifecycle.Service) (lifecycle.Batch, error) {
			return s.Bulk(w.ctx, leafward.BatchRenew, leafward.Selector{Owner: "o-many"}, leafward.Change{}, once)
		}
		asked := make(chan lifecycle.Batch, 1)
		first := w.Service
		go func() {
			b, err := ask(first)
			if err != nil {
				t.Error(err)
			}
			asked <- b
		}()
		stops := 0
		for met := int64(0); met < n; stops++ { // however far a server comes, the next goes on there
			w.wait(t, "another step", func() bool { return w.begun(t) > met })
			w.stop()
			met = w.begun(t)
			w.work(t, fmt.Sprintf("w-%d", stops+2))
		}
		b := <-asked
		is(t, b, n, 0, 0)
		if w.begun(t) != n || *once.Replayed || stops < 2 {
			t.Errorf("%d certificates are being renewed after %d stops", w.begun(t), stops)
		}
		same, err := ask(w.Service)
		check(t, err)
		if !*once.Replayed || same.ID != b.ID || same.Done != n {
			t.Errorf("a repeated request began another batch: %+v", same.Batch)
		}
	})
}

// begun counts the certificates that are being renewed.
func (w *world) begun(t *testing.T) (n int64) {
	t.Helper()
	w.view(t, func(v *store.View) error {
		list, err := v.Certificates(leafward.Query{PerPage: 1, Where: map[string]string{"status": "RenewalInProgress"}})
		n = list.Total
		return err
	})
	return n
}

func TestABatchTellsWhatBecameOfEach(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.team(t, "t-other")
		live := w.issued(t, of("live.example.com", serverKey), lifecycle.Asked{})
		gone := w.issued(t, of("gone.example.com", serverKey), lifecycle.Asked{})
		_, err := w.Revoke(w.ctx, gone.ID, lifecycle.Revocation{Reason: "superseded"}, lifecycle.Once{})
		check(t, err)
		kept := w.issued(t, of("kept.example.com", serverKey), lifecycle.Asked{})
		check(t, w.Archive(w.ctx, kept.ID, ""))
		waiting, err := w.Create(w.ctx, of("waiting.example.com"), lifecycle.Asked{}, lifecycle.Once{})
		check(t, err)
		theirs, err := w.Create(w.ctx, of("theirs.example.com", func(c *leafward.Certificate) { c.Team = "t-other" }), lifecycle.Asked{}, lifecycle.Once{})
		check(t, err)
		ids := leafward.Selector{Certificates: []string{live.ID, gone.ID, kept.ID, waiting.ID, theirs.ID, "mc-nobody"}}

		scoped := storetest.Scoped(t.Context(), leafward.DefaultTeam)
		b, err := w.Bulk(scoped, leafward.BatchRenew, ids, leafward.Change{}, lifecycle.Once{})
		check(t, err)
		is(t, b, 1, 3, 2) // another team's certificate does not exist
		if len(b.Begun) != 1 || b.Begun[0].Certificate != live.ID || b.Begun[0].Job == "" {
			t.Errorf("begun: %+v", b.Begun)
		}
		w.version(t, live)
		w.until(t, live.ID, func(s lifecycle.Shown) bool { return s.OpenJob == "" })
		b, err = w.Bulk(scoped, leafward.BatchRevoke, ids, leafward.Change{Reason: "cessationOfOperation"}, lifecycle.Once{})
		check(t, err)
		is(t, b, 1, 2, 3)
		if i := slices.IndexFunc(b.Failures, func(i leafward.BatchItem) bool { return i.Certificate == waiting.ID }); i < 0 || !strings.Contains(b.Failures[i].Reason, "nothing was issued") {
			t.Errorf("told: %+v", b.Failures)
		}
		now, err := w.Get(w.ctx, live.ID)
		check(t, err)
		if now.Status != leafward.StatusRevoked || w.status(t, now.Version).Status != ocsp.Revoked || w.status(t, live.Version).Status != ocsp.Revoked {
			t.Errorf("it is %s", now.Status)
		}
		if _, err := w.Batch(leafward.WithActor(t.Context(), leafward.Actor{ID: "pr-other", Role: leafward.RoleAdmin, Teams: []string{"t-other"}}), b.ID); leafward.KindOf(err) != leafward.NotFound {
			t.Errorf("another team reads the batch: %v", err)
		}
	})
}

func TestACertificateThatCannotMoveStaysWhereItWas(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := start(t, db)
		w.team(t, "t-shop")
		w.owner(t, "o-shop", "t-shop")
		free := w.issued(t, of("free.example.com", serverKey), lifecycle.Asked{})
		taken, err := w.Create(w.ctx, of("taken.example.com"), lifecycle.Asked{}, lifecycle.Once{})
		check(t, err)
		_, err = w.Create(w.ctx, of("taken.example.com", func(c *leafward.Certificate) { c.Team = "t-shop" }), lifecycle.Asked{}, lifecycle.Once{})
		check(t, err)
		_, err = lifecycle.NewSettings(db, lifecycle.Replan).CreateProfile(w.ctx, func(p *leafward.Profile) error {
			p.ID, p.Name, p.Team = "prof-own", "own", leafward.DefaultTeam
			return nil
		})
		check(t, err)
		bound, err := w.Create(w.ctx, of("bound.example.com", func(c *leafward.Certificate) { c.Profile = "prof-own" }), lifecycle.Asked{}, lifecycle.Once{})
		check(t, err)
		ids := []string{free.ID, taken.ID, bound.ID}
		b := w.bulk(t, leafward.BatchReassign, leafward.Selector{Certificates: ids}, leafward.Change{Owner: "o-shop", Team: "t-shop"})
		is(t, b, 1, 0, 2)
		for _, id := range ids {
			shown, err := w.Get(w.ctx, id)
			check(t, err)
			team, owner := leafward.DefaultTeam, leafward.DefaultOwner
			if id == free.ID {
				team, owner = "t-shop", "o-shop"
			}
			if shown.Team != team || shown.Owner != owner {
				t.Errorf("%s belongs to %s of %s", shown.Name, shown.Owner, shown.Team)
			}
			for _, j := range w.jobsOf(t, id) {
				if j.Team != team {
					t.Errorf("a job of %s is of %s", shown.Name, j.Team)
				}
			}
		}
		b = w.bulk(t, leafward.BatchReassign, leafward.Selector{Certificates: ids}, leafward.Change{Owner: "o-shop"})
		is(t, b, 2, 1, 0)
		if n := count(w.events(t, taken.ID), leafward.CertificateReassigned); n != 1 {
			t.Errorf("%d reassignments were recorded", n)
		}
	})
}

func TestABatchActsOnWhatEveryCriterionFits(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	w.team(t, "t-shop")
	w.owner(t, "o-shop", "t-shop")
	w.hosts(t, "a")
	byOwner, err := w.Create(w.ctx, of("owned.example.com", ofOwner("o-shop")), lifecycle.Asked{}, lifecycle.Once{})
	check(t, err)
	byAgent, err := w.Create(w.ctx, of("placed.example.com"), at("a"), lifecycle.Once{})
	check(t, err)
	mine := w.issued(t, of("mine.example.com", serverKey, ofOwner("o-shop")), lifecycle.Asked{})
	for name, c := range map[string]struct {
		sel  leafward.Selector
		want []string
	}{
		"the owners of a team": {leafward.Selector{Team: "t-shop"}, []string{byOwner.ID, mine.ID}},
		"an owner":             {leafward.Selector{Owner: "o-shop"}, []string{byOwner.ID, mine.ID}},
		"an agent":             {leafward.Selector{Agent: "ag-a"}, []string{byAgent.ID}},
		"two criteria":         {leafward.Selector{Owner: "o-shop", Agent: "ag-a"}, nil},
		"a profile":            {leafward.Selector{Profile: leafward.ServerProfile}, []string{byOwner.ID, byAgent.ID, mine.ID}},
		"an issuer":            {leafward.Selector{Issuer: leafward.DefaultIssuer, Certificates: []string{mine.ID}}, []string{mine.ID}},
		"nothing":              {leafward.Selector{}, nil},
	} {
		w.view(t, func(v *store.View) error {
			met, err := v.Selected(c.sel, store.Place{}, store.Place{}, 10)
			ids := []string{}
			for _, one := range met {
				ids = append(ids, one.ID)
			}
			if !slices.Equal(slices.Sorted(slices.Values(ids)), slices.Sorted(slices.Values(c.want))) {
				t.Errorf("%s selects %v, wanted %v", name, ids, c.want)
			}
			return err
		})
	}
	b := w.bulk(t, leafward.BatchRevoke, leafward.Selector{Certificates: []string{mine.ID, byAgent.ID}, Owner: "o-shop"}, leafward.Change{Reason: "superseded"})
	is(t, b, 1, 0, 1)
	if b.Failures[0].Certificate != byAgent.ID || !strings.Contains(b.Failures[0].Reason, "criteria") {
		t.Errorf("%+v", b.Failures)
	}
}

func TestABatchThatSaysNothingOrNamesWhatDoesNotExistTouchesNothing(t *testing.T) {
	w := start(t, storetest.SQLite(t, nil))
	for field, ask := range map[string]struct {
		kind   leafward.BatchKind
		sel    leafward.Selector
		change leafward.Change
	}{
		"certificate_ids":    {leafward.BatchRenew, leafward.Selector{}, leafward.Change{}},
		"certificate_ids[0]": {leafward.BatchRenew, leafward.Selector{Certificates: []string{strings.Repeat("x", 129)}}, leafward.Change{}},
		"profile_id":         {leafward.BatchRenew, leafward.Selector{Profile: "prof-none"}, leafward.Change{}},
		"agent_id":           {leafward.BatchRenew, leafward.Selector{Agent: "ag-none"}, leafward.Change{}},
		"issuer_id":          {leafward.BatchRenew, leafward.Selector{Issuer: "iss-none"}, leafward.Change{}},
		"team_id":            {leafward.BatchRenew, leafward.Selector{Team: "t-none"}, leafward.Change{}},
		"reason":             {leafward.BatchRevoke, leafward.Selector{Owner: leafward.DefaultOwner}, leafward.Change{}},
		"owner_id":           {leafward.BatchReassign, leafward.Selector{Certificates: []string{"mc-a"}}, leafward.Change{Owner: "o-none"}},
	} {
		_, err := w.Bulk(w.ctx, ask.kind, ask.sel, ask.change, lifecycle.Once{})
		about(t, err, field)
	}
	_, err := w.Bulk(w.ctx, leafward.BatchRenew, leafward.Selector{Certificates: []string{}, Owner: leafward.DefaultOwner}, leafward.Change{}, lifecycle.Once{})
	about(t, err, "certificate_ids")
	_, err = w.Bulk(w.ctx, leafward.BatchReassign, leafward.Selector{Certificates: []string{"mc-a"}}, leafward.Change{}, lifecycle.Once{})
	about(t, err, "owner_id")
}
