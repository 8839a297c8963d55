package api

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/leafward/leafward"
)

// Error is the body of every answer that is not a success.
type Error struct {
	Code      string           `json:"error" doc:"Stable code of the error"`
	Message   string           `json:"message,omitempty" doc:"What is wrong"`
	RequestID string           `json:"request_id,omitempty" doc:"Names the request in the server's log"`
	Fix       string           `json:"fix,omitempty" doc:"What to do next"`
	Docs      string           `json:"docs,omitempty" doc:"Where to read on"`
	Fields    []leafward.Field `json:"fields,omitempty" nullable:"false" doc:"Every property that is wrong"`
	Counts    map[string]int   `json:"counts,omitempty" doc:"What still refers to the resource"`
	status    int
	after     int
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	for i, f := range e.Fields {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("; ")
		}
		b.WriteString(f.Field + " " + f.Problem)
	}
	return b.String()
}

// GetStatus is the HTTP status.
func (e *Error) GetStatus() int { return e.status }

// RetryAfter is how long the server asks to wait before another try; 0 when it does not.
func (e *Error) RetryAfter() time.Duration { return time.Duration(e.after) * time.Second }

// GetHeaders adds Retry-After where waiting helps, and the way to identify oneself where that is missing (RFC 9110 §15.5.2).
func (e *Error) GetHeaders() http.Header {
	h := make(http.Header)
	if e.GetStatus() == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	if e.after > 0 {
		h.Set("Retry-After", strconv.Itoa(e.after))
	}
	return h
}

// statuses maps the kinds of leafward.Error to HTTP.
func statuses() map[leafward.Kind]int {
	return map[leafward.Kind]int{
		leafward.Invalid: 400, leafward.UnsupportedType: 400, leafward.Unauthorized: 401, leafward.Denied: 403, leafward.NotFound: 404,
		leafward.NotAllowed: 405, leafward.Conflict: 409, leafward.BlockedDependency: 409, leafward.Gone: 410, leafward.Precondition: 412,
		leafward.TooLarge: 413, leafward.UnsupportedMedia: 415, leafward.RateLimited: 429, leafward.Internal: 500, leafward.Later: 503, leafward.StorageFull: 507,
	}
}

// kinds maps an HTTP status back to the code it stands for.
func kinds(status int) leafward.Kind {
	switch status {
	case http.StatusUnprocessableEntity, http.StatusBadRequest, http.StatusNotAcceptable:
		return leafward.Invalid
	case http.StatusRequestTimeout:
		return leafward.Invalid
	}
	for kind, s := range statuses() {
		if s == status && kind != leafward.UnsupportedType && kind != leafward.BlockedDependency {
			return kind
		}
	}
	return leafward.Internal
}

// ErrorOf translates an error to the wire. One that is not a leafward.Error becomes `internal` without its text.
func ErrorOf(err error, requestID string) *Error {
	if wire, ok := errors.AsType[*Error](err); ok {
		if wire.RequestID == "" {
			wire.RequestID = requestID
		}
		return wire
	}
	e, ok := errors.AsType[*leafward.Error](err)
	if !ok || e.Kind == leafward.Internal {
		return &Error{Code: string(leafward.Internal), Message: "something went wrong inside the server", Fix: "tell the operator the request_id; the log has the cause", RequestID: requestID, status: http.StatusInternalServerError}
	}
	out := &Error{Code: string(e.Kind), Message: e.Message, Fix: e.Fix, Docs: e.Docs, Fields: e.Fields, Counts: e.Counts, RequestID: requestID, status: statuses()[e.Kind]}
	if e.After > 0 {
		out.after = int(math.Ceil(e.After.Seconds()))
	} else if e.Kind == leafward.Later || e.Kind == leafward.RateLimited {
		out.after = 1
	}
	if len(e.Fields) > 0 {
		out.Message = e.Message + ": " + e.Fields[0].Field + " " + e.Fields[0].Problem
	}
	return out
}

// KindOf is the leafward kind of an answer that a client received.
func (e *Error) KindOf() leafward.Kind { return leafward.Kind(e.Code) }

var setErrors sync.Once // guards the one package variable of huma

// UseErrors makes huma answer its own refusals (unknown properties, wrong types) in our form.
func UseErrors() {
	setErrors.Do(func() {
		huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
			return refusal(status, message, errs)
		}
		huma.NewErrorWithContext = func(ctx huma.Context, status int, message string, errs ...error) huma.StatusError {
			e := refusal(status, message, errs)
			e.RequestID = leafward.RequestID(ctx.Context())
			return e
		}
	})
}

// refusal turns huma's findings into an Error; the rejected values are left out.
func refusal(status int, message string, errs []error) *Error {
	e := &Error{Code: string(kinds(status)), Message: message, status: statuses()[kinds(status)]}
	for _, err := range errs {
		if wire, ok := errors.AsType[*Error](err); ok {
			return wire
		}
		d, ok := errors.AsType[*huma.ErrorDetail](err)
		if !ok {
			continue
		}
		field := d.Location
		for _, part := range []string{"body.", "query.", "path.", "header."} {
			field = strings.TrimPrefix(field, part)
		}
		e.Fields = append(e.Fields, leafward.Field{Field: field, Problem: d.Message, Fix: "send what the API document says of " + field})
	}
	if e.status == http.StatusBadRequest && len(e.Fields) == 0 {
		e.Fields = []leafward.Field{{Field: "body", Problem: "is missing, or cannot be read", Fix: "send a JSON value; /api/openapi.json says of which form"}}
	}
	if e.status == http.StatusBadRequest {
		e.Message = "the request is not valid"
		e.Fix = "mend the named fields and send the request again"
		e.Message += ": " + e.Fields[0].Field + " " + e.Fields[0].Problem
	}
	return e
}
