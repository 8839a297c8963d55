package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

// Whatever an error lacks is filled in: nothing is told without a code, why, the fix, and where to read on.
func TestEveryErrorHasFourParts(t *testing.T) {
	errs := map[string]error{
		"a stranger's":          errors.New("it broke"),
		"one of the system":     &os.PathError{Op: "open", Path: "/x", Err: os.ErrNotExist},
		"an interruption":       fmt.Errorf("asking: %w", context.Canceled),
		"the API's bare one":    &api.Error{Code: "conflict", Message: "no"},
		"the API's whole one":   &api.Error{Code: "conflict", Message: "no", Fix: "wait", Docs: "docs/states.md", RequestID: "r-1"},
		"our own":               failed(codeFile, "name another", "it cannot be read"),
		"our own without a fix": failed(codeFailed, "", "it came to nothing"),
	}
	for _, kind := range []leafward.Kind{
		leafward.Invalid, leafward.Unauthorized, leafward.Denied, leafward.NotFound, leafward.NotAllowed, leafward.Conflict, leafward.Gone, leafward.Precondition, leafward.TooLarge,
		leafward.UnsupportedMedia, leafward.UnsupportedType, leafward.RateLimited, leafward.StorageFull, leafward.Later, leafward.Internal, leafward.BlockedDependency,
	} {
		errs["a bare "+string(kind)] = &leafward.Error{Kind: kind, Message: "no"}
	}
	for name, err := range errs {
		var people, machines bytes.Buffer
		if code := (&Session{Err: &people}).Fail(err, nil); code != exitFailed {
			t.Errorf("%s ends with %d", name, code)
		}
		lines := strings.Split(people.String(), "\n")
		if !strings.HasPrefix(lines[0], "✖ ") || len(lines[0]) < len("✖ x") {
			t.Errorf("%s has no code:\n%s", name, &people)
		}
		for _, part := range []string{"  why   ", "  fix   ", "  read  "} {
			if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, part) && len(line) > len(part) }) {
				t.Errorf("%s lacks %q:\n%s", name, part, &people)
			}
		}
		(&Session{Err: &machines}).Fail(err, []string{"--json"})
		var f failure
		if err := json.Unmarshal(machines.Bytes(), &f); err != nil || f.Code == "" || f.Message == "" || f.Fix == "" || f.Docs == "" {
			t.Errorf("%s is %+v in JSON: %v", name, f, err)
		}
		if _, err := os.Stat("../../" + f.Docs); err != nil {
			t.Errorf("%s sends its reader to %s, which is not there", name, f.Docs)
		}
	}
}
