package rest_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/door/rest"
	"github.com/leafward/leafward/internal/store/storetest"
)

// identity is somebody who calls; the zero role is nobody that is known.
type identity struct {
	name string
	role leafward.Role
	team string // "": all teams
}

// identities are all sorts of callers; other is the second team.
func identities(other string) []identity {
	return []identity{
		{name: "nobody"},
		{name: "stranger"},
		{name: "revoked"},
		{"viewer", leafward.RoleViewer, ""},
		{"operator", leafward.RoleOperator, ""},
		{"admin", leafward.RoleAdmin, ""},
		{"team viewer", leafward.RoleViewer, leafward.DefaultTeam},
		{"team operator", leafward.RoleOperator, leafward.DefaultTeam},
		{"team admin", leafward.RoleAdmin, leafward.DefaultTeam},
		{"other admin", leafward.RoleAdmin, other},
		{"agent", leafward.RoleAgent, leafward.DefaultTeam},
		{"other agent", leafward.RoleAgent, other},
	}
}

// crowd is a house with a second team and a key for every identity; agents are those of the identities, by team.
type crowd struct {
	house
	other  string
	agents map[string]string
	doc    document
}

func newCrowd(t *testing.T) crowd {
	t.Helper()
	c := crowd{house: newHouse(t, storetest.SQLite(t, nil)), agents: make(map[string]string), doc: readDocument(t)}
	c.other = posted("/api/v1/teams", `"name":"other"`)(t, c.house, "")
	for _, who := range identities(c.other) {
		if c.keys[who.name] != "" || who.name == "nobody" {
			continue
		}
		path, name, body := "/api/v1/keys", "key", fmt.Sprintf(`{"name":%q,"role":%q,"team_id":%q}`, who.name, cmp.Or(who.role, leafward.RoleAdmin), who.team)
		if who.role == leafward.RoleAgent {
			path, name, body = "/api/v1/agents", "api_key", fmt.Sprintf(`{"name":%q,"team_id":%q}`, who.name, who.team)
		}
		status, out, _ := c.send(t, "admin", "POST", path, body)
		if status != 201 {
			t.Fatalf("%s: %d %v", who.name, status, out)
		}
		c.keys[who.name] = out[name].(string)
		if who.role == leafward.RoleAgent {
			c.agents[who.team] = out["id"].(string)
		}
	}
	if status, out, _ := c.send(t, "admin", "DELETE", "/api/v1/keys/revoked", ""); status != 204 {
		t.Fatalf("%d %v", status, out)
	}
	return c
}

// shape is what the document says of how an operation is called.
type shape struct {
	Parameters []parameter
	Body       *struct {
		Content map[string]struct{ Schema schema }
	} `json:"requestBody"`
}

// parameter is one in a path, query or header.
type parameter struct {
	Name, In string
	Schema   schema
}

// schema is the part of a JSON Schema that the guards read.
type schema struct {
	Ref        string `json:"$ref"`
	Type       any
	Format     string
	Properties map[string]schema
	Items      *schema
	Required   []string
	Enum       []any
	MaxLength  *int
	OneOf      []schema
}

// document is what the server says of itself, by the ids of operations.
type document struct {
	operations map[string]shape
	schemas    map[string]schema
}

func readDocument(t *testing.T) document {
	t.Helper()
	text, err := rest.Document("test")
	check(t, err)
	var doc struct {
		Paths      map[string]map[string]json.RawMessage
		Components struct{ Schemas map[string]schema }
	}
	check(t, json.Unmarshal(text, &doc))
	d := document{make(map[string]shape), doc.Components.Schemas}
	for _, op := range api.Operations() {
		var s shape
		check(t, json.Unmarshal(doc.Paths[op.Path][strings.ToLower(op.Method)], &s))
		d.operations[op.ID] = s
	}
	return d
}

// body is the schema of what an operation takes as JSON; ok is false when it takes none.
func (d document) body(op api.Info) (s schema, ok bool) {
	if d.operations[op.ID].Body == nil {
		return s, false
	}
	media, ok := d.operations[op.ID].Body.Content["application/json"]
	return d.resolve(media.Schema), ok
}

func (d document) resolve(s schema) schema {
	for _, one := range s.OneOf {
		if one.Ref != "" {
			return d.resolve(one)
		}
	}
	if name, found := strings.CutPrefix(s.Ref, "#/components/schemas/"); found {
		return d.schemas[name]
	}
	return s
}

