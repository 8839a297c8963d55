package lifecycle

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/pki/inventory"
	"github.com/leafward/leafward/internal/store"
)

// Listed is a list of certificates that were signed elsewhere.
type Listed struct {
	PEM, CSV  string               // one of them
	FirstLine int                  // its number where the list is a part of a longer one; 0 is 1
	Record    leafward.Certificate // what the rows do not say: owner, team, issuer, profile, policy and the like
}

// ImportOutcome is what became of a row of a list.
type ImportOutcome string

// The outcomes.
const (
	ImportDone    ImportOutcome = "imported"
	ImportKnown   ImportOutcome = "known" // the very certificate is here already
	ImportRefused ImportOutcome = "refused"
)

// ImportedRow is a row of a list and what became of it.
type ImportedRow struct {
	Line        int
	Outcome     ImportOutcome
	Certificate string // ids, "" where it was refused
	Version     string
	Name        string
	SHA256      string // "" when there is no certificate that can be read
	Archived    bool   // the certificate is here already, and not managed any more
	Problems    []leafward.Field
}

// Imported is what became of a list.
type Imported struct {
	Rows    []ImportedRow
	Ignored []string // columns that nothing is done with
}

const (
	maxImportRows = 3000 // in one request
	importStep    = 50   // certificates in one transaction, each of which is several rows
	importAtOnce  = 3    // transactions of one request
)

// columns are what a CSV may say of a certificate.
func columns() []string {
	return []string{"name", "owner", "team", "issuer", "profile", "policy", "environment", "tags", "key_source"}
}

// Import takes in certificates that were signed elsewhere: from then on they are managed as any other, and renewed by the
// issuer that is asked for. What is here already, by its fingerprint, stays as it is, but one that came alone gets its chain; a row that is refused concerns no other.
// Rows are stored a few at a time: when a call fails or is cut off, those before it are in, and the same list again finds them.
func (s *Service) Import(ctx context.Context, l Listed) (Imported, error) {
	var wrong leafward.Problems
	rows, done, err := l.read(&wrong)
	if err != nil {
		return Imported{}, err
	}
	var found []*candidate
	err = s.db.View(ctx, func(v *store.View) error {
		if err := l.sound(v, &wrong); err != nil {
			return err
		}
		found, err = l.prepare(v, rows, done.Rows)
		return err
	})
	if err != nil {
		return Imported{}, err
	}
	if err := s.takeAll(ctx, found); err != nil {
		return Imported{}, err
	}
	return done, nil
}

// takeAll stores rows, a few in each transaction and some transactions at once, unless rows of one name meet: which of them
// comes first is said by the list.
func (s *Service) takeAll(ctx context.Context, found []*candidate) error {
	names := make(map[[2]string]bool)
	for _, c := range found {
		names[[2]string{c.record.Team, c.record.Name}] = true
	}
	room := make(chan struct{}, importAtOnce)
	if len(names) < len(found) {
		room = make(chan struct{}, 1)
	}
	var taking sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for some := range slices.Chunk(found, importStep) {
		room <- struct{}{}
		taking.Go(func() {
			defer func() { <-room }()
			mu.Lock()
			over := failed != nil
			mu.Unlock()
			if over {
				return
			}
			if err := s.db.Write(ctx, func(tx *store.Tx) error { return s.takeIn(tx, some) }); err != nil {
				mu.Lock()
				failed = cmp.Or(failed, err)
				mu.Unlock()
			}
		})
	}
	taking.Wait()
	return failed
}

// read splits the list into its rows.
func (l *Listed) read(p *leafward.Problems) (rows []inventory.Row, done Imported, err error) {
	var all iter.Seq2[inventory.Row, error]
	field := "pem"
	switch {
	case l.PEM == "" && l.CSV == "":
		p.Add("pem", "is missing, and so is csv", "send the list as one of them")
		return nil, done, nil
	case l.PEM != "" && l.CSV != "":
		p.Add("csv", "does not go with pem", "send the list as one of them")
		return nil, done, nil
	case l.PEM != "":
		all = inventory.Bundle(strings.NewReader(l.PEM), l.FirstLine)
	default:
		field = "csv"
		sheet := l.sheet(p)
		if sheet == nil {
			return nil, done, nil
		}
		all, done.Ignored = sheet.Rows(), sheet.Unknown
	}
	if rows, err = gather(all); err != nil {
		return nil, done, err
	}
	p.Check(len(rows) > 0, field, "holds no certificate", "send at least one")
	done.Rows = make([]ImportedRow, len(rows))
	for i, row := range rows {
		done.Rows[i] = ImportedRow{Line: row.Line, Outcome: ImportRefused}
		if wrong := row.Wrong; wrong != nil {
			at := leafward.Field{Field: wrong.Field, Problem: wrong.Problem, Fix: wrong.Fix}
			if row.Last > row.Line {
				at.Problem += fmt.Sprintf(" (lines %d to %d)", row.Line, row.Last)
			}
			done.Rows[i].Problems = []leafward.Field{at}
		}
	}
	return rows, done, nil
}

