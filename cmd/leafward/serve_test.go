package main

import (
	"slices"
	"strings"
	"testing"
)

func TestEveryWrongWordOfACommandLineIsTold(t *testing.T) {
	for line, want := range map[string]struct{ good, wrong string }{
		"":                                    {"", ""},
		"--listen :1 --hostname a":            {"--listen=:1 --hostname=a", ""},
		"--listen=:1 --json --help -h":        {"--listen=:1 --json --help -h", ""},
		"--colour red --listen :1":            {"--listen=:1", "--colour is not a flag of serve"},
		"--colour=red --size --listen :1":     {"--listen=:1", "--colour is not a flag of serve; --size is not a flag of serve"},
		"-x --json":                           {"--json", "-x is not a flag of serve"},
		"--listen -1 --json":                  {"--json", `--listen is followed by "-1", which looks like a flag`},
		"--listen=-1":                         {"--listen=-1", ""},
		"--listen --json":                     {"--json", "--listen has no value"},
		"--json --listen":                     {"--json", "--listen has no value"},
		"--listen= --hostname _":              {"", "--listen is empty; --hostname is empty"},
		"_ --json=maybe --json=true":          {"--json=true", "an argument is empty; --json is neither true nor false"},
		"now --listen :1 --listen - -- later": {"--listen=:1 --listen=-", `"now" is no flag, and serve takes nothing else; -- is not a flag of serve`},
	} {
		args := strings.Fields(line)
		for i, arg := range args {
			args[i] = strings.ReplaceAll(arg, "_", "")
		}
		w, err := readWords("serve", &serveCommand{}, args)
		if err != nil {
			t.Fatal(err)
		}
		var told []string
		for _, f := range w.wrong {
			if told = append(told, f.Field+" "+f.Problem); f.Fix == "" {
				t.Errorf("%q: there is no remedy for %s", line, f.Field)
			}
		}
		if !slices.Equal(w.good, strings.Fields(want.good)) || strings.Join(told, "; ") != want.wrong {
			t.Errorf("%q: good are %q, wrong are %q", line, w.good, told)
		}
	}
}
