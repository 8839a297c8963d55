package store

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/leafward/leafward"
)

// kept is a noun that people create, change and delete by hand.
type kept[T any] interface {
	noun[T]
	Validate() error // every rule that needs nothing but the noun
	Scope() string   // the team it belongs to, "" when shared
}

// Resource is how a kept noun is listed, read, made, changed and deleted, each change with its event.
type Resource[T any, P kept[T]] struct {
	listing                   listing[T]
	prefix                    string
	created, updated, deleted leafward.Action
}

// List returns one page inside the actor's scope.
func (r Resource[T, P]) List(ctx context.Context, db *DB, q leafward.Query) (page leafward.List[T], err error) {
	err = db.View(ctx, func(v *View) error {
		page, err = list[T, P](v, r.listing, q)
		return err
	})
	return page, err
}

// Get reads one row inside the actor's scope.
func (r Resource[T, P]) Get(ctx context.Context, db *DB, id string) (row T, err error) {
	err = db.View(ctx, func(v *View) error {
		row, err = r.Read(v, id)
		return err
	})
	return row, err
}

// Read is Get inside a transaction.
func (r Resource[T, P]) Read(v *View, id string) (T, error) {
	return byID(v, r.listing.table, r.listing.scope, id)
}

// Create fills, validates and inserts a row; check, which may be nil, holds the rules that need other nouns.
func (r Resource[T, P]) Create(ctx context.Context, db *DB, fill func(*T) error, check func(*Tx, *T) error) (made T, err error) {
	err = db.Write(ctx, func(tx *Tx) error {
		var row T
		made = row
		return r.Insert(tx, &made, fill, check)
	})
	return made, err
}

// Insert is Create inside a transaction.
func (r Resource[T, P]) Insert(tx *Tx, row *T, fill func(*T) error, check func(*Tx, *T) error) error {
	if err := r.allowed(tx, row, fill(row), check); err != nil {
		return err
	}
	add[T, P](tx, r.listing.table, r.prefix, row)
	tx.Record(r.created, P(row).Meta().ID, P(row).Scope(), nil)
	tx.err = r.named(tx.settle())
	return tx.err
}

// Update lets change alter the row, validates and writes it. Match, when not empty, is the ETag the row must have.
// A change that alters nothing writes nothing.
func (r Resource[T, P]) Update(ctx context.Context, db *DB, id, match string, change func(*T) error, check func(*Tx, *T) error) (row T, err error) {
	err = db.Write(ctx, func(tx *Tx) error {
		row, _, err = r.Change(tx, id, match, change, check)
		return err
	})
	return row, err
}

// Change is Update inside a transaction; changed names the columns that got other values.
func (r Resource[T, P]) Change(tx *Tx, id, match string, change func(*T) error, check func(*Tx, *T) error) (row T, changed []string, err error) {
	if row, err = r.Read(&tx.View, id); err != nil {
		return row, nil, err
	}
	if err := Match(P(&row).Meta(), match); err != nil {
		return row, nil, err
	}
	before := row
	wrong := change(&row)
	changed = r.listing.table.differ(&before, &row)
	if len(changed) == 0 && wrong == nil {
		return row, nil, nil
	}
	if !tx.Actor.MayWrite(P(&before).Scope()) {
		return row, nil, notYours(r.listing.table.noun)
	}
	if err := r.allowed(tx, &row, wrong, check); err != nil {
		return row, nil, err
	}
	put[T, P](tx, r.listing.table, &row)
	tx.Record(r.updated, id, P(&row).Scope(), leafward.Details{"changed": changed})
	tx.err = r.named(tx.settle())
	return row, changed, tx.err
}

// Delete removes a row that nothing refers to.
func (r Resource[T, P]) Delete(ctx context.Context, db *DB, id, match string, check func(*Tx, *T) error) error {
	return db.Write(ctx, func(tx *Tx) error {
		row, err := r.Read(&tx.View, id)
		if err != nil {
			return err
		}
		if err := Match(P(&row).Meta(), match); err != nil {
			return err
		}
		if !tx.Actor.MayWrite(P(&row).Scope()) {
			return notYours(r.listing.table.noun)
		}
		if check != nil {
			if err := check(tx, &row); err != nil {
				return err
			}
		}
		counts, err := tx.References(r.listing.table.noun, id)
		if err != nil {
			return err
		}
		if len(counts) > 0 {
			return inUse(r.listing.table.noun, id, counts)
		}
		remove[T, P](tx, r.listing.table, &row)
		tx.Record(r.deleted, id, P(&row).Scope(), nil)
		return nil
	})
}

// allowed applies the noun's own rules, the rules between nouns and the actor's scope, behind what was wrong already.
func (r Resource[T, P]) allowed(tx *Tx, row *T, wrong error, check func(*Tx, *T) error) error {
	var p leafward.Problems
	if err := p.Merge(wrong); err != nil {
		return err
	}
	if err := p.Merge(P(row).Validate()); err != nil {
		return err
	}
	if check != nil {
		if err := p.Merge(check(tx, row)); err != nil {
			return err
		}
	}
	if err := p.Err(); err != nil {
		return err
	}
	if !tx.Actor.MayWrite(P(row).Scope()) {
		return notYours(r.listing.table.noun)
	}
	return nil
}

// named tells a conflict in the words of the noun.
func (r Resource[T, P]) named(err error) error {
	if e, ok := errors.AsType[*leafward.Error](err); ok && e.Kind == leafward.Conflict && strings.HasPrefix(e.Message, "something with") {
		e.Message = fmt.Sprintf("a %s with the same id or name exists already", strings.ReplaceAll(r.listing.table.noun, "_", " "))
	}
	return err
}

// Match refuses when the row no longer has the ETag the caller saw; "" and "*" always match.
func Match(m *leafward.Row, etag string) error {
	tag := strings.Trim(strings.TrimPrefix(etag, "W/"), `"`)
	if tag == "" || tag == "*" || tag == fmt.Sprint(m.Revision) {
		return nil
	}
	return leafward.Errorf(leafward.Precondition, "read it again and decide on what it is now", "%s was changed since: its revision is %d", m.ID, m.Revision)
}

func notYours(noun string) error {
	return leafward.Errorf(leafward.Denied, "ask an administrator whose key is for all teams", "this %s is shared by all teams, and your key is for some", noun)
}

func inUse(noun, id string, counts map[string]int) error {
	var parts []string
	for _, kind := range sortedKeys(counts) {
		things := strings.ReplaceAll(kind, "_", " ")
		if one, many := strings.CutSuffix(things, "s"); many && counts[kind] == 1 {
			things = one
		}
		parts = append(parts, fmt.Sprintf("%d %s", counts[kind], things))
	}
	return &leafward.Error{Kind: leafward.Conflict, Message: fmt.Sprintf("the %s %s is still used by %s", noun, id, strings.Join(parts, ", ")), Fix: "move or remove those first", Counts: counts}
}

// differ names the columns whose values two rows do not share.
func (l *layout) differ(a, b any) []string {
	x, y := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	names := []string{}
	for _, c := range l.columns {
		if !reflect.DeepEqual(x.FieldByIndex(c.path).Interface(), y.FieldByIndex(c.path).Interface()) {
			names = append(names, c.name)
		}
	}
	return names
}
