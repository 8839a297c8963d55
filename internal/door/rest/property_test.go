package rest_test

import (
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/store/storetest"
)

// Each property that a client may write stands in this file with the tests that show it obeyed, or with a word for what
// it is otherwise: label (read back and found), fact (what an agent says of its host; read back), read-only (another
// value is refused) or ignored (agents of any make may send it, and it changes nothing).
const propertiesFile = "testdata/properties.txt"

// words are the ways in which a property is shown to do what it is for without a test of its own.
func words() []string { return []string{"label", "fact", "read-only", "ignored"} }

// resource is the list of things that an operation writes to, "" when it does something else.
func resource(op api.Info) string {
	base := op.Path
	if op.Method == http.MethodPut {
		base = strings.TrimSuffix(base, "/{id}")
	}
	if slices.ContainsFunc(api.Operations(), func(o api.Info) bool { return o.Method == http.MethodGet && o.Path == base }) && !strings.Contains(base, "{") {
		return base
	}
	return ""
}

// written names every property of a body: of the things it writes, or of the operation.
func (d document) written() map[string]bool {
	names := make(map[string]bool)
	for _, op := range api.Operations() {
		body, takes := d.body(op)
		if !takes {
			continue
		}
		owner := op.ID
		if r := resource(op); r != "" {
			owner = r[strings.LastIndex(r, "/")+1:]
		}
		d.flatten(names, owner, body)
	}
	return names
}

// flatten adds the properties of a schema, and of the entries of its lists.
func (d document) flatten(names map[string]bool, prefix string, s schema) {
	if s.Items != nil {
		s = d.resolve(*s.Items)
	}
	for name, property := range s.Properties {
		names[prefix+"."+name] = true
		if property.Items != nil {
			d.flatten(names, prefix+"."+name, property)
		}
	}
}

// proofs are the rows of the file: what shows each property.
func proofs(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(propertiesFile)
	check(t, err)
	rows := make(map[string][]string)
	last := ""
	for line := range strings.Lines(string(text)) {
		row := strings.Fields(line)
		if len(row) < 2 || rows[row[0]] != nil || row[0] < last {
			t.Errorf("%s: %q is no row, stands twice, or is out of order", propertiesFile, line)
			continue
		}
		rows[row[0]], last = row[1:], row[0]
	}
	return rows
}

// marked are the properties that the file gives a word, by resource or operation.
func marked(t *testing.T, word string) map[string][]string {
	t.Helper()
	out := make(map[string][]string)
	for name, shown := range proofs(t) {
		if slices.Contains(shown, word) {
			owner, property, _ := strings.Cut(name, ".")
			out[owner] = append(out[owner], property)
		}
	}
	if len(out) == 0 {
		t.Errorf("nothing is marked %s", word)
	}
	return out
}

// tests are the names of all tests of the repository.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(\w+ \*testing\.T\)`)
	known := make(map[string]bool)
	check(t, filepath.WalkDir("../../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, match := range declared.FindAllStringSubmatch(string(text), -1) {
			known[match[1]] = true
		}
		return err
	}))
	return known
}

func TestEveryWritablePropertyIsShownToBeObeyed(t *testing.T) {
	written, rows, known := readDocument(t).written(), proofs(t), tests(t)
	for _, name := range slices.Sorted(maps.Keys(written)) {
		if rows[name] == nil {
			t.Errorf("%s has no row for %s: name the test that shows it obeyed, or say that it is a label", propertiesFile, name)
		}
	}
	for name, shown := range rows {
		if !written[name] {
			t.Errorf("%s: nobody can write %s", propertiesFile, name)
		}
		for _, by := range shown {
			if !known[by] && !slices.Contains(words(), by) {
				t.Errorf("%s: %s is shown by %s, which does not exist", propertiesFile, name, by)
			}
		}
	}
}

// list is the operation that lists a resource, by the last word of its path.
func list(t *testing.T, name string) api.Info {
	t.Helper()
	for _, op := range api.Operations() {
		if op.Method == http.MethodGet && strings.HasSuffix(op.Path, "/"+name) && resource(op) != "" {
			return op
		}
	}
	t.Fatalf("nothing lists %s", name)
	return api.Info{}
}

