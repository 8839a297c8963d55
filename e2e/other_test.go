//go:build !linux

package e2e_test

import "testing"

func TestTheProgramsFromOutside(t *testing.T) {
	t.Skip("skipped: these tests watch files as Linux lets them, and end their processes as it does")
}
