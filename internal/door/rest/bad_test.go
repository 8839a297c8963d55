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
		return []bad{{"text", `"x"`}, {"an object", `{}`}, {"entries of a wrong type", `[{"a":[]},[],true]`}}
	}
	return []bad{{"text", `"x"`}, {"a list", `[]`}, {"a number", `5`}, {"deep", strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40)}}
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

// ignored are the properties that agents of any make may send and that the server sets by itself.
func ignored() map[string][]string {
	return map[string][]string{
		api.RegisterAgent.ID: {"last_heartbeat_at", "protocol", "registered_at", "retired_at", "retired_reason", "status"},
	}
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
	named := strings.Contains(fmt.Sprint(out["fields"]), "field:"+property) || strings.Contains(fmt.Sprint(out["fields"]), "field:body")
	if status != 400 || !named {
		t.Errorf("%s with %s %s: %d %.300v", op.ID, property, b.why, status, out)
	}
}

func TestBadBodiesOfOtherOperationsAreNeverAnErrorOfTheServer(t *testing.T) {
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
		for property, s := range body.Properties {
			for _, b := range c.doc.badValues(s) {
				path := strings.NewReplacer("{id}", id, "{cert_id}", "no-such", "{job_id}", "no-such").Replace(op.Path)
				status, out, _ := c.send(t, "admin", op.Method, path, fmt.Sprintf("{%q:%s}", property, b.value))
				if status >= 500 || status/100 == 2 && !op.Lax {
					t.Errorf("%s with %s %s: %d %.300v", op.ID, property, b.why, status, out)
				}
			}
		}
	}
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
