package target

import (
	"encoding/json"
	"testing"
)

func FuzzParseJournal(f *testing.F) {
	body, err := json.Marshal(swap{ID: "x", Number: 1, State: open, Files: []entry{{Path: "/etc/nginx/cert.pem"}}})
	if err != nil {
		f.Fatal(err)
	}
	whole := sum(body) + "\n" + string(body)
	for _, seed := range []string{whole, whole[:len(whole)-1], whole + " ", "", "\n", sum(nil) + "\n", sum([]byte("{")) + "\n{"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseJournal(text)
		if (s == nil) == (err == nil) {
			t.Fatalf("got %v and %v", s, err)
		}
		// With a checksum that fits, only what is JSON of the right shape may pass, and nothing may panic.
		s, err = parseJournal(append([]byte(sum(text)+"\n"), text...))
		if (s == nil) == (err == nil) {
			t.Fatalf("got %v and %v", s, err)
		}
	})
}
