package store

import (
	"encoding/json"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/audit"
)

// Adopt takes records of this log that the database lacks, because it was put back from a backup, under the numbers that
// they had. They must follow the database's last event and one another. Holder is the process that numbers events meanwhile.
func (tx *Tx) Adopt(records []audit.Record, holder string) error {
	if held, err := tx.Lease(sequencer, holder, 5*second); err != nil || held == 0 {
		if err == nil {
			err = leafward.Errorf(leafward.Later, "stop every server on this database first", "another server writes the audit log of this database")
		}
		return err
	}
	end, err := tx.head()
	if err != nil {
		return err
	}
	for _, r := range records {
		if err := r.Follows(end.seq, end.chain); err != nil {
			return leafward.Errorf(leafward.Conflict, "give the log of this server", "record %d does not follow what the database has: %v", r.Seq, err)
		}
		e, err := EventOf(r)
		if err != nil {
			return err
		}
		// An event that PostgreSQL had not numbered yet when the backup was taken gets the number that it was given then.
		n := tx.Exec(`INSERT INTO events (id, seq, at, actor, actor_type, action, resource_type, resource_id, team, request_id, payload, leaf, chain)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
			ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, chain = excluded.chain WHERE events.seq = 0 AND events.leaf = excluded.leaf`,
			e.ID, e.Seq, micros(e.At), e.Actor, string(e.ActorType), string(e.Action), e.ResourceType, e.ResourceID, e.Team, e.Request, e.Payload, e.Leaf, e.Chain)
		if tx.err == nil && n == 0 {
			return leafward.Errorf(leafward.Conflict, "give the log of this server", "the event %s stands elsewhere in the database than in the log", e.ID)
		}
		end.seq, end.chain = r.Seq, r.Chain
	}
	tx.adopted = true
	return tx.err
}

// EventOf is the event of a record: the opposite of RecordOf.
func EventOf(r audit.Record) (leafward.Event, error) {
	var told struct {
		ID           string             `json:"id"`
		At           time.Time          `json:"timestamp"`
		Actor        string             `json:"actor"`
		ActorType    leafward.ActorType `json:"actor_type"`
		Action       leafward.Action    `json:"action"`
		ResourceType string             `json:"resource_type"`
		ResourceID   string             `json:"resource_id"`
		Team         string             `json:"team"`
		Request      string             `json:"request_id"`
	}
	if err := json.Unmarshal(r.Event, &told); err != nil {
		return leafward.Event{}, leafward.Errorf(leafward.Invalid, "give a log that leafward wrote", "record %d is not an event: %v", r.Seq, err)
	}
	return leafward.Event{
		ID: told.ID, Seq: r.Seq, At: told.At.UTC(), Actor: told.Actor, ActorType: told.ActorType, Action: told.Action, ResourceType: told.ResourceType,
		ResourceID: told.ResourceID, Team: told.Team, Request: told.Request, Payload: string(r.Event), Leaf: r.Leaf[:], Chain: r.Chain[:],
	}, nil
}

// DetailsOf reads the facts of an event from its payload.
func DetailsOf(e *leafward.Event, details any) error {
	return json.Unmarshal([]byte(e.Payload), &struct {
		Details any `json:"details"`
	}{details})
}

// Chained is an event's place in the log.
type Chained struct {
	Seq   int64
	Chain audit.Hash
}

// Chains reads the places of up to limit events behind the sequence, in order.
func (v *View) Chains(seq int64, limit int) (all []Chained, err error) {
	err = v.rows(func(scan func(...any) error) error {
		var c Chained
		var chain []byte
		if err := scan(&c.Seq, &chain); err != nil {
			return err
		}
		c.Chain = audit.Hash(chain)
		all = append(all, c)
		return nil
	}, "SELECT seq, chain FROM events WHERE "+behind+" ORDER BY seq LIMIT $2", max(seq, 0), limit)
	return all, err
}
