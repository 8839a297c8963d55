package agent

import (
	"context"
	"errors"

	"github.com/leafward/leafward/internal/probe"
)

// look sees what is served at every address behind a host.
func look(ctx context.Context, address, serverName string) (fingerprints []string, err error) {
	var problem string
	for _, r := range probe.LookAll(ctx, probe.Request{Address: address, ServerName: serverName}) {
		if r.Outcome == probe.OK {
			fingerprints = append(fingerprints, r.Fingerprint)
		} else {
			problem = r.Problem
		}
	}
	if len(fingerprints) == 0 {
		return nil, errors.New(problem)
	}
	return fingerprints, nil
}