// fitting is a value for a label, in JSON, and what it is found by.
func fitting(property string) (value, found string) {
	word := strings.ToLower(fill("w#"))
	switch property {
	case "tags":
		return fmt.Sprintf(`{"app":%q}`, word), "app=" + word
	case "email":
		return fmt.Sprintf("%q", word+"@example.com"), word + "@example.com"
	}
	return fmt.Sprintf("%q", word), word
}

func TestEveryLabelIsReadBackAndFound(t *testing.T) {
	c := newCrowd(t)
	for name, labels := range marked(t, "label") {
		op := list(t, name)
		for _, label := range labels {
			other, _ := fitting(label)
			c.with(t, http.MethodPost, op.Path, c.properties(t)[op.Path], label, other) // which must not be found
			value, found := fitting(label)
			made := c.with(t, http.MethodPost, op.Path, c.properties(t)[op.Path], label, value)
			c.findable(t, op, made, label, value, found)
			if !slices.ContainsFunc(api.Operations(), func(o api.Info) bool { return o.Method == http.MethodPut && o.Path == op.Path+"/{id}" }) {
				continue
			}
			value, again := fitting(label)
			c.with(t, http.MethodPut, op.Path+"/"+made, "", label, value)
			c.findable(t, op, made, label, value, again)
			if status, out, _ := c.send(t, "admin", "GET", op.Path+"?"+c.filter(op, label)+"="+found, ""); status != 200 || out["total"] != 0.0 {
				t.Errorf("%s is still found by its old %s: %d %v", name, label, status, out["total"])
			}
		}
	}
}

// writer is an administrator whose things fit what properties names: targets are at an agent of one team.
func writer(path string) string {
	if strings.HasPrefix(path, "/api/v1/targets") {
		return "team admin"
	}
	return "admin"
}

// with writes a thing in which a property has the value and returns its id.
func (c crowd) with(t *testing.T, method, path, properties, property, value string) string {
	t.Helper()
	properties = regexp.MustCompile(`,?"`+property+`":"[^"]*"`).ReplaceAllString(fill(properties), "")
	body := strings.Trim(properties+fmt.Sprintf(",%q:%s", property, value), ",")
	status, out, _ := c.send(t, writer(path), method, path, "{"+body+"}")
	if status/100 != 2 {
		t.Fatalf("%s %s {%s}: %d %v", method, path, body, status, out)
	}
	return out["id"].(string)
}

// filter is the parameter by which a list is narrowed to a label: its own, or the search for anything.
func (c crowd) filter(op api.Info, label string) string {
	for _, p := range c.doc.operations[op.ID].Parameters {
		if p.Name == label {
			return label
		}
	}
	return "q"
}

// findable fails the test unless the list, narrowed to the label, shows the one thing with its value.
func (c crowd) findable(t *testing.T, op api.Info, id, label, value, found string) {
	t.Helper()
	by := c.filter(op, label)
	status, out, _ := c.send(t, "admin", "GET", op.Path+"?"+by+"="+found, "")
	data, _ := out["data"].([]any)
	if status != 200 || len(data) != 1 {
		t.Errorf("%s with %s=%s: %d %v", op.ID, by, found, status, out)
		return
	}
	row := data[0].(map[string]any)
	want := strings.NewReplacer(`{"app":"`, "map[app:", `"}`, "]", `"`, "").Replace(value)
	if row["id"] != id || fmt.Sprint(row[label]) != want {
		t.Errorf("%s with %s=%s shows %v with %v, want %s", op.ID, by, found, row["id"], row[label], want)
	}
}

// other is a value that a property which the server sets does not have.
func (d document) other(s schema, have any) string {
	if len(s.Enum) > 0 {
		for _, word := range s.Enum {
			if word != have && word != nil {
				return fmt.Sprintf("%q", word)
			}
		}
	}
	switch kindOf(d, s) {
	case "string":
		if s.Format == "date-time" {
			return `"2001-02-03T04:05:06Z"`
		}
		return `"other"`
	case "integer", "number":
		return `987654`
	case "boolean":
		return fmt.Sprint(have != true)
	case "array":
		return `["other"]`
	}
	return `{"id":"other"}`
}

