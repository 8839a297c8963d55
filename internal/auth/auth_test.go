package auth_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/auth"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// world is the service on a store.
type world struct {
	*auth.Service
	t   *testing.T
	db  *store.DB
	ctx context.Context
}

func each(t *testing.T, test func(w *world)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		test(&world{Service: auth.New(db, slog.New(slog.DiscardHandler)), t: t, db: db, ctx: storetest.Admin(t.Context())})
	})
}

// key makes an API key.
func (w *world) key(name string, role leafward.Role, team string) (secret string, made leafward.Credential) {
	w.t.Helper()
	secret, made, err := w.CreateKey(w.ctx, name, role, team)
	if err != nil {
		w.t.Fatal(err)
	}
	return secret, made
}

func TestAKeyOpensWhatItsRoleAndTeamSay(t *testing.T) {
	each(t, func(w *world) {
		for _, c := range []struct {
			name string
			role leafward.Role
			team string
		}{{"reader", leafward.RoleViewer, ""}, {"hand", leafward.RoleOperator, leafward.DefaultTeam}, {"boss", leafward.RoleAdmin, ""}} {
			secret, _ := w.key(c.name, c.role, c.team)
			if !strings.HasPrefix(secret, keys.KeyPrefix) || len(secret) < 40 {
				w.t.Errorf("the key is %q", secret)
			}
			actor, err := w.Authenticate(w.ctx, secret)
			if err != nil || actor.Name != c.name || actor.Role != c.role || actor.Type != leafward.ActorUser || (c.team == "") != (actor.Teams == nil) {
				w.t.Errorf("%+v %v", actor, err)
			}
			if c.team != "" && (actor.Sees("t-other") || !actor.Sees(c.team) || actor.MayWrite("")) {
				w.t.Errorf("the scope of %s is %v", c.name, actor.Teams)
			}
		}
	})
}

func TestAKeyIsStoredAsItsHashAlone(t *testing.T) {
	each(t, func(w *world) {
		secret, made := w.key("hidden", leafward.RoleAdmin, "")
		if strings.Contains(string(made.Hash), secret) || len(made.Hash) != 32 {
			w.t.Errorf("%x", made.Hash)
		}
		var events leafward.List[leafward.Event]
		err := w.db.View(w.ctx, func(v *store.View) (err error) { events, err = v.Events(leafward.Query{}); return err })
		if err != nil || events.Total == 0 {
			w.t.Fatal(err)
		}
		for _, e := range events.Items {
			if strings.Contains(e.Payload, secret) {
				w.t.Errorf("the audit log holds the key: %s", e.Payload)
			}
		}
	})
}

func TestAnUnknownKeyIsNobodys(t *testing.T) {
	each(t, func(w *world) {
		secret, _ := w.key("real", leafward.RoleAdmin, "")
		for _, wrong := range []string{"", "lwk_", secret[:len(secret)-1], secret + "A", strings.ToUpper(secret), " " + secret} {
			if actor, err := w.Authenticate(w.ctx, wrong); leafward.KindOf(err) != leafward.Unauthorized || actor.ID != "" {
				w.t.Errorf("%q is %+v, %v", wrong, actor, err)
			}
		}
	})
}

func TestARevokedKeyIsRefusedAtOnceAndItsNameIsFree(t *testing.T) {
	each(t, func(w *world) {
		secret, made := w.key("once", leafward.RoleAdmin, "")
		if _, _, err := w.CreateKey(w.ctx, "once", leafward.RoleAdmin, ""); leafward.KindOf(err) != leafward.Conflict {
			w.t.Errorf("a second key of the name: %v", err)
		}
		for range 2 { // a second time changes nothing
			if err := w.RevokeKey(w.ctx, made.ID); err != nil {
				w.t.Fatal(err)
			}
		}
		if _, err := w.Authenticate(w.ctx, secret); leafward.KindOf(err) != leafward.Unauthorized || !strings.Contains(err.Error(), "revoked") {
			w.t.Errorf("a revoked key is told %v", err)
		}
		again, _ := w.key("once", leafward.RoleViewer, "")
		if err := w.RevokeKey(w.ctx, "once"); err != nil {
			w.t.Fatal(err)
		}
		if _, err := w.Authenticate(w.ctx, again); leafward.KindOf(err) != leafward.Unauthorized {
			w.t.Errorf("revoked by name, it is told %v", err)
		}
	})
}

