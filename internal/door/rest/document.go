package rest

import (
	"encoding/json"
	"log/slog"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// Document is the OpenAPI document of this version, indented.
func Document(version string) ([]byte, error) {
	r := build(Deps{Build: Build{Version: version}, Log: slog.New(slog.DiscardHandler)})
	text, err := json.MarshalIndent(r.huma.OpenAPI(), "", "  ")
	return append(text, '\n'), err
}

// document tidies the document and serves it.
func (r *router) document() {
	doc := r.huma.OpenAPI()
	for _, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete} {
			if op == nil {
				continue
			}
			for _, p := range op.Parameters {
				r.plainNumbers(p.Schema)
			}
			if op.RequestBody != nil {
				for _, media := range op.RequestBody.Content {
					r.plainNumbers(media.Schema)
				}
			}
			delete(op.Responses, "422")
		}
	}
	text, err := json.Marshal(doc)
	if err != nil {
		r.log.Error("the API document cannot be written", "error", err)
	}
	r.mux.HandleFunc("GET /api/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(text)
	})
}

// plainNumbers clears the formats that huma gives the integers of an input: the given contract has none there.
func (r *router) plainNumbers(s *huma.Schema) {
	if s == nil {
		return
	}
	if s.Ref != "" {
		s = r.huma.OpenAPI().Components.Schemas.SchemaFromRef(s.Ref)
	}
	if s.Type == "integer" {
		s.Format = ""
	}
	r.plainNumbers(s.Items)
	for _, p := range s.Properties {
		r.plainNumbers(p)
	}
}
