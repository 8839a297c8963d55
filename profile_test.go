package leafward_test

import (
	"strings"
	"testing"
	"time"

	"github.com/leafward/leafward"
)

func TestPatternsMatchNames(t *testing.T) {
	for pattern, names := range map[string]struct{ right, wrong []string }{
		"*.example.com": {[]string{"a.example.com", "a.b.example.com", ".example.com", "*.example.com"}, []string{"example.com", "a.example.com.", "a.example.org"}},
		"10.0.0.?":      {[]string{"10.0.0.7"}, []string{"10.0.0.", "10.0.0.17"}},
		"*":             {[]string{"", "a", "https://a.example/b"}, nil},
		"a*b*c":         {[]string{"abc", "axbxbxc", "abcbc"}, []string{"ab", "acb", "abcd"}},
		"a**":           {[]string{"a", "ab"}, []string{"", "b"}},
		"a?*":           {[]string{"ab", "abc"}, []string{"a"}},
	} {
		p := leafward.Profile{RequiredSANs: []string{pattern}}
		for _, name := range names.right {
			if !p.AllowsName("dns", name) {
				t.Errorf("%q does not match %q", pattern, name)
			}
		}
		for _, name := range names.wrong {
			if p.AllowsName("dns", name) {
				t.Errorf("%q matches %q", pattern, name)
			}
		}
	}
}

func TestAPatternWithManyStarsIsAnsweredAtOnce(t *testing.T) {
	p := leafward.Profile{RequiredSANs: []string{strings.Repeat("*a", 60) + "b"}}
	answered := make(chan bool, 1)
	go func() { answered <- p.AllowsName("dns", strings.Repeat("a", 250)) }()
	select {
	case yes := <-answered:
		if yes {
			t.Error("the pattern matches")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("one name holds the server up")
	}
}

func TestAPatternHasNoOtherSignsThanStarAndQuestionMark(t *testing.T) {
	for pattern, fine := range map[string]bool{"*.example.com": true, "web-?.example.com": true, "web-[0-9].example.com": false, `a\*`: false, "": false} {
		p := leafward.Profile{Name: "x", MaxTTL: 7776000, AllowShort: true, EKUs: []string{"serverAuth"}, RequiredSANs: []string{pattern}}
		err := p.Validate()
		if (err == nil) != fine || err != nil && !strings.Contains(err.Error(), "required_san_patterns[0]") {
			t.Errorf("%q: %v", pattern, err)
		}
	}
}
