package inventory

import (
	"bufio"
	"bytes"
	"io"
)

// line is one line of a list, without its end.
type line struct {
	number int
	text   []byte
	long   bool // it was longer than MaxRow, and cut
}

// lines reads a list line by line; lines can be given back.
type lines struct {
	in   *bufio.Reader
	next int
	back []line // given back, the first to be read last
	err  error  // other than the end
}

func newLines(in io.Reader, first int) *lines {
	return &lines{in: bufio.NewReaderSize(in, 64<<10), next: max(first, 1)}
}

// read is the next line; ok is false at the end and after an error.
func (l *lines) read() (got line, ok bool) {
	if n := len(l.back); n > 0 {
		got, l.back = l.back[n-1], l.back[:n-1]
		return got, true
	}
	got.number = l.next
	any := false
	for {
		part, err := l.in.ReadSlice('\n')
		any = any || len(part) > 0
		if got.long = got.long || len(got.text)+len(part) > MaxRow; !got.long {
			got.text = append(got.text, part...)
		}
		switch {
		case err == bufio.ErrBufferFull: //nolint:errorlint // as bufio says it
			continue
		case err != nil && err != io.EOF:
			l.err = err
			return got, false
		case err != nil && !any:
			return got, false
		}
		break
	}
	got.text = bytes.TrimSuffix(bytes.TrimSuffix(got.text, []byte("\n")), []byte("\r"))
	if l.next == 1 {
		got.text = bytes.TrimPrefix(got.text, []byte("\ufeff"))
	}
	l.next++
	return got, true
}

// unread gives lines back, to be read again in their order.
func (l *lines) unread(some []line) {
	for i := len(some) - 1; i >= 0; i-- {
		l.back = append(l.back, some[i])
	}
}

// join is the text of lines; those that are nil are empty.
func join(some []line) []byte {
	var text []byte
	for _, one := range some {
		text = append(append(text, one.text...), '\n')
	}
	return text
}
