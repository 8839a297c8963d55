package store

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/leafward/leafward"
)

// table says how one noun lies in SQL. The columns are the `db` tags of T, embedded structs flattened;
// `,json` marks a value kept as JSON text, `,auto` a number that the database makes.
type table[T any] struct {
	noun, name string
	*layout
}

// layout is what reflection finds in a type, once per type.
type layout struct {
	columns      []column
	list         string // "a, b, c"
	insert       string // " (a, b, c) VALUES ($1, $2, $3)", without the number that the database makes
	id, revision int    // places of these columns, -1 where there are none
}

type column struct {
	name       string
	path       []int
	json, auto bool
	time       bool
}

// layouts caches what reflection found; it holds one entry per noun.
var layouts sync.Map //nolint:gochecknoglobals // a cache of facts about types, the same for everybody

func tableOf[T any](noun, name string) table[T] {
	t := reflect.TypeFor[T]()
	if known, ok := layouts.Load(t); ok {
		return table[T]{noun, name, known.(*layout)}
	}
	l := &layout{columns: columnsOf(t, nil)}
	names := make([]string, len(l.columns))
	for i, c := range l.columns {
		names[i] = c.name
	}
	l.id, l.revision = slices.Index(names, "id"), slices.Index(names, "revision")
	l.list = strings.Join(names, ", ")
	given := slices.Clone(names)
	if auto := slices.IndexFunc(l.columns, func(c column) bool { return c.auto }); auto >= 0 {
		given = slices.Delete(given, auto, auto+1)
	}
	l.insert = " (" + strings.Join(given, ", ") + ") VALUES (" + marks(1, len(given)) + ")"
	layouts.Store(t, l)
	return table[T]{noun, name, l}
}

func columnsOf(t reflect.Type, path []int) (columns []column) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(append([]int(nil), path...), i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			columns = append(columns, columnsOf(f.Type, at)...)
			continue
		}
		name, flags, _ := strings.Cut(f.Tag.Get("db"), ",")
		if name == "" {
			continue
		}
		columns = append(columns, column{name: name, path: at, json: flags == "json", auto: flags == "auto", time: f.Type == reflect.TypeFor[time.Time]()})
	}
	return columns
}

// value is the column's value of a row in the form that SQL takes.
func (c column) value(row reflect.Value) (any, error) {
	v := row.FieldByIndex(c.path)
	switch {
	case c.time:
		return micros(v.Interface().(time.Time)), nil
	case c.json:
		text, err := json.Marshal(v.Interface())
		return string(text), err
	}
	switch v.Kind() {
	case reflect.String:
		return v.String(), nil
	case reflect.Slice:
		if b := v.Bytes(); b != nil {
			return b, nil
		}
		return []byte{}, nil
	case reflect.Bool:
		return v.Bool(), nil
	default:
		return v.Int(), nil
	}
}

