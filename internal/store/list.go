package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/leafward/leafward"
)

// selection is a WHERE clause under construction; `?` stands for the next argument.
type selection struct {
	conditions []string
	args       []any
}

// newSelection starts with the actor's scope: the column that holds the team, "" for a noun without one.
func newSelection(actor leafward.Actor, scope string) *selection {
	s := &selection{}
	if scope == "" || actor.Teams == nil {
		return s
	}
	marks := []string{"''"}
	var args []any
	for _, t := range actor.Teams {
		marks = append(marks, "?")
		args = append(args, t)
	}
	s.and(scope+" IN ("+strings.Join(marks, ", ")+")", args...)
	return s
}

func (s *selection) and(condition string, args ...any) {
	s.conditions = append(s.conditions, s.bind(condition, args))
}

// bind adds arguments and returns a condition with their places.
func (s *selection) bind(condition string, args []any) string {
	for _, a := range args {
		s.args = append(s.args, a)
		condition = strings.Replace(condition, "?", "$"+strconv.Itoa(len(s.args)), 1)
	}
	return condition
}

// in adds that the column is one of the values.
func (s *selection) in(column string, values []string) {
	marks := make([]string, len(values))
	args := make([]any, len(values))
	for i, v := range values {
		marks[i], args[i] = "?", v
	}
	s.and(column+" IN ("+strings.Join(marks, ", ")+")", args...)
}

func (s *selection) where() string {
	if len(s.conditions) == 0 {
		return ""
	}
	return "WHERE " + strings.Join(s.conditions, " AND ")
}

// listing says how a noun is listed. Every sort key and filter is indexed.
type listing[T any] struct {
	table table[T]
	scope string            // column that holds the team, "" for none
	sorts map[string]string // key of the API → column
	by    string            // the sort when none is asked for
	where map[string]string // filter of the API → condition with one ?
	given func(name, value string) (any, error)
	fixed string                                                                // condition that always holds
	total func(*View, leafward.Query) (int64, bool, error)                      // a total from a fold, ok when it has one
	broad func(q leafward.Query, filter string) bool                            // that many fit a filter ("": the actor's scope), and few another one of the query
	floor func(*View, leafward.Query) (int64, error)                            // a part of a total from a fold
	plain func(*View, leafward.Query) (condition string, args []any, err error) // from the whole query, such as leaving archived rows out
	terms func(leafward.Query) []string                                         // nouns of the words it is found by; its own when nil
	walk  func(leafward.Query) (base, match string)                             // see walk.go; nil where lists are never long
}

// position is a cursor: where the last page ended, under which order and filters.
type position struct {
	Sort  string `json:"s"`
	Bound string `json:"b"`
	Value any    `json:"v"`
	ID    string `json:"i"`
}

// list returns one page of the noun.
func list[T any, P noun[T]](v *View, l listing[T], q leafward.Query) (leafward.List[T], error) {
	out := leafward.List[T]{Items: []T{}, Page: max(q.Page, 1), PerPage: q.PerPage}
	if out.PerPage == 0 {
		out.PerPage = leafward.DefaultPerPage
	}
	key, descending := strings.CutPrefix(q.Sort, "-")
	if q.Sort == "" {
		key, descending = strings.CutPrefix(l.by, "-")
	}
	s, err := l.check(v, q, key, out)
	if err != nil {
		return out, err
	}
	if out.Total, out.TotalCapped, err = l.count(v, q, s); err != nil {
		return out, err
	}
	column := l.sorts[key]
	at := span{by: column + " ASC, id ASC", reverse: column + " DESC, id DESC", limit: out.PerPage + 1, offset: (out.Page - 1) * out.PerPage, total: out.Total, capped: out.TotalCapped}
	after := ">"
	if descending {
		at.by, at.reverse, after = at.reverse, at.by, "<"
	}
	if q.Cursor != "" {
		p, err := decode(l.table.noun, q, l.sortValue(new(T), column))
		if err != nil {
			return out, err
		}
		at.offset, at.behind, at.place = 0, "("+column+", id) "+after+" (?, ?)", []any{p.Value, p.ID}
	}
	items, err := l.page(v, q, s, at)
	if err != nil {
		return out, err
	}
	if len(items) > out.PerPage {
		items = items[:out.PerPage]
		last := &items[len(items)-1]
		out.Next = encode(l.table.noun, q, position{Value: l.sortValue(last, column), ID: P(last).Meta().ID})
	}
	out.Items = append(out.Items, items...)
	return out, nil
}

