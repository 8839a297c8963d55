package cli_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/cli"
)

// ear hears what a command says while it says it.
type ear struct {
	heard bytes.Buffer
	said  chan string
}

func (e *ear) Write(p []byte) (int, error) {
	e.said <- string(p)
	return e.heard.Write(p)
}

// until waits for words.
func (e *ear) until(t *testing.T, words string) {
	t.Helper()
	for text := range e.said {
		if strings.Contains(text, words) {
			return
		}
	}
	t.Fatalf("it never says %q: %s", words, &e.heard)
}

func TestAWaitGoesOnWhenTheServerIsStartedAgain(t *testing.T) {
	d := atServer(t)
	if _, err := api.RegisterAgent.Call(t.Context(), d.Admin, api.Make[api.AgentRegister]{Body: api.AgentRegister{Name: api.Some("web1")}}); err != nil {
		t.Fatal(err)
	}
	d.ok("target", "add", "shop", "--type", "nginx", "--agent", "web1", "--cert-path", "/etc/nginx/shop.pem", "--key-path", "/etc/nginx/shop.key")
	listening, code := &ear{said: make(chan string, 100)}, make(chan int, 1)
	go func() {
		s := &cli.Session{In: strings.NewReader(""), Out: listening, Err: listening, Version: "test", Getenv: func(name string) string { return d.env[name] }}
		code <- cli.Main(t.Context(), s, []string{"cert", "create", "shop.example.com", "--target", "shop"}, &grammar{})
		close(listening.said)
	}()
	listening.until(t, "waits for the agent web1")
	d.Stop()
	listening.until(t, "the server does not answer")
	d.Start()
	listening.until(t, "the server answers again")
	d.ok("job", "cancel", "shop.example.com")
	listening.until(t, "the issuance of shop.example.com failed: cancelled by")
	if code := <-code; code != 1 {
		t.Errorf("it ended with %d", code)
	}
}
