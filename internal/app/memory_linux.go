package app

import (
	"bytes"
	"os"
	"runtime/debug"
	"strconv"

	"golang.org/x/sys/unix"
)

// releaseStart gives back the memory that only the start needed: the heap's, and the pages of the program that were read once.
// Those of the program that are needed again come from the page cache; only such are given up that were never written.
func releaseStart() {
	debug.FreeOSMemory()
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return // it is an economy, no need
	}
	var span []byte // of a mapping of a file that nobody may write to
	for line := range bytes.Lines(maps) {
		fields := bytes.Fields(line)
		switch {
		case len(fields) >= 5 && !bytes.HasSuffix(fields[0], []byte(":")): // from-to, rights, offset, device, inode, file
			span = nil
			if rights := string(fields[1]); (rights == "r-xp" || rights == "r--p") && len(fields) == 6 && fields[5][0] == '/' {
				span = fields[0]
			}
		case span != nil && string(fields[0]) == "Anonymous:" && string(fields[1]) == "0":
			giveUp(span)
		}
	}
}

// giveUp drops the pages of a mapping.
func giveUp(span []byte) {
	from, to, _ := bytes.Cut(span, []byte("-"))
	begin, wrongBegin := strconv.ParseUint(string(from), 16, 64)
	end, wrongEnd := strconv.ParseUint(string(to), 16, 64)
	if wrongBegin == nil && wrongEnd == nil {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(begin), uintptr(end-begin), unix.MADV_DONTNEED)
	}
}
