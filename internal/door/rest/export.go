package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/leafward/leafward/api"
)

const pemFile = "application/x-pem-file"

// exportPEM binds the one operation that answers JSON or a file.
func (s *server) exportPEM(r *router) {
	info := api.ExportCertificatePEM.Info
	declare[api.ExportPEMInput](r, info)
	operation := describe(info)
	operation.Responses = map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{
		"application/json": {Schema: r.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.PEMExport](), true, "")},
		pemFile:            {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
	}}}
	huma.Register(r.huma, operation, func(_ context.Context, in *api.ExportPEMInput) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			err := r.streamed(hc.Context(), info.ID, func() error {
				out, name, err := s.pem(hc.Context(), in.ID)
				if err != nil {
					return err
				}
				return writePEM(hc, out, name, in.Download == "true")
			})
			if err != nil {
				refuse(hc, err)
			}
		}}, nil
	})
}

// pem is the certificate's current version and the name of a file for it.
func (s *server) pem(ctx context.Context, id string) (out api.PEMExport, name string, err error) {
	leaf, above, err := s.Certificates.Export(ctx, id)
	return api.PEMExport{CertPEM: string(leaf), ChainPEM: string(above), FullPEM: string(leaf) + string(above)}, id + ".pem", err
}

func writePEM(hc huma.Context, out api.PEMExport, name string, file bool) error {
	body, media := []byte(out.FullPEM), pemFile
	if file {
		hc.SetHeader("Content-Disposition", `attachment; filename="`+name+`"`)
	} else {
		var err error
		if body, err = json.Marshal(out); err != nil {
			return err
		}
		media = "application/json"
	}
	hc.SetHeader("Content-Type", media)
	hc.SetHeader("Cache-Control", "no-store")
	hc.SetStatus(http.StatusOK)
	_, _ = hc.BodyWriter().Write(body) // a client that went away hears nothing anyway
	return nil
}

// deployments lists where a certificate must be and what is known of it there.
func (s *server) deployments(ctx context.Context, in api.ByID) (out api.DeploymentList, err error) {
	places, err := s.Certificates.Places(ctx, in.ID)
	out = api.DeploymentList{Data: make([]api.Deployment, len(places)), Total: int64(len(places))}
	for i := range places {
		t, at := &places[i].Target, &places[i].Installation
		config := map[string]any{}
		if len(t.Config) > 0 {
			if err := json.Unmarshal(t.Config, &config); err != nil {
				return out, err
			}
		}
		out.Data[i] = api.DeploymentOf(t, at, config)
	}
	return out, err
}
