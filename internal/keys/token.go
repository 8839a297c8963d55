package keys

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
)

// tokenBytes is the random part of a token: 256 bits, so that its hash needs neither salt nor slowness.
const tokenBytes = 32

// What tokens begin with, so that scanners for leaked secrets find them.
const (
	KeyPrefix  = "lwk_" // an API key
	JoinPrefix = "LWA-" // an invitation for one agent
)

// NewToken makes a secret that is shown once: the prefix and 256 random bits in base64url. Only the hash is stored.
func NewToken(prefix string) (token string, hash []byte) {
	var random [tokenBytes]byte
	rand.Read(random[:])
	token = prefix + base64.RawURLEncoding.EncodeToString(random[:])
	return token, HashToken(token)
}

// HashToken is the SHA-256 by which a token that was presented is looked up.
func HashToken(token string) []byte {
	hash := sha256.Sum256([]byte(token))
	return hash[:]
}
