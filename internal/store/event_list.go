package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/audit"
)

// listedEvent is an event with what lists ask of a row.
type listedEvent struct{ leafward.Event }

// Meta is the event's id; events have no other part of a row.
func (e *listedEvent) Meta() *leafward.Row { return &leafward.Row{ID: e.ID} }

func eventList() listing[listedEvent] {
	return listing[listedEvent]{
		table: tableOf[listedEvent]("event", "events"), scope: "team", by: "-timestamp",
		sorts: map[string]string{"timestamp": "at"},
		given: func(name, value string) (any, error) {
			if name != "from" && name != "to" {
				return value, nil
			}
			at, err := time.Parse(time.RFC3339Nano, value)
			if err != nil {
				return nil, errors.New("is not a time of RFC 3339, such as 2026-01-31T12:00:00Z")
			}
			return micros(at), nil
		},
		where: map[string]string{
			"actor": "actor = ?", "action": "action = ?", "resource_type": "resource_type = ?", "resource_id": "resource_id = ?",
			"from": "at >= ?", "to": "at < ?",
		},
	}
}

// Events lists what happened inside the actor's scope, the newest first, numbered or not.
func (v *View) Events(q leafward.Query) (leafward.List[leafward.Event], error) {
	page, err := list[listedEvent, *listedEvent](v, eventList(), q)
	out := leafward.List[leafward.Event]{Items: make([]leafward.Event, len(page.Items)), Total: page.Total, TotalCapped: page.TotalCapped, Page: page.Page, PerPage: page.PerPage, Next: page.Next}
	for i := range page.Items {
		out.Items[i] = page.Items[i].Event
	}
	return out, err
}

// Event reads one event inside the actor's scope.
func (v *View) Event(id string) (leafward.Event, error) { return byID(v, events(), "team", id) }

// RecordOf is a numbered event in the form of package audit.
func RecordOf(e *leafward.Event) audit.Record {
	return audit.Record{Seq: e.Seq, Leaf: audit.Hash(e.Leaf), Chain: audit.Hash(e.Chain), Event: []byte(e.Payload)}
}

// exportRows is how many events are read at once for an export.
const exportRows = 500

// numberTime bounds how long an export waits for another server to number what was acknowledged.
const numberTime = 2 * second

// number sees to it that what was committed before has its place in the log: it numbers it, or waits for the server that
// does.
func (db *DB) number(ctx context.Context, holder string) error {
	if db.writer != nil {
		return nil
	}
	system := leafward.WithActor(ctx, leafward.System("export"))
	over := time.NewTimer(numberTime)
	defer over.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for begun := (time.Time{}); ; {
		var done bool
		err := db.View(system, func(v *View) error {
			if begun.IsZero() {
				begun = v.Now
			}
			waiting, oldest, err := v.AuditLag()
			done = waiting == 0 || oldest.After(begun)
			return err
		})
		if err != nil || done {
			return err
		}
		if n, err := db.Sequence(system, holder); err != nil || n > 0 {
			if err != nil {
				return err
			}
			continue
		}
		select {
		case <-look.C:
		case <-over.C:
			return &leafward.Error{Kind: leafward.Later, Message: "the newest events have no place in the log yet", Fix: "ask again in a moment", After: second}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ExportEvents writes the events from the first on, up to all that were acknowledged when it begins, in the form of
// package audit. Only an actor of all teams may ask: a part of the log cannot be verified. Server names this one in the
// header; it is the holder of its sequencer's lease.
func (db *DB) ExportEvents(ctx context.Context, w io.Writer, server string, first int64) error {
	if err := db.number(ctx, server); err != nil {
		return err
	}
	var last int64
	header := audit.Header{Server: server, First: first}
	err := db.View(ctx, func(v *View) error {
		if v.Actor.Teams != nil {
			return leafward.Errorf(leafward.Denied, "use a key for all teams", "the log can only be verified as a whole, and your key is for some teams")
		}
		end, err := v.head()
		if err != nil {
			return err
		}
		last, header.ExportedAt = end.seq, v.Now
		if first > last+1 {
			var p leafward.Problems
			p.Add("first", "is behind the end of the log", "use at most one more than the last sequence")
			return p.Err()
		}
		if first > 1 {
			var before []leafward.Event
			if before, err = v.EventsAfter(first-2, 1); err == nil && len(before) == 1 {
				header.Previous = audit.Hash(before[0].Chain)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	export, err := audit.NewExporter(w, header)
	if err != nil {
		return err
	}
	for next := first; next <= last; {
		var batch []leafward.Event
		err := db.View(ctx, func(v *View) error {
			batch, err = v.EventsAfter(next-1, int(min(exportRows, last-next+1)))
			return err
		})
		if err != nil {
			return err
		}
		if len(batch) == 0 {
			return fmt.Errorf("the log ends before event %d", next)
		}
		for i := range batch {
			if err := export.Write(RecordOf(&batch[i])); err != nil {
				return err
			}
		}
		next += int64(len(batch))
	}
	return export.Close()
}
