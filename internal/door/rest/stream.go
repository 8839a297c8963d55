package rest

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

// stream is bind for an operation whose answer is written while it is made. An error before the first byte is answered
// as ever; one behind it cuts the answer off, and its form must show that.
func stream[In any](r *router, op api.Operation[In, api.Raw], media string, handle func(context.Context, In, io.Writer) error) {
	declare[In](r, op.Info)
	operation := describe(op.Info)
	operation.Responses = map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{media: {Schema: &huma.Schema{Type: huma.TypeString}}}}}
	huma.Register(r.huma, operation, func(_ context.Context, in *In) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			out := &late{hc: hc, media: media}
			err := r.streamed(hc.Context(), op.ID, func() error { return handle(hc.Context(), *in, out) })
			if err != nil && !out.begun {
				refuse(hc, err)
			}
		}}, nil
	})
}

// streamed runs a handler as bind does: its panic is an error, and its error is logged and in the form of the wire.
func (r *router) streamed(ctx context.Context, id string, handle func() error) error {
	var err error
	func() {
		defer r.recovered(ctx, id, &err)
		err = handle()
	}()
	return r.refused(ctx, id, err)
}

// late sends status and headers with the first byte.
type late struct {
	hc    huma.Context
	media string
	begun bool
}

func (l *late) Write(p []byte) (int, error) {
	if !l.begun {
		l.begun = true
		l.hc.SetHeader("Content-Type", l.media)
		l.hc.SetHeader("Cache-Control", "no-store")
		l.hc.SetStatus(http.StatusOK)
	}
	return l.hc.BodyWriter().Write(p)
}

func refuse(hc huma.Context, err error) {
	wire, ok := errors.AsType[*api.Error](err)
	if !ok {
		wire = api.ErrorOf(err, leafward.RequestID(hc.Context()))
	}
	for name, values := range wire.GetHeaders() {
		hc.SetHeader(name, values[0])
	}
	hc.SetHeader("Content-Type", "application/json")
	hc.SetHeader("Cache-Control", "no-store")
	hc.SetStatus(wire.GetStatus())
	_ = encode(hc.BodyWriter(), wire)
}
