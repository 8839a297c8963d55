package rest

import (
	"context"
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/store"
)

func (s *server) revocation(r *router) {
	bind(r, api.ListCRLCache, func(ctx context.Context, _ api.Nothing) (out api.CRLCache, err error) {
		err = s.DB.View(ctx, func(v *store.View) error {
			states, err := v.CRLStates()
			out = api.CRLCache{CacheRows: make([]api.CRLCacheRow, len(states)), RowCount: len(states), GeneratedAt: v.Now}
			for i := range states {
				out.CacheRows[i] = cacheRow(&states[i])
			}
			return err
		})
		return out, err
	})
	elsewhere(r, api.GetDERCRL)
	elsewhere(r, api.HandleOCSP)
	elsewhere(r, api.HandleOCSPPost)
	elsewhere(r, api.GetCACertificate)
}

func cacheRow(s *store.CRLState) api.CRLCacheRow {
	row := api.CRLCacheRow{
		IssuerID: s.Issuer, AuthorityID: s.Authority, Name: s.Name, CachePresent: s.Present, IsStale: s.Stale, CRLNumber: s.Number,
		RevokedCount: s.Entries, SizeBytes: s.Size, WaitingCount: s.Waiting, RecentEvents: make([]api.CRLEvent, len(s.Events)),
	}
	if s.Present {
		row.ThisUpdate, row.NextUpdate = &s.ThisUpdate, &s.NextUpdate
	}
	for i := range s.Events {
		row.RecentEvents[i] = api.CRLEventOf(&s.Events[i])
	}
	return row
}

// elsewhere puts an operation of another door, mounted beside this one, into the document.
func elsewhere[In any](r *router, op api.Operation[In, api.Raw]) {
	operation := describe(op.Info)
	registry := r.huma.OpenAPI().Components.Schemas
	input := reflect.TypeFor[In]()
	for i := range input.NumField() {
		f := input.Field(i)
		p := &huma.Param{Name: f.Tag.Get("path"), In: "path", Required: true, Description: f.Tag.Get("doc"), Schema: huma.SchemaFromField(registry, f, "")}
		if p.Name == "" {
			p.Name, p.In, p.Required = f.Tag.Get("query"), "query", false
		}
		operation.Parameters = append(operation.Parameters, p)
	}
	binary := &huma.Schema{Type: huma.TypeString, Format: "binary"}
	if op.Elsewhere.Ask != "" {
		operation.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{op.Elsewhere.Ask: {Schema: binary}}}
	}
	answer := map[string]*huma.MediaType{op.Elsewhere.Answer: {Schema: binary}}
	if op.Elsewhere.Also != "" {
		answer[op.Elsewhere.Also] = &huma.MediaType{Schema: binary}
	}
	operation.Responses = map[string]*huma.Response{"200": {Description: "OK", Content: answer}}
	wrong := &huma.MediaType{Schema: registry.Schema(reflect.TypeFor[api.Error](), true, "Error")}
	for _, status := range operation.Errors {
		operation.Responses[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status), Content: map[string]*huma.MediaType{"application/json": wrong}}
	}
	r.huma.OpenAPI().AddOperation(&operation)
	r.bound[op.Method+" "+op.Path] = op.Info
}
