package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestATableHasOneLineForEachRowAndFitsTheTerminal(t *testing.T) {
	rows := [][]string{
		{"www.example.com", "Active", "no note"},
		{strings.Repeat("long", 20) + ".example.com", "Failed", "two\nlines, and \x1b[31mcolours"},
		{"bücher.example", "Pending", ""},
	}
	for _, width := range []int{0, 60, 30} {
		var out bytes.Buffer
		table := &table{head: []string{"NAME", "STATE", "NOTE"}, cut: []int{0, 2}}
		for _, row := range rows {
			table.add(append([]string{}, row...)...)
		}
		(&Session{Out: &out, Width: width}).print(table)
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != len(rows)+1 || !strings.HasPrefix(lines[0], "NAME ") || strings.Contains(out.String(), "\x1b") {
			t.Fatalf("%d columns:\n%s", width, &out)
		}
		at := strings.Index(lines[0], "STATE")
		for i, line := range lines[1:] {
			runes := []rune(line)
			if !strings.HasPrefix(string(runes[at:]), rows[i][1]) {
				t.Errorf("%d columns: a state is not below its head:\n%s", width, &out)
			}
			if least := 2*leastColumn + len("Pending") + 4; width >= least && utf8.RuneCountInString(line) > width {
				t.Errorf("%d columns: %q", width, line)
			}
		}
		if !strings.HasSuffix(lines[3], "-") {
			t.Errorf("what is empty is shown as %q", lines[3])
		}
	}
}

func TestSignsAreColouredOnATerminalOnly(t *testing.T) {
	for tone, want := range map[tone]string{good: "✔", bad: "✖", warn: "!", wait: "…"} {
		if got := (&Session{}).mark(tone); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got := (&Session{Colour: true}).mark(tone); !strings.Contains(got, want) || !strings.HasPrefix(got, "\x1b[") || !strings.HasSuffix(got, "\x1b[0m") {
			t.Errorf("coloured %q", got)
		}
	}
}

func TestFactsShowTheirSignsInColourAndNothingElseThatSteersATerminal(t *testing.T) {
	var out bytes.Buffer
	s := &Session{Out: &out, Colour: true}
	f := &facts{}
	f.add("state", "%s %s", sign(s.mark(good)), "Act\x1b[31mive")
	f.add("empty", "%s", "")
	s.facts(f)
	if got, want := out.String(), "state  \x1b[32m✔\x1b[0m Act\ufffd[31mive\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestATableThatFitsNoTerminalIsNotCut(t *testing.T) {
	var out bytes.Buffer
	table := &table{head: []string{"NAME", "STATE"}, cut: []int{0}}
	table.add("www.shop.example.com", "RenewalInProgress")
	s := &Session{Out: &out, Width: 30}
	if s.print(table); !strings.Contains(out.String(), "www.shop.example.com") {
		t.Errorf("a name was cut, and the row is too long nevertheless:\n%s", &out)
	}
	out.Reset()
	s.Width = 34
	if s.print(table); !strings.Contains(out.String(), "www.shop.examp…  RenewalInProgress\n") {
		t.Errorf("a row that would fit was not cut:\n%s", &out)
	}
}

func TestThingsAreCountedInWords(t *testing.T) {
	for want, got := range map[string]string{"1 key": count(1, "key"), "2 keys": count(2, "key"), "0 authorities": count(0, "authority"), "3 events": count(3, "event")} {
		if got != want {
			t.Errorf("%q is written %q", want, got)
		}
	}
}

func TestTheMomentOfARenewalIsSaidAsWhatItIs(t *testing.T) {
	now := time.Now()
	past, coming := now.Add(-30*time.Second), now.Add(time.Hour+time.Second)
	for want, at := range map[string]*time.Time{
		"is renewed by hand only": nil, "was due to be renewed 30s ago": &past, "is renewed now": &now, "is renewed in 60m": &coming,
	} {
		if said := renewal(at, now); said != want {
			t.Errorf("%q, not %q", said, want)
		}
	}
}
