//go:build !unix

package store

import (
	"io"

	"github.com/leafward/leafward"
)

// lockFile refuses: the server runs on Linux and macOS only.
func lockFile(path string) (io.Closer, error) {
	return nil, leafward.Errorf(leafward.Invalid, "run the server on Linux or macOS", "this system cannot lock %s", path)
}
