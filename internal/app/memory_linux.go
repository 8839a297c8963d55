package app

import (
	"bytes"
	"os"
	"runtime/debug"
	"strconv"

	"golang.org/x/sys/unix"
)

// releaseStart gives back the memory that only the start needed: the heap's, and the pages of the program that ran once.
// Those of the program that are needed again come from the page cache; they are never written, so nothing is lost.
func releaseStart() {
	debug.FreeOSMemory()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return // it is an economy, no need
	}
	for line := range bytes.Lines(maps) {
		fields := bytes.Fields(line) // from-to, rights, offset, device, inode, file
		if len(fields) != 6 || string(fields[1]) != "r-xp" || fields[5][0] != '/' {
			continue
		}
		from, to, _ := bytes.Cut(fields[0], []byte("-"))
		begin, wrongBegin := strconv.ParseUint(string(from), 16, 64)
		end, wrongEnd := strconv.ParseUint(string(to), 16, 64)
		if wrongBegin == nil && wrongEnd == nil {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(begin), uintptr(end-begin), unix.MADV_DONTNEED)
		}
	}
}
