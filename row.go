package leafward

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Ahead is by how much a clock may have been ahead of what it shows now without anybody asking why. What was written further
// in the future than that was written by a clock that was wrong.
const Ahead = time.Hour

// Row is what every stored noun carries. The zero time means "not yet".
type Row struct {
	ID        string    `db:"id"`         // text, given by the client or made at birth
	UUID      string    `db:"uuid"`       // made at birth, since client-given ids are not UUIDs
	Revision  int64     `db:"revision"`   // grows by one with every write; the ETag
	CreatedAt time.Time `db:"created_at"` // the instant of the transaction that made it
	UpdatedAt time.Time `db:"updated_at"`
}

// Meta gives the ground access to the embedded row of any noun.
func (r *Row) Meta() *Row { return r }

// Bounds of what a client may write.
const (
	MaxName        = 255   // characters of a name
	MaxDescription = 2000  // characters of a description
	MaxTags        = 64    // tags of one certificate
	MaxConfig      = 65536 // bytes of a plugin's configuration
)

var idForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,127}$`)

// reservedIDs are words that stand in paths where an id may stand.
var reservedIDs = map[string]bool{"retired": true, "bulk-revoke": true, "bulk-renew": true, "bulk-reassign": true, "import": true, "root": true, "cache": true, "invitations": true}

// CheckID refuses an id that a client may not choose.
func CheckID(p *Problems, id string) {
	if id == "" {
		return
	}
	p.Check(idForm.MatchString(id) && !reservedIDs[id], "id", fmt.Sprintf("%.140q is not an id a client may give", id),
		"use 1 to 128 of a-z, 0-9, dot, underscore and dash, starting with a letter or digit, and no word of a path such as retired")
}

// CheckText refuses text that is too long or cannot be shown: control, bidirectional and zero-width characters, broken UTF-8.
func CheckText(p *Problems, field, text string, limit int) {
	switch {
	case !utf8.ValidString(text):
		p.Add(field, "is not valid UTF-8", "send it encoded as UTF-8")
	case utf8.RuneCountInString(text) > limit:
		p.Add(field, fmt.Sprintf("is longer than %d characters", limit), fmt.Sprintf("shorten it to %d characters", limit))
	case strings.ContainsFunc(text, Unprintable):
		p.Add(field, "contains a control, bidirectional or zero-width character", "remove the characters that cannot be seen")
	}
}

// CheckLabel is CheckText for what stands in one line, such as a row of a table.
func CheckLabel(p *Problems, field, text string, limit int) {
	if strings.ContainsAny(text, "\t\r\n") {
		p.Add(field, "contains a line end or a tab", "write it in one line, with spaces")
		return
	}
	CheckText(p, field, text, limit)
}

// CheckName is CheckLabel for a name that must be there.
func CheckName(p *Problems, field, name string) {
	if strings.TrimSpace(name) == "" || name != strings.TrimSpace(name) {
		p.Add(field, "is empty or begins or ends with a space", "give it a name of 1 to 255 characters")
		return
	}
	CheckLabel(p, field, name, MaxName)
}

// Unprintable tells the characters that hide or reorder text for a reader.
func Unprintable(r rune) bool {
	return unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co)
}

// words are those of a description that a row is found by: the first hundred.
func words(description string) []string {
	all := strings.Fields(description)
	return all[:min(len(all), 100)]
}

// Slug is the name in the letters of an id: lower case, everything else folded into single dashes.
func Slug(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= 100 {
			break
		}
	}
	return strings.TrimRight(b.String(), "-")
}
