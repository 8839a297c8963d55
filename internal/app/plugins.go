package app

import (
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/plugin"
)

//go:generate go run generate.go

// plugins describe what is built in, for forms and documentation.
func (a *App) plugins() (all []api.Plugin, err error) {
	add := func(kind, typ, title, doc string, config any) {
		schema, wrong := plugin.Schema(config)
		if err == nil {
			err = wrong
		}
		all = append(all, api.Plugin{Kind: kind, Type: typ, Title: title, Doc: doc, Schema: schema})
	}
	for _, p := range a.issuerTypes() {
		add("issuer", p.Type, p.Title, p.Doc, p.Config)
	}
	for _, p := range targetTypes() {
		add("target", p.Type, p.Title, p.Doc, p.Config)
	}
	return all, err
}
