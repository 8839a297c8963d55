package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/audit"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/store"
)

// republish is the setting that says that the database was put back from a backup: before anything is served, every
// authority publishes a CRL with a greater number than any that was seen.
const republish = "republish"

// Newer is what may know more than a database that was put back from a backup.
type Newer struct {
	Ledgers []string // directories
	Exports []string // files of `audit export`
	CRLs    []string // files, as the authorities published them
}

func (n Newer) nothing() bool { return len(n.Ledgers)+len(n.Exports)+len(n.CRLs) == 0 }

// check refuses names of what can be no ledger, export or CRL, before anything is done with them and without opening any.
func (n Newer) check() error {
	for _, dir := range n.Ledgers {
		fix := "name a directory that a server writes its ledger to, such as ./leafward-data/ledger"
		info, err := os.Stat(dir)
		switch {
		case err == nil && !info.IsDir():
			err = syscall.ENOTDIR
		case err == nil:
			inside := filepath.Join(dir, "ledger")
			if _, none := os.Stat(inside); none == nil {
				err, fix = errors.New("it is a data directory"), "name the ledger in it: --ledger "+shellWord(inside)
			}
		}
		if err != nil {
			return leafward.Errorf(leafward.Invalid, fix, "%s is no ledger: %v", dir, reason(err))
		}
	}
	if err := readable(anExport, n.Exports); err != nil {
		return err
	}
	return readable(aCRL, n.CRLs)
}

// readable refuses the first name that is of no file; the fix says what to name instead.
func readable(fix string, names []string) error {
	for _, name := range names {
		info, err := os.Stat(name)
		if err == nil && info.IsDir() {
			err = syscall.EISDIR
		}
		if err != nil {
			return leafward.Errorf(leafward.Invalid, fix, "%s cannot be read: %v", name, reason(err))
		}
	}
	return nil
}

// What to do about what is none.
const (
	anExport = "name a file that `leafward audit export --out FILE` wrote"
	aCRL     = "name a file with a CRL as an authority published it"
)

// Taken says what was taken over from what is newer.
type Taken struct {
	lifecycle.Recovered
	Gap    audit.Gap        `json:"gap"`
	CRLs   map[string]int64 `json:"crls"`             // the number of the newest list, by the name of its authority
	Silent []string         `json:"silent,omitempty"` // the authorities that gave no list, where lists are all that is newer
}

// recovery takes over what is newer than the database.
type recovery struct {
	db     *store.DB
	holder string
	taken  Taken
}

func newRecovery(db *store.DB, holder string, since time.Time) *recovery {
	return &recovery{db: db, holder: holder, taken: Taken{Gap: audit.Gap{Since: since}, CRLs: map[string]int64{}}}
}

// run takes over everything and notes in the log how far the database goes and what is known besides.
func (r *recovery) run(ctx context.Context, from Newer) (err error) {
	if err := r.begin(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.end(ctx)) }()
	for _, dir := range from.Ledgers {
		if err := r.log(ctx, "the ledger "+dir, 1, audit.Hash{}, audit.ReadLedger(dir)); err != nil {
			return err
		}
	}
	for _, name := range from.Exports {
		if err := r.export(ctx, name); err != nil {
			return err
		}
	}
	for _, name := range from.CRLs {
		if err := r.crl(ctx, name); err != nil {
			return err
		}
	}
	if len(from.Ledgers)+len(from.Exports) == 0 && len(from.CRLs) > 0 {
		if err := r.silent(ctx); err != nil {
			return err
		}
	}
	return r.note(ctx)
}

// silent names the authorities of whose revocations after the backup nothing is known.
func (r *recovery) silent(ctx context.Context) error {
	return r.db.View(ctx, func(v *store.View) error {
		all, err := v.Authorities()
		if err != nil {
			return err
		}
		for _, a := range all {
			number, err := v.CRLNumber(a.ID, 0)
			if err != nil {
				return err
			}
			if _, gave := r.taken.CRLs[a.Name]; !gave && number > 0 && a.State != leafward.AuthorityRetired {
				r.taken.Silent = append(r.taken.Silent, a.Name)
			}
		}
		return nil
	})
}

// end gives the numbering of events back.
func (r *recovery) end(ctx context.Context) error {
	return r.db.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Lease("sequencer", r.holder, 0)
		return err
	})
}

// numbering is for how long the server that numbered events last is waited for.
const numbering = 10 * time.Second

