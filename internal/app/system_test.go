package app_test

import (
	"errors"
	"go/build"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/app"
)

// What the server needs of a system is written for Linux and macOS; the file that stands in for it elsewhere is built
// exactly where the server says that it does not run.
func TestTheServerSaysWhereItDoesNotRun(t *testing.T) {
	for system, runs := range map[string]bool{
		"linux": true, "darwin": true, "windows": false, "freebsd": false, "openbsd": false, "netbsd": false, "dragonfly": false, "solaris": false,
		"illumos": false, "aix": false, "android": false, "ios": false, "plan9": false, "js": false, "wasip1": false,
	} {
		err := app.RunsOn(system)
		e, told := errors.AsType[*leafward.Error](err)
		if (err == nil) != runs || !runs && (!told || !strings.Contains(e.Message, system) || !strings.Contains(e.Fix, "Linux or macOS")) {
			t.Errorf("%s: %v", system, err)
		}
		if system == "android" || system == "ios" {
			continue // also build what is for linux and darwin
		}
		c := build.Default
		c.GOOS, c.GOARCH = system, "amd64"
		instead, err := c.MatchFile(".", "peer_other.go")
		if err != nil || instead == runs {
			t.Errorf("%s: it runs there: %t, and what stands in for the system is built: %t %v", system, runs, instead, err)
		}
	}
}
