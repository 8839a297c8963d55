package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	prefix  = "LEAFWARD_"
	maxFile = 1 << 20 // bytes of a configuration file

	// Bounds of what one setting may say.
	maxText = 4096
	maxList = 100
)

// setting is one setting's place.
type setting struct {
	name string
	list bool
	flag func(Flags) []string // as given on the command line; none: not given
}

func one(get func(Flags) string) func(Flags) []string {
	return func(f Flags) []string {
		if text := get(f); text != "" {
			return []string{text}
		}
		return nil
	}
}

// settings are all settings. Where another file of settings lies can only be said by flag or variable.
func settings() []setting {
	return []setting{
		{name: "data-dir", flag: one(func(f Flags) string { return f.DataDir })},
		{name: "listen", flag: one(func(f Flags) string { return f.Listen })},
		{name: "public-listen", flag: one(func(f Flags) string { return f.PublicListen })},
		{name: "public-url", flag: one(func(f Flags) string { return f.PublicURL })},
		{name: "hostname", list: true, flag: func(f Flags) []string { return f.Hostname }},
		{name: "database", flag: one(func(f Flags) string { return f.Database })},
		{name: "master-key-file", flag: one(func(f Flags) string { return f.MasterKeyFile })},
		{name: "probe-allow", list: true, flag: func(f Flags) []string { return f.ProbeAllow }},
		{name: "max-renewals-per-hour", flag: one(func(f Flags) string { return f.MaxRenewals })},
		{name: "max-concurrent-issuance", flag: one(func(f Flags) string { return f.MaxIssuance })},
		{name: "json", flag: func(f Flags) []string {
			if f.JSON {
				return []string{"true"}
			}
			return nil
		}},
	}
}

// others are variables with our prefix that are not settings of the server: its master key, and those of the agent's
// unit, the command line and the tests.
func others() []string {
	return []string{"LEAFWARD_CONFIG", masterVariable, "LEAFWARD_AGENT_FLAGS", "LEAFWARD_SERVER", "LEAFWARD_KEY", "LEAFWARD_ROOT", "LEAFWARD_TEST_POSTGRES"}
}

// variable is the name of a setting in the environment.
func variable(name string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// given is what somebody said about a setting, and where.
type given struct {
	where string
	texts []string
}

// gatherer collects settings and what is wrong with them.
type gatherer struct {
	env      map[string]string
	file     map[string]given
	mistakes Mistakes
}

func (g *gatherer) wrong(where, problem, fix string) {
	g.mistakes = append(g.mistakes, Mistake{where, problem, fix})
}

func environment(environ []string) map[string]string {
	env := make(map[string]string)
	for _, line := range environ {
		if name, value, ok := strings.Cut(line, "="); ok && (strings.HasPrefix(name, prefix) || name == credentialsVariable) {
			env[name] = value
		}
	}
	return env
}

// values takes each setting from the first place that has it. An empty variable counts as absent.
func (g *gatherer) values(flags Flags) map[string]given {
	values := make(map[string]given)
	for _, s := range settings() {
		if texts := s.flag(flags); len(texts) > 0 {
			values[s.name] = given{"--" + s.name, texts}
		} else if text := g.env[variable(s.name)]; text != "" {
			texts := []string{text}
			if s.list {
				texts = strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
			}
			values[s.name] = given{variable(s.name), texts}
		} else if v, ok := g.file[s.name]; ok {
			values[s.name] = v
		}
	}
	for name, v := range values {
		for _, text := range v.texts {
			if len(text) > maxText || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				g.wrong(v.where, "is too long or holds control characters", fmt.Sprintf("use at most %d printable characters", maxText))
				delete(values, name)
				break
			}
		}
	}
	return values
}

// unknownVariables refuses variables that look like settings and are none, save those that Kubernetes sets where a service is
// called leafward.
func (g *gatherer) unknownVariables() {
	known := others()
	for _, s := range settings() {
		known = append(known, variable(s.name))
	}
	for _, name := range slices.Sorted(maps.Keys(g.env)) {
		service := strings.HasPrefix(name, prefix+"SERVICE_") || name == prefix+"PORT" || strings.HasPrefix(name, prefix+"PORT_")
		if strings.HasPrefix(name, prefix) && !service && !slices.Contains(known, name) {
			g.wrong(name, "is not a setting", "unset it, or write it as one of "+strings.Join(slices.Sorted(slices.Values(known)), ", "))
		}
	}
}

// readFile reads the YAML file: one mapping of settings.
func (g *gatherer) readFile(flag string) map[string]given {
	path, where := flag, "--config"
	if path == "" {
		path, where = g.env["LEAFWARD_CONFIG"], "LEAFWARD_CONFIG"
	}
	if path == "" {
		return nil
	}
	text, err := readBounded(path, maxFile)
	if err != nil {
		g.wrong(where, "names a file that cannot be read: "+err.Error(), "name a readable YAML file")
		return nil
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		g.wrong(path, "is not YAML: "+strings.TrimPrefix(err.Error(), "yaml: "), "write one setting a line, such as: listen: 0.0.0.0:8443")
		return nil
	}
	if len(document.Content) == 0 {
		return nil
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		g.wrong(path, "is not a list of settings", "write one setting a line, such as: listen: 0.0.0.0:8443")
		return nil
	}
	return g.readSettings(path, root)
}

func (g *gatherer) readSettings(path string, root *yaml.Node) map[string]given {
	known := make(map[string]setting)
	for _, s := range settings() {
		known[s.name] = s
	}
	values := make(map[string]given)
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		where := fmt.Sprintf("%s in %s, line %d,", key.Value, filepath.Base(path), key.Line)
		s, ok := known[key.Value]
		if !ok {
			g.wrong(where, "is not a setting", "use one of "+strings.Join(slices.Sorted(maps.Keys(known)), ", "))
			continue
		}
		if _, twice := values[s.name]; twice {
			g.wrong(where, "is given twice", "say it once")
			continue
		}
		if texts, ok := textsOf(value, s.list); !ok {
			g.wrong(where, "has the wrong form", form(s))
		} else if len(texts) > 0 {
			values[s.name] = given{where, texts}
		}
	}
	return values
}

func form(s setting) string {
	if s.list {
		return "write one value, or a list: " + s.name + ": [one, two]"
	}
	return "write one value: " + s.name + ": value"
}

// textsOf are the scalars of a node; null and the empty text are none.
func textsOf(n *yaml.Node, list bool) (texts []string, ok bool) {
	switch {
	case n.Kind == yaml.ScalarNode:
		if n.Tag == "!!null" || n.Value == "" {
			return nil, true
		}
		return []string{n.Value}, true
	case n.Kind == yaml.SequenceNode && list:
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode || item.Value == "" {
				return nil, false
			}
			texts = append(texts, item.Value)
		}
		return texts, true
	}
	return nil, false
}

// readBounded reads a regular file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path) // before opening, which would wait on a pipe
	if err != nil {
		return nil, plain(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, plain(err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("it is longer than %d bytes", limit)
	}
	return text, err
}

// plain is a file system's error without the path, which the reader knows.
func plain(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

func parseBool(text string) (bool, error) { return strconv.ParseBool(strings.ToLower(text)) }
