package auth

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/leafward/leafward"
)

type refusalKey struct{}

// Refusal says why the request has no actor: Unauthorized, Gone for the key of an agent that is retired, or Later when
// nobody could look at the key.
func Refusal(ctx context.Context) *leafward.Error {
	if why, ok := ctx.Value(refusalKey{}).(*leafward.Error); ok {
		return why
	}
	return unauthorized("the request carries no API key")
}

func unauthorized(why string) *leafward.Error {
	return leafward.Errorf(leafward.Unauthorized, "send a valid API key as Authorization: Bearer; `leafward key create` makes one", "%s", why)
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
func (s *Service) why(ctx context.Context, err error) *leafward.Error {
	e, ok := errors.AsType[*leafward.Error](err)
	switch {
	case ok && e.Kind == leafward.Gone:
		return e
	case ok && e.Kind == leafward.Unauthorized:
		return unauthorized(e.Error())
	}
	s.log.WarnContext(ctx, "a key could not be checked", "request_id", leafward.RequestID(ctx), "error", err)
	return &leafward.Error{Kind: leafward.Later, Message: "the key could not be checked", Fix: "send the request again in a moment", After: time.Second}
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
