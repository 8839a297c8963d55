package store

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/audit"
)

func events() table[leafward.Event] { return tableOf[leafward.Event]("event", "events") }

// head is the end of the chain of events, as the last commit left it.
type head struct {
	known bool
	seq   int64
	chain audit.Hash
}

// Record notes what happened, in the transaction in which it happened. The resource type is the action's.
func (tx *Tx) Record(action leafward.Action, id, team string, details leafward.Details) {
	tx.RecordOn(action, action.Resource(), id, team, details)
}

// RecordOn is Record for an action whose resource type is not its own first word.
func (tx *Tx) RecordOn(action leafward.Action, resource, id, team string, details leafward.Details) {
	e := leafward.Event{
		ID: NewID("ev"), At: tx.Now, Actor: tx.Actor.ID, ActorType: tx.Actor.Type, Action: action,
		ResourceType: resource, ResourceID: id, Team: team, Request: tx.Actor.Request,
	}
	if details == nil {
		details = leafward.Details{}
	}
	payload, err := audit.Canonical(map[string]any{
		"id": e.ID, "timestamp": e.At.Format(time.RFC3339Nano), "actor": e.Actor, "actor_name": tx.Actor.Name, "actor_type": string(e.ActorType),
		"action": string(e.Action), "resource_type": resource, "resource_id": id, "team": team, "request_id": e.Request, "details": map[string]any(details),
	})
	if err != nil {
		tx.Fail(err)
		return
	}
	leaf := audit.Leaf(payload)
	e.Payload, e.Leaf = string(payload), leaf[:]
	tx.events = append(tx.events, e)
}

// insertEvents writes the events of a PostgreSQL transaction unnumbered; on SQLite the writer numbers and writes them.
func (tx *Tx) insertEvents() {
	if tx.name == "sqlite" {
		return
	}
	if len(tx.events) > 0 {
		tx.left = witness{"SELECT 1 FROM events WHERE id = $1", []any{tx.events[0].ID}}
	}
	insertRows(tx, events(), tx.events)
}

// sequence numbers and writes the events of a batch in the order of its changes.
func (w *writer) sequence(batch []*pending) (all []leafward.Event, err error) {
	next := w.head
	var last *Tx
	if slices.ContainsFunc(batch, func(p *pending) bool { return p.err == nil && p.tx.adopted }) {
		next = head{}
	}
	for _, p := range batch {
		if p.err != nil || len(p.tx.events) == 0 {
			continue
		}
		if !next.known {
			if next, err = p.tx.head(); err != nil {
				return nil, err
			}
		}
		for i := range p.tx.events {
			next.number(&p.tx.events[i])
		}
		all, last = append(all, p.tx.events...), p.tx
	}
	if insertRows(last, events(), all); last != nil && last.err != nil {
		return nil, last.err
	}
	w.head = next
	return all, nil
}

// number gives the event its place behind the head and moves the head.
func (h *head) number(e *leafward.Event) {
	h.seq++
	h.chain = audit.Next(h.chain, audit.Hash(e.Leaf))
	e.Seq, e.Chain = h.seq, append([]byte(nil), h.chain[:]...)
}

// head reads the end of the chain.
func (v *View) head() (head, error) {
	h := head{known: true}
	var chain []byte
	found, err := v.one("SELECT seq, chain FROM events WHERE seq > 0 ORDER BY seq DESC LIMIT 1", nil, &h.seq, &chain)
	if err == nil && found {
		h.chain = audit.Hash(chain)
	}
	return h, err
}

// sequencer names the lease of the process that numbers the events on PostgreSQL.
const sequencer = "sequencer"

// maxSequence is how many events are numbered in one transaction.
const maxSequence = 500

// Sequence numbers the events that PostgreSQL transactions left unnumbered, while this process holds the sequencer's
// lease; it tells how many. On SQLite the writer does it and there is nothing left to do.
func (db *DB) Sequence(ctx context.Context, holder string) (n int, err error) {
	if db.writer != nil {
		return 0, nil
	}
	var last int64
	err = db.Write(ctx, func(tx *Tx) error {
		n, last = 0, 0
		if held, err := tx.Lease(sequencer, holder, 5*second); err != nil || held == 0 {
			return err
		}
		waiting, err := selectAll(&tx.View, events(), "WHERE seq = 0 ORDER BY at, id LIMIT $1", maxSequence)
		if err != nil || len(waiting) == 0 {
			return err
		}
		end, err := tx.head()
		if err != nil {
			return err
		}
		ids, seqs, chains := make([]string, len(waiting)), make([]int64, len(waiting)), make([][]byte, len(waiting))
		for i := range waiting {
			end.number(&waiting[i])
			ids[i], seqs[i], chains[i] = waiting[i].ID, waiting[i].Seq, waiting[i].Chain
		}
		tx.send(`UPDATE events SET seq = numbered.seq, chain = numbered.chain FROM unnest($1::text[], $2::bigint[], $3::bytea[]) AS numbered (id, seq, chain)
			WHERE events.id = numbered.id AND events.seq = 0`, ids, seqs, chains)
		n, last = len(waiting), end.seq
		return nil
	})
	if err == nil && outgrown(last-int64(n), last) {
		db.analyze(ctx)
	}
	return n, err
}

