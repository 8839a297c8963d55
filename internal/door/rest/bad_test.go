package rest_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

// bad is a value that no property of its sort takes.
type bad struct{ why, value string }

// badValues are wrong for every property of the schema, whatever it means.
func (d document) badValues(s schema) []bad {
	long := strings.Repeat("x", 70000)
	switch kindOf(d, s) {
	case "string":
		if s.Format == "date-time" {
			return []bad{{"a number", `5`}, {"no time", `"yesterday"`}, {"another time", `"2001-01-01T00:00:00Z"`}}
		}
		return []bad{{"a number", `5`}, {"a list", `["a"]`}, {"too long", `"` + long + `"`}, {"NUL", `"a\u0000b"`}, {"zero width", `"a\u200bb"`}, {"half a character", "\"\xff\""}, {"out of the enumeration or unknown", `"no such\tvalue \u202e"`}}
	case "integer", "number":
		return []bad{{"text", `"x"`}, {"a fraction", `1.5`}, {"too small", `-9000000000000000`}, {"too large", `9000000000000000`}, {"beyond 64 bits", `99999999999999999999`}}
	case "boolean":
		return []bad{{"text", `"yes"`}, {"a number", `1`}}
	case "array":
		return d.badLists(s)
	}
	return append([]bad{
		{"text", `"x"`},
		{"a list", `[]`},
		{"a number", `5`},
		{"deep", strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40)},
		{"too many entries", "{" + repeated(5000, `"k%d":"v"`) + "}"},
		{"a key that is too long", `{"` + long + `":"v"}`},
		{"a value that is too long", `{"k":"` + long + `"}`},
	}, d.badParts(s, "{%q:%s}")...)
}

// badLists are wrong for a property that is a list.
func (d document) badLists(s schema) []bad {
	entry := map[string]string{"object": `{"name":"x%d"}`, "integer": `%d`, "number": `%d`}[kindOf(d, *s.Items)]
	if entry == "" {
		entry = `"x%d"`
	}
	return append([]bad{
		{"text", `"x"`},
		{"an object", `{}`},
		{"entries of a wrong type", `[{"a":[]},[],true]`},
		{"an entry that is too long", `["` + strings.Repeat("x", 70000) + `"]`},
		{tooMany, "[" + repeated(20000, entry) + "]"},
	}, d.badParts(*s.Items, "[{%q:%s}]")...)
}

const tooMany = "too many entries"

// badParts are objects of which one property is wrong.
func (d document) badParts(s schema, form string) (all []bad) {
	for name, part := range d.resolve(s).Properties {
		for _, b := range d.badValues(part) {
			all = append(all, bad{name + " " + b.why, fmt.Sprintf(form, name, b.value)})
		}
	}
	return all
}

// repeated is a list of entries that are all different.
func repeated(n int, entry string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(entry, i)
	}
	return strings.Join(all, ",")
}

// kindOf is the JSON type of a schema, null aside.
func kindOf(d document, s schema) string {
	if r := d.resolve(s); r.Type != nil {
		s = r
	}
	switch t := s.Type.(type) {
	case string:
		return t
	case []any:
		for _, one := range t {
			if one != "null" {
				return one.(string)
			}
		}
	}
	return "object"
}

// taken are bad values that an operation takes all the same, or tells of only when all else is right.
func taken(op api.Info, property string, b bad) bool {
	odd := strings.HasPrefix(b.why, "zero width") || strings.HasPrefix(b.why, "out of the enumeration")
	if odd && strings.Contains(op.Path, "{job_id}") {
		return true // looked at when it is known for which job it is
	}
	switch property {
	case "certificate_ids": // as many as a body holds: the batch tells of each
		return b.why == tooMany
	case "clock": // of the host, which may be any
		return b.why == "another time"
	case "protocol": // compared with that of our agents, and not kept
		return odd
	case "version_id": // there is no such version; a certificate without any is told first
		return odd
	case "csr_pem", "certificate_id": // read when it is known for which certificate it is
		return odd && op.ID == api.AgentSubmitCSR.ID
	case "epoch", "seconds": // held against the lease, when it is known for which job it is
		return strings.HasPrefix(b.why, "too ")
	case "error": // what an agent tells is cut, not refused
		return op.ID == api.VerifyDeployment.ID && (odd || b.why == "too long")
	}
	return false
}