// begin takes over the numbering of events, and notes how far the database goes.
func (r *recovery) begin(ctx context.Context) error {
	waiting, stop := context.WithTimeout(ctx, numbering)
	defer stop()
	for {
		var epoch int64
		err := r.db.Write(ctx, func(tx *store.Tx) (err error) {
			epoch, err = tx.Lease("sequencer", r.holder, numbering)
			return err
		})
		if err != nil {
			return err
		}
		if epoch > 0 {
			break
		}
		again := time.NewTimer(numbering / 50)
		select {
		case <-again.C:
		case <-waiting.Done():
			again.Stop()
			return leafward.Errorf(leafward.Later, "stop every server on this database first", "another server writes the audit log of this database")
		}
	}
	return r.db.View(ctx, func(v *store.View) (err error) {
		r.taken.Gap.Events, err = v.LastSequence()
		return err
	})
}

// note writes down what came of it, and that CRLs are to be published.
func (r *recovery) note(ctx context.Context) error {
	gap := leafward.Details{
		"events": r.taken.Gap.Events, "known": r.taken.Gap.Known, "serials": r.taken.Serials, "revocations": r.taken.Revocations,
		"keys_revoked": r.taken.Keys, "lost": r.taken.Lost, "crls": len(r.taken.CRLs),
	}
	if !r.taken.Gap.Since.IsZero() {
		gap["since"] = r.taken.Gap.Since.Format(time.RFC3339)
	}
	if r.taken.Gap.Beside != "" {
		gap["beside"] = r.taken.Gap.Beside
	}
	return r.db.Write(ctx, func(tx *store.Tx) error {
		tx.SetSetting(republish, "yes")
		tx.RecordOn(leafward.LogRestored, "log", "audit", "", gap)
		return nil
	})
}

func (r *recovery) export(ctx context.Context, name string) error {
	file, err := os.Open(name)
	if err != nil {
		return leafward.Errorf(leafward.Invalid, anExport, "%s cannot be read: %v", name, reason(err))
	}
	defer file.Close()
	header, records := audit.Records(file)
	return r.log(ctx, name, max(header.First, 1), header.Previous, records)
}

func (r *recovery) crl(ctx context.Context, name string) error {
	raw, err := readList(name)
	if err != nil {
		return leafward.Errorf(leafward.Invalid, aCRL, "%s cannot be read: %v", name, reason(err))
	}
	list, done, err := lifecycle.RecoverCRL(ctx, r.db, raw)
	if e, ok := errors.AsType[*leafward.Error](err); ok && e.Kind == leafward.Invalid {
		return leafward.Errorf(leafward.Invalid, e.Fix, "%s: %s", name, e.Message)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r.taken.Add(done)
	r.taken.CRLs[list.Signer.Name] = max(list.Number, list.Last)
	return nil
}

func readList(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, pki.MaxCRL+1))
	if err == nil && len(raw) > pki.MaxCRL {
		err = fmt.Errorf("it has more than %d octets", pki.MaxCRL)
	}
	return raw, err
}

// reason is an error of the file system without the path.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// recoverRows is how many records are taken over in one transaction.
const recoverRows = 500

// stretch is the reading of one log beside that of the database.
type stretch struct {
	*recovery
	name   string
	events int64           // the last that the database has
	known  []store.Chained // of the database, from the next record on
	agreed int64           // the last record that both have
	beside bool            // they differ behind it
	rest   []audit.Record  // behind it, not taken over yet
}

// log takes over what stands in a log behind the database's last event, or behind the last one that both have: then the
// database went on by itself since it was put back, and the log is one that ends beside it.
func (r *recovery) log(ctx context.Context, name string, first int64, before audit.Hash, records iter.Seq2[audit.Record, error]) error {
	s := &stretch{recovery: r, name: name, agreed: first - 1}
	err := r.db.View(ctx, func(v *store.View) (err error) {
		if s.events, err = v.LastSequence(); err != nil || first == 1 {
			return err
		}
		chains, err := v.Chains(first-2, 1)
		if err == nil && (len(chains) != 1 || chains[0].Chain != before) {
			err = leafward.Errorf(leafward.Conflict, fmt.Sprintf("export from event %d on, or from an earlier one", s.events+1),
				"%s begins at event %d, and the event before it is not the database's, which ends at event %d", name, first, s.events)
		}
		return err
	})
	if err != nil {
		return err
	}
	for record, err := range records {
		if err == nil {
			err = s.next(ctx, record)
		}
		if err != nil {
			return s.wrong(err)
		}
	}
	return s.wrong(s.flush(ctx))
}

// wrong is the error of a log, by its name.
func (s *stretch) wrong(err error) error {
	if fault, ok := errors.AsType[*audit.Fault](err); ok {
		if fault.Seq == 0 {
			return leafward.Errorf(leafward.Invalid, anExport, "%s is no export of an audit log: %v", s.name, fault)
		}
		return leafward.Errorf(leafward.Invalid, "fetch it again from where it is kept, or leave it out", "%s is not whole: %v", s.name, fault)
	}
	if e, ok := errors.AsType[*leafward.Error](err); ok || err == nil {
		if ok && e.Kind == leafward.Conflict {
			return leafward.Errorf(leafward.Conflict, e.Fix, "%s: %s", s.name, e.Message)
		}
		return err
	}
	return leafward.Errorf(leafward.Invalid, "give the log of this server, whole", "%s: %v", s.name, err)
}

