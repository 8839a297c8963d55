package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/leafward/leafward"
)

// tone is how a line is meant.
type tone int

const (
	good tone = iota
	bad
	warn
	wait
)

// mark is the sign at the front of a line, coloured where colours are shown.
func (s *Session) mark(t tone) string {
	sign := []string{"✔", "✖", "!", "…"}[t]
	if !s.Colour {
		return sign
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", []int{32, 31, 33, 36}[t], sign)
}

// say writes a line about what happened, and the next step when there is one, for people.
func (r *run) say(t tone, next, format string, args ...any) {
	if r.JSON {
		return
	}
	fmt.Fprintf(r.Err, "%s %s\n", r.mark(t), indented(fmt.Sprintf(format, args...), "  "))
	r.next(next)
}

// next writes what to do next.
func (r *run) next(step string) {
	if step != "" && !r.JSON {
		fmt.Fprintf(r.Err, "  next  %s\n", clean(step))
	}
}

// answer writes the value as JSON when that was asked for, and else what people writes.
func (r *run) answer(value any, people func()) error {
	if r.JSON {
		return r.json(r.Out, value)
	}
	people()
	return nil
}

func (s *Session) json(w io.Writer, value any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(value)
}

// table is what a list is shown as. The columns that may be cut when the terminal is narrow are named by their place.
type table struct {
	head []string
	rows [][]string
	cut  []int
}

// leastColumn is how narrow a column is cut at most.
const leastColumn = 12

func (t *table) add(cells ...string) {
	for i := range cells {
		cells[i] = strings.ReplaceAll(clean(cells[i]), "\n", " ")
		if cells[i] == "" {
			cells[i] = "-"
		}
	}
	t.rows = append(t.rows, cells)
}

// print writes the table; nothing but its rows and one line of names.
func (s *Session) print(t *table) {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	t.narrow(widths, s.Width)
	for n, row := range append([][]string{t.head}, t.rows...) {
		var b strings.Builder
		for i, cell := range row {
			if runes := []rune(cell); len(runes) > widths[i] {
				cell = string(runes[:widths[i]-1]) + "…"
			}
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		line := strings.TrimRight(b.String(), " ")
		if n == 0 && s.Colour {
			line = "\x1b[1m" + line + "\x1b[0m"
		}
		fmt.Fprintln(s.Out, line)
	}
}

// narrow takes columns from the widest that may be cut until the row fits. A row that would not fit even so stays whole:
// it takes a second line in any case.
func (t *table) narrow(widths []int, limit int) {
	total, spare := 2*(len(widths)-1), 0
	for i, w := range widths {
		total += w
		if slices.Contains(t.cut, i) {
			spare += max(0, w-leastColumn)
		}
	}
	for limit > 0 && total > limit && total-spare <= limit {
		widest := -1
		for _, i := range t.cut {
			if widths[i] > leastColumn && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		widths[widest]--
		total--
		spare--
	}
}

// facts is a list of names and values; empty values are left out.
type facts struct{ rows [][2]string }

// sign is text of our own that may steer the terminal: a mark in its colour.
type sign string

// add takes strings, which may come from outside, and signs.
func (f *facts) add(name, format string, args ...any) {
	for i, arg := range args {
		if text, ok := arg.(string); ok {
			args[i] = clean(text)
		}
	}
	if value := fmt.Sprintf(format, args...); value != "" {
		f.rows = append(f.rows, [2]string{name, value})
	}
}

func (s *Session) facts(f *facts) {
	width := 0
	for _, row := range f.rows {
		width = max(width, len(row[0]))
	}
	for _, row := range f.rows {
		fmt.Fprintf(s.Out, "%-*s  %s\n", width, row[0], strings.ReplaceAll(row[1], "\n", "\n"+strings.Repeat(" ", width+2)))
	}
}

// clean takes out what would move the cursor, hide text or turn its direction: names and reasons come from outside.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if leafward.Unprintable(r) || r == utf8.RuneError {
			return '�'
		}
		return r
	}, text)
}

// indented is text of several lines below a mark.
func indented(text, by string) string {
	return strings.ReplaceAll(clean(strings.TrimSpace(text)), "\n", "\n"+by)
}

// firstLine is what fits into a table of a text of several lines.
func firstLine(text string) string {
	line, rest, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if rest != "" {
		line += " …"
	}
	return line
}

// when is a moment for people: the day, and how far it is.
func when(t *time.Time, now time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s (%s)", t.Local().Format("2006-01-02 15:04"), distance(t.Sub(now)))
}

// distance is how far away a moment is, in the largest unit that says enough.
func distance(d time.Duration) string {
	far := span(d.Abs())
	switch {
	case far == "":
		return "now"
	case d > 0:
		return "in " + far
	default:
		return far + " ago"
	}
}

func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		d = d.Round(time.Hour)
	case d >= 2*time.Minute:
		d = d.Round(time.Minute)
	}
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if n := d / unit.size; n > 1 || n == 1 && unit.size <= time.Minute {
			return fmt.Sprintf("%d%s", n, unit.name)
		}
	}
	return ""
}

// count is a number with its noun.
func count(n int64, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "y") && !strings.HasSuffix(noun, "ey"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(noun, "y"))
	default:
		return fmt.Sprintf("%d %ss", n, noun)
	}
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Count is a number of things, in words.
func Count(n int, noun string) string { return count(int64(n), noun) }

// Quoted is a word as a shell takes it.
func Quoted(word string) string { return quoted(word) }

// quoted is words as a shell takes them.
func quoted(words ...string) string {
	out := make([]string, len(words))
	for i, word := range words {
		out[i] = word
		if word == "" || strings.ContainsFunc(word, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@,+=%", r)
		}) {
			out[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}

func mood(ok bool) tone {
	if ok {
		return good
	}
	return bad
}
