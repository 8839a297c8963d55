package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"path"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/auth"
)

// maxBody bounds a request's body, in bytes.
const maxBody = 1 << 20

// router binds operations to handlers and applies what holds for all of them.
type router struct {
	mux   *http.ServeMux
	huma  huma.API
	log   *slog.Logger
	bound map[string]api.Info // what has a handler, by the mux's pattern
	bare  map[string]bool     // what has no body, by the mux's pattern: one that is sent is ignored
	query map[string][]string // the parameters of what is bound without huma's checks, by the mux's pattern
}

func newRouter(version string, log *slog.Logger) *router {
	api.UseErrors()
	config := huma.DefaultConfig("leafward", version)
	config.CreateHooks = nil
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.RejectUnknownQueryParameters = true
	config.Formats = map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat}
	config.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	config.Info.Description = "Issues, deploys, proves, renews and revokes X.509 certificates."
	config.Security = []map[string][]string{{"bearerAuth": {}}}
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"bearerAuth": {Type: "http", Scheme: "bearer", Description: "An API key."}}
	mux := http.NewServeMux()
	return &router{mux: mux, huma: humago.New(mux, config), log: log, bound: make(map[string]api.Info), bare: make(map[string]bool), query: make(map[string][]string)}
}

// answer is what huma writes: the handler's value as the body, its revision as the ETag.
type answer[Out any] struct {
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Replayed string `header:"Idempotency-Replayed"`
	Cache    string `header:"Cache-Control"`
	Body     Out
}

// empty is the answer without a body.
type empty struct{}

// declare notes an operation that gets a handler, and whether its input has a body.
func declare[In any](r *router, op api.Info) (pattern string) {
	pattern = op.Method + " " + op.Path
	r.bound[pattern] = op
	if _, body := reflect.TypeFor[In]().FieldByName("Body"); !body {
		r.bare[pattern] = true
	}
	return pattern
}

// bind gives the operation its handler.
func bind[In, Out any](r *router, op api.Operation[In, Out], handle func(context.Context, In) (Out, error)) {
	declare[In](r, op.Info)
	operation := describe(op.Info)
	guarded := func(ctx context.Context, in *In) (out Out, err error) {
		defer r.recovered(ctx, op.ID, &err)
		return handle(ctx, *in)
	}
	if _, none := any(*new(Out)).(api.None); none {
		huma.Register(r.huma, operation, func(ctx context.Context, in *In) (*empty, error) {
			_, err := guarded(ctx, in)
			return nil, r.refused(ctx, op.ID, err)
		})
		return
	}
	huma.Register(r.huma, operation, func(ctx context.Context, in *In) (*answer[Out], error) {
		out, err := guarded(ctx, in)
		if err != nil {
			return nil, r.refused(ctx, op.ID, err)
		}
		a := &answer[Out]{Body: out, Cache: "no-store"}
		if tagged, ok := any(out).(interface{ ETag() int64 }); ok {
			a.ETag = fmt.Sprintf("%q", fmt.Sprint(tagged.ETag()))
		}
		if again, ok := any(out).(interface{ IdempotencyReplayed() bool }); ok && again.IdempotencyReplayed() {
			a.Replayed = "true"
		}
		return a, nil
	})
}

// describe is the operation for the document.
func describe(info api.Info) huma.Operation {
	common := []int{400, 401, 403, 429, 500, 503}
	if info.Role == leafward.RolePublic {
		common = []int{400, 429, 500, 503}
	}
	if strings.Contains(info.Path, "{") {
		common = append(common, 404)
	}
	if info.Method != http.MethodGet {
		common = append(common, 413, 415, 507)
	}
	common = append(common, info.Errors...)
	slices.Sort(common)
	op := huma.Operation{
		OperationID: info.ID, Method: info.Method, Path: info.Path, Tags: []string{info.Tag}, Summary: info.Summary,
		DefaultStatus: info.Status, MaxBodyBytes: maxBody, BodyReadTimeout: noTimeout, Errors: slices.Compact(common), RejectUnknownQueryParameters: true,
		Metadata: map[string]any{"lax": info.Lax},
	}
	if info.Role == leafward.RolePublic {
		op.Security = []map[string][]string{}
	} else {
		op.Extensions = map[string]any{"x-role": string(info.Role)}
	}
	return op
}

// noTimeout leaves reading the body to the deadlines of the server. The body was read before huma sees it: a deadline set
// then would end the connection, and so the request, while its handler waits.
const noTimeout = -1

// permit is the one place where a caller's role meets an operation's.
func permit(ctx context.Context, info api.Info) error {
	if info.Role == leafward.RolePublic {
		return nil
	}
	actor, ok := leafward.ActorFrom(ctx)
	if !ok || actor.ID == "" {
		return auth.Refusal(ctx)
	}
	if !actor.Role.Includes(info.Role) {
		return leafward.Errorf(leafward.Denied, fmt.Sprintf("use a key with the role %s", info.Role), "%q needs the role %s, and the key of %s has %s", info.Summary, info.Role, actor.Name, actor.Role)
	}
	return nil
}

// refused logs what is nobody's fault but ours, and translates the error.
func (r *router) refused(ctx context.Context, id string, err error) error {
	if err == nil {
		return nil
	}
	wire := api.ErrorOf(err, leafward.RequestID(ctx))
	if wire.GetStatus() >= http.StatusInternalServerError && ctx.Err() == nil {
		r.log.ErrorContext(ctx, "operation failed", "operation", id, "request_id", leafward.RequestID(ctx), "error", err)
	}
	return wire
}

