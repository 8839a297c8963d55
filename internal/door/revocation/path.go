package revocation

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// isID tells whether a path segment can be the id of an authority or issuer.
func isID(segment string) bool {
	return segment != "" && len(segment) <= 128 && strings.Trim(segment, "abcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}

// isHex tells whether the rest of a path is a bare serial number. The base64 of an OCSP request begins with an M.
func isHex(rest string) bool {
	return strings.Trim(rest, "0123456789abcdefABCDEF:") == ""
}

// digest tags content that has no number.
func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:16])
}
