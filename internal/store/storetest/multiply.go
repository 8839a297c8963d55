package storetest

import (
	"context"
	crand "crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/leafward/leafward/internal/audit"
	"github.com/leafward/leafward/internal/store"
)

// Copies says what Multiply makes.
type Copies struct {
	Of     []string           // ids of certificates that the product issued: the models
	Many   int                // copies of all of them together, one after the other
	Spread time.Duration      // the copies are as much older than their models as this at most, evenly
	Host   func(n int) string // the first label of the name of a copy, in the place of its model's
}

// Multiply fills a database with copies of certificates that a server issued, for tests that need more of them than could
// be issued while somebody waits. A copy has every row that its model has, in every table, with ids, names, serial numbers,
// fingerprints and times of its own, and its events stand in the chain; only the DER is the model's. No server may run
// meanwhile. A path is that of an SQLite file, anything with a scheme the URL of a PostgreSQL database.
func Multiply(ctx context.Context, database string, c Copies) (err error) {
	b, err := openBulk(ctx, database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	models := make([]*model, len(c.Of))
	for i, id := range c.Of {
		if models[i], err = b.model(ctx, id); err != nil {
			return err
		}
	}
	end, err := b.head(ctx)
	if err != nil {
		return err
	}
	for from := 0; from < c.Many; from += perTransaction {
		rows := make(map[string][][]any)
		for n := from; n < min(from+perTransaction, c.Many); n++ {
			age := time.Duration(float64(c.Spread) * float64(c.Many-n) / float64(c.Many))
			models[n%len(models)].copy(rows, age, c.Host(n), end)
		}
		if err := b.insert(ctx, rows); err != nil {
			return err
		}
	}
	return b.finish(ctx)
}

// perTransaction is how many copies are written at once.
const perTransaction = 5000

// belonging are the tables with rows of a certificate, in the order in which they refer to one another.
func belonging() []struct{ table, where string } {
	const keys, requests, jobs = "(SELECT key_id FROM versions WHERE certificate = $1)", "(SELECT id FROM requests WHERE certificate = $1)", "(SELECT id FROM jobs WHERE certificate = $1)"
	return []struct{ table, where string }{
		{"keys", "id IN " + keys},
		{"certificates", "id = $1"},
		{"versions", "certificate = $1"},
		{"requests", "certificate = $1"},
		{"serials", "subject IN " + requests},
		{"jobs", "certificate = $1"},
		{"job_attempts", "job IN " + jobs},
		{"job_steps", "job IN " + jobs},
		{"terms", "id = $1"},
		{"events", "resource_id = $1"},
	}
}

// model is a certificate with all its rows.
type model struct {
	tables  []modelTable
	id      string
	name    string
	own     []string // what must differ in every copy: ids, UUIDs, serial numbers, fingerprints
	moments []time.Time
}

type modelTable struct {
	name    string
	columns []string
	rows    [][]any
}

// column finds a column of a table.
func (t *modelTable) column(name string) int { return slices.Index(t.columns, name) }

// ownForm is what a row is known by: UUIDs, alone or behind a prefix, serial numbers and fingerprints in hex.
var ownForm = regexp.MustCompile(`^([a-z]+-)?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$|^[0-9a-f]{17,64}$`)

// identity names the columns whose values are a row's own.
func identity() []string { return []string{"id", "uuid", "serial", "sha256", "spki", "request_id"} }

func (b *bulk) model(ctx context.Context, id string) (*model, error) {
	m := &model{id: id}
	for _, part := range belonging() {
		columns, err := b.columns(ctx, part.table)
		if err != nil {
			return nil, err
		}
		t := modelTable{name: part.table, columns: columns}
		if t.rows, err = b.rows(ctx, "SELECT "+strings.Join(columns, ", ")+" FROM "+part.table+" WHERE "+part.where, len(columns), id); err != nil {
			return nil, err
		}
		if part.table == "events" {
			at := t.column("id")
			slices.SortFunc(t.rows, func(x, y []any) int { return strings.Compare(x[at].(string), y[at].(string)) })
		}
		m.tables = append(m.tables, t)
	}
	for i := range m.tables {
		m.learn(&m.tables[i])
	}
	if m.name == "" {
		return nil, fmt.Errorf("there is no certificate %s to copy", id)
	}
	return m, nil
}

// learn finds what is a table's rows' own.
func (m *model) learn(t *modelTable) {
	for _, row := range t.rows {
		for i, value := range row {
			switch v := value.(type) {
			case string:
				if slices.Contains(identity(), t.columns[i]) && ownForm.MatchString(v) && !slices.Contains(m.own, v) {
					m.own = append(m.own, v)
				}
				if t.name == "certificates" && t.columns[i] == "name" {
					m.name = v
				}
			case int64:
				if moment := time.UnixMicro(v).UTC(); v > firstMoment && !slices.Contains(m.moments, moment) {
					m.moments = append(m.moments, moment)
				}
			}
		}
	}
}

// firstMoment is below every instant that a column holds and above every other number, in microseconds.
const firstMoment = 1e15

// copy adds the rows of a copy that is older than the model by some time.
func (m *model) copy(rows map[string][][]any, age time.Duration, host string, end *chainEnd) {
	age = age.Truncate(time.Second) // dates in certificates have no parts of one
	_, domain, _ := strings.Cut(m.name, ".")
	swap := []string{m.name, host + "." + domain}
	for _, own := range m.own {
		swap = append(swap, own, another(own, age))
	}
	for _, moment := range m.moments { // as they stand in the text of events
		swap = append(swap, moment.Format(time.RFC3339Nano), moment.Add(-age).Format(time.RFC3339Nano))
	}
	with := strings.NewReplacer(swap...)
	for _, t := range m.tables {
		first := len(rows[t.name])
		for _, row := range t.rows {
			made := make([]any, len(row))
			for i, value := range row {
				switch v := value.(type) {
				case string:
					made[i] = with.Replace(v)
				case int64:
					if v > firstMoment {
						v -= age.Microseconds()
					}
					made[i] = v
				default:
					made[i] = v
				}
			}
			if t.name == "events" {
				end.add(&t, made)
			}
			rows[t.name] = append(rows[t.name], made)
		}
		if t.name == "terms" && t.column("alike") >= 0 {
			t.tellApart(rows[t.name][first:])
		}
	}
}

// tellApart says of the words of one certificate how much each has alike with the one before it.
func (t *modelTable) tellApart(words [][]any) {
	noun, term, alike := t.column("noun"), t.column("term"), t.column("alike")
	words = slices.DeleteFunc(slices.Clone(words), func(row []any) bool { return row[noun] != "certificate" })
	slices.SortFunc(words, func(a, b []any) int { return strings.Compare(a[term].(string), b[term].(string)) })
	before := ""
	for _, row := range words {
		row[alike] = int64(store.Alike(before, row[term].(string)))
		before = row[term].(string)
	}
}

// another is an identifier of the same form as one: a UUIDv7 of a time as much before its own, or hex as long.
func another(own string, age time.Duration) string {
	if !strings.Contains(own, "-") {
		fresh := make([]byte, (len(own)+1)/2)
		_, _ = crand.Read(fresh)        // it never fails
		fresh[0] = fresh[0]&0x7f | 1<<4 // minimal hex has no leading zero
		return hex.EncodeToString(fresh)[:len(own)]
	}
	const length = 36 // of a UUID
	prefix, old := own[:len(own)-length], uuid.MustParse(own[len(own)-length:])
	fresh := uuid.New()
	if old.Version() == 7 {
		sec, nsec := old.Time().UnixTime()
		ms := time.Unix(sec, nsec).Add(-age).UnixMilli()
		for i := range 6 {
			fresh[i] = byte(ms >> (8 * (5 - i)))
		}
		fresh[6] = fresh[6]&0x0f | 0x70
		fresh[7] = byte(rand.UintN(256))
	}
	return prefix + fresh.String()
}

// chainEnd is the end of the chain of events.
type chainEnd struct {
	seq   int64
	chain audit.Hash
}

// add puts an event behind the end.
func (e *chainEnd) add(t *modelTable, row []any) {
	leaf := audit.Leaf([]byte(row[t.column("payload")].(string)))
	e.seq, e.chain = e.seq+1, audit.Next(e.chain, leaf)
	row[t.column("seq")], row[t.column("leaf")], row[t.column("chain")] = e.seq, slices.Clone(leaf[:]), slices.Clone(e.chain[:])
}

func (b *bulk) head(ctx context.Context) (*chainEnd, error) {
	rows, err := b.rows(ctx, "SELECT seq, chain FROM events ORDER BY seq DESC LIMIT 1", 2)
	if err != nil || len(rows) == 0 {
		return nil, errors.Join(err, errors.New("there are no events"))
	}
	return &chainEnd{rows[0][0].(int64), audit.Hash(rows[0][1].([]byte))}, nil
}

// finish counts anew what lists tell of certificates, and has the database look at its tables as it does by itself in time.
func (b *bulk) finish(ctx context.Context) error {
	const dayMicros = 86_400_000_000
	statements := []string{
		"DELETE FROM certificate_counts", "DELETE FROM certificate_deltas",
		`INSERT INTO certificate_counts (team, issuer, state, expiry_day, renew_day, n)
			SELECT team, issuer, CASE WHEN archived_at > 0 THEN 'archived' WHEN revoked_at > 0 THEN 'revoked' WHEN open_job <> '' AND version <> '' THEN 'open'
				WHEN failed_at > 0 THEN 'failed' WHEN version = '' THEN 'pending' ELSE 'active' END AS state,
				expires_at / ` + strconv.Itoa(dayMicros) + ` AS expiry_day, renew_at / ` + strconv.Itoa(dayMicros) + ` AS renew_day, count(*)
			FROM certificates GROUP BY 1, 2, 3, 4, 5`,
	}
	for _, s := range append(statements, b.settle...) {
		if _, err := b.db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%.40s: %w", s, err)
		}
	}
	return nil
}

// rows reads all rows of a query.
func (b *bulk) rows(ctx context.Context, query string, width int, args ...any) (all [][]any, err error) {
	rows, err := b.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("%.60s: %w", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		row, into := make([]any, width), make([]any, width)
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		for i := range row {
			if row[i] == nil || isEmpty(row[i]) { // SQLite's driver reads an empty BLOB as nil, and writes nil as NULL
				row[i] = []byte{}
			}
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

func isEmpty(value any) bool {
	b, ok := value.([]byte)
	return ok && len(b) == 0
}

// bulk writes many rows into a database.
type bulk struct {
	db     *sql.DB
	insert func(ctx context.Context, rows map[string][][]any) error
	list   string   // a query for a table's columns without those that the database fills
	settle []string // statements at the end
}

func (b *bulk) close() error { return b.db.Close() }

func (b *bulk) columns(ctx context.Context, table string) (names []string, err error) {
	rows, err := b.rows(ctx, b.list, 1, table)
	for _, row := range rows {
		names = append(names, row[0].(string))
	}
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("there is no table %s", table)
	}
	return names, err
}
