package cli

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/leafward/leafward/api"
)

// patience is how long a command waits in all for a server that asks it to come back later.
const patience = time.Minute

// maxReason bounds what is read of the answer of a server that asks to come back later, in octets.
const maxReason = 64 << 10

// patient is a transport that comes back when the server asks for that (429 or 503 with Retry-After), as long as the
// patience of the command lasts; the answer after that is the last word. What is posted has a key, by which the server
// knows it again, so that coming back does nothing twice. It is for one goroutine.
type patient struct {
	http.RoundTripper
	left *time.Duration                       // of the command's patience
	tell func(wait time.Duration, why string) // hears of each wait before it
}

func (p patient) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method == http.MethodPost && request.Header.Get("Idempotency-Key") == "" {
		request = request.Clone(request.Context())
		request.Header.Set("Idempotency-Key", rand.Text())
	}
	for {
		response, err := p.RoundTripper.RoundTrip(request)
		if err != nil {
			return nil, err
		}
		wait := p.asked(request, response)
		if wait == 0 {
			return response, nil
		}
		why, err := reason(response)
		if err != nil {
			return nil, err
		}
		*p.left -= wait
		p.tell(wait, why)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-request.Context().Done():
			timer.Stop()
			return nil, request.Context().Err()
		}
		if request.GetBody != nil {
			request = request.Clone(request.Context())
			if request.Body, err = request.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// asked is how long to wait before coming back; 0 when the answer is the last word. Not being ready is an answer.
func (p patient) asked(request *http.Request, response *http.Response) time.Duration {
	busy := response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusServiceUnavailable
	again := request.Body == nil || request.GetBody != nil
	wait := api.RetryAfter(response.Header, time.Now())
	if !busy || !again || wait > *p.left || request.URL.Path == api.GetReady.Path {
		return 0
	}
	return wait
}

// reason reads why a server asks to come back later, and ends its answer.
func reason(response *http.Response) (string, error) {
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxReason))
	if err != nil {
		return "", err
	}
	var said api.Error
	if json.NewDecoder(bytes.NewReader(text)).Decode(&said) != nil || said.Message == "" {
		return response.Status, nil
	}
	return said.Message, nil
}