func TestWhatTheServerSetsIsTakenBackOnlyAsItWasAnswered(t *testing.T) {
	c := newCrowd(t)
	for name, properties := range marked(t, "read-only") {
		op := list(t, name)
		id := makers()[op.Path](t, c.house, leafward.DefaultTeam)
		if name == "teams" {
			id = leafward.DefaultTeam
		}
		_, have, _ := c.send(t, "admin", "GET", op.Path+"/"+id, "")
		i := slices.IndexFunc(api.Operations(), func(o api.Info) bool { return o.Method == http.MethodPut && o.Path == op.Path+"/{id}" })
		body, _ := c.doc.body(api.Operations()[i])
		for _, property := range properties {
			sent := fmt.Sprintf(`{%q:%s}`, property, c.doc.other(body.Properties[property], have[property]))
			status, out, _ := c.send(t, "admin", "PUT", op.Path+"/"+id, sent)
			if status != 400 || !strings.Contains(fmt.Sprint(out["fields"]), "field:"+property) && !strings.Contains(fmt.Sprint(out["fields"]), "field:body."+property) {
				t.Errorf("PUT %s %s: %d %v", op.Path, sent, status, out)
			}
		}
	}
}

func TestAnIdIsChosenOnceByTheClient(t *testing.T) {
	c := newCrowd(t)
	for name, shown := range proofs(t) {
		owner, property, _ := strings.Cut(name, ".")
		if property != "id" || !slices.Contains(shown, t.Name()) {
			continue
		}
		op := list(t, owner)
		id := strings.ToLower(fill("own-#"))
		if got := c.with(t, "POST", op.Path, c.properties(t)[op.Path], "id", fmt.Sprintf("%q", id)); got != id {
			t.Errorf("%s made %s instead of %s", owner, got, id)
		}
		c.expect(t, "admin", "GET", op.Path+"/"+id, "", 200, "id", id)
		body := strings.Trim(fill(c.properties(t)[op.Path])+fmt.Sprintf(`,"id":%q`, id), ",")
		c.expect(t, writer(op.Path), "POST", op.Path, "{"+body+"}", 409, "error", "conflict")
		if owner != "agents" {
			c.expect(t, "admin", "PUT", op.Path+"/"+id, `{"id":"other"}`, 400, "error", "invalid_request")
		}
	}
}

func TestWhatAnAgentSaysOfItsHostIsReadBack(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	marks := marked(t, "fact")
	values := map[string][2]string{
		"hostname": {"a.example", "b.example"}, "os": {"linux", "darwin"}, "architecture": {"amd64", "arm64"}, "ip_address": {"192.0.2.1", "192.0.2.2"}, "version": {"1.0", "2.0"},
	}
	body := func(facts []string, i int) (text string) {
		for _, fact := range facts {
			text += fmt.Sprintf(`,%q:%q`, fact, values[fact][i])
		}
		return text
	}
	made := h.make(t, "/api/v1/agents", `{"name":"edge"`+body(marks["agents"], 0)+`}`)
	at := "/api/v1/agents/" + made["id"].(string)
	for _, fact := range marks["agents"] {
		h.expect(t, "viewer", "GET", at, "", 200, fact, values[fact][0])
	}
	h.keys["edge"] = made["api_key"].(string)
	h.expect(t, "edge", "POST", at+"/heartbeat", "{"+body(marks["agentHeartbeat"], 1)[1:]+"}", 200, "", "")
	for _, fact := range marks["agentHeartbeat"] {
		h.expect(t, "viewer", "GET", at, "", 200, fact, values[fact][1])
	}
}

func TestWhatAgentsMaySendAndTheServerSetsIsIgnored(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t, nil))
	values := map[string]string{"status": "Online", "last_heartbeat_at": "2001-02-03T04:05:06Z", "registered_at": "2001-02-03T04:05:06Z", "retired_at": "2001-02-03T04:05:06Z", "retired_reason": "tired"}
	for _, property := range marked(t, "ignored")["agents"] {
		made := h.make(t, "/api/v1/agents", fill(`{"name":"a #",`)+fmt.Sprintf("%q:%q}", property, values[property]))
		_, out, _ := h.send(t, "viewer", "GET", "/api/v1/agents/"+made["id"].(string), "")
		if values[property] == "" || strings.HasPrefix(fmt.Sprint(out[property]), values[property][:4]) || out["status"] != "Offline" {
			t.Errorf("%s was taken: %v", property, out)
		}
	}
}
