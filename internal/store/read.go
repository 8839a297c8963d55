package store

import (
	"bytes"
	"reflect"

	"github.com/leafward/leafward"
)

// readRow is a row as a transaction last read or wrote it: what a later put is compared with.
type readRow struct {
	revision int64
	values   []any // of the table's columns
	words    []string
	row      any  // a copy, of type T
	made     bool // by this transaction, and written by nothing but put since
}

// at tells whether it is the row at a revision. A nil readRow is none.
func (r *readRow) at(revision int64) bool {
	return r != nil && r.values != nil && r.revision == revision
}

// remember keeps a row that a transaction read. Views keep nothing, and neither do tables without a revision.
func remember[T any](v *View, t table[T], row *T) error {
	if v.rowsRead == nil || t.id < 0 || t.revision < 0 {
		return nil
	}
	values, err := t.valuesOf(reflect.ValueOf(row).Elem())
	if err != nil {
		return err
	}
	kept := &readRow{revision: values[t.revision].(int64), values: values, row: *row}
	if f, ok := any(row).(findable); ok {
		kept.words = words(f)
	}
	v.rowsRead[t.name+"/"+values[t.id].(string)] = kept
	return nil
}

// keep is remember for a row whose values are known.
func keep[T any](tx *Tx, t table[T], m *leafward.Row, row *T, values []any) {
	kept := &readRow{revision: m.Revision, values: values, row: *row}
	if f, ok := any(row).(findable); ok {
		kept.words = words(f)
	}
	tx.rowsRead[t.name+"/"+m.ID] = kept
}

// equal compares two values of a column.
func equal(a, b any) bool {
	if x, ok := a.([]byte); ok {
		y, ok := b.([]byte)
		return ok && bytes.Equal(x, y)
	}
	return a == b
}
