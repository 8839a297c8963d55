package store

import "github.com/leafward/leafward"

func keyPairs() table[leafward.Key] { return tableOf[leafward.Key]("key pair", "keys") }

// KeyPair reads a key pair by id.
func (v *View) KeyPair(id string) (leafward.Key, error) { return byID(v, keyPairs(), "", id) }

// KeyPairOf reads the key pair of a public key, named by the SHA-256 of its SubjectPublicKeyInfo in lower hex.
func (v *View) KeyPairOf(spki string) (k leafward.Key, found bool, err error) {
	return selectOne(v, keyPairs(), "WHERE spki = $1", spki)
}

// KeyPairOfAuthority reads the key pair of an authority, which is remembered with what people configure: whoever writes its
// private part writes the authority too. Whether it was compromised meanwhile is for KeyPairOf to tell.
func (v *View) KeyPairOfAuthority(a *leafward.Authority) (k leafward.Key, err error) {
	rows, err := recall(v, "authorities", "key pair", []any{a.Key}, func() ([]leafward.Key, error) {
		k, err := v.KeyPair(a.Key)
		return []leafward.Key{k}, err
	})
	if err == nil {
		k = rows[0]
	}
	return k, err
}

// AddKeyPair inserts a key pair.
func (tx *Tx) AddKeyPair(k *leafward.Key) { add(tx, keyPairs(), "kp", k) }

// PutKeyPair writes a key pair that was read in this transaction.
func (tx *Tx) PutKeyPair(k *leafward.Key) { put(tx, keyPairs(), k) }

// UseKeyPair has whoever compromises a key that was read in this transaction, and is certified in it, run before or after it, and
// not beside: a transaction of PostgreSQL would not see what the other one writes. On SQLite none runs beside another.
func (tx *Tx) UseKeyPair(id string) {
	if tx.name == "postgres" {
		tx.send("UPDATE keys SET revision = revision + 1 WHERE id = $1", id)
		delete(tx.rowsRead, keyPairs().name+"/"+id)
	}
}

// CompromiseKey closes a key for ever, no authority certifies it again, and gives its SPKI hash; "" for one that is not here.
func (tx *Tx) CompromiseKey(id string) (spki string, err error) {
	k, found, err := selectOne(&tx.View, keyPairs(), "WHERE id = $1", id)
	if err != nil || !found {
		return "", err
	}
	if k.CompromisedAt.IsZero() {
		k.CompromisedAt = tx.Now
		put(tx, keyPairs(), &k)
	}
	return k.SPKI, tx.err
}

// EraseKeyPair removes the private part of a key pair that was read in this transaction. It is overwritten in its place
// before: what is only let go stays in the free space of a page of SQLite until that is used again.
func (tx *Tx) EraseKeyPair(k *leafward.Key) {
	tx.Exec("UPDATE keys SET sealed = $2 WHERE id = $1", k.ID, make([]byte, len(k.Sealed)))
	k.Sealed = []byte{}
	put(tx, keyPairs(), k)
}
