package store

import (
	"time"
)

// Idempotency remembers what a request made, by who sent it, to which operation, under which key.
type Idempotency struct {
	Identity  string    `db:"identity"`
	Operation string    `db:"operation"`
	Key       string    `db:"key"`
	Body      []byte    `db:"body"` // hash of the request
	Resource  string    `db:"resource"`
	CreatedAt time.Time `db:"created_at"`
}

// Idempotency reads what an earlier request made.
func (v *View) Idempotency(identity, operation, key string) (Idempotency, bool, error) {
	return selectOne(v, tableOf[Idempotency]("idempotency", "idempotency"), "WHERE identity = $1 AND operation = $2 AND key = $3", identity, operation, key)
}

// TakeIdempotency takes a key for a request, before anything else that it writes: of two requests with the same key at
// once, on whichever servers, the later runs again and finds what the first made.
func (tx *Tx) TakeIdempotency(i Idempotency) {
	n := tx.Exec(`INSERT INTO idempotency (identity, operation, key, body, resource, created_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (identity, operation, key) DO UPDATE SET body = excluded.body, resource = excluded.resource, created_at = excluded.created_at
		WHERE idempotency.created_at < $7`, i.Identity, i.Operation, i.Key, i.Body, i.Resource, micros(i.CreatedAt), micros(i.CreatedAt.Add(-24*time.Hour)))
	if n == 0 && tx.err == nil {
		tx.err = errStale
	}
}

// PutIdempotency remembers what the request made that took the key in this transaction.
func (tx *Tx) PutIdempotency(i Idempotency) {
	tx.send("UPDATE idempotency SET resource = $4 WHERE identity = $1 AND operation = $2 AND key = $3", i.Identity, i.Operation, i.Key, i.Resource)
}

// ForgetIdempotency drops what is older; at most 500 rows at a time, and it tells how many.
func (tx *Tx) ForgetIdempotency(before time.Time) (int, error) {
	const some = "DELETE FROM idempotency WHERE (identity, operation, key) IN (SELECT identity, operation, key FROM idempotency WHERE created_at < $1 LIMIT 500)"
	return int(tx.Exec(some, micros(before))), tx.err
}
