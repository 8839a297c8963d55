package cli

import (
	"fmt"
	"runtime"
)

type versionCommand struct {
	JSON bool `name:"json" help:"Answer in JSON."`
}

// built is what this program is.
type built struct {
	Version   string `json:"version"`
	GoVersion string `json:"go_version"`
	OS        string `json:"os"`
	Arch      string `json:"arch"`
}

// Run tells of the program itself; `leafward status` tells of the server's.
func (c *versionCommand) Run(s *Session) error {
	r := &run{Session: s, JSON: c.JSON}
	return r.answer(built{s.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH}, func() {
		fmt.Fprintf(r.Out, "leafward %s %s/%s %s\n", s.Version, runtime.GOOS, runtime.GOARCH, runtime.Version())
	})
}