// outgrown tells whether a log that became so much longer says that its database is another one than its plans were made for:
// at its 256th event and whenever it has become four times as long, up to 65,536.
func outgrown(before, after int64) bool {
	for size := int64(256); size <= 1<<16; size *= 4 {
		if before < size && size <= after {
			return true
		}
	}
	return false
}

// lookTime is how long a look at the tables may take.
const lookTime = 30 * second

// lookOnce has PostgreSQL look at its tables where nobody did since they were filled, as after a restore from a dump.
func (db *DB) lookOnce(ctx context.Context) {
	if db.writer != nil {
		return
	}
	within, stop := context.WithTimeout(ctx, lookTime)
	defer stop()
	unseen, one := false, 0
	err := db.View(within, func(v *View) (err error) {
		unseen, err = v.one("SELECT 1 FROM pg_class WHERE oid = 'events'::regclass AND reltuples <= 0 AND EXISTS (SELECT 1 FROM events WHERE seq > 255)", nil, &one)
		return err
	})
	if err == nil && unseen {
		db.analyze(ctx)
	}
}

// filling are the tables that work fills.
const filling = "certificates, versions, keys, requests, serials, chains, terms, events, jobs, job_attempts, installations, revocations, certificate_deltas"

// analyze has PostgreSQL look at what the tables hold that fill. It plans a statement once for a connection, by what it knew
// then: of tables that were empty any index seemed as good as another, even one that must be read whole. By itself it looks
// again after a minute, in which a new server may have issued tens of thousands of certificates. A table that is locked is left
// to that, and so is everything when it fails.
func (db *DB) analyze(ctx context.Context) {
	within, stop := context.WithTimeout(ctx, lookTime)
	defer stop()
	err := db.Write(within, func(tx *Tx) error {
		tx.Exec("ANALYZE (SKIP_LOCKED) " + filling)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		db.config.Log.WarnContext(ctx, "PostgreSQL could not look at its tables: statements may be slow until it does so by itself", "error", err)
	}
}

// behind picks the numbered events behind a sequence. It says twice that they are numbered, since the index holds those only,
// and whoever plans the query does not know the parameter.
const behind = "seq > 0 AND seq > $1"

// EventsAfter returns up to limit numbered events behind the sequence, in order.
func (v *View) EventsAfter(seq int64, limit int) ([]leafward.Event, error) {
	return selectAll(v, events(), "WHERE "+behind+" ORDER BY seq LIMIT $2", seq, limit)
}

// LastSequence is the number of the last numbered event; 0 before the first.
func (v *View) LastSequence() (int64, error) {
	end, err := v.head()
	return end.seq, err
}

// LastRecorded is the moment of the last numbered event; zero before the first.
func (v *View) LastRecorded() (time.Time, error) {
	var at int64
	_, err := v.one("SELECT at FROM events WHERE seq > 0 ORDER BY seq DESC LIMIT 1", nil, &at)
	return instant(at), err
}

// AuditLag tells how many events wait for their number and since when the oldest does.
func (v *View) AuditLag() (n int64, oldest time.Time, err error) {
	var at int64
	_, err = v.one("SELECT count(*), coalesce(min(at), 0) FROM events WHERE seq = 0", nil, &n, &at)
	return n, instant(at), err
}

// Lease takes or renews the named lease for the holder and returns its epoch, which grows whenever the holder changes;
// 0 means that another holds it. A lease that ends later than any lasts was taken by a clock that was ahead, and is over.
func (tx *Tx) Lease(name, holder string, hold time.Duration) (epoch int64, err error) {
	const take = `INSERT INTO leases (name, holder, epoch, until) VALUES ($1, $2, 1, $3)
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until,
			epoch = leases.epoch + CASE WHEN leases.holder = excluded.holder THEN 0 ELSE 1 END
		WHERE leases.holder = excluded.holder OR leases.until < $4 OR leases.until > $5
		RETURNING epoch`
	_, err = tx.one(take, []any{name, holder, micros(tx.Now.Add(hold)), micros(tx.Now), micros(tx.Now.Add(leafward.Ahead))}, &epoch)
	return epoch, err
}

// NewID makes an id: the prefix and a UUIDv7, so that ids sort by time.
func NewID(prefix string) string {
	return prefix + "-" + uuid.Must(uuid.NewV7()).String()
}
