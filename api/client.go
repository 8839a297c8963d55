package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/leafward/leafward"
)

// Client calls a server.
type Client struct {
	Base string       // https://host:port, no slash at the end
	Key  string       // API key; "" on the local socket
	HTTP *http.Client // trusts the server's root, or dials the socket
	Name string       // User-Agent
}

// maxAnswer bounds what a client reads of one answer, in bytes.
const maxAnswer = 64 << 20

// Call sends the operation and returns the body of its answer; a refusal comes back as *Error.
func (o Operation[In, Out]) Call(ctx context.Context, c *Client, in In) (out Out, err error) {
	stream, err := o.Open(ctx, c, in)
	if err != nil {
		return out, err
	}
	defer stream.Close()
	body, err := io.ReadAll(io.LimitReader(stream, maxAnswer))
	if err != nil {
		return out, fmt.Errorf("reading the answer of %s %s: %w", o.Method, o.Path, err)
	}
	if raw, ok := any(&out).(*Raw); ok {
		raw.Body = body
		return out, nil
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &out); err != nil {
			return out, fmt.Errorf("the answer of %s %s is not what the contract says: %w", o.Method, o.Path, err)
		}
	}
	return out, nil
}

// Open is Call for an answer that is read while it comes, however long. The caller closes it.
func (o Operation[In, Out]) Open(ctx context.Context, c *Client, in In) (io.ReadCloser, error) {
	request, err := o.request(ctx, c, reflect.ValueOf(in))
	if err != nil {
		return nil, err
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return nil, &leafward.Error{Kind: leafward.Later, Message: "the server at " + c.Base + " cannot be reached", Fix: "check that it runs and that the address is right", Cause: err}
	}
	if response.StatusCode/100 == 2 {
		return response.Body, nil
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s %s: %w", o.Method, o.Path, err)
	}
	return nil, refused(response, body)
}

// Raw is the answer of an operation whose body is not JSON.
type Raw struct{ Body []byte }

// refused reads an error answer; one that is not ours is told by its status.
func refused(response *http.Response, body []byte) error {
	e := &Error{status: response.StatusCode, after: int(math.Ceil(RetryAfter(response.Header, time.Now()).Seconds()))}
	if json.Unmarshal(body, e) != nil || e.Code == "" {
		e.Code = string(kinds(response.StatusCode))
		e.Message = "the server answered " + response.Status
		e.Fix = "check that the address is that of a leafward server"
	}
	return e
}

// RetryAfter reads the header of that name, which is seconds or a date (RFC 9110 § 10.2.3); 0 when it says nothing.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// request fills the operation's path, query, headers and body from the tags of its input.
func (o Operation[In, Out]) request(ctx context.Context, c *Client, in reflect.Value) (*http.Request, error) {
	path, query, headers := o.Path, url.Values{}, http.Header{}
	var body io.Reader
	err := walk(in, func(f reflect.StructField, v reflect.Value) error {
		if f.Name == "Body" {
			if v.Kind() == reflect.Pointer && v.IsNil() {
				return nil
			}
			text, err := json.Marshal(v.Interface())
			body = bytes.NewReader(text)
			headers.Set("Content-Type", "application/json")
			return err
		}
		if name := f.Tag.Get("path"); name != "" {
			path = strings.Replace(path, "{"+name+"}", url.PathEscape(fmt.Sprint(v.Interface())), 1)
		}
		if v.IsZero() {
			return nil
		}
		if name, _, _ := strings.Cut(f.Tag.Get("query"), ","); name != "" {
			query.Set(name, fmt.Sprint(v.Interface()))
		}
		if name := f.Tag.Get("header"); name != "" {
			headers.Set(name, fmt.Sprint(v.Interface()))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, o.Method, c.Base+path, body)
	if err != nil {
		return nil, err
	}
	request.Header = headers
	request.Header.Set("User-Agent", c.Name)
	if c.Key != "" {
		request.Header.Set("Authorization", "Bearer "+c.Key)
	}
	return request, nil
}

// walk visits the fields of an input, embedded structs flattened.
func walk(v reflect.Value, visit func(reflect.StructField, reflect.Value) error) error {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			if err := walk(v.Field(i), visit); err != nil {
				return err
			}
			continue
		}
		if err := visit(f, v.Field(i)); err != nil {
			return err
		}
	}
	return nil
}
