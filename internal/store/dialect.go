package store

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/leafward/leafward"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// dialect is what differs between the two engines.
type dialect struct {
	name   string
	skip   string // appended to a claim so that replicas do not wait for each other
	find   string // the function that tells where a text stands in another, from 1
	plus   string // before a column: no index of it is used, where the engine cannot know how many rows fit
	marks  string // what stands for the argument $1 in the engine's own words
	lastID bool   // the number that a row got is told with the INSERT, without RETURNING
	tokens *strings.Replacer
}

var placeholder = regexp.MustCompile(`\$(\d+)`)

func sqliteDialect() dialect {
	return dialect{name: "sqlite", find: "instr", plus: "+", marks: "?$1", lastID: true, tokens: strings.NewReplacer(
		"{{serial}}", "INTEGER PRIMARY KEY AUTOINCREMENT", "{{blob}}", "BLOB", "{{text}}", "TEXT", "{{rowless}}", "WITHOUT ROWID", "{{postgres}}", "--")}
}

func postgresDialect() dialect {
	return dialect{name: "postgres", find: "strpos", skip: " FOR UPDATE SKIP LOCKED", tokens: strings.NewReplacer(
		"{{serial}}", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "{{blob}}", "BYTEA", "{{text}}", `TEXT COLLATE "C"`, "{{rowless}}", "", "{{postgres}}", "")}
}

// text is the query in the engine's own placeholders. Nothing is remembered here: the pages of lists are different texts
// without end.
func (d dialect) text(query string) string {
	if d.marks == "" {
		return query
	}
	n, ordered := 0, true
	plain := placeholder.ReplaceAllStringFunc(query, func(mark string) string {
		n++
		ordered = ordered && mark == "$"+strconv.Itoa(n)
		return "?"
	})
	if ordered { // the driver looks arguments up by name where they have one
		return plain
	}
	return placeholder.ReplaceAllString(query, d.marks)
}

// translate gives an engine's error the kind that users are told.
func translate(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*leafward.Error](err); ok {
		return err
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return translateSQLite(e)
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return translatePostgres(e)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &leafward.Error{Kind: leafward.Later, Message: "the database did not answer in time", Fix: "try again in a moment", After: second, Cause: err}
	}
	if lostConnection(err) {
		return &leafward.Error{Kind: leafward.Later, Message: "the database cannot be reached", Fix: "wait until it is back; nothing was changed", After: second, Cause: err}
	}
	return err
}

func translateSQLite(e *sqlite.Error) error {
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return storageFull(e)
	case sqlite3.SQLITE_CONSTRAINT:
		switch e.Code() {
		case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
			_, columns, _ := strings.Cut(e.Error(), "constraint failed: ")
			columns, _, _ = strings.Cut(columns, " (")
			return taken(columns, e)
		case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
			return referenced(e)
		}
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return &leafward.Error{Kind: leafward.Later, Message: "the database is busy", Fix: "try again in a moment", After: second, Cause: e}
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY:
		return &leafward.Error{Kind: leafward.Later, Message: "the database file cannot be written", Fix: "check the disk and the permissions of the data directory", After: second, Cause: e}
	}
	return e
}

// noTable tells whether a statement asks for a table that is not there.
func noTable(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "42P01"
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code()&0xff == sqlite3.SQLITE_ERROR && strings.Contains(e.Error(), "no such table")
}

// damaged tells of a file that SQLite does not know as a database of its own.
func damaged(path string, err error) error {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok || e.Code()&0xff != sqlite3.SQLITE_NOTADB && e.Code()&0xff != sqlite3.SQLITE_CORRUPT {
		return err
	}
	return &leafward.Error{Kind: leafward.Invalid, Message: path + " is no SQLite database, or is damaged", Fix: "put the data directory back from a backup, or name another --data-dir", Cause: err}
}

func translatePostgres(e *pgconn.PgError) error {
	switch e.Code {
	case "53100":
		return storageFull(e)
	case "23505":
		return taken(e.ConstraintName, e)
	case "23503":
		return referenced(e)
	case "28P01", "28000", "3D000":
		return &leafward.Error{Kind: leafward.Later, Message: "the database refuses the connection", Fix: "check the user, the password and the name of the database in --database", After: second, Cause: e}
	case "53300", "57P01", "57P02", "57P03":
		return &leafward.Error{Kind: leafward.Later, Message: "the database is not available", Fix: "wait until it is back; nothing was changed", After: second, Cause: e}
	}
	return e
}

func storageFull(cause error) error {
	return &leafward.Error{Kind: leafward.StorageFull, Message: "the disk of the database is full", Fix: "free some space; reading, OCSP and CRLs go on, and writing comes back by itself", Cause: cause}
}

func taken(what string, cause error) error {
	return &leafward.Error{Kind: leafward.Conflict, Message: "something with the same id or name exists already", Fix: "choose another id or name, or change the existing one", Cause: errors.Join(errors.New(what), cause)}
}

func referenced(cause error) error {
	return &leafward.Error{Kind: leafward.Conflict, Message: "the change refers to something that does not exist, or removes something still in use", Fix: "name existing things, and remove what refers to this one first", Cause: cause}
}

// again tells whether a PostgreSQL transaction failed only because of others and may simply run once more.
func again(err error) bool {
	if errors.Is(err, errStale) {
		return true
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "40001" || e.Code == "40P01")
}

// doubtful tells whether PostgreSQL found something taken or still in use, which the snapshot of the transaction may not
// have shown: another committed it since. Whoever runs again sees it.
func doubtful(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "23503" || e.Code == "23505")
}
