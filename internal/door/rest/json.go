package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/leafward/leafward"
)

// maxDepth bounds the nesting of a body.
const maxDepth = 32

// checkJSON refuses what encoding/json accepts in silence: broken UTF-8, half of a surrogate pair, NUL, keys that are
// repeated or differ in case only, numbers beyond 64 bits, deep nesting, and anything behind the value.
func checkJSON(body []byte) error {
	if !utf8.Valid(body) {
		return invalid("body", "is not valid UTF-8", "send JSON encoded as UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := checkValue(d, "body", 0); err != nil {
		if _, ok := err.(*leafward.Error); ok { //nolint:errorlint // made right below, never wrapped
			return err
		}
		return invalid("body", "is not valid JSON", "check the syntax near byte "+fmt.Sprint(d.InputOffset()))
	}
	if _, err := d.Token(); err != io.EOF {
		return invalid("body", "has something behind the JSON value", "send exactly one JSON value")
	}
	return nil
}

func checkValue(d *json.Decoder, at string, depth int) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	if depth > maxDepth {
		return invalid(at, "is nested too deeply", fmt.Sprintf("use at most %d levels", maxDepth))
	}
	switch token := token.(type) {
	case string:
		if err := checkText(at, token); err != nil {
			return err
		}
	case json.Number:
		if err := checkNumber(at, token); err != nil {
			return err
		}
	case json.Delim:
		if token == '[' {
			for i := 0; d.More(); i++ {
				if err := checkValue(d, fmt.Sprintf("%s[%d]", at, i), depth+1); err != nil {
					return err
				}
			}
		} else if err := checkObject(d, at, depth); err != nil {
			return err
		}
		_, err = d.Token()
	}
	return err
}

// checkNumber refuses what neither 64 bits nor a float hold; decoders would tell of it in the words of Go.
func checkNumber(at string, number json.Number) error {
	_, whole := number.Int64()
	_, float := number.Float64()
	if strings.ContainsAny(number.String(), ".eE") {
		whole = nil
	}
	if whole != nil || float != nil {
		return invalid(at, "is a number beyond 64 bits", "use a smaller one")
	}
	return nil
}

// checkText refuses a NUL, and what encoding/json made of half of a surrogate pair.
func checkText(at, text string) error {
	switch {
	case strings.ContainsRune(text, 0):
		return invalid(at, "contains a NUL character", "remove it")
	case strings.ContainsRune(text, utf8.RuneError):
		return invalid(at, "contains a broken character (U+FFFD, or half of a surrogate pair)", "write it out or remove it")
	}
	return nil
}

func checkObject(d *json.Decoder, at string, depth int) error {
	seen := make(map[string]bool)
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return err
		}
		key, _ := token.(string)
		name := strings.TrimPrefix(fmt.Sprintf("%s.%.100s", at, key), "body.")
		if err := checkText(at, key); err != nil {
			return err
		}
		if folded := strings.ToLower(key); seen[folded] {
			return invalid(name, "is given more than once", "send each property once, in the case of the document")
		}
		seen[strings.ToLower(key)] = true
		if err := checkValue(d, name, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// encode writes JSON without escaping what HTML would need.
func encode(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
