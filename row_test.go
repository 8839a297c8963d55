package leafward_test

import (
	"strings"
	"testing"

	"github.com/leafward/leafward"
)

func TestNamesAndLabelsStandInOneLine(t *testing.T) {
	for field, c := range map[string]leafward.Certificate{
		"":            {Name: "shop front", Environment: "lab", Tags: map[string]string{"app": "the shop"}},
		"name":        {Name: "shop\nrevoked"},
		"environment": {Name: "shop", Environment: "lab\tprod"},
		"tags":        {Name: "shop", Tags: map[string]string{"a\r\nb": "c"}},
		"tags.app":    {Name: "shop", Tags: map[string]string{"app": "a\nb"}},
	} {
		c.CommonName = "shop.example.com"
		c.Owner, c.Team, c.Issuer, c.Policy, c.Profile, c.KeySource = "o", "t", "i", "p", "f", leafward.AgentKey
		err := c.Validate()
		if (err == nil) != (field == "") || err != nil && !strings.Contains(err.Error(), field+" contains a") {
			t.Errorf("%q: %v", field, err)
		}
	}
	team := leafward.Team{Name: "web", Description: "first line\n\tsecond line"}
	if err := team.Validate(); err != nil {
		t.Errorf("a description of two lines: %v", err)
	}
}

func TestWhatIsMissingIsNamedInPlainWords(t *testing.T) {
	for noun, want := range map[string]string{
		"certificate":    `no certificate "x": list the certificates`,
		"authority":      `no authority "x": list the authorities`,
		"renewal_policy": `no renewal policy "x": list the renewal policies`,
		"batch":          `no batch "x": list the batches`,
		"key":            `no key "x": list the keys`,
	} {
		e := leafward.Missing(noun, "x")
		if got := e.Message + ": " + e.Fix; got != want+" to see which there are" {
			t.Errorf("%s: %s", noun, got)
		}
	}
}
