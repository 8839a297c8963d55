package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

// failure is an error as a person reads it: code, why, fix, where to read on. It is also its JSON.
type failure struct {
	Code      string           `json:"error"`
	Message   string           `json:"message"`
	Fix       string           `json:"fix"`
	Docs      string           `json:"docs"`
	RequestID string           `json:"request_id,omitempty"`
	Fields    []leafward.Field `json:"fields,omitempty"`
	Counts    map[string]int   `json:"counts,omitempty"`
	After     int              `json:"retry_after,omitempty"` // seconds after which the server wants to be asked again
}

func (f *failure) Error() string { return f.Message }

// The codes that the command line adds to those of the API.
const (
	codeUsage       = "usage"        // the command line is wrong
	codeNoServer    = "no_server"    // nobody answers where the server should be
	codeUntrusted   = "untrusted"    // the server's certificate is not the expected one
	codeInterrupted = "interrupted"  // by Ctrl-C or a signal
	codeFailed      = "failed"       // what was begun did not succeed
	codeExists      = "file_exists"  // a file would be overwritten
	codeFile        = "file"         // a file cannot be read or written
	codeAudit       = "audit_broken" // an export of the audit log was changed
	docsCommands    = "docs/cli.md"  // where to read on
	docsErrors      = "docs/errors.md"
)

// failed is a failure of the command line's own.
func failed(code, fix, format string, args ...any) *failure {
	return &failure{Code: code, Message: fmt.Sprintf(format, args...), Fix: fix}
}

// Usage is the failure of a command line that is wrong as the error says: it ends with the exit code for that, and nothing
// was done.
func Usage(wrong *leafward.Error) error {
	return &failure{Code: codeUsage, Message: wrong.Message, Fix: wrong.Fix, Docs: docsCommands, Fields: wrong.Fields}
}

// explain finds the words for an error. The innermost that was written for people is nearest to the cause.
func explain(err error) *failure {
	f := &failure{Code: codeFailed, Message: err.Error(), Fix: "read the message; when it does not help, report it with the command you typed"}
	if wire, ok := errors.AsType[*api.Error](err); ok {
		f = &failure{Code: wire.Code, Message: wire.Message, Fix: wire.Fix, Docs: wire.Docs, RequestID: wire.RequestID, Fields: wire.Fields, Counts: wire.Counts}
		if after := wire.RetryAfter(); after > 0 {
			f.After, f.Fix = int(after/time.Second), strings.TrimPrefix(f.Fix+"; come back "+distance(after), "; ")
		}
	} else if e, ok := errors.AsType[*leafward.Error](err); ok {
		f = &failure{Code: string(e.Kind), Message: e.Message, Fix: e.Fix, Docs: e.Docs, Fields: e.Fields, Counts: e.Counts}
		if e.Cause != nil && e.Kind == leafward.Later {
			f.Message += ": " + e.Cause.Error()
		}
	}
	if own, ok := errors.AsType[*failure](err); ok {
		copied := *own
		f = &copied
	} else if errors.Is(err, context.Canceled) {
		f = failed(codeInterrupted, "`leafward status` and `leafward job list` show what became of it", "the command was ended by Ctrl-C or a signal; what the server has begun goes on")
	}
	if f.Fix == "" {
		f.Fix = "`leafward status` shows what is wrong"
	}
	if f.Docs == "" {
		f.Docs = docsErrors
	}
	return f
}

// text is the failure for a person.
func (f *failure) text(s *Session) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", s.mark(bad), f.Code)
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "  %-5s %s\n", name, strings.ReplaceAll(clean(text), "\n", "\n        "))
		}
	}
	line("why", f.Message)
	if len(f.Fields) > 1 || len(f.Fields) == 1 && !strings.Contains(f.Message, f.Fields[0].Problem) {
		for _, field := range f.Fields {
			line("", field.Field+" "+field.Problem)
		}
	}
	for _, name := range sorted(f.Counts) {
		line("", fmt.Sprintf("%d %s", f.Counts[name], name))
	}
	line("fix", f.Fix)
	if len(f.Fields) > 1 {
		for _, field := range f.Fields {
			if field.Fix != "" && field.Fix != f.Fix {
				line("", strings.TrimSuffix(field.Field, ":")+": "+field.Fix)
			}
		}
	}
	line("read", f.Docs)
	line("id", f.RequestID)
	return b.String()
}