// ignored are the properties that agents of any make may send and that the server sets by itself.
func ignored() map[string][]string {
	return map[string][]string{
		api.RegisterAgent.ID: {"last_heartbeat_at", "protocol", "registered_at", "retired_at", "retired_reason", "status"},
	}
}

// named says whether an answer names the property; of a body that is no text at all only the whole can be named.
func named(out map[string]any, property string, b bad) bool {
	told := fmt.Sprint(out["fields"])
	return strings.Contains(told, "field:"+property) || strings.Contains(told, "field:body[0]."+property) || strings.HasSuffix(b.why, "half a character") && strings.Contains(told, "field:body")
}

func TestBadValuesAreRefusedAlikeOnCreateAndUpdate(t *testing.T) {
	c := newCrowd(t)
	ops := make(map[string]map[string]api.Info) // by the path of the list, then by method
	for _, op := range api.Operations() {
		base, below, one := strings.Cut(op.Path, "/{")
		_, takes := c.doc.body(op)
		if !takes || one && (op.Method != http.MethodPut || strings.Contains(below, "/")) {
			continue
		}
		if ops[base] == nil {
			ops[base] = make(map[string]api.Info)
		}
		ops[base][op.Method] = op
	}
	for _, base := range slices.Sorted(maps.Keys(ops)) {
		create, update := ops[base][http.MethodPost], ops[base][http.MethodPut]
		if c.properties(t)[base] == "" {
			t.Errorf("%s: properties has no line for %s", create.ID, base)
			continue
		}
		body, _ := c.doc.body(create)
		id := ""
		if update.ID != "" {
			id = makers()[base](t, c.house, leafward.DefaultTeam)
		}
		for _, property := range slices.Sorted(maps.Keys(body.Properties)) {
			for _, b := range c.doc.badValues(body.Properties[property]) {
				if taken(create, property, b) {
					continue
				}
				c.refuse(t, create, base, c.properties(t)[base], property, b)
				if update.ID != "" {
					c.refuse(t, update, base+"/"+id, "", property, b)
				}
			}
		}
		for _, op := range []api.Info{create, update} {
			if op.ID != "" && !op.Lax {
				path, properties := base, c.properties(t)[base]
				if op.Method == http.MethodPut {
					path, properties = base+"/"+id, ""
				}
				c.refuse(t, op, path, properties, "no_such_property", bad{"unknown", `1`})
			}
		}
	}
}

// refuse sends a body in which one property is bad: it must be refused as such and named.
func (c crowd) refuse(t *testing.T, op api.Info, path, properties, property string, b bad) {
	t.Helper()
	values := map[string]json.RawMessage{}
	check(t, json.Unmarshal([]byte("{"+fill(properties)+"}"), &values))
	delete(values, property)
	text, err := json.Marshal(values)
	check(t, err)
	sent := strings.TrimSuffix(string(text), "}")
	if len(values) > 0 {
		sent += ","
	}
	status, out, _ := c.send(t, "admin", op.Method, path, fmt.Sprintf("%s%q:%s}", sent, property, b.value))
	if slices.Contains(ignored()[op.ID], property) && status < 500 {
		return
	}
	if status != 400 || !named(out, property, b) {
		t.Errorf("%s with %s %s: %d %.300v", op.ID, property, b.why, status, out)
	}
}

// beside are the other properties that must be there, each with something that could be right.
func beside(s schema, property string) (text string) {
	for _, name := range s.Required {
		if name == property {
			continue
		}
		value := map[string]string{"integer": "30", "boolean": "true", "array": "[]", "object": "{}"}[kindOf(document{}, s.Properties[name])]
		if value == "" {
			value = `"Failed"`
		}
		text += fmt.Sprintf("%q:%s,", name, value)
	}
	return text
}

