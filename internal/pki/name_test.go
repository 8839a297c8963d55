package pki

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestNamesAreReadAsWhatTheyAreInOneForm(t *testing.T) {
	parsed := names(t,
		"WWW.Example.COM.", "*.example.com", "localhost", "xn--bcher-kva.example", "www.example.com",
		"10.0.0.1", "::ffff:10.0.0.1", "2001:DB8:0::1",
		"Jane.Doe+tag@Example.COM",
		"spiffe://example.org/ns/a/sa/b")
	want := []string{
		"www.example.com", "*.example.com", "localhost", "xn--bcher-kva.example",
		"10.0.0.1", "2001:db8::1", "Jane.Doe+tag@example.com", "spiffe://example.org/ns/a/sa/b",
	}
	if !slices.Equal(parsed.All(), want) || parsed.Len() != len(want) {
		t.Errorf("the names are %q", parsed.All())
	}
	uris := names(t, "HTTPS://Example.COM/Path?q=%41#f", "URN:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "https://10.0.0.1/").URI
	if !slices.Equal(uris, []string{"https://example.com/Path?q=%41#f", "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "https://10.0.0.1/"}) {
		t.Errorf("the URIs are %q", uris)
	}
}

func TestNamesThatCannotStandInACertificateAreRefusedWithTheReason(t *testing.T) {
	label := strings.Repeat("a", 63)
	long := strings.Join([]string{label, label, label, label}, ".")
	for name, says := range map[string]string{
		"":                             "is empty",
		".":                            "empty label",
		"a..b":                         "empty label",
		".a":                           "empty label",
		"*":                            "not the whole left-most label",
		"*.com":                        "whole top-level domain",
		"*.":                           "not the whole left-most label",
		"a.*.example.com":              "not the whole left-most label",
		"a*.example.com":               "not the whole left-most label",
		"*.*.example.com":              "not the whole left-most label",
		"under_score.example.com":      "underscore",
		"-a.example.com":               "begins or ends with a hyphen",
		"a-.example.com":               "begins or ends with a hyphen",
		"ab--cd.example.com":           "reserved",
		label + "a.com":                "octets; at most 63",
		long:                           "octets; a DNS name",
		strings.Repeat("a", 2049):      "at most 2048",
		"a b.example.com":              "the character ' '",
		"example.com/path":             "the character '/'",
		"[::1]":                        "the character",
		"1.2.3":                        "ends in a number",
		"256.1.1.1":                    "ends in a number",
		"10.0.0.0/8":                   "the character '/'",
		"fe80::1%eth0":                 "has a zone",
		"bücher.example":               "write it as xn--bcher-kva.example",
		"\u212aelvin.example":          "is not ASCII",
		"xn--.example":                 "begins or ends with a hyphen",
		"xn--abc-.example":             "begins or ends with a hyphen",
		"xn--a.example":                "not valid in IDNA",
		"xn--80ak6aa92e.com":           "reads as Latin",
		"xn--pypal-4ve.com":            "look alike",
		"a\x00b.example":               "control character",
		"a\u202eb.example":             "direction of writing",
		"a\u200bb.example":             "zero-width",
		"a\xffb.example":               "UTF-8",
		"@example.com":                 "nothing before the @",
		"a@":                           "empty label",
		"a@b@example.com":              "before the @",
		"a..b@example.com":             "dot in a wrong place",
		"\"a b\"@example.com":          "before the @",
		"a@*.example.com":              "wildcard",
		strings.Repeat("a", 65) + "@b": "before the @; at most",
		"a@" + long:                    "at most 254",
		"jörg@example.com":             "before the @",
		"://a":                         "not a URI",
		"http://":                      "not an absolute URI",
		"file:///etc/passwd":           "not an absolute URI",
		"http://user@example.com/":     "a user in its URI",
		"http://example.com:80/":       "a port or an IPv6 host",
		"http://[::1]/":                "a port or an IPv6 host",
		"http://exa mple.com/":         "the character ' '",
		"http://*.example.com/":        "wildcard",
		"http://under_score.com/":      "underscore",
		"urn:":                         "not an absolute URI",
		"spiffe://Example.org/a":       "capital letters",
		"spiffe://example.org":         "trust domain only",
		"spiffe://example.org/":        "empty or a relative segment",
		"spiffe://example.org/a//b":    "empty or a relative segment",
		"spiffe://example.org/a/":      "empty or a relative segment",
		"spiffe://example.org/../b":    "empty or a relative segment",
		"spiffe://example.org/a?b":     "query or a fragment",
		"spiffe://example.org/a#b":     "query or a fragment",
		"spiffe://example.org/a%41":    "in its SPIFFE path",
		"http://example.com/\u2029":    "zero-width or invisible",
		"http://example.com/%zz":       "not a URI",
		"https://xn--80ak6aa92e.com/":  "reads as Latin",
	} {
		_, err := ParseNames([]string{name})
		wantError(t, err, says)
	}
}

func TestAllWrongNamesAreToldAtOnce(t *testing.T) {
	_, err := ParseNames([]string{"good.example", "bad_one", "bad two"})
	refused, ok := errors.AsType[NamesError](err)
	if !ok || len(refused) != 2 || refused[0].Name != "bad_one" || refused[1].Name != "bad two" {
		t.Fatalf("the error is %#v", err)
	}
	_, err = ParseNames(make([]string, MaxNames+1))
	wantError(t, err, "holds at most 100")
}

func TestASPIFFEIDIsTheOnlyURI(t *testing.T) {
	_, err := ParseNames([]string{"spiffe://a.example/b", "https://example.com/"})
	wantError(t, err, "stands beside another URI")
	_, err = ParseNames([]string{"https://example.com/", "spiffe://a.example/b", "spiffe://a.example/c"})
	wantError(t, err, "stands beside another URI")
	check(t, func() error { _, err := ParseNames([]string{"spiffe://a.example/b", "a.example"}); return err }())
}

func TestNamesOutsideTheAllowedOnesAreListed(t *testing.T) {
	allowed := names(t, "*.example.com", "a.example.com", "10.0.0.1")
	if outside := names(t, "10.0.0.1", "A.example.com").Within(allowed); len(outside) != 0 {
		t.Errorf("%q are said to be outside", outside)
	}
	outside := names(t, "a.example.com", "b.example.com", "10.0.0.2").Within(allowed)
	if !slices.Equal(outside, []string{"b.example.com", "10.0.0.2"}) {
		t.Errorf("%q are said to be outside", outside)
	}
}

func TestNamesSurviveJSON(t *testing.T) {
	before := names(t, "a.example.com", "10.0.0.1", "a@example.com", "urn:a:b")
	encoded, err := json.Marshal(before)
	check(t, err)
	var after Names
	check(t, json.Unmarshal(encoded, &after))
	if !slices.Equal(before.All(), after.All()) {
		t.Errorf("%s came back as %q", encoded, after.All())
	}
}

func TestCommonNamesAreWhatPeopleSee(t *testing.T) {
	for _, name := range []string{
		"www.example.com", "*.example.com", "Zoë Müller", "山田太郎", "Сервер web 1", "אבג", "O'Brien & Søn, Ltd.", "日本語テスト ABC",
		strings.Repeat("ü", 64),
	} {
		check(t, CheckCommonName(name))
	}
	for name, says := range map[string]string{
		"":                      "is empty",
		strings.Repeat("ü", 65): "has 65 characters",
		"a\nb":                  "control character",
		"a\x7fb":                "control character",
		"a\u0085b":              "control character",
		"a\u2066b":              "direction of writing",
		"a\u200eb":              "direction of writing",
		"a\u200db":              "zero-width or invisible",
		"a\ufeffb":              "zero-width or invisible",
		"a\u00adb":              "zero-width or invisible",
		"a\u00a0b":              "zero-width or invisible",
		"a\u3164b":              "zero-width or invisible",
		"a\ufe0fb":              "zero-width or invisible",
		"a\U000e0041b":          "zero-width or invisible",
		"a\ue000b":              "without a meaning",
		"a\ufffdb":              "without a meaning",
		"a\xffb":                "UTF-8",
		" a":                    "begins or ends with a space",
		"p\u0430ypal":           "look alike",
		"micr\u03bfsoft":        "look alike",
	} {
		err := CheckCommonName(name)
		wantError(t, err, says)
		if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("the error shows the character itself: %q", err)
		}
	}
}

func FuzzParseNames(f *testing.F) {
	for _, seed := range []string{
		"www.example.com", "*.example.com", "xn--bcher-kva.example", "xn--80ak6aa92e.com", "10.0.0.1", "::1", "::ffff:1.2.3.4",
		"a@b.example", "spiffe://example.org/a", "urn:a:b", "https://EXAMPLE.com/%41?b#c", ".", "*", "@", "://", "xn--", "\u202e", "a\x00b",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list := strings.Split(text, "\n")
		parsed, err := ParseNames(list)
		if err != nil {
			if parsed.Len() != 0 {
				t.Error("names beside an error")
			}
			return
		}
		again, err := ParseNames(parsed.All())
		if err != nil || !slices.Equal(again.All(), parsed.All()) || fmt.Sprint(again) != fmt.Sprint(parsed) {
			t.Fatalf("%q was read as %q and then as %q: %v", list, parsed.All(), again.All(), err)
		}
		if parsed.Len() > len(list) || len(parsed.Within(again)) != 0 {
			t.Errorf("%q became %q", list, parsed.All())
		}
		extension, err := parsed.extension(false)
		check(t, err)
		found, err := parseGeneralNames(extension.Value)
		check(t, err)
		if len(found) != parsed.Len() {
			t.Errorf("%d names were encoded as %d", parsed.Len(), len(found))
		}
	})
}
