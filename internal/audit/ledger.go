package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	// fileSize is the size in bytes at which a ledger file is full; the next record begins another.
	fileSize = 64 << 20
	// syncAt bounds what one Append holds unsynced, and with MaxLine what a crash can have spoilt.
	syncAt = 1 << 20
	// tailAt is how much of the end of the last file OpenLedger checks: more than a crash can have spoilt.
	tailAt = 4 << 20
	// extension of ledger files; the name before it is the number of the first record in twenty digits.
	extension = ".jsonl"
)

// Ledger appends records to the files of a directory that belongs to it alone. Its methods may be called from
// several goroutines.
type Ledger struct {
	dir      string
	log      *slog.Logger
	fileSize int64

	mu    sync.Mutex
	file  *os.File // the last file, nil before the first record
	size  int64    // of the good part of file
	spilt bool     // a failed Append may have left bytes after size
	seq   int64
	chain Hash
}

// OpenLedger opens or makes (0700) the directory and finds the last record. What a crash left of a record that was
// being written is cut off and reported to log; whole lines that are cut off with it are kept beside the file.
func OpenLedger(dir string, log *slog.Logger) (*Ledger, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the ledger: %w", err)
	}
	l := &Ledger{dir: dir, log: log, fileSize: fileSize}
	starts, err := l.starts()
	if err != nil {
		return nil, err
	}
	for _, first := range slices.Backward(starts) {
		if err := l.open(first); err != nil {
			return nil, fmt.Errorf("opening ledger file %s: %w", l.path(first), err)
		}
		if l.file != nil {
			break
		}
	}
	return l, nil
}

// Head is the number and chain hash of the last record; zero for an empty ledger.
func (l *Ledger) Head() (seq int64, chain Hash) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seq, l.chain
}

// Close releases the file. The ledger must not be appended to any more.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// Append writes the records and returns when they are on disk. They must follow the head and one another: otherwise
// none is written. After a failure of the disk the ledger holds some first part of them, which Head tells, and the rest
// can be appended again.
func (l *Ledger) Append(records []Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.accepts(records); err != nil {
		return err
	}
	var pending []byte
	for i, r := range records {
		pending = append(pending, r.Line()...)
		if len(pending) < syncAt && i < len(records)-1 {
			continue
		}
		if err := l.write(pending, r); err != nil {
			return err
		}
		pending = pending[:0]
	}
	return nil
}

// accepts checks that the records follow the head and fit in lines.
func (l *Ledger) accepts(records []Record) error {
	seq, chain := l.seq, l.chain
	for _, r := range records {
		if err := r.Follows(seq, chain); err != nil {
			return fmt.Errorf("record %d: %w", r.Seq, err)
		}
		if len(r.Line()) > MaxLine {
			return fmt.Errorf("record %d: %w", r.Seq, errLongLine)
		}
		seq, chain = r.Seq, r.Chain
	}
	return nil
}

// write puts whole lines, of which last is the last, on disk at the end of the last file and moves the head.
func (l *Ledger) write(pending []byte, last Record) error {
	if err := l.rotate(); err != nil {
		return fmt.Errorf("beginning a ledger file: %w", err)
	}
	if l.spilt {
		if err := l.file.Truncate(l.size); err != nil {
			return fmt.Errorf("cutting the ledger: %w", err)
		}
		l.spilt = false
	}
	if _, err := l.file.WriteAt(pending, l.size); err != nil {
		l.spilt = true
		return fmt.Errorf("writing the ledger: %w", err)
	}
	if err := l.file.Sync(); err != nil {
		l.spilt = true
		return fmt.Errorf("writing the ledger: %w", err)
	}
	l.size += int64(len(pending))
	l.seq, l.chain = last.Seq, last.Chain
	return nil
}

