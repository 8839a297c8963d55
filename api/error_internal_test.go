package api

import (
	"errors"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/leafward/leafward"
)

func TestEveryKindOfErrorHasItsWordAndStatus(t *testing.T) {
	want := map[leafward.Kind]int{
		"invalid_request": 400, "unauthorized": 401, "forbidden": 403, "not_found": 404, "method_not_allowed": 405, "conflict": 409, "gone": 410, "precondition_failed": 412, "too_large": 413,
		"unsupported_media_type": 415, "unsupported_type": 400, "rate_limited": 429, "insufficient_storage": 507, "unavailable": 503, "internal": 500, "blocked_by_dependencies": 409,
	}
	if !maps.Equal(statuses(), want) {
		t.Errorf("%v", statuses())
	}
	for kind, status := range want {
		wire := ErrorOf(&leafward.Error{Kind: kind, Message: "why", Fix: "do", After: 1500 * time.Millisecond}, "r-1")
		if wire.Code != string(kind) || wire.GetStatus() != status || wire.RequestID != "r-1" {
			t.Errorf("%s became %+v", kind, wire)
		}
		if after := wire.GetHeaders().Get("Retry-After"); kind != leafward.Internal && after != "2" {
			t.Errorf("%s says to come back after %q", kind, after)
		}
	}
	for _, kind := range []leafward.Kind{leafward.Later, leafward.RateLimited} {
		if after := ErrorOf(leafward.Errorf(kind, "wait", "why"), "").GetHeaders().Get("Retry-After"); after != "1" {
			t.Errorf("%s without a time says %q", kind, after)
		}
	}
	for _, err := range []error{errors.New("a secret"), leafward.Errorf(leafward.Internal, "", "a secret")} {
		if wire := ErrorOf(err, ""); wire.GetStatus() != http.StatusInternalServerError || wire.Message == "a secret" || wire.Fix == "" {
			t.Errorf("%v became %+v", err, wire)
		}
	}
}

func TestNoAnswerIs422(t *testing.T) {
	for status := 400; status < 600; status++ {
		if e := refusal(status, "x", nil); e.status == http.StatusUnprocessableEntity || e.status == 0 {
			t.Errorf("%d is answered with %d", status, e.status)
		}
	}
}
