package store

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/leafward/leafward"
)

// A page of a list is read in one of three ways. Straight: the rows that fit are found by an index and sorted, which is quick
// while few fit, or while the index has the order. Walking: rows are looked at in the order of the list until enough fit,
// which is quick when many do. From words alone: the newest of those that have a word are found without a look at others,
// which is quick unless very many have it. How many fit is known before, from the total.

// span is the part of a list that a page shows.
type span struct {
	by, reverse   string // ORDER BY, and that of the list from its end
	limit, offset int
	total         int64  // of rows that fit
	capped        bool   // there are more
	behind        string // condition of a cursor, "" without one
	place         []any  // its arguments
}

// walks are the bounds of the rows that a walk looks at: of twice as many as should be enough.
func walks() [3]int64 { return [3]int64{2000, 10_000, 50_000} }

// page reads the rows of a span.
func (l listing[T]) page(v *View, q leafward.Query, s *selection, at span) ([]T, error) {
	const outer = "WHERE id IN (SELECT id FROM %s LIMIT %d OFFSET %d) ORDER BY %s"
	most, err := l.walkable(v, q, at)
	if err != nil {
		return nil, err
	}
	if most > 0 {
		base, match := l.walk(q)
		w := s.clone()
		if at.behind != "" {
			base += " AND " + w.bind(at.behind, at.place)
		}
		if word := term(q.Text); word != "" {
			args := []any{"\n" + word, word, word + endOfWords, word, word + endOfWords}
			w.and(strings.Replace(match, "{{find}}", v.find, 1), args[:strings.Count(match, "?")]...)
		}
		inner := fmt.Sprintf("(SELECT * FROM %s WHERE %s ORDER BY %s LIMIT %d) AS %s %s ORDER BY %s", l.table.name, base, at.by, most, l.table.name, w.where(), at.by)
		items, err := selectAll(v, l.table, fmt.Sprintf(outer, inner, at.limit, at.offset, at.by), w.args...)
		if err != nil || len(items) == at.limit {
			return items, err
		}
	}
	if l.newest(v, q, at) {
		return l.ofWords(v, q, at)
	}
	if at.behind != "" {
		s.and(at.behind, at.place...)
	}
	l.search(q, s)
	first := at.by
	if l.walk != nil && !inOrder(q, at) {
		first = v.plus + at.by
	}
	if left := int(at.total) - at.offset; !at.capped && at.behind == "" && at.offset > left && left > 0 { // nearer to the end
		first, at.limit = at.reverse, min(at.limit, left)
		at.offset = left - at.limit
	}
	inner := fmt.Sprintf("%s %s ORDER BY %s", l.table.name, s.where(), first)
	return selectAll(v, l.table, fmt.Sprintf(outer, inner, at.limit, at.offset, at.by), s.args...)
}

// inOrder tells whether there is an index of what fits that has the order of the list.
func inOrder(q leafward.Query, at span) bool {
	return q.Text == "" && (len(q.Where) == 0 || strings.HasPrefix(at.by, "created_at "))
}

// walkable is how many rows a walk may look at, 0 where another way should be quicker.
func (l listing[T]) walkable(v *View, q leafward.Query, at span) (most int64, err error) {
	if l.walk == nil || at.total < int64(at.limit) || inOrder(q, at) && len(q.Where) < 2 {
		return 0, nil
	}
	if base, _ := l.walk(q); base == "" {
		return 0, nil
	}
	all, known, err := l.total(v, leafward.Query{})
	looks := int64(at.offset+at.limit) * all / at.total
	cost, newest := looks, l.newest(v, q, at)
	switch {
	case newest:
		cost *= 5 // words are smaller than rows
	case q.Text != "" && inHex(term(q.Text)):
		cost *= 4 // for what was signed is looked at too
	}
	if err != nil || !known || cost > at.total && !at.capped {
		return 0, err
	}
	if least := walks()[0]; newest { // more than that it may not cost in vain
		if int64(4*(at.offset+at.limit)) > least {
			return 0, nil
		}
		return least, nil
	}
	for _, most := range walks() {
		if 2*looks <= most {
			return most, nil
		}
	}
	return 0, nil
}

// endOfWords stands behind every character that a word goes on with.
const endOfWords = "\U0010FFFF"

// search adds what is searched for, by the index of words.
func (l listing[T]) search(q leafward.Query, s *selection) {
	if w := term(q.Text); w != "" {
		s.and("id IN (SELECT id FROM terms WHERE noun IN ("+l.nouns(q)+") AND term >= ? AND term < ?)", w, w+endOfWords)
	}
}

// nouns are those of the words that rows of the list are found by, quoted.
func (l listing[T]) nouns(q leafward.Query) string {
	all := []string{l.table.noun}
	if l.terms != nil {
		all = l.terms(q)
	}
	return "'" + strings.Join(all, "', '") + "'"
}

// count is the fold's total where there is one, else exact up to leafward.TotalCap.
func (l listing[T]) count(v *View, q leafward.Query, s *selection) (n int64, capped bool, err error) {
	if l.total != nil {
		n, ok, err := l.total(v, q)
		if ok || err != nil {
			return n, false, err
		}
	}
	if l.floor != nil {
		if n, err = l.floor(v, q); err != nil || n > leafward.TotalCap {
			return leafward.TotalCap, true, err
		}
	}
	counted := s.clone()
	l.search(q, counted)
	if l.ofWordsAlone(v, q) {
		return l.found(v, q)
	}
	_, err = v.one(fmt.Sprintf("SELECT count(*) FROM (SELECT 1 FROM %s %s LIMIT %d) AS counted", l.table.name, counted.where(), leafward.TotalCap+1), counted.args, &n)
	return capAt(n, err)
}