// valuesOf are the values of all columns of a row.
func (l *layout) valuesOf(row reflect.Value) (values []any, err error) {
	values = make([]any, len(l.columns))
	for i, c := range l.columns {
		if values[i], err = c.value(row); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// scanRow reads one row of the table's columns into out.
func (l *layout) scanRow(scan func(...any) error, out reflect.Value) error {
	targets := make([]any, len(l.columns))
	for i, c := range l.columns {
		switch {
		case c.time:
			targets[i] = new(int64)
		case c.json:
			targets[i] = new(string)
		default:
			targets[i] = out.FieldByIndex(c.path).Addr().Interface()
		}
	}
	if err := scan(targets...); err != nil {
		return err
	}
	for i, c := range l.columns {
		switch {
		case c.time:
			out.FieldByIndex(c.path).Set(reflect.ValueOf(instant(*targets[i].(*int64))))
		case c.json:
			if err := json.Unmarshal([]byte(*targets[i].(*string)), out.FieldByIndex(c.path).Addr().Interface()); err != nil {
				return fmt.Errorf("column %s: %w", c.name, err)
			}
		}
	}
	return nil
}

// selectAll reads every row that the tail (WHERE … ORDER BY … LIMIT …) picks. It does not apply the actor's scope.
func selectAll[T any](v *View, t table[T], tail string, args ...any) ([]T, error) {
	return recall(v, t.name, tail, args, func() ([]T, error) { return readAll(v, t, tail, args) })
}

func readAll[T any](v *View, t table[T], tail string, args []any) ([]T, error) {
	var all []T
	err := v.rows(func(scan func(...any) error) error {
		var row T
		if err := t.scanRow(scan, reflect.ValueOf(&row).Elem()); err != nil {
			return err
		}
		all = append(all, row)
		return remember(v, t, &row)
	}, "SELECT "+t.list+" FROM "+t.name+" "+tail, args...)
	return all, err
}

// selectOne reads the row that the tail picks; found is false when there is none.
func selectOne[T any](v *View, t table[T], tail string, args ...any) (row T, found bool, err error) {
	all, err := selectAll(v, t, tail, args...)
	if err != nil || len(all) == 0 {
		return row, false, err
	}
	return all[0], true, nil
}

// byID reads one row by id inside the actor's scope: scope names the column that holds the team, "" for none.
// Another team's row is missing, just as one that does not exist.
func byID[T any](v *View, t table[T], scope, id string) (T, error) {
	s := newSelection(v.Actor, scope)
	s.and("id = ?", id)
	row, found, err := selectOne(v, t, s.where(), s.args...)
	if err == nil && !found {
		err = leafward.Missing(t.noun, id)
	}
	return row, err
}

// insertRow adds the row as it is and sets the number that the database made.
func insertRow[T any](tx *Tx, t table[T], row *T) {
	if tx.err != nil {
		return
	}
	v := reflect.ValueOf(row).Elem()
	values, err := t.valuesOf(v)
	if err != nil {
		tx.Fail(err)
		return
	}
	if tx.left.query == "" && t.id >= 0 {
		tx.left = witness{"SELECT 1 FROM " + t.name + " WHERE id = $1", []any{values[t.id]}}
	}
	query := "INSERT INTO " + t.name + t.insert
	auto := slices.IndexFunc(t.columns, func(c column) bool { return c.auto })
	if auto < 0 {
		tx.send(query, values...)
		return
	}
	c, args := t.columns[auto], slices.Delete(values, auto, auto+1)
	tx.notice(query)
	if tx.lastID { // RETURNING would cost a copy of every page that the row touches
		v.FieldByIndex(c.path).SetInt(tx.insert(query, args))
		return
	}
	_, err = tx.one(query+" RETURNING "+c.name, args, v.FieldByIndex(c.path).Addr().Interface())
	tx.Fail(err)
}

// insertRows adds rows as they are, many with one statement; numbers that the database makes are not read.
func insertRows[T any](tx *Tx, t table[T], rows []T) {
	var names []string
	for _, c := range t.columns {
		if !c.auto {
			names = append(names, c.name)
		}
	}
	all := make([][]any, len(rows))
	for i := range rows {
		values, err := t.valuesOf(reflect.ValueOf(&rows[i]).Elem())
		if err != nil {
			tx.Fail(err)
			return
		}
		for j, c := range t.columns {
			if !c.auto {
				all[i] = append(all[i], values[j])
			}
		}
	}
	insertValues(tx, "INSERT INTO "+t.name+" ("+strings.Join(names, ", ")+") VALUES ", "", all)
}

// insertValues runs a statement that inserts rows, each of as many values, with as many rows at a time as may be.
func insertValues(tx *Tx, insert, tail string, rows [][]any) {
	if len(rows) == 0 {
		return
	}
	for some := range slices.Chunk(rows, min(maxMarks, max(1, maxValues/len(rows[0])))) {
		var all []string
		var args []any
		for _, values := range some {
			all = append(all, "("+marks(len(args)+1, len(values))+")")
			args = append(args, values...)
		}
		tx.send(insert+strings.Join(all, ", ")+tail, args...)
	}
}

// noun is a stored thing with an id and a revision.
type noun[T any] interface {
	*T
	Meta() *leafward.Row
}

// add inserts a noun: it gets an id behind the prefix unless it has one, a UUID, its first revision and its times.
func add[T any, P noun[T]](tx *Tx, t table[T], prefix string, row *T) {
	m := P(row).Meta()
	if m.ID == "" {
		m.ID = NewID(prefix)
	}
	if m.UUID == "" {
		m.UUID = uuid.Must(uuid.NewV7()).String()
	}
	m.Revision, m.CreatedAt, m.UpdatedAt = 1, tx.Now, tx.Now
	insertRow(tx, t, row)
	tx.touch(m.ID)
	index(tx, t.noun, m, row, nil)
	tx.Fail(remember(&tx.View, t, row))
}

// put writes a noun that was read in this transaction: the columns that changed, so that only their indexes are touched.
// A row changed meanwhile makes the transaction run again.
func put[T any, P noun[T]](tx *Tx, t table[T], row *T) {
	if tx.err != nil {
		return
	}
	m := P(row).Meta()
	read := m.Revision
	m.Revision, m.UpdatedAt = read+1, tx.Now
	values, err := t.valuesOf(reflect.ValueOf(row).Elem())
	if err != nil {
		tx.Fail(err)
		return
	}
	before := tx.rowsRead[t.name+"/"+m.ID]
	if _, found := any(row).(findable); found && !before.at(read) {
		_, _, err := selectOne(&tx.View, t, "WHERE id = $1", m.ID) // for the words that it is found by
		tx.Fail(err)
		before = tx.rowsRead[t.name+"/"+m.ID]
	}
	args := []any{m.ID, read}
	var sets []string
	for i, c := range t.columns {
		fixed := c.auto || c.name == "id" || c.name == "uuid" || c.name == "created_at"
		if fixed || before.at(read) && equal(before.values[i], values[i]) {
			continue
		}
		args = append(args, values[i])
		sets = append(sets, c.name+" = $"+strconv.Itoa(len(args)))
	}
	if tx.left.query == "" {
		tx.left = witness{"SELECT 1 FROM " + t.name + " WHERE id = $1 AND revision > $2", []any{m.ID, read}}
	}
	tx.must("UPDATE "+t.name+" SET "+strings.Join(sets, ", ")+" WHERE id = $1 AND revision = $2", args...)
	tx.touch(m.ID)
	if before.at(read) {
		index(tx, t.noun, m, row, before.words)
	}
	keep(tx, t, m, row, values)
	tx.rowsRead[t.name+"/"+m.ID].made = before != nil && before.made
}

// remove deletes a noun that was read in this transaction.
func remove[T any, P noun[T]](tx *Tx, t table[T], row *T) {
	m := P(row).Meta()
	tx.must("DELETE FROM "+t.name+" WHERE id = $1 AND revision = $2", m.ID, m.Revision)
	if read := tx.rowsRead[t.name+"/"+m.ID]; read.at(m.Revision) {
		unindex(tx, t.noun, m.ID, entries(read.words))
	}
}

// findable is a noun with words it is found by.
type findable interface{ Terms() []string }

// maxTerm bounds the length of an indexed word, in bytes.
const maxTerm = 128

// index keeps the words that a search finds the row by: had are those that it was found by so far.
func index(tx *Tx, noun string, m *leafward.Row, row any, had []string) {
	f, ok := row.(findable)
	if !ok || tx.err != nil {
		return
	}
	want := words(f)
	if slices.Equal(had, want) {
		return
	}
	before, after := entries(had), entries(want)
	unindex(tx, noun, m.ID, without(before, after))
	for some := range slices.Chunk(without(after, before), maxMarks) {
		var rows []string
		args := []any{noun, m.ID, micros(m.CreatedAt)}
		for _, e := range some {
			args = append(args, e.word, e.alike)
			rows = append(rows, fmt.Sprintf("($1, $%d, $2, $%d, $3)", len(args)-1, len(args)))
		}
		tx.send(insertTerms+strings.Join(rows, ", "), args...)
	}
}

// insertTerms adds words that rows are found by. Those of a certificate are told with how many characters of each the word
// before it begins with too: where that is fewer than a search asks for, the row is found by this word first. And with when
// the row was made, so that the newest of many are found by their words alone.
const insertTerms = "INSERT INTO terms (noun, term, id, alike, born) VALUES "

// entry is a word in the index.
type entry struct {
	word  string
	alike int // as many characters as the row's word before it has alike
}

// entries are sorted words as the index has them.
func entries(words []string) []entry {
	all := make([]entry, len(words))
	before := ""
	for i, w := range words {
		all[i] = entry{w, Alike(before, w)}
		before = w
	}
	return all
}

// Alike is how many characters two words begin with alike.
func Alike(a, b string) (n int) {
	for i, c := range a {
		if !strings.HasPrefix(b[min(i, len(b)):], string(c)) {
			break
		}
		n++
	}
	return n
}

// unindex takes words away that a row was found by.
func unindex(tx *Tx, noun, id string, gone []entry) {
	for _, e := range gone {
		tx.send("DELETE FROM terms WHERE noun = $1 AND term = $2 AND id = $3", noun, e.word, id)
	}
}

// without are the entries of a list that another list lacks.
func without(list, other []entry) []entry {
	return slices.DeleteFunc(slices.Clone(list), func(e entry) bool { return slices.Contains(other, e) })
}

// Bounds of what one statement inserts. SQLite looks up each value among all.
const (
	maxMarks  = 32  // rows
	maxValues = 500 // of all rows
)

// words are the indexed forms of what a row is found by, sorted, each once.
func words(f findable) []string {
	var all []string
	for _, w := range f.Terms() {
		if w = term(w); w != "" {
			all = append(all, w)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// lines are words as a column holds them: each behind the end of a line, so that the beginning of one is found.
func lines(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return "\n" + strings.Join(words, "\n")
}

// term is the indexed form of a word: lower case, bounded without cutting a character.
func term(word string) string {
	word = strings.ToLower(strings.TrimSpace(word))
	if len(word) > maxTerm {
		word = strings.ToValidUTF8(word[:maxTerm], "")
	}
	return word
}
