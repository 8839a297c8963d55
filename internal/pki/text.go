package pki

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxDNText = 64 // characters of a common name or an organization: ub-common-name of RFC 5280 appendix A

// CheckCommonName is nil for a text that may stand as a common name or an organization: 1 to 64 characters of UTF-8
// that people see as they are (no control, bidirectional or invisible characters, no letters of scripts mixed to look
// like others).
func CheckCommonName(text string) error {
	switch {
	case text == "":
		return fmt.Errorf("it is empty")
	case !utf8.ValidString(text):
		return fmt.Errorf("%s is not valid UTF-8", quote(text))
	case utf8.RuneCountInString(text) > maxDNText:
		return fmt.Errorf("%s has %d characters; at most %d are allowed (RFC 5280)", quote(text), utf8.RuneCountInString(text), maxDNText)
	case strings.TrimSpace(text) != text:
		return fmt.Errorf("%s begins or ends with a space", quote(text))
	}
	if problem := deceptive(text); problem != "" {
		return fmt.Errorf("%s %s", quote(text), problem)
	}
	return nil
}

// deceptive says what in a text would show people something else than what it is, and "" when nothing does.
func deceptive(text string) string {
	for _, r := range text {
		if problem := deceptiveRune(r); problem != "" {
			return fmt.Sprintf("has %s (U+%04X)", problem, r)
		}
	}
	notLetter := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsMark(r) }
	for word := range strings.FieldsFuncSeq(text, notLetter) {
		if mixedScripts(word) {
			return "mixes letters of scripts that look alike in one word (" + quote(word) + ")"
		}
	}
	return ""
}

func deceptiveRune(r rune) string {
	switch {
	case unicode.IsControl(r):
		return "a control character"
	case unicode.Is(unicode.Bidi_Control, r):
		return "a character that turns the direction of writing"
	case unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector),
		unicode.IsSpace(r) && r != ' ':
		return "a zero-width or invisible character"
	case unicode.In(r, unicode.Co, unicode.Noncharacter_Code_Point), r == utf8.RuneError:
		return "a character without a meaning"
	}
	return ""
}

// mixedScripts is whether a word joins letters of more than one of the scripts whose letters are taken for each
// other (Unicode TS 39 §5).
func mixedScripts(word string) bool {
	scripts := []*unicode.RangeTable{unicode.Latin, unicode.Cyrillic, unicode.Greek, unicode.Armenian, unicode.Cherokee}
	seen := 0
	for _, script := range scripts {
		if strings.ContainsFunc(word, func(r rune) bool { return unicode.Is(script, r) }) {
			seen++
		}
	}
	return seen > 1
}

// latinLookalikes are Cyrillic and Greek letters that people read as Latin ones.
const latinLookalikes = "асԁеһіјӏорԛѕԝхуүνοαικρυ"

// looksLatin is whether every letter of a word is of another script but read as a Latin one.
func looksLatin(word string) bool {
	foreign := false
	for _, r := range word {
		if r < utf8.RuneSelf {
			if unicode.IsLetter(r) {
				return false
			}
			continue
		}
		if !strings.ContainsRune(latinLookalikes, r) {
			return false
		}
		foreign = true
	}
	return foreign
}

// quote shows a text from outside in a message: escaped and cut to what a line can hold.
func quote(text string) string {
	const most = 100
	if len(text) <= most {
		return strconv.QuoteToASCII(text)
	}
	cut := most
	for cut > most-utf8.UTFMax && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return strconv.QuoteToASCII(text[:cut]) + "..."
}