// sheet reads the heading of a CSV; nil when that is wrong.
func (l *Listed) sheet(p *leafward.Problems) *inventory.Sheet {
	sheet, err := inventory.Open(strings.NewReader(l.CSV), l.FirstLine, columns())
	if err != nil {
		p.Add("csv", "cannot be read: "+err.Error(), "begin with a line that names the columns: certificate, and any of "+strings.Join(columns(), ", "))
		return nil
	}
	return sheet
}

func gather(all iter.Seq2[inventory.Row, error]) (rows []inventory.Row, err error) {
	for row, err := range all {
		if err != nil {
			return nil, err
		}
		if len(rows) == maxImportRows {
			return nil, leafward.Errorf(leafward.TooLarge, "send less in one request; `leafward import` does", "the list has more than %d rows", maxImportRows)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// candidate is a row with a certificate that can be read.
type candidate struct {
	*ImportedRow
	leaf   *x509.Certificate
	above  []*x509.Certificate
	signer signer
	spki   string
	kind   pki.KeyKind
	record leafward.Certificate
	around around
	named  bool // by the row, not by its certificate
}

// refuse adds what is wrong with a row.
func (c *candidate) refuse(field, fix, problem string, args ...any) {
	c.Outcome, c.Certificate, c.Version = ImportRefused, "", ""
	c.Problems = append(c.Problems, leafward.Field{Field: field, Problem: fmt.Sprintf(problem, args...), Fix: fix})
}

// prepare checks everything that needs no transaction and returns the rows that may be taken in.
func (l *Listed) prepare(v *store.View, rows []inventory.Row, done []ImportedRow) (found []*candidate, err error) {
	r := references{v: v, known: make(map[fiveIDs]referred), ids: make(map[[2]string]string)}
	signers, err := newSigners(v)
	if err != nil {
		return nil, err
	}
	for i, row := range rows {
		if row.Wrong != nil {
			continue
		}
		c := &candidate{ImportedRow: &done[i], leaf: row.Chain[0], above: row.Chain[1:]}
		if err := c.read(v, signers); err != nil {
			return nil, err
		}
		if err := c.describe(l, row.Cells, &r); err != nil {
			return nil, err
		}
		if len(c.Problems) == 0 {
			found = append(found, c)
		}
	}
	return found, nil
}

// sound refuses a list of which nothing could be taken in: what is said of every row is wrong, or the list itself is.
func (l *Listed) sound(v *store.View, wrong *leafward.Problems) error {
	c := l.Record
	c.CommonName = "any.example.com"
	complete(v.Actor, &c)
	var p leafward.Problems
	if err := p.Merge(c.Validate()); err != nil {
		return err
	}
	if _, err := refers(v, &c, &p); err != nil {
		return err
	}
	if err := p.Merge(wrong.Err()); err != nil {
		return err
	}
	if err := p.Err(); err != nil {
		return err
	}
	return ours(v.Actor, &c)
}

// fiveIDs are the ids that a record refers to.
type fiveIDs struct{ team, owner, issuer, profile, policy string }

// referred is what the ids lead to.
type referred struct {
	around
	wrong []leafward.Field
}

// references remembers what was looked up: the rows of a list refer to the same few things.
type references struct {
	v     *store.View
	known map[fiveIDs]referred
	ids   map[[2]string]string // by column and what is written there
}

// of reads what a record refers to.
func (r *references) of(c *leafward.Certificate) (referred, error) {
	key := fiveIDs{c.Team, c.Owner, c.Issuer, c.Profile, c.Policy}
	if known, ok := r.known[key]; ok {
		return known, nil
	}
	var p leafward.Problems
	a, err := refers(r.v, c, &p)
	if err != nil {
		return referred{}, err
	}
	if err := p.Merge(foreignTeam(r.v.Actor, c)); err != nil {
		return referred{}, err
	}
	known := referred{a, fieldsOf(p.Err())}
	r.known[key] = known
	return known, nil
}

// foreignTeam tells as a field that the actor may not write certificates of the team.
func foreignTeam(actor leafward.Actor, c *leafward.Certificate) error {
	var p leafward.Problems
	p.Check(ours(actor, c) == nil, "team_id", "is a team whose certificates are not yours to write", "use a key of that team")
	return p.Err()
}

// id is what a cell names by its id or its name; what names nothing stays as it is written.
func (r *references) id(column, cell string) (string, error) {
	key := [2]string{column, cell}
	if id, ok := r.ids[key]; ok || cell == "" {
		return id, nil
	}
	id, err := cell, error(nil)
	switch column {
	case "team":
		id, err = called(r.v, store.Teams(), cell)
	case "owner":
		if cell != leafward.DefaultOwner {
			id, err = called(r.v, store.Owners(), cell)
		}
	case "issuer":
		id, err = called(r.v, store.Issuers(), cell)
	case "profile":
		id, err = called(r.v, store.Profiles(), cell)
	case "policy":
		id, err = called(r.v, store.RenewalPolicies(), cell)
	}
	r.ids[key] = id
	return id, err
}

// called is the id of the row that has the text as its id, or as its name.
func called[T any, P interface {
	*T
	Meta() *leafward.Row
	Validate() error
	Scope() string
}](v *store.View, rows store.Resource[T, P], text string) (string, error) {
	_, err := rows.Read(v, text)
	if leafward.KindOf(err) != leafward.NotFound {
		return text, err
	}
	row, found, err := rows.Named(v, text)
	if err != nil || !found {
		return text, err
	}
	return P(&row).Meta().ID, nil
}

// describe makes the record of what the certificate and its row say.
func (c *candidate) describe(l *Listed, cells map[string]string, r *references) error {
	c.record = l.Record
	c.record.Tags = maps.Clone(l.Record.Tags)
	var p leafward.Problems
	for _, to := range []struct {
		column string
		field  *string
	}{
		{"team", &c.record.Team},
		{"owner", &c.record.Owner},
		{"issuer", &c.record.Issuer},
		{"profile", &c.record.Profile},
		{"policy", &c.record.Policy},
	} {
		id, err := r.id(to.column, cells[to.column])
		if err != nil {
			return err
		}
		if id != "" {
			*to.field = id
		}
	}
	if cells["environment"] != "" {
		c.record.Environment = cells["environment"]
	}
	if cells["key_source"] != "" {
		c.record.KeySource = leafward.KeyCustody(cells["key_source"])
	}
	label(&p, &c.record, cells["tags"])
	c.identify(cells["name"])
	complete(r.v.Actor, &c.record)
	if err := p.Merge(c.record.Validate()); err != nil {
		return err
	}
	at, err := r.of(&c.record)
	if err != nil {
		return err
	}
	c.around = at.around
	if at.profile.ID != "" {
		obey(&p, &c.record, nil, &at.profile)
	}
	c.Problems = slices.Concat(c.Problems, inColumns(cells, slices.Concat(at.wrong, fieldsOf(p.Err()))))
	return nil
}

// inColumns tells what is wrong with the cells of a row by the names of their columns.
func inColumns(cells map[string]string, wrong []leafward.Field) []leafward.Field {
	for i, w := range wrong {
		column := map[string]string{
			"team_id": "team", "owner_id": "owner", "issuer_id": "issuer", "certificate_profile_id": "profile", "renewal_policy_id": "policy", "key_source": "key_source",
		}[w.Field]
		if cells[column] == "" {
			continue
		}
		wrong[i].Field = column
		switch {
		case column == "key_source":
			wrong[i].Fix = "use agent, client or server"
		case strings.HasPrefix(w.Problem, "names "):
			wrong[i].Fix = "call one that you see by its id or its name"
		}
	}
	return wrong
}

// label reads NAME=VALUE;NAME=VALUE.
func label(p *leafward.Problems, c *leafward.Certificate, cell string) {
	for text := range strings.SplitSeq(cell, ";") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		name, value, ok := strings.Cut(text, "=")
		p.Check(ok, "tags", fmt.Sprintf("holds %.60q, which is no NAME=VALUE", text), "write NAME=VALUE;NAME=VALUE")
		if c.Tags == nil {
			c.Tags = make(map[string]string)
		}
		c.Tags[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
}