func (s *stretch) next(ctx context.Context, record audit.Record) error {
	if !s.beside && record.Seq <= s.events {
		same, err := s.same(ctx, record)
		if err != nil {
			return err
		}
		if same {
			s.agreed = record.Seq
			return nil
		}
		if s.agreed == 0 {
			return leafward.Errorf(leafward.Conflict, "give the log of this server", "it is the log of another server: its first event is another")
		}
		s.beside = true
	}
	if s.rest = append(s.rest, record); len(s.rest) < recoverRows {
		return nil
	}
	return s.flush(ctx)
}

// same tells whether the database has the record too.
func (s *stretch) same(ctx context.Context, record audit.Record) (bool, error) {
	if len(s.known) == 0 {
		err := s.db.View(ctx, func(v *store.View) (err error) {
			s.known, err = v.Chains(record.Seq-1, recoverRows)
			return err
		})
		if err != nil {
			return false, err
		}
	}
	if len(s.known) == 0 || s.known[0].Seq != record.Seq {
		return false, leafward.Errorf(leafward.Internal, "restore an older backup", "the database has no event %d", record.Seq)
	}
	chain := s.known[0].Chain
	s.known = s.known[1:]
	return chain == record.Chain, nil
}

// flush takes over what was read. Another server's numbering, of a moment ago, is waited for.
func (s *stretch) flush(ctx context.Context) error {
	if len(s.rest) == 0 {
		return nil
	}
	var part lifecycle.Recovered
	take := func(tx *store.Tx) error {
		part = lifecycle.Recovered{}
		if !s.beside {
			if err := tx.Adopt(s.rest, s.holder); err != nil {
				return err
			}
		}
		for _, record := range s.rest {
			e, err := store.EventOf(record)
			if err != nil {
				return err
			}
			done, err := lifecycle.Recover(tx, &e)
			if err != nil {
				return err
			}
			part.Add(done)
		}
		return nil
	}
	if err := s.db.Write(ctx, take); err != nil {
		return err
	}
	last := s.rest[len(s.rest)-1]
	s.taken.Add(part)
	s.taken.Gap.Known = max(s.taken.Gap.Known, last.Seq)
	if s.beside {
		s.taken.Gap.Events, s.taken.Gap.Beside = s.agreed, last.Chain.String()
	}
	s.rest = s.rest[:0]
	return nil
}

// recoverFromLedger takes over what the ledger of this server knows and the database does not, because an older one was put in
// its place. A ledger that is not the same log to the database's last event is left for the follower to tell.
func (a *App) recoverFromLedger(ctx context.Context) error {
	known, _ := a.ledger.Head()
	var last []store.Chained
	err := a.db.View(ctx, func(v *store.View) error {
		end, err := v.LastSequence()
		if err == nil && end > 0 && end < known {
			last, err = v.Chains(end-1, 1)
		}
		return err
	})
	if err != nil || len(last) != 1 {
		return err
	}
	for record, err := range a.ledger.Records(last[0].Seq) {
		if err != nil {
			return err
		}
		if record.Chain != last[0].Chain {
			return nil
		}
		break
	}
	r := newRecovery(a.db, a.name, time.Time{})
	if err := r.begin(ctx); err != nil {
		return err
	}
	if err := r.log(ctx, "the ledger", 1, audit.Hash{}, a.ledger.Records(last[0].Seq)); err != nil {
		return err
	}
	a.log.Warn("the database is older than the ledger beside it: what the ledger knows is taken over", "database", last[0].Seq, "ledger", known,
		"serials", r.taken.Serials, "revocations", r.taken.Revocations, "keys_revoked", r.taken.Keys, "lost", r.taken.Lost)
	return r.note(ctx)
}

// republish publishes every CRL after the database was put back from a backup.
func (a *App) republish(ctx context.Context) error {
	var asked string
	err := a.db.View(ctx, func(v *store.View) (err error) {
		asked, err = v.Setting(republish)
		return err
	})
	if err != nil || asked == "" {
		return err
	}
	if err := a.authorities.Republish(ctx); err != nil {
		return err
	}
	return a.db.Write(ctx, func(tx *store.Tx) error {
		tx.SetSetting(republish, "")
		return nil
	})
}

// notRestoring refuses a data directory in which a restore was cut off.
func (a *App) notRestoring() error {
	there := func(name string) bool {
		_, err := os.Stat(a.path(name))
		return err == nil
	}
	switch {
	case !there(restoring):
		return nil
	case there(database):
		return os.RemoveAll(a.path(restoring))
	}
	return leafward.Errorf(leafward.Conflict, "run `leafward restore` again", "restoring a backup into %s was cut off", a.config.DataDir)
}
