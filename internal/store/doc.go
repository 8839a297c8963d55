// Package store keeps the nouns in SQL: one text for SQLite and PostgreSQL, a file per noun.
//
// Everything that changes goes through [DB.Write]: the change, its events and its follow-up jobs in one transaction,
// acknowledged when the commit is on disk. Everything that is read goes through [DB.View], a consistent snapshot.
// Both take the actor from the context, and every read is scoped by the actor's teams.
//
// Times are integer microseconds since 1970, 0 for "not yet". Text sorts by bytes on both engines.
package store
