package ocsp

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
)

// FromPath decodes the request in the path of a GET (RFC 6960 appendix A.1): what follows the responder's URL and its
// slash, as it came over the wire (URL.EscapedPath). Clients differ in what they escape and append, so the slash and
// the plus sign may be escaped or not, the plus sign may have become a space, the padding may be missing, and further
// slashes may stand in front. Hazard: the path must not have been cleaned, since two slashes may be two digits.
func FromPath(escapedPath string) ([]byte, error) {
	if len(escapedPath) > 3*base64.StdEncoding.EncodedLen(RequestLimit) {
		return nil, fmt.Errorf("%w: the path has %d characters", ErrMalformed, len(escapedPath))
	}
	text, err := url.PathUnescape(escapedPath)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	text = strings.TrimLeft(text, "/") // a request begins with an M: its first octet is 0x30
	text = strings.TrimRight(text, "=")
	text = strings.ReplaceAll(text, " ", "+")
	der, err := base64.RawStdEncoding.DecodeString(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: the path is not base64", ErrMalformed)
	case len(der) == 0:
		return nil, fmt.Errorf("%w: the path holds no request", ErrMalformed)
	}
	return der, nil
}
