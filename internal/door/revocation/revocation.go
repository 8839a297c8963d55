// Package revocation is the world's door to what relying parties fetch without a key: CRLs, OCSP answers and the
// certificates of authorities, below /.well-known/pki/.
package revocation

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/ca"
)

// Prefix is where the door stands. Requests must reach it before anything cleans their paths: the base64 of an OCSP
// request may hold two slashes in a row.
const Prefix = "/.well-known/pki/"

// maxRequest is the size in octets that an OCSP request must stay under.
const maxRequest = 10_000

// Door answers for the authorities.
type Door struct {
	authorities *ca.CA
	log         *slog.Logger
}

// New makes the door.
func New(authorities *ca.CA, log *slog.Logger) *Door { return &Door{authorities, log} }

// ServeHTTP dispatches on the escaped path.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	path := r.URL.EscapedPath()
	var err error
	switch {
	case strings.HasPrefix(path, ca.PathCRL):
		err = d.crl(w, r, strings.TrimPrefix(path, ca.PathCRL))
	case strings.HasPrefix(path, ca.PathOCSP):
		err = d.ocsp(w, r, strings.TrimPrefix(path, ca.PathOCSP))
	case strings.HasPrefix(path, ca.PathCA):
		err = d.certificate(w, r, strings.TrimPrefix(path, ca.PathCA))
	default:
		err = missing(r)
	}
	if err != nil {
		d.fail(w, r, err)
	}
}

// reading refuses everything but GET and HEAD.
func reading(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	w.Header().Set("Allow", "GET, HEAD")
	return leafward.Errorf(leafward.NotAllowed, "use GET", "%.20q is not a method of this path", r.Method)
}

func missing(r *http.Request) error {
	return leafward.Errorf(leafward.NotFound, "use /.well-known/pki/crl/, ocsp/ or ca/ with the id of an authority or issuer", "there is nothing at %.200q", r.URL.Path)
}

// crl gives the list that an authority published last. Caches must ask each time, so that nobody sees an old one.
func (d *Door) crl(w http.ResponseWriter, r *http.Request, id string) error {
	if err := reading(w, r); err != nil {
		return err
	}
	if !isID(id) {
		return missing(r)
	}
	list, err := d.authorities.CRL(r.Context(), id)
	if err != nil {
		return err
	}
	give(w, r, list.DER, "application/pkix-crl", fmt.Sprintf("%s-%d", list.Authority, list.Number), "public, no-cache")
	return nil
}

// certificate gives the certificate of an authority, or the root of the first start, in DER or with ?format=pem in PEM.
func (d *Door) certificate(w http.ResponseWriter, r *http.Request, id string) error {
	if err := reading(w, r); err != nil {
		return err
	}
	var der []byte
	var err error
	switch {
	case id == "root":
		der, err = d.authorities.Root(r.Context())
	case isID(id):
		der, err = d.authorities.Certificate(r.Context(), id)
	default:
		err = missing(r)
	}
	if err != nil {
		return err
	}
	const cache = "public, max-age=300"
	switch format := r.URL.Query().Get("format"); format {
	case "", "der":
		give(w, r, der, "application/pkix-cert", digest(der), cache)
	case "pem":
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		give(w, r, text, "application/x-pem-file", digest(text), cache)
	default:
		var p leafward.Problems
		p.Add("format", fmt.Sprintf("%.40q is not a format", format), "use der or pem")
		return p.Err()
	}
	return nil
}

