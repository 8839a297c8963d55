//go:build !linux

package app

import "runtime/debug"

// releaseStart gives back the memory that only the start needed.
func releaseStart() { debug.FreeOSMemory() }
