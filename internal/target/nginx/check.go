package nginx

import (
	"context"
	"errors"
	"strings"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/target"
)

// Check tries everything a deployment needs, and changes nothing.
func (s *server) Check(ctx context.Context) (target.Report, error) {
	var report target.Report
	missing := s.tryFiles(&report)
	s.tryCommands(ctx, &report, missing)
	where := s.config.Endpoint()
	served, err := s.look(ctx, target.Bundle{})
	if err != nil {
		report.Add("look", true, "%s shows no certificate yet (%v): the deployment will not be proved until it does", where.Address, err)
	} else {
		report.Add("look", true, "%s serves the certificate with SHA-256 %s", where.Address, strings.Join(served, ", "))
	}
	return report, ctx.Err()
}

// tryFiles reports on each path and returns those, as written and with links resolved, at which nothing is yet.
func (s *server) tryFiles(report *target.Report) (missing []string) {
	c := s.config
	type file struct {
		name, path string
		kind       target.Kind
	}
	files := []file{{"cert_path", c.CertPath, target.Certificate}, {"key_path", c.KeyPath, target.Key}}
	if c.CertPath == c.KeyPath {
		files = []file{{"cert_path", c.CertPath, target.Combined}}
	}
	if c.ChainPath != "" {
		files = append(files, file{"chain_path", c.ChainPath, target.Chain})
	}
	for _, f := range files {
		trial, err := s.host.Files.Try(f.path, f.kind)
		if err != nil {
			report.Add(f.name, false, "%s", advised(err))
			continue
		}
		report.Add(f.name, true, "%s", trial.Note)
		if !trial.Exists {
			missing = append(missing, f.path, trial.Path)
		}
	}
	return missing
}

// tryCommands reports whether both commands are allowed, and what the configuration test says.
func (s *server) tryCommands(ctx context.Context, report *target.Report, missing []string) {
	rules := s.host.Files.Rules()
	if reload, err := rules.Command(s.config.ReloadCommand); err != nil {
		report.Add("reload_command", false, "%s", advised(err))
	} else {
		report.Add("reload_command", true, "this agent may run %s", reload)
	}
	validate, err := rules.Command(s.config.ValidateCommand)
	if err != nil {
		report.Add("validate_command", false, "%s", advised(err))
		return
	}
	output, err := validate.Run(ctx)
	switch {
	case err == nil:
		report.Add("validate_command", true, "%s passed", validate)
	case onlyMissing(output, missing):
		report.Add("validate_command", true, "%s cannot pass before the files exist: the first deployment makes them, and takes them away again if it still fails", validate)
	default:
		report.Add("validate_command", false, "%s", advised(err))
	}
}

// onlyMissing tells whether nginx -t stopped at one of the files that the first deployment will make; nginx names the
// first obstacle only.
func onlyMissing(output string, missing []string) bool {
	if strings.Count(output, "[emerg]") != 1 || !strings.Contains(output, "No such file or directory") {
		return false
	}
	for _, path := range missing {
		if strings.Contains(output, `"`+path+`"`) {
			return true
		}
	}
	return false
}

// advised is an error with its next step.
func advised(err error) string {
	if e, ok := errors.AsType[*leafward.Error](err); ok && e.Fix != "" {
		return e.Error() + " (" + e.Fix + ")"
	}
	return err.Error()
}
