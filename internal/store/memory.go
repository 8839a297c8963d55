package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// memory keeps what views read of the tables that change by hand, for as long as none of them changes: each change of one
// begins a new generation, and a view uses the memory of the generation that its snapshot is of.
//
// Hazard: rows are shared by everybody who reads them. A reader replaces what a row refers to and never changes it.
type memory struct {
	generation string // on PostgreSQL, where others change the tables too
	born       time.Time
	mu         sync.RWMutex
	rows       map[string]any // []T by table, condition and arguments
}

const (
	maxRemembered     = 4096 // queries
	maxRememberedRows = 8    // of one query

	// maxMemory is how long rows are remembered where others change the tables: somebody may do so without begetting a
	// generation, by hand or with an older server.
	maxMemory = 30 * time.Second
)

func newMemory(generation string) *memory {
	return &memory{generation: generation, born: time.Now(), rows: make(map[string]any)}
}

// steady tells whether a table changes by hand only, and so is worth remembering.
func steady(table string) bool {
	switch table {
	case "teams", "owners", "principals", "grants", "credentials", "profiles", "renewal_policies", "issuers", "authorities", "ca_certificates":
		return true
	}
	return false
}

// recall gives the rows of a query of a steady table, reading them when nobody did so yet.
func recall[T any](v *View, table, tail string, args []any, read func() ([]T, error)) ([]T, error) {
	if v.memory == nil || !steady(table) || strings.Contains(tail, "SELECT") {
		return read()
	}
	key := question(table, tail, args)
	v.memory.mu.RLock()
	known, ok := v.memory.rows[key]
	v.memory.mu.RUnlock()
	if ok {
		return slices.Clone(known.([]T)), nil
	}
	rows, err := read()
	if err != nil || len(rows) > maxRememberedRows {
		return rows, err
	}
	v.memory.mu.Lock()
	defer v.memory.mu.Unlock()
	if len(v.memory.rows) >= maxRemembered {
		clear(v.memory.rows)
	}
	v.memory.rows[key] = slices.Clone(rows)
	return rows, nil
}

// question is the same for the same query with the same arguments only.
func question(table, tail string, args []any) string {
	key := make([]byte, 0, 128)
	key = append(append(append(key, table...), ' '), tail...)
	for _, a := range args {
		switch a := a.(type) {
		case string:
			key = append(strconv.AppendInt(append(key, " s"...), int64(len(a)), 10), ' ')
			key = append(key, a...)
		case []byte:
			key = append(strconv.AppendInt(append(key, " b"...), int64(len(a)), 10), ' ')
			key = append(key, a...)
		default:
			key = fmt.Appendf(key, " %T %v", a, a)
		}
	}
	return string(key)
}

// written is the table that a statement writes to, "" for none.
func written(query string) string {
	for _, verb := range []string{"INSERT INTO ", "UPDATE ", "DELETE FROM "} {
		if rest, ok := strings.CutPrefix(query, verb); ok {
			table, _, _ := strings.Cut(rest, " ")
			return table
		}
	}
	return ""
}

// generations is how many rows the generation is spread over, so that changes at one moment seldom meet in one.
const generations = 16

// generation is read with the clock when a transaction begins on PostgreSQL.
const generation = "(SELECT string_agg(value::text, '.' ORDER BY slot) FROM generations)"

// begetGeneration ends what servers on the same database remember, from the commit of the transaction on.
func (tx *Tx) begetGeneration() {
	if tx.steady {
		tx.send("UPDATE generations SET value = $2 WHERE slot = $1", rand.IntN(generations), rand.Int64())
	}
}

// remembered is the memory of a generation.
func (db *DB) remembered(generation string) *memory {
	known := db.memory.Load()
	if known.generation == generation && time.Since(known.born) < maxMemory {
		return known
	}
	fresh := newMemory(generation)
	db.memory.CompareAndSwap(known, fresh)
	return fresh
}
