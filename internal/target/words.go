package target

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/leafward/leafward"
)

const (
	maxCommand = 1024 // bytes of the text
	maxWords   = 64
)

// Command is a program and its arguments. It never goes through a shell.
type Command []string

// ParseCommand splits a command line into words as a POSIX shell does (XCU § 2.2 quoting, no expansions). What would
// need a shell (lists, pipes, redirections, variables, patterns) is refused by name.
func ParseCommand(text string) (Command, error) {
	words, err := split(text)
	if err != nil {
		return nil, leafward.Errorf(leafward.Invalid,
			"write a program and its arguments, such as nginx -s reload; put several steps into a script of the host and allow that",
			"the command %s", err)
	}
	return words, nil
}

func split(text string) (Command, error) {
	switch {
	case len(text) > maxCommand:
		return nil, fmt.Errorf("has more than %d bytes", maxCommand)
	case !utf8.ValidString(text):
		return nil, errors.New("is not valid UTF-8")
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return nil, errors.New("holds a line break or another control character")
	}
	var words Command
	var word strings.Builder
	open, quote := false, rune(0)
	runes := []rune(text)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch {
		case quote == '\'' && r != '\'':
			word.WriteRune(r)
		case quote != 0 && r == quote:
			quote = 0
		case r == '\\':
			if i+1 == len(runes) {
				return nil, errors.New("ends in a backslash")
			}
			if quote == '"' && !strings.ContainsRune(`"\$`+"`", runes[i+1]) {
				word.WriteRune(r)
				continue
			}
			i++
			open = true
			word.WriteRune(runes[i])
		case r == '$' || r == '`' || quote == 0 && needsShell(r, open):
			return nil, fmt.Errorf("needs a shell because of %q, and no shell is used: quote it if it is meant literally", r)
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, open = r, true
		case r == ' ' || r == '\t':
			if open {
				words = append(words, word.String())
				word.Reset()
			}
			open = false
		default:
			open = true
			word.WriteRune(r)
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("has a %c without its other half", quote)
	}
	if open {
		words = append(words, word.String())
	}
	switch {
	case len(words) == 0 || words[0] == "":
		return nil, errors.New("names no program")
	case len(words) > maxWords:
		return nil, fmt.Errorf("has more than %d words", maxWords)
	}
	return words, nil
}

// needsShell tells whether a shell would give an unquoted character a meaning; some have one only where a word begins.
func needsShell(r rune, inWord bool) bool {
	return strings.ContainsRune(";|&<>(){}*?[]!", r) || !inWord && (r == '~' || r == '#')
}

// String writes the command so that ParseCommand reads it back.
func (c Command) String() string {
	words := make([]string, len(c))
	for i, word := range c {
		plain := func(r rune) bool {
			return !strings.ContainsRune("\t '\"\\$`~#", r) && !needsShell(r, true)
		}
		if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
			words[i] = word
			continue
		}
		words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	return strings.Join(words, " ")
}
