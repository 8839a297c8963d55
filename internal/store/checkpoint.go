package store

import (
	"context"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/audit"
)

// How many events a checkpoint covers more than the one before, and for how long fewer wait for one.
const (
	CheckpointRows  = 1000
	CheckpointEvery = time.Minute
)

// CheckpointPublicKey is the setting that holds the key that verifies checkpoints.
const CheckpointPublicKey = "checkpoint_public_key"

// Checkpoint is a signed statement of how long the log is and what stands in it.
type Checkpoint struct {
	Size  int64     `db:"size"` // the last event it covers
	At    time.Time `db:"at"`
	Nodes []byte    `db:"nodes"` // frontier of the tree, to go on from
	Note  string    `db:"note"`
}

func checkpoints() table[Checkpoint] { return tableOf[Checkpoint]("checkpoint", "checkpoints") }

// LastCheckpoint reads the newest checkpoint.
func (v *View) LastCheckpoint() (c Checkpoint, found bool, err error) {
	return selectOne(v, checkpoints(), "WHERE size > 0 ORDER BY size DESC LIMIT 1")
}

// Prove makes the proof that an event inside the actor's scope stands in the log that the newest checkpoint was signed for, or
// the one of a size that is not zero.
func (v *View) Prove(id string, size int64) (p audit.Proof, err error) {
	e, err := v.Event(id)
	if err != nil {
		return p, err
	}
	c, found, err := selectOne(v, checkpoints(), "WHERE size > 0 AND (size = $1 OR $1 = 0) ORDER BY size DESC LIMIT 1", size)
	switch {
	case err != nil:
		return p, err
	case !found && size > 0:
		return p, leafward.Errorf(leafward.NotFound, "name the size of a checkpoint that the server has signed, or none for the newest", "no checkpoint was signed for %d events", size)
	case !found || e.Seq == 0 || e.Seq > c.Size:
		fix := "ask again in a minute: a checkpoint is signed for every event within that time"
		if size > 0 {
			fix = "name a greater size, or none for the newest"
		}
		return p, leafward.Errorf(leafward.Conflict, fix, "the event %s is not in the checkpoint, which was signed for %d events", id, c.Size)
	}
	path, err := audit.Prove(e.Seq-1, c.Size, v.subtree)
	return audit.Proof{Seq: e.Seq, Event: e.Payload, Path: path, Checkpoint: c.Note}, err
}

// subtree is the hash of a complete subtree of the log. What the last checkpoint inside it kept is gone on from, so that no
// more leaves are read than one checkpoint covers.
func (v *View) subtree(from, to int64) (h audit.Hash, err error) {
	c, _, err := selectOne(v, checkpoints(), "WHERE size > $1 AND size < $2 ORDER BY size DESC LIMIT 1", from, to)
	if err != nil {
		return h, err
	}
	edge, err := audit.RestoreFrontier(c.Size, c.Nodes)
	if err != nil {
		return h, err
	}
	edge = edge.From(from)
	err = v.rows(func(scan func(...any) error) error {
		var leaf []byte
		if err := scan(&leaf); err != nil {
			return err
		}
		edge.Add(audit.Hash(leaf))
		return nil
	}, "SELECT leaf FROM events WHERE "+behind+" AND seq <= $2 ORDER BY seq", from+edge.Size(), to)
	return edge.Root(), err
}

// WriteCheckpoints signs what came to the log since the last checkpoint: one for every thousand events, and one for fewer
// when the last is a minute old. Several replicas may do it at once. It tells how many it wrote.
func (db *DB) WriteCheckpoints(ctx context.Context, sign func(*audit.Frontier) (string, error)) (n int, err error) {
	for {
		next, err := db.nextCheckpoint(ctx)
		if err != nil || next == nil {
			return n, err
		}
		c := Checkpoint{Size: next.Size(), Nodes: next.Nodes()}
		if c.Note, err = sign(next); err != nil {
			return n, err
		}
		err = db.Write(ctx, func(tx *Tx) error {
			tx.send("INSERT INTO checkpoints (size, at, nodes, note) VALUES ($1, $2, $3, $4) ON CONFLICT (size) DO NOTHING", c.Size, micros(tx.Now), c.Nodes, c.Note)
			return nil
		})
		if err != nil {
			return n, err
		}
		n++
	}
}

// nextCheckpoint is the tree of the next checkpoint that is due, nil when none is.
func (db *DB) nextCheckpoint(ctx context.Context) (next *audit.Frontier, err error) {
	err = db.View(ctx, func(v *View) error {
		last, _, err := v.LastCheckpoint()
		if err != nil {
			return err
		}
		events, err := v.EventsAfter(last.Size, CheckpointRows)
		if err != nil || len(events) == 0 {
			return err
		}
		if age := v.Now.Sub(last.At); len(events) < CheckpointRows && age >= 0 && age < CheckpointEvery {
			return nil
		}
		tree, err := audit.RestoreFrontier(last.Size, last.Nodes)
		if err != nil {
			return err
		}
		for i := range events {
			tree.Add(audit.Hash(events[i].Leaf))
		}
		next = &tree
		return nil
	})
	return next, err
}
