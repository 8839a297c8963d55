//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/leafward/leafward/internal/pki/inventory"
	"github.com/leafward/leafward/internal/pki/inventory/inventorytest"
)

// What an import of 100,000 certificates may take.
const (
	importTime   = 120 * time.Second
	importMemory = 400 << 20
)

// measureImport has the command take in a PEM bundle. The limit is to read it and to have the driver alone insert a row
// for each.
func measureImport(ctx context.Context, b *bench) ([]row, error) {
	s, err := b.serve(ctx)
	if err != nil {
		return nil, err
	}
	r, err := b.imports(ctx, s)
	return []row{r}, errors.Join(err, s.stop())
}

func (b *bench) imports(ctx context.Context, s *server) (r row, err error) {
	list := filepath.Join(s.home, "list.pem")
	if err := bundle(list, b.certificates); err != nil {
		return r, err
	}
	b.tell("%d certificates come in", b.certificates)
	spent := s.cpu()
	cmd := exec.CommandContext(ctx, b.program, "import", list, "--data-dir", s.data(), "--json")
	cmd.Stderr = os.Stderr
	begun := time.Now()
	out, held, err := watched(cmd)
	took := time.Since(begun)
	if err != nil {
		return r, err
	}
	var told struct{ Imported int }
	if err := json.Unmarshal(out, &told); err != nil || told.Imported != b.certificates {
		return r, errors.Join(err, fmt.Errorf("%d of %d certificates are imported", told.Imported, b.certificates))
	}
	b.tell("the bare limit of the import")
	used := s.cpu() - spent
	bare, err := s.importByHand(ctx, list)
	if err != nil {
		return r, err
	}
	peak := max(s.memory("VmHWM"), held)
	most := importTime * time.Duration(b.certificates) / 100_000
	return row{
		what:   fmt.Sprintf("import of %d certificates", b.certificates),
		figure: fmt.Sprintf("%.1f s, %s, at most %d MB", took.Seconds(), perSecond(float64(b.certificates)/took.Seconds()), peak>>20),
		cpu:    used / time.Duration(b.certificates),
		bare:   fmt.Sprintf("%.1f s", bare.Seconds()), ratio: bare.Seconds() / took.Seconds(),
		goal: fmt.Sprintf("%s, %d MB", most, importMemory>>20), missed: took > most || peak > importMemory,
	}, nil
}

// watched runs a command and tells what it wrote and how many octets of memory it had at most. Those are asked for again and
// again while it runs: what the system counts up for a process that ended begins with what its parent had.
func watched(cmd *exec.Cmd) (out []byte, held int64, err error) {
	var written bytes.Buffer
	cmd.Stdout = &written
	if err := cmd.Start(); err != nil {
		return nil, 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case err := <-ended:
			return written.Bytes(), held, err
		case <-look.C:
			p := program{cmd: cmd}
			held = max(held, p.memory("VmHWM"))
		}
	}
}

// bundle writes so many certificates of somebody else's authority.
func bundle(path string, many int) error {
	elsewhere, err := inventorytest.New("elsewhere", time.Now())
	if err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	_, err = elsewhere.WritePEM(w, 0, many, 0)
	return errors.Join(err, w.Flush(), file.Close())
}

// importByHand is what no server can leave out: to read the bundle and have each certificate as a row in the database, found
// by its serial number, fifty at a time.
func (s *server) importByHand(ctx context.Context, list string) (took time.Duration, err error) {
	in, err := os.Open(list)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	db, err := s.open()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	blob := "BLOB"
	if s.dsn != "" {
		blob = "BYTEA"
	}
	if _, err := db.ExecContext(ctx, "CREATE TABLE bare (serial TEXT PRIMARY KEY, ends BIGINT NOT NULL, der "+blob+" NOT NULL)"); err != nil {
		return 0, err
	}
	var wrong error
	begun := time.Now()
	err = write(ctx, db, "bare", 3, func(yield func([]any) bool) {
		for found, err := range inventory.Bundle(in, 1) {
			if err != nil {
				wrong = err
				return
			}
			cert := found.Chain[0]
			if !yield([]any{cert.SerialNumber.Text(16), cert.NotAfter.UnixMicro(), cert.Raw}) {
				return
			}
		}
	}, 50)
	return time.Since(begun), errors.Join(err, wrong)
}
