package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// open makes the file the last one of the ledger, after cutting off what a crash spoilt of its end. A file that holds
// no whole record is removed, and file stays nil.
func (l *Ledger) open(first int64) error {
	file, err := os.OpenFile(l.path(first), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	end, err := readTail(file, first)
	if err != nil {
		return errors.Join(err, file.Close())
	}
	if err := l.cut(file, end.good); err != nil {
		return errors.Join(err, file.Close())
	}
	if end.good == 0 {
		return errors.Join(file.Close(), os.Remove(file.Name()))
	}
	l.file, l.size, l.seq, l.chain = file, end.good, end.last.Seq, end.last.Chain
	return nil
}

// cut shortens the file to its good part. Whole lines after it are evidence and are kept in a file of their own.
func (l *Ledger) cut(file *os.File, good int64) error {
	rest, err := io.ReadAll(io.NewSectionReader(file, good, tailAt+MaxLine))
	if err != nil || len(rest) == 0 {
		return err
	}
	kept := ""
	if bytes.IndexByte(rest, '\n') >= 0 {
		kept = fmt.Sprintf("%s.cut-%d", file.Name(), good)
		if err := os.WriteFile(kept, rest, 0o600); err != nil {
			return err
		}
	}
	l.log.Warn("the end of the ledger was not whole and is cut off; its records are taken from the database again",
		"file", file.Name(), "at", good, "bytes", len(rest), "kept", kept)
	if err := file.Truncate(good); err != nil {
		return err
	}
	return file.Sync()
}

// tail is the end of a ledger file: the last record that follows from those before, and the offset after it.
type tail struct {
	last Record
	good int64
}

// readTail reads the end of a file and stops before the first line that does not follow. When nothing of the end is
// good although the file is longer than that, the damage is no crash's: an error, so that nothing is lost.
func readTail(file *os.File, first int64) (tail, error) {
	info, err := file.Stat()
	if err != nil {
		return tail{}, err
	}
	start, err := lineStart(file, info.Size()-tailAt)
	if err != nil {
		return tail{}, err
	}
	end := tail{good: start}
	in := newLines(io.NewSectionReader(file, start, info.Size()-start))
	for {
		line, err := in.next()
		if errors.Is(err, io.EOF) || errors.Is(err, errTornLine) || errors.Is(err, errLongLine) {
			break
		}
		if err != nil {
			return tail{}, err
		}
		record, err := parseRecord(line)
		if err != nil {
			break
		}
		if end.last.Seq == 0 {
			err = beginsTail(record, start, first)
		} else {
			err = record.Follows(end.last.Seq, end.last.Chain)
		}
		if err != nil {
			break
		}
		end.last, end.good = record, end.good+int64(len(line))
	}
	if start > 0 && end.last.Seq == 0 {
		return tail{}, fmt.Errorf("it is damaged at offset %d: move it away, and its records are taken from the database again", start)
	}
	return end, nil
}

// beginsTail checks the first record read, which has nothing before it to follow unless the log begins with it.
func beginsTail(r Record, start, first int64) error {
	switch {
	case start == 0 && r.Seq != first:
		return fmt.Errorf("record %d stands where %d is due", r.Seq, first)
	case r.Seq == 1:
		return r.Follows(0, Hash{})
	default:
		return r.intact()
	}
}

// lineStart is the offset of the first line that begins at or after an offset.
func lineStart(file *os.File, offset int64) (int64, error) {
	if offset <= 0 {
		return 0, nil
	}
	window := make([]byte, MaxLine)
	n, err := file.ReadAt(window, offset-1)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	i := bytes.IndexByte(window[:n], '\n')
	if i < 0 {
		return 0, fmt.Errorf("it holds a line longer than %d bytes near offset %d", MaxLine, offset)
	}
	return offset + int64(i), nil
}