// check refuses what the list does not know and turns the rest into conditions.
func (l listing[T]) check(v *View, q leafward.Query, key string, out leafward.List[T]) (*selection, error) {
	var p leafward.Problems
	p.Check(q.Page >= 0 && out.Page <= 1<<40/leafward.MaxPerPage, "page", "is not a page number", "use a number from 1")
	p.Check(out.PerPage >= 1 && out.PerPage <= leafward.MaxPerPage, "per_page", "is out of range", fmt.Sprintf("use 1 to %d", leafward.MaxPerPage))
	p.Check(q.Cursor == "" || q.Page <= 1, "cursor", "and page exclude each other", "send only one of them")
	p.Check(l.sorts[key] != "", "sort", fmt.Sprintf("%.60q is not a key of this list", key), "use one of "+strings.Join(slices.Sorted(maps.Keys(l.sorts)), ", ")+", with - in front for descending")
	scope := l.scope
	if l.broad != nil && l.broad(q, "") {
		scope = v.plus + scope
	}
	s := newSelection(v.Actor, scope)
	if l.fixed != "" {
		s.and(l.fixed)
	}
	if l.plain != nil {
		condition, args, err := l.plain(v, q)
		if err := p.Merge(err); err != nil {
			return nil, err
		}
		if condition != "" {
			s.and(condition, args...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(q.Where)) {
		condition, ok := l.where[name]
		if !ok {
			p.Add(name, "is not a filter of this list", "use one of "+strings.Join(slices.Sorted(maps.Keys(l.where)), ", "))
			continue
		}
		var value any = q.Where[name]
		if l.given != nil {
			var err error
			if value, err = l.given(name, q.Where[name]); err != nil {
				p.Add(name, err.Error(), "use one of the values the document names")
				continue
			}
		}
		if condition == "" {
			continue
		}
		if l.broad != nil && l.broad(q, name) {
			condition = v.plus + condition
		}
		s.and(condition, value)
	}
	p.Check(len(q.Text) <= maxTerm, "q", "is too long", "search for at most 128 bytes")
	return s, p.Err()
}

func (l listing[T]) sortValue(row *T, name string) any {
	for _, c := range l.table.columns {
		if c.name == name {
			value, _ := c.value(reflect.ValueOf(row).Elem())
			return value
		}
	}
	return nil
}

// bound fingerprints what a cursor is good for: a list, and its filters.
func bound(noun string, q leafward.Query) string {
	names := make([]string, 0, len(q.Where))
	for k, v := range q.Where {
		names = append(names, strconv.Quote(k)+strconv.Quote(v))
	}
	sort.Strings(names)
	sum := sha256.Sum256([]byte(strconv.Quote(noun) + strconv.Quote(q.Text) + strings.Join(names, "")))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

func encode(noun string, q leafward.Query, p position) string {
	p.Sort, p.Bound = q.Sort, bound(noun, q)
	text, _ := json.Marshal(p) // strings and numbers only
	return base64.RawURLEncoding.EncodeToString(text)
}

// decode reads a cursor of a list that is sorted by values such as the given one.
func decode(noun string, q leafward.Query, like any) (position, error) {
	var p position
	bad := func(problem string) (position, error) {
		var problems leafward.Problems
		problems.Add("cursor", problem, "start again without a cursor, and send the same sort and filters with each next_cursor")
		return p, problems.Err()
	}
	if len(q.Cursor) > 2048 {
		return bad("is too long")
	}
	told, err := base64.RawURLEncoding.DecodeString(q.Cursor)
	if err != nil {
		return bad("is not one of ours")
	}
	d := json.NewDecoder(bytes.NewReader(told))
	d.UseNumber()
	if d.Decode(&p) != nil {
		return bad("is not one of ours")
	}
	if p.Sort != q.Sort || p.Bound != bound(noun, q) {
		return bad("belongs to another list, sort or filter")
	}
	if number, ok := p.Value.(json.Number); ok {
		if p.Value, err = number.Int64(); err != nil {
			return bad("is not one of ours")
		}
	}
	text, _ := p.Value.(string)
	if reflect.TypeOf(p.Value) != reflect.TypeOf(like) || strings.ContainsRune(text+p.ID, 0) {
		return bad("is not one of ours")
	}
	return p, nil
}