func TestWrongKeysAreNotMade(t *testing.T) {
	each(t, func(w *world) {
		for what, c := range map[string]struct {
			name string
			role leafward.Role
			team string
			kind leafward.Kind
		}{
			"no name":      {"", leafward.RoleAdmin, "", leafward.Invalid},
			"no role":      {"a", "", "", leafward.Invalid},
			"unknown role": {"a", "root", "", leafward.Invalid},
			"an agent's":   {"a", leafward.RoleAgent, "", leafward.Invalid},
			"no such team": {"a", leafward.RoleAdmin, "t-none", leafward.Invalid},
		} {
			if secret, _, err := w.CreateKey(w.ctx, c.name, c.role, c.team); leafward.KindOf(err) != c.kind || secret != "" && err == nil {
				w.t.Errorf("%s: %v", what, err)
			}
		}
	})
}

func TestAnAdministratorOfOneTeamMakesAndRevokesKeysOfItAlone(t *testing.T) {
	each(t, func(w *world) {
		scoped := storetest.Scoped(w.t.Context(), leafward.DefaultTeam)
		_, shared := w.key("for all", leafward.RoleViewer, "")
		if _, _, err := w.CreateKey(scoped, "wide", leafward.RoleAdmin, ""); leafward.KindOf(err) != leafward.Denied {
			w.t.Errorf("a key for all teams: %v", err)
		}
		if err := w.RevokeKey(scoped, shared.ID); leafward.KindOf(err) != leafward.Denied && leafward.KindOf(err) != leafward.NotFound {
			w.t.Errorf("revoking a key for all teams: %v", err)
		}
		_, own, err := w.CreateKey(scoped, "own", leafward.RoleViewer, leafward.DefaultTeam)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := w.RevokeKey(storetest.Scoped(w.t.Context(), "t-other"), own.ID); leafward.KindOf(err) != leafward.NotFound {
			w.t.Errorf("revoking a key of another team: %v", err)
		}
		if err := w.RevokeKey(scoped, own.ID); err != nil {
			w.t.Error(err)
		}
	})
}

func TestARequestIsIdentifiedByItsBearerToken(t *testing.T) {
	w := &world{t: t, db: storetest.SQLite(t, nil), ctx: storetest.Admin(t.Context())}
	w.Service = auth.New(w.db, slog.New(slog.DiscardHandler))
	secret, _ := w.key("caller", leafward.RoleViewer, "")
	var actor leafward.Actor
	var known bool
	var refusal *leafward.Error
	door := w.Identify(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		actor, known = leafward.ActorFrom(r.Context())
		refusal = auth.Refusal(r.Context())
	}))
	ask := func(header, id string) string {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		r.Header.Set("X-Request-ID", id)
		answer := httptest.NewRecorder()
		door.ServeHTTP(answer, r)
		return answer.Header().Get("X-Request-ID")
	}
	if id := ask("bearer "+secret, "my-own.1"); !known || actor.Name != "caller" || actor.Request != "my-own.1" || id != "my-own.1" {
		t.Errorf("%+v, request %q", actor, id)
	}
	for _, header := range []string{"", "Bearer", "Bearer ", "Basic " + secret, secret, "Bearer lwk_" + strings.Repeat("x", 600), "Bearer " + secret + "x"} {
		id := ask(header, "two words")
		if known || refusal.Message == "" || id == "two words" || id == "" {
			t.Errorf("%.40q: known %v, refused with %v, request %q", header, known, refusal, id)
		}
	}
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	if ask("Bearer "+secret, "late"); known || refusal.Kind != leafward.Later {
		t.Errorf("a good key that nobody can look at: known %v, refused with %v", known, refusal)
	}
}

func FuzzBearer(f *testing.F) {
	for _, header := range []string{"", "Bearer", "Bearer lwk_x", "bearer \x00", "Basic YTpi", "Bearer a b c", strings.Repeat("Bearer ", 200)} {
		f.Add(header)
	}
	service := auth.New(storetest.SQLite(f, nil), slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header["Authorization"] = []string{header}
		service.Identify(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if actor, known := leafward.ActorFrom(r.Context()); known {
				t.Errorf("%q is %+v, and there is no key at all", header, actor)
			}
		})).ServeHTTP(httptest.NewRecorder(), r)
	})
}

func TestWhileTheDatabaseDoesNotAnswerKeysAreAnsweredSoon(t *testing.T) {
	each(t, func(w *world) {
		secret, _ := w.key("reader", leafward.RoleViewer, "")
		storetest.Busy(w.t, w.db)
		var kind leafward.Kind
		handler := w.Identify(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			kind = auth.Refusal(r.Context()).Kind
		}))
		request := httptest.NewRequestWithContext(w.t.Context(), http.MethodGet, "/", nil)
		request.Header.Set("Authorization", "Bearer "+secret)
		begun := time.Now()
		handler.ServeHTTP(httptest.NewRecorder(), request)
		if took := time.Since(begun); kind != leafward.Later || took > 20*time.Second {
			w.t.Errorf("%s after %v", kind, took)
		}
	})
}
