package auth_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/auth"
	"github.com/leafward/leafward/internal/store/storetest"
)

// FuzzIdentify sends every sort of header: nobody becomes somebody by it, and the request id that is answered is sane.
func FuzzIdentify(f *testing.F) {
	for _, seed := range [][2]string{
		{"", ""},
		{"Bearer lwk_x", "req-1"},
		{"bearer  lwk_", "../x"},
		{"Basic dTpw", "a\r\nb"},
		{"Bearer", strings.Repeat("a", 129)},
		{"Bearer \x00\xff", "é"},
		{"Bearer " + strings.Repeat("x", 513), "-"},
		{"LWA-1", "a"},
		{"Bearer LWA-x", "1.2_3"},
	} {
		f.Add(seed[0], seed[1])
	}
	service := auth.New(storetest.SQLite(f, nil), slog.New(slog.DiscardHandler))
	sane := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	f.Fuzz(func(t *testing.T, authorization, id string) {
		called := false
		handler := service.Identify(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			called = true
			if actor, known := leafward.ActorFrom(r.Context()); known {
				t.Errorf("%q made the caller %+v", authorization, actor)
			}
			if authorization != "" && auth.Refusal(r.Context()).Message == "" {
				t.Errorf("%q is refused without a reason", authorization)
			}
		}))
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		request.Header["Authorization"], request.Header["X-Request-Id"] = []string{authorization}, []string{id}
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		if !called || !sane.MatchString(answer.Header().Get("X-Request-ID")) {
			t.Errorf("called %t with the id %q", called, answer.Header().Get("X-Request-ID"))
		}
	})
}
