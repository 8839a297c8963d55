//go:build testhooks

package hook

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/pprof"
	"time"
)

// maxBody bounds a request to the handler, in bytes.
const maxBody = 64 << 10

// Handler serves the local socket, which admits the owner of the process only:
//
//	GET  /testhooks/clock      → {"now", "offset"}
//	POST /testhooks/clock      {"advance": "24h"}, {"set": "2030-01-01T00:00:00Z"} or {"skew": "90s"} → the same
//	GET  /testhooks/failpoint  → [{"name", "action", "hits", "waiting"}]
//	POST /testhooks/failpoint  {"name", "action"}, an empty action clears it → the same
//	GET  /testhooks/profile    ?seconds=5 → where the processor's time goes meanwhile, for go tool pprof
//	GET  /testhooks/goroutines ?debug=2 → what everything that runs is doing
func Handler(clock *Clock, points *Points) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /testhooks/clock", func(w http.ResponseWriter, _ *http.Request) { answerClock(w, clock) })
	mux.HandleFunc("POST /testhooks/clock", func(w http.ResponseWriter, r *http.Request) {
		if err := moveClock(r, clock); err != nil {
			refuse(w, err)
			return
		}
		answerClock(w, clock)
	})
	mux.HandleFunc("GET /testhooks/failpoint", func(w http.ResponseWriter, _ *http.Request) { answer(w, points.List()) })
	mux.HandleFunc("POST /testhooks/failpoint", func(w http.ResponseWriter, r *http.Request) {
		if err := setPoint(r, points); err != nil {
			refuse(w, err)
			return
		}
		answer(w, points.List())
	})
	mux.HandleFunc("GET /testhooks/profile", pprof.Profile)
	mux.Handle("GET /testhooks/goroutines", pprof.Handler("goroutine"))
	return mux
}

func moveClock(r *http.Request, clock *Clock) error {
	var in struct {
		Advance string    `json:"advance"`
		Set     time.Time `json:"set"`
		Skew    string    `json:"skew"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	if d, err := time.ParseDuration(in.Skew); err == nil && in.Advance == "" && in.Set.IsZero() {
		clock.Skew(d)
		return nil
	}
	if in.Skew != "" || (in.Advance == "") == in.Set.IsZero() {
		return errors.New("say either advance, a duration such as 24h, or set, a time in RFC 3339, or skew, how far this machine's clock alone is off")
	}
	if in.Advance == "" {
		clock.Set(in.Set)
		return nil
	}
	d, err := time.ParseDuration(in.Advance)
	if err != nil {
		return err
	}
	clock.Advance(d)
	return nil
}

func setPoint(r *http.Request, points *Points) error {
	var in struct {
		Name   string `json:"name"`
		Action string `json:"action"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	if in.Action == "" {
		points.Clear(in.Name)
		return nil
	}
	return points.Set(in.Name, in.Action)
}

func read(r *http.Request, v any) error {
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

func answerClock(w http.ResponseWriter, clock *Clock) {
	answer(w, map[string]any{"now": clock.Now().UTC(), "offset": clock.Offset().String()})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a caller who has gone needs no answer
}

func refuse(w http.ResponseWriter, err error) { http.Error(w, err.Error(), http.StatusBadRequest) }