func capAt(n int64, wrong error) (int64, bool, error) {
	return min(n, leafward.TotalCap), n > leafward.TotalCap, wrong
}

// ofWordsAlone tells whether every row with the word is in the list, so that words alone say which rows are.
func (l listing[T]) ofWordsAlone(v *View, q leafward.Query) bool {
	return q.Text != "" && l.walk != nil && len(q.Where) == 0 && v.Actor.Teams == nil
}

// newest tells whether the list can be read from the row's own words, which know when the row was made.
func (l listing[T]) newest(v *View, q leafward.Query, at span) bool {
	return l.ofWordsAlone(v, q) && strings.HasPrefix(at.by, "created_at ") && !inHex(term(q.Text))
}

// firsts are the entries of the row's own words that begin with a word, of each row the first. PostgreSQL would look at the table
// besides, were they not asked for in the order of the index.
func (l listing[T]) firsts(q leafward.Query, what string) (query string, args []any) {
	w := term(q.Text)
	own, _, _ := strings.Cut(l.nouns(q), ",")
	return "SELECT " + what + " FROM terms WHERE noun = " + own + " AND term >= $1 AND term < $2 AND alike < $3 ORDER BY term, id",
		[]any{w, w + endOfWords, utf8.RuneCountInString(w)}
}

// ofWords reads a page of the rows that have a word in the order in which they were made.
func (l listing[T]) ofWords(v *View, q leafward.Query, at span) ([]T, error) {
	firsts, args := l.firsts(q, "id, born")
	s := &selection{args: args}
	if at.behind != "" {
		s.and(strings.Replace(at.behind, "created_at", "born", 1), at.place...)
	}
	inner := fmt.Sprintf("SELECT id FROM (%s) AS found %s ORDER BY %s LIMIT %d OFFSET %d", firsts, s.where(), strings.Replace(at.by, "created_at", "born", 1), at.limit, at.offset)
	return selectAll(v, l.table, "WHERE id IN ("+inner+") ORDER BY "+at.by, s.args...)
}

// found counts what has a word, by the index of words alone. A row's own words are told apart. Where something else that it is
// found by may begin so too, few rows have the word twice, so that a little more than is counted is enough to look at.
func (l listing[T]) found(v *View, q leafward.Query) (n int64, capped bool, err error) {
	count := func(query string, args ...any) (n int64, err error) {
		_, err = v.one(query, args, &n)
		return n, err
	}
	firsts, args := l.firsts(q, "1")
	n, err = count(fmt.Sprintf("SELECT count(*) FROM (%s LIMIT %d) AS counted", firsts, leafward.TotalCap+1), args...)
	w := term(q.Text)
	if err != nil || n > leafward.TotalCap || !inHex(w) {
		return capAt(n, err)
	}
	const some = leafward.TotalCap * 11 / 10
	words := "FROM terms WHERE noun IN (" + l.nouns(q) + ") AND term >= $1 AND term < $2"
	few := fmt.Sprintf("%s LIMIT %d", words, some)
	if n, err = count("SELECT count(*) FROM (SELECT DISTINCT id FROM (SELECT id "+few+") AS found) AS counted", w, w+endOfWords); err != nil || n > leafward.TotalCap {
		return capAt(n, err)
	}
	if looked, err := count("SELECT count(*) FROM (SELECT 1 "+few+") AS looked", w, w+endOfWords); err != nil || looked < some {
		return n, false, err
	}
	n, err = count("SELECT count(DISTINCT id) "+words, w, w+endOfWords)
	return capAt(n, err)
}

func (s *selection) clone() *selection {
	return &selection{conditions: slices.Clone(s.conditions), args: slices.Clone(s.args)}
}

// walkCertificates: all lists but that of archived certificates show those that are not, among which many fit.
func walkCertificates(q leafward.Query) (base, match string) {
	if q.Where["status"] == string(leafward.StatusArchived) {
		return "", ""
	}
	match = "{{find}}(words, ?) > 0"
	if inHex(term(q.Text)) {
		match = "(" + match + ` OR EXISTS (SELECT 1 FROM versions signed
			WHERE signed.certificate = certificates.id AND (signed.serial >= ? AND signed.serial < ? OR signed.sha256 >= ? AND signed.sha256 < ?)))`
	}
	return "archived_at = 0", match
}

// inHex tells whether serial numbers and fingerprints may begin so.
func inHex(word string) bool { return strings.Trim(word, "0123456789abcdef") == "" }

// certificateTerms are the nouns of a certificate's words: its own, and those of what was signed for it.
func certificateTerms(q leafward.Query) []string {
	if q.Where["status"] == string(leafward.StatusArchived) {
		return []string{"certificate.archived", "certificate.version.archived"}
	}
	return []string{"certificate", "certificate.version"}
}

// shelve moves the words of a certificate to those of the archived.
func (tx *Tx) shelve(c *leafward.Certificate) {
	move := func(noun, word string) {
		tx.Exec("UPDATE terms SET noun = $1 WHERE noun = $2 AND term = $3 AND id = $4", noun+".archived", noun, word, c.ID)
	}
	for _, w := range words(c) {
		move("certificate", w)
	}
	signed, err := selectAll(&tx.View, versions(), "WHERE certificate = $1", c.ID)
	tx.Fail(err)
	for _, v := range signed {
		move("certificate.version", term(v.Serial))
		move("certificate.version", term(v.SHA256))
	}
}
