package auth

import (
	"context"
	"net/http"
	"regexp"
	"strings"

	"github.com/google/uuid"
	"github.com/leafward/leafward"
)

type refusalKey struct{}

// Refusal says why the request has no actor.
func Refusal(ctx context.Context) string {
	if why, _ := ctx.Value(refusalKey{}).(string); why != "" {
		return why
	}
	return "the request carries no API key"
}

var saneID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// Identify stands in front of every door: it answers X-Request-ID, keeping a client's own when it is sane, and puts the
// actor that the Bearer token proves into the context. A request without a valid token goes on without an actor.
func (s *Service) Identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-ID")
		if !saneID.MatchString(id) {
			id = uuid.NewString()
		}
		w.Header().Set("X-Request-ID", id)
		ctx := leafward.WithRequest(r.Context(), id)
		actor, known := leafward.ActorFrom(ctx) // set by the listener on the local socket
		if header := r.Header.Get("Authorization"); !known && header != "" {
			var err error
			if actor, err = s.bearer(ctx, header); err == nil {
				known = true
			} else {
				ctx = context.WithValue(ctx, refusalKey{}, s.why(ctx, err))
			}
		}
		if known {
			actor.Request = id
			ctx = leafward.WithActor(ctx, actor)
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// why is what the caller is told of a failed authentication; causes that are ours are for the log.
func (s *Service) why(ctx context.Context, err error) string {
	if leafward.KindOf(err) == leafward.Unauthorized {
		return err.Error()
	}
	s.log.WarnContext(ctx, "a key could not be checked", "request_id", leafward.RequestID(ctx), "error", err)
	return "the key could not be checked"
}

// maxToken bounds what is hashed of a header.
const maxToken = 512

func (s *Service) bearer(ctx context.Context, header string) (leafward.Actor, error) {
	scheme, token, _ := strings.Cut(header, " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return leafward.Actor{}, leafward.Errorf(leafward.Unauthorized, "send Authorization: Bearer KEY", "the Authorization header is not a Bearer token")
	}
	return s.Authenticate(ctx, token)
}
