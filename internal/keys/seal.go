package keys

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
)

// A sealed value is
//
//	version (1 byte) · id of the master key (8) · nonce (12) · AES-256-GCM ciphertext and tag (16 more than the text)
//
// under a key derived by HKDF-SHA-256 from the master key for the table and column. The additional data are version,
// id and the context.
const (
	sealVersion = 1
	keyIDBytes  = 8
	headerBytes = 1 + keyIDBytes
)

// Context is the place of a sealed value. It opens in no other place.
type Context struct{ Table, Column, Row string }

func (c Context) String() string { return fmt.Sprintf("%s.%s of %s", c.Table, c.Column, c.Row) }

// Seal encrypts a value for its place. Sealing the same value again gives other bytes.
func (m *Master) Seal(context Context, plaintext []byte) []byte {
	id, err := hex.DecodeString(m.id)
	if err != nil {
		panic(err) // newMaster makes the id
	}
	header := append([]byte{sealVersion}, id...)
	return m.cipherFor(context).Seal(header, nil, plaintext, additional(header, context))
}

// Open gives back the value that was sealed for this place.
func (m *Master) Open(context Context, sealed []byte) ([]byte, error) {
	if len(sealed) < headerBytes || sealed[0] != sealVersion {
		return nil, &leafward.Error{
			Kind:    leafward.Internal,
			Message: fmt.Sprintf("the secret in %s is not a sealed value that this version reads", context),
			Fix:     "restore the database from a backup, or use the version of leafward that wrote it",
		}
	}
	header, rest := sealed[:headerBytes:headerBytes], sealed[headerBytes:]
	if id := header[1:]; !m.sameID(id) {
		return nil, &leafward.Error{
			Kind:    leafward.Internal,
			Message: fmt.Sprintf("the secret in %s was sealed with master key %x, and this server has %s", context, id, m.id),
			Fix:     fmt.Sprintf("start the server with master key %x: --master-key-file or LEAFWARD_MASTER_KEY", id),
		}
	}
	plaintext, err := m.cipherFor(context).Open(nil, nil, rest, additional(header, context))
	if err != nil {
		return nil, &leafward.Error{
			Kind:    leafward.Internal,
			Message: fmt.Sprintf("the secret in %s does not open: it was changed or comes from another row", context),
			Fix:     "restore the row from a backup",
			Cause:   err,
		}
	}
	return plaintext, nil
}

// SealKey seals a private key, as PKCS #8, for its place.
func (m *Master) SealKey(context Context, key crypto.Signer) ([]byte, error) {
	der, err := pki.MarshalPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the private key: %w", err)
	}
	defer clear(der)
	return m.Seal(context, der), nil
}

// cipherFor is the cipher of a table's column; it puts a random nonce before what it seals. A key of its own for each
// column keeps their nonces apart: one may seal 2^32 values.
func (m *Master) cipherFor(context Context) cipher.AEAD {
	info := "leafward seal" + string(parts(nil, context.Table, context.Column))
	key, err := hkdf.Key(sha256.New, m.key.Reveal(), nil, info, 32)
	if err != nil {
		panic(err) // 32 bytes are not too many for HKDF
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // 32 bytes are a key
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // AES has the block size of GCM
	}
	return aead
}

// additional is what the tag covers besides the text.
func additional(header []byte, c Context) []byte { return parts(header, c.Table, c.Column, c.Row) }

// parts appends each text after its length, so that no two lists have one encoding.
func parts(to []byte, texts ...string) []byte {
	out := append([]byte(nil), to...)
	for _, text := range texts {
		out = binary.BigEndian.AppendUint32(out, uint32(len(text)))
		out = append(out, text...)
	}
	return out
}
