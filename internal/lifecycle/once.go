package lifecycle

import (
	"bytes"
	"encoding/hex"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
)

// idempotencyKept is how long a repeated request is recognised.
const idempotencyKept = 24 * time.Hour

// Once makes a repeated request answer as the first did. The zero value does nothing.
type Once struct {
	Operation string
	Key       string
	Body      []byte // hash of the request
	Replayed  *bool  // set when the request was answered before
}

// begin looks whether the request was answered before; then known gets what the first one made. Otherwise the key is taken,
// and the transaction that began so calls end. It stands in front of everything that the transaction writes.
func (o Once) begin(tx *store.Tx, known func(resource string) error) (replayed bool, err error) {
	if o.Key == "" {
		return false, nil
	}
	row, found, err := o.found(&tx.View)
	if err != nil {
		return false, err
	}
	if !found {
		tx.TakeIdempotency(o.row(tx, ""))
		return false, tx.Err()
	}
	if !bytes.Equal(row.Body, o.Body) {
		return false, leafward.Errorf(leafward.Conflict, "use a new Idempotency-Key for a different request", "this Idempotency-Key was used with another request")
	}
	*o.Replayed = true
	return true, known(row.Resource)
}

// ask is the id of the request for a signature that belongs to this one, which has a key: the same when it is repeated, so
// that what was reserved before a crash is signed again instead of anew.
func (o Once) ask(v *store.View) (string, error) {
	name := strings.Join([]string{v.Actor.ID, o.Operation, o.Key, hex.EncodeToString(o.Body)}, "\n")
	id := "req-" + uuid.NewSHA1(uuid.Nil, []byte(name)).String()
	_, used, err := v.Request(id)
	if used { // on a day before, since when the key was forgotten
		id = store.NewID("req")
	}
	return id, err
}

// known tells whether the key was used before.
func (o Once) known(v *store.View) (bool, error) {
	if o.Key == "" {
		return false, nil
	}
	_, found, err := o.found(v)
	return found, err
}

// found reads what is remembered of the key.
func (o Once) found(v *store.View) (row store.Idempotency, found bool, err error) {
	row, found, err = v.Idempotency(v.Actor.ID, o.Operation, o.Key)
	return row, found && !row.CreatedAt.Before(v.Now.Add(-idempotencyKept)), err
}

// end remembers what the request made, in the transaction that made it.
func (o Once) end(tx *store.Tx, resource string) {
	if o.Key != "" {
		tx.PutIdempotency(o.row(tx, resource))
	}
}

func (o Once) row(tx *store.Tx, resource string) store.Idempotency {
	return store.Idempotency{Identity: tx.Actor.ID, Operation: o.Operation, Key: o.Key, Body: o.Body, Resource: resource, CreatedAt: tx.Now}
}