// ocsp answers POST (RFC 6960 appendix A.1), GET with the request in the path, and GET with a bare serial number.
func (d *Door) ocsp(w http.ResponseWriter, r *http.Request, rest string) error {
	id, tail, found := strings.Cut(rest, "/")
	if !isID(id) {
		return missing(r)
	}
	var answer ca.Answer
	var err error
	switch {
	case r.Method == http.MethodPost && tail == "":
		answer, err = d.post(w, r, id)
	case r.Method == http.MethodPost || !found || tail == "":
		w.Header().Set("Allow", allowed(tail))
		return leafward.Errorf(leafward.NotAllowed, "send POST to /ocsp/ID, or GET /ocsp/ID/ with a serial number or a request in base64", "%.20q is not a method of this path", r.Method)
	case reading(w, r) != nil:
		return reading(w, r)
	case isHex(tail):
		answer, err = d.authorities.RespondSerial(r.Context(), id, tail)
	default:
		answer, err = d.authorities.RespondPath(r.Context(), id, tail)
	}
	if err != nil {
		return err
	}
	const kind = "application/ocsp-response"
	if r.Method == http.MethodPost {
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Length", strconv.Itoa(len(answer.DER)))
		_, _ = w.Write(answer.DER) // the client may be gone
		return nil
	}
	cache := "no-store"
	if answer.MaxAge > 0 {
		cache = fmt.Sprintf("public, max-age=%d, must-revalidate, no-transform", int(answer.MaxAge/time.Second))
		w.Header().Set("Expires", time.Now().Add(answer.MaxAge).UTC().Format(http.TimeFormat))
	}
	give(w, r, answer.DER, kind, digest(answer.DER), cache)
	return nil
}

func allowed(tail string) string {
	if tail == "" {
		return "POST"
	}
	return "GET, HEAD"
}

// post reads the request from the body.
func (d *Door) post(w http.ResponseWriter, r *http.Request, id string) (ca.Answer, error) {
	const media = "application/ocsp-request"
	kind, wrong := r.Header.Get("Content-Type"), error(nil)
	if kind != media {
		kind, _, wrong = mime.ParseMediaType(kind)
	}
	if wrong != nil || kind != media {
		return ca.Answer{}, leafward.Errorf(leafward.UnsupportedMedia, "send the DER request with Content-Type: application/ocsp-request", "the content type %.80q is not that of an OCSP request", r.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest-1))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return ca.Answer{}, leafward.Errorf(leafward.TooLarge, "ask about fewer certificates at once", "an OCSP request has less than %d octets", maxRequest)
	}
	if err != nil {
		return ca.Answer{}, leafward.Errorf(leafward.Invalid, "send the whole request", "the request could not be read")
	}
	return d.authorities.Respond(r.Context(), id, body)
}

// give answers with a tag, so that a client that has the content is told 304. There is no Last-Modified: two CRLs may be
// of the same second.
func give(w http.ResponseWriter, r *http.Request, content []byte, kind, tag, cache string) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("ETag", `"`+tag+`"`)
	h.Set("Cache-Control", cache)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// fail answers with the error envelope of the REST contract.
func (d *Door) fail(w http.ResponseWriter, r *http.Request, err error) {
	kind := leafward.KindOf(err)
	e, ok := errors.AsType[*leafward.Error](err)
	if !ok || kind == leafward.Internal {
		if !errors.Is(err, context.Canceled) {
			d.log.ErrorContext(r.Context(), "a request below "+Prefix+" failed", "path", r.URL.Path, "error", err)
		}
		e = leafward.Errorf(leafward.Internal, "look for the request id in the server's log", "something went wrong inside the server")
	}
	body := struct {
		Error     leafward.Kind    `json:"error"`
		Message   string           `json:"message"`
		Fix       string           `json:"fix,omitempty"`
		Fields    []leafward.Field `json:"fields,omitempty"`
		RequestID string           `json:"request_id"`
	}{e.Kind, e.Message, e.Fix, e.Fields, w.Header().Get("X-Request-ID")}
	text, err := json.Marshal(body)
	if err != nil {
		text = []byte(`{"error":"internal"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	if e.Kind == leafward.Later {
		h.Set("Retry-After", fmt.Sprint(max(1, int(e.After/time.Second))))
	}
	w.WriteHeader(status(e.Kind))
	if r.Method != http.MethodHead {
		_, _ = w.Write(text) // the client may be gone
	}
}

// status is the HTTP status of a kind of failure. What is not ours is not implemented here.
func status(kind leafward.Kind) int {
	switch kind {
	case leafward.Invalid:
		return http.StatusBadRequest
	case leafward.NotFound:
		return http.StatusNotFound
	case leafward.NotAllowed:
		return http.StatusMethodNotAllowed
	case leafward.TooLarge:
		return http.StatusRequestEntityTooLarge
	case leafward.UnsupportedMedia:
		return http.StatusUnsupportedMediaType
	case leafward.UnsupportedType:
		return http.StatusNotImplemented
	case leafward.Conflict:
		return http.StatusConflict
	case leafward.Later, leafward.StorageFull:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