// rotate begins the next file when there is none or the last is full.
func (l *Ledger) rotate() error {
	if l.file != nil && l.size < l.fileSize {
		return nil
	}
	file, err := os.OpenFile(l.path(l.seq+1), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := syncDir(l.dir); err != nil {
		return errors.Join(err, file.Close())
	}
	if l.file != nil {
		if err := l.file.Close(); err != nil {
			l.log.Warn("closing a ledger file", "file", l.file.Name(), "error", err)
		}
	}
	l.file, l.size, l.spilt = file, 0, false
	return nil
}

// Records gives the records from a number on, up to the head of this moment, each checked to follow the one before.
// It ends at the first error; a number before the oldest record kept is one.
func (l *Ledger) Records(from int64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		head, _ := l.Head()
		if from > head {
			return
		}
		starts, err := l.starts()
		if err != nil {
			yield(Record{}, err)
			return
		}
		i, exact := slices.BinarySearch(starts, from)
		if !exact {
			i--
		}
		if i < 0 {
			yield(Record{}, fmt.Errorf("record %d is not in the ledger %s: it begins later", from, l.dir))
			return
		}
		w := walk{head: head, from: from, yield: yield}
		for _, first := range starts[i:] {
			if first > head {
				break
			}
			if !w.file(l.path(first), first) {
				return
			}
		}
		if w.seq < head {
			yield(Record{}, fmt.Errorf("the ledger %s ends at record %d and should hold %d", l.dir, w.seq, head))
		}
	}
}

// ReadLedger gives the records of a ledger that may belong to a server which is running, or to one that has ended: nothing
// in the directory is changed. A last line that is not whole, as a server leaves it that was ended while it wrote, is left out.
func ReadLedger(dir string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		l := &Ledger{dir: dir}
		starts, err := l.starts()
		if err == nil && len(starts) == 0 {
			err = fmt.Errorf("there is no file of a ledger in %s", dir)
		}
		if err != nil {
			yield(Record{}, err)
			return
		}
		w := walk{head: math.MaxInt64, yield: yield}
		for i, first := range starts {
			w.growing = i == len(starts)-1
			if !w.file(l.path(first), first) {
				return
			}
		}
	}
}

// walk reads ledger files in order.
type walk struct {
	head, from int64
	yield      func(Record, error) bool
	growing    bool  // somebody may be writing the last line
	seq        int64 // of the last record read, 0 before the first
	chain      Hash
}

// file reads one file and says whether to go on with the next.
func (w *walk) file(path string, first int64) bool {
	file, err := os.Open(path)
	if err != nil {
		return w.fail(err)
	}
	defer file.Close()
	if w.seq == 0 {
		w.seq = first - 1
	}
	in := newLines(file)
	for n := 1; w.seq < w.head; n++ {
		line, err := in.next()
		if errors.Is(err, io.EOF) || w.growing && errors.Is(err, errTornLine) {
			return true
		}
		record, err := w.record(line, err, first, n)
		if err != nil {
			return w.fail(fmt.Errorf("ledger file %s, line %d: %w", path, n, err))
		}
		w.seq, w.chain = record.Seq, record.Chain
		if record.Seq >= w.from && !w.yield(record, nil) {
			return false
		}
	}
	return false
}

// fail ends the walk with an error.
func (w *walk) fail(err error) bool {
	w.yield(Record{}, err)
	return false
}

// record checks a line. The first of the walk has nothing to be chained to, unless the log begins there.
func (w *walk) record(line []byte, err error, first int64, n int) (Record, error) {
	if err != nil {
		return Record{}, err
	}
	record, err := parseRecord(line)
	if err != nil {
		return Record{}, err
	}
	if n == 1 && w.seq == first-1 && w.chain == (Hash{}) && first > 1 {
		if record.Seq != first {
			return Record{}, fmt.Errorf("record %d stands where %d is due", record.Seq, first)
		}
		return record, record.intact()
	}
	return record, record.Follows(w.seq, w.chain)
}

func (l *Ledger) path(first int64) string {
	return filepath.Join(l.dir, fmt.Sprintf("%020d%s", first, extension))
}

// starts lists the first record numbers of the ledger's files in order.
func (l *Ledger) starts() ([]int64, error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	var starts []int64
	for _, e := range entries {
		name, isOurs := strings.CutSuffix(e.Name(), extension)
		first, err := strconv.ParseInt(name, 10, 64)
		if isOurs && err == nil && len(name) == 20 && first > 0 {
			starts = append(starts, first)
		}
	}
	slices.Sort(starts)
	return starts, nil
}

// syncDir makes the names in a directory last over a power failure. Systems that cannot sync a directory say so with
// an error of kind ErrInvalid or ErrPermission, and need none.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}