// reach is what identity and ownership alone make of a call: the statuses that are right, or nil when the call gets
// through to the operation itself.
func reach(op api.Info, who identity, owner string, exists, own bool) []int {
	switch {
	case op.Role == leafward.RolePublic:
		return nil
	case who.role == "":
		return []int{401}
	case !who.role.Includes(op.Role):
		return []int{403}
	case who.team != "" && op.ID == api.ExportAudit.ID: // the chain of hashes holds for the whole log only
		return []int{403}
	case !strings.Contains(op.Path, "{"):
		return nil
	case who.role == leafward.RoleAgent && !own:
		return []int{403, 404}
	case !exists || who.team != "" && owner != "" && owner != who.team:
		return []int{404}
	case who.team != "" && owner == "" && !harmless(op):
		return []int{403}
	}
	return nil
}

// harmless are the operations that change nothing, so that those who see a thing may call them.
func harmless(op api.Info) bool {
	return op.Method == http.MethodGet && op.Role == leafward.RoleViewer || slices.Contains([]string{api.TestIssuerConnection.ID, api.TestTargetConnection.ID}, op.ID)
}

// through are the statuses of a call that got through, whatever the operation made of it.
func through(op api.Info, status int) bool {
	if strings.Count(op.Path, "{") > 1 && status == http.StatusNotFound { // the second thing that is named
		return true
	}
	return status < 500 && !slices.Contains([]int{401, 403, 404, 405}, status)
}

func TestEveryOperationIsClosedToEverybodyElse(t *testing.T) {
	c := newCrowd(t)
	for _, op := range api.Operations() {
		if op.Elsewhere != nil {
			continue
		}
		base, _, one := strings.Cut(op.Path, "/{")
		switch {
		case !one:
			c.tryAll(t, op, leafward.DefaultTeam, nil)
		case makers()[base] == nil:
			t.Errorf("%s: makers has no way to make what %s is about", op.ID, base)
		default:
			for _, owner := range []string{leafward.DefaultTeam, c.other, ""} {
				if owner != "" || !slices.Contains(alone(), base) {
					c.tryAll(t, op, owner, func() string { return makers()[base](t, c.house, owner) })
				}
			}
			c.tryAll(t, op, "no-such", func() string { return "no-such" })
		}
		if op.Role == leafward.RoleAgent && base == "/api/v1/agents" {
			c.tryAll(t, op, leafward.DefaultTeam, func() string { return c.agents[leafward.DefaultTeam] })
			c.tryAll(t, op, c.other, func() string { return c.agents[c.other] })
		}
	}
}

// tryAll has every identity call an operation on something of an owner; make makes it anew when a call may have changed it.
func (c crowd) tryAll(t *testing.T, op api.Info, owner string, make func() string) {
	t.Helper()
	object := ""
	for _, who := range identities(c.other) {
		if make != nil && object == "" {
			object = make()
		}
		status, out := c.attempt(t, op, who, object)
		want := reach(op, who, owner, owner != "no-such", object == c.agents[who.team] && who.role == leafward.RoleAgent)
		if want == nil && !through(op, status) || want != nil && !slices.Contains(want, status) {
			t.Errorf("%s as %s on %q of %q: %d %v, want %v", op.ID, who.name, object, owner, status, out, want)
		}
		if status/100 == 2 && op.Method != http.MethodGet && !harmless(op) {
			object = ""
		}
	}
}

// attempt calls an operation with as little as it can be called with.
func (c crowd) attempt(t *testing.T, op api.Info, who identity, id string) (int, map[string]any) {
	t.Helper()
	path := op.Path
	for strings.Contains(path, "{") {
		before, rest, _ := strings.Cut(path, "{")
		_, after, _ := strings.Cut(rest, "}")
		path, id = before+id+after, "no-such"
	}
	body := bodies()[op.ID]
	if s, takes := c.doc.body(op); takes && body == "" {
		body = "{}"
		if _, named := s.Properties["name"]; named && op.Method == http.MethodPut {
			body = fill(`{"name":"stolen #"}`)
		}
	}
	status, out, _ := c.send(t, who.name, op.Method, path, body)
	return status, out
}

func TestNobodyPutsThingsIntoAnotherTeam(t *testing.T) {
	c := newCrowd(t)
	for _, op := range api.Operations() {
		body, takes := c.doc.body(op)
		if _, teams := body.Properties["team_id"]; !takes || !teams || strings.Contains(op.Path, "/{id}/") {
			continue
		}
		base, _, one := strings.Cut(op.Path, "/{")
		path, properties := base, c.properties(t)[base]
		if properties == "" {
			t.Errorf("%s: properties has no line for %s", op.ID, base)
			continue
		}
		if one {
			path, properties = base+"/"+makers()[base](t, c.house, leafward.DefaultTeam), `"name":"moved #"`
		}
		for _, team := range []string{c.other, "t-none"} {
			status, out, _ := c.send(t, "team admin", op.Method, path, fmt.Sprintf(`{%s,"team_id":%q}`, fill(properties), team))
			if status != 400 || fieldOf(out) != "team_id" {
				t.Errorf("%s into %s: %d %v", op.ID, team, status, out)
			}
		}
	}
}