func (r *router) recovered(ctx context.Context, id string, err *error) {
	if p := recover(); p != nil {
		r.log.ErrorContext(ctx, "operation panicked", "operation", id, "request_id", leafward.RequestID(ctx), "panic", p, "stack", string(debug.Stack()))
		*err = errors.New("panic")
	}
}

// ServeHTTP refuses what huma would let pass, dispatches, and answers unknown paths and methods in the API's form.
func (r *router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	ctx := req.Context()
	defer func() {
		if p := recover(); p != nil {
			r.log.ErrorContext(ctx, "request panicked", "path", req.URL.Path, "request_id", leafward.RequestID(ctx), "panic", p, "stack", string(debug.Stack()))
			WriteError(w, req, errors.New("panic"))
		}
	}()
	_, pattern := r.mux.Handler(req)
	if given := req.URL.EscapedPath(); path.Clean(given) != strings.TrimSuffix(given, "/") && given != "/" {
		pattern = "" // the mux would send the client elsewhere, and a body with it
	}
	req.Pattern = pattern // for the access log, also when the request goes no further
	if pattern == "" {
		WriteError(w, req, r.unknown(req))
		return
	}
	if info, ok := r.bound[pattern]; ok {
		if err := permit(ctx, info); err != nil {
			WriteError(w, req, err)
			return
		}
	}
	if r.bare[pattern] {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	if err := errors.Join(strict(w, req), r.strange(pattern, req)); err != nil {
		WriteError(w, req, err)
		return
	}
	r.mux.ServeHTTP(w, req)
}

// strange refuses query parameters that huma would not look at.
func (r *router) strange(pattern string, req *http.Request) error {
	known, ours := r.query[pattern]
	if !ours {
		return nil
	}
	var p leafward.Problems
	for _, name := range slices.Sorted(maps.Keys(req.URL.Query())) {
		p.Check(slices.Contains(known, name), name, "is not a parameter of this operation", "use only "+strings.Join(known, ", "))
	}
	return p.Err()
}

// unknown tells a path that does not exist from a method that it does not have.
func (r *router) unknown(req *http.Request) error {
	if given := req.URL.EscapedPath(); path.Clean(given) != strings.TrimSuffix(given, "/") {
		return leafward.Errorf(leafward.NotFound, "ask for "+path.Clean(given), "there is nothing at %.200s", req.URL.Path)
	}
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		probe := req.Clone(req.Context())
		probe.Method = method
		if _, pattern := r.mux.Handler(probe); pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) > 0 {
		return leafward.Errorf(leafward.NotAllowed, "use "+strings.Join(allowed, ", "), "%s has no method %.16s", req.URL.Path, req.Method)
	}
	return leafward.Errorf(leafward.NotFound, "see /api/openapi.json for the paths there are", "there is nothing at %.200s", req.URL.Path)
}

// strict reads the body once, bounded, and refuses what JSON decoders accept in silence; repeated query parameters, and
// paths and parameters that cannot be asked for, too.
func strict(w http.ResponseWriter, req *http.Request) error {
	if unspeakable(req.URL.Path) != "" {
		return leafward.Errorf(leafward.NotFound, "see /api/openapi.json for the paths there are", "there is nothing at %.200q", req.URL.Path)
	}
	query, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return invalid("query", "cannot be read: "+err.Error(), "escape what is not a letter or digit, and write & between parameters")
	}
	for name, values := range query {
		if len(values) > 1 {
			return invalid(name, "is given more than once", "send it once")
		}
		if problem := unspeakable(values[0]); problem != "" {
			return invalid(name, problem, "remove it")
		}
	}
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	if kind := req.Header.Get("Content-Type"); kind != "" && !strings.HasPrefix(strings.ToLower(kind), "application/json") {
		return leafward.Errorf(leafward.UnsupportedMedia, "send application/json", "the body is %.80s", kind)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return leafward.Errorf(leafward.TooLarge, "send less in one request", "the body is larger than %d bytes", maxBody)
		}
		return invalid("body", "could not be read", "send it again")
	}
	if len(body) > 0 {
		if err := checkJSON(body); err != nil {
			return err
		}
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	req.ContentLength = int64(len(body))
	return nil
}

// unspeakable says what is in a text that no database takes; "" is nothing.
func unspeakable(text string) string {
	switch {
	case strings.ContainsRune(text, 0):
		return "contains a NUL character"
	case !utf8.ValidString(text):
		return "contains something that is not UTF-8"
	}
	return ""
}

// WriteError answers an error in the API's form.
func WriteError(w http.ResponseWriter, req *http.Request, err error) {
	wire := api.ErrorOf(err, leafward.RequestID(req.Context()))
	for name, values := range wire.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(wire.GetStatus())
	_ = encode(w, wire)
}

func invalid(field, problem, fix string) error {
	var p leafward.Problems
	p.Add(field, problem, fix)
	return p.Err()
}

// missing are the declared operations without a handler.
func (r *router) missing() (ids []string) {
	for _, info := range api.Operations() {
		if _, ok := r.bound[info.Method+" "+info.Path]; !ok {
			ids = append(ids, info.ID)
		}
	}
	return ids
}