func TestBadBodiesOfOtherOperationsAreRefusedByName(t *testing.T) {
	c := newCrowd(t)
	for _, op := range api.Operations() {
		base, _, one := strings.Cut(op.Path, "/{")
		body, takes := c.doc.body(op)
		if !takes || c.properties(t)[base] != "" && (!one || op.Method == http.MethodPut) {
			continue
		}
		id := "no-such"
		if one {
			id = makers()[base](t, c.house, leafward.DefaultTeam)
		}
		path, form := strings.NewReplacer("{id}", id, "{cert_id}", "no-such", "{job_id}", "no-such").Replace(op.Path), "{%s}"
		if body.Items != nil {
			body, form = c.doc.resolve(*body.Items), "[{%s}]"
		}
		for property, s := range body.Properties {
			for _, b := range c.doc.badValues(s) {
				if taken(op, property, b) {
					continue
				}
				status, out, _ := c.send(t, "admin", op.Method, path, fmt.Sprintf(form, beside(body, property)+fmt.Sprintf("%q:%s", property, b.value)))
				if status != 400 || !named(out, property, b) {
					t.Errorf("%s with %s %s: %d %.300v", op.ID, property, b.why, status, out)
				}
			}
		}
	}
}

func TestEveryParameterHasABound(t *testing.T) {
	c := newCrowd(t)
	for _, op := range api.Operations() {
		if op.Elsewhere != nil {
			continue
		}
		base, _, one := strings.Cut(op.Path, "/{")
		id := ""
		if one {
			id = makers()[base](t, c.house, leafward.DefaultTeam)
		}
		for _, p := range c.doc.operations[op.ID].Parameters {
			if op.ID == api.RetireAgent.ID && p.Name == "force" {
				continue // a malformed one counts as false
			}
			for _, value := range c.doc.badParameters(p.Schema) {
				if p.Name == "epoch" && strings.HasPrefix(value, "-") {
					continue // held against the lease
				}
				path, header := op.Path, ""
				switch p.In {
				case "path":
					path = strings.Replace(path, "{"+p.Name+"}", value, 1)
				case "query":
					path += "?" + p.Name + "=" + value
				default:
					header = p.Name
				}
				path = strings.NewReplacer("{id}", id, "{cert_id}", "no-such", "{job_id}", "no-such").Replace(path)
				status, out := c.sendWith(t, op, path, header, value)
				named := strings.Contains(strings.ToLower(fmt.Sprint(out["fields"])), "field:"+strings.ToLower(p.Name))
				if status != 400 && (status != 404 || p.In != "path") || status == 400 && !named {
					t.Errorf("%s with %.20s in %s %s: %d %.300v", op.ID, value, p.In, p.Name, status, out)
				}
			}
		}
	}
}

// badParameters are texts that no parameter of the sort takes.
func (d document) badParameters(s schema) []string {
	long := strings.Repeat("x", 3000)
	switch kindOf(d, s) {
	case "integer":
		return []string{"99999999999999999999", "-9000000000000000", "x", "1.5", long}
	case "boolean":
		return []string{"maybe", long}
	}
	return []string{long}
}

// sendWith calls an operation with a header, "" for none.
func (c crowd) sendWith(t *testing.T, op api.Info, path, header, value string) (int, map[string]any) {
	t.Helper()
	body := "{}"
	if s, takes := c.doc.body(op); takes && s.Items != nil {
		body = "[]"
	}
	request, err := http.NewRequestWithContext(t.Context(), op.Method, c.URL+path, strings.NewReader(body))
	check(t, err)
	request.Header.Set("Authorization", "Bearer "+c.keys["admin"])
	request.Header.Set("Content-Type", "application/json")
	if header != "" {
		request.Header.Set(header, value)
	}
	answer, err := c.Client().Do(request)
	check(t, err)
	defer answer.Body.Close()
	out := map[string]any{}
	check(t, json.NewDecoder(answer.Body).Decode(&out))
	return answer.StatusCode, out
}

func TestPathsAndParametersThatAreNoTextAreRefusedOnBothEngines(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db)
		for _, text := range []string{"a%00", "%00", "%ff", "a%ED%A0%80", "%F4%90%80%80"} {
			for _, op := range api.Operations() {
				if path := strings.NewReplacer("{id}", text, "{cert_id}", "no-such", "{job_id}", "no-such").Replace(op.Path); path != op.Path {
					if status, out, _ := h.send(t, "admin", op.Method, path, ""); status != 404 {
						t.Errorf("%s %s: %d %.300v", op.Method, path, status, out)
					}
				}
			}
			for _, parameter := range []string{"q", "name", "cursor", "sort"} {
				if status, out, _ := h.send(t, "admin", "GET", "/api/v1/profiles?"+parameter+"="+text, ""); status != 400 {
					t.Errorf("%s=%s: %d %.300v", parameter, text, status, out)
				}
			}
		}
	})
}
