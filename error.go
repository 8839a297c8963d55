package leafward

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind says what sort of failure an Error is. Doors translate it to their own statuses; nobody compares texts.
type Kind string

// The kinds of failure. Each names the `error` code of the REST contract it becomes there.
const (
	Invalid           Kind = "invalid_request"
	Unauthorized      Kind = "unauthorized"
	Denied            Kind = "forbidden"
	NotFound          Kind = "not_found"
	NotAllowed        Kind = "method_not_allowed"
	Conflict          Kind = "conflict"
	Gone              Kind = "gone"
	Precondition      Kind = "precondition_failed"
	TooLarge          Kind = "too_large"
	UnsupportedMedia  Kind = "unsupported_media_type"
	UnsupportedType   Kind = "unsupported_type"
	RateLimited       Kind = "rate_limited"
	StorageFull       Kind = "insufficient_storage"
	Later             Kind = "unavailable"
	Internal          Kind = "internal"
	BlockedDependency Kind = "blocked_by_dependencies"
)

// Field is one thing wrong with one property of an input.
type Field struct {
	Field   string `json:"field"`
	Problem string `json:"problem"`
	Fix     string `json:"fix,omitempty"`
}

// Error is the one error type that reaches a user: what happened, why, and how to mend it.
type Error struct {
	Kind    Kind
	Message string
	Fix     string
	Docs    string         // where to read on: a path below docs/
	Fields  []Field        // all wrong properties at once, when Kind is Invalid
	After   time.Duration  // how long to wait before another try, when Kind is Later or RateLimited
	Counts  map[string]int // what still refers to the thing, when Kind is BlockedDependency or Conflict
	Cause   error          // for the log, never for the user
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	for i, f := range e.Fields {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		fmt.Fprintf(&b, "%s%s %s", sep, f.Field, f.Problem)
	}
	if e.Cause != nil {
		fmt.Fprintf(&b, ": %v", e.Cause)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Cause }

// Errorf makes an Error of a kind; the fix says what the reader can do next.
func Errorf(kind Kind, fix, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...), Fix: fix}
}

// KindOf is the kind of the first Error in err's chain, Internal when there is none and "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// Missing is the answer for an id that does not exist or belongs to another team: the two must look alike.
func Missing(noun, id string) *Error {
	noun = strings.ReplaceAll(noun, "_", " ")
	return Errorf(NotFound, "list the "+plural(noun)+" to see which there are", "no %s %q", noun, id)
}

// plural is the plural of one of our nouns.
func plural(noun string) string {
	switch one, y := strings.CutSuffix(noun, "y"); {
	case y && !strings.HasSuffix(one, "e"):
		return one + "ies"
	case strings.HasSuffix(noun, "ch"):
		return noun + "es"
	}
	return noun + "s"
}

// Problems collects what is wrong with an input, so that all of it is told at once.
type Problems struct{ fields []Field }

// Add records one wrong property.
func (p *Problems) Add(field, problem, fix string) {
	p.fields = append(p.fields, Field{Field: field, Problem: problem, Fix: fix})
}

// Check records the property unless ok.
func (p *Problems) Check(ok bool, field, problem, fix string) {
	if !ok {
		p.Add(field, problem, fix)
	}
}

// Has tells whether something is wrong with the property already.
func (p *Problems) Has(field string) bool {
	return slices.ContainsFunc(p.fields, func(f Field) bool { return f.Field == field })
}

// Merge records what is wrong with a part of the input; other errors than Invalid are returned.
func (p *Problems) Merge(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Kind == Invalid && len(e.Fields) > 0 {
		p.fields = append(p.fields, e.Fields...)
		return nil
	}
	return err
}

// Err is nil when nothing is wrong, else one Invalid error with every field.
func (p *Problems) Err() error {
	if len(p.fields) == 0 {
		return nil
	}
	fix := "mend the named fields and send the request again"
	if len(p.fields) == 1 && p.fields[0].Fix != "" {
		fix = p.fields[0].Fix
	}
	return &Error{Kind: Invalid, Message: "the request is not valid", Fix: fix, Fields: p.fields}
}
