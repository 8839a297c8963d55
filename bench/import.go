//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/leafward/leafward/internal/pki/inventory"
	"github.com/leafward/leafward/internal/pki/inventory/inventorytest"
)

// What an import of 100,000 certificates may take.
const (
	importTime   = 120 * time.Second
	importMemory = 400 << 20
)

// measureImport has the command take in a PEM bundle. The limit is to read the bundle and to have each certificate on disk,
// fifty at a time.
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
	spent := s.cpu()
	cmd := exec.CommandContext(ctx, b.program, "import", list, "--data-dir", s.data(), "--json")
	cmd.Stderr = os.Stderr
	begun := time.Now()
	out, err := cmd.Output()
	took := time.Since(begun)
	if err != nil {
		return r, err
	}
	var told struct{ Imported int }
	if err := json.Unmarshal(out, &told); err != nil || told.Imported != b.certificates {
		return r, errors.Join(err, fmt.Errorf("%d of %d certificates are imported", told.Imported, b.certificates))
	}
	bare, err := bareImport(list, filepath.Join(s.home, "bare"))
	if err != nil {
		return r, err
	}
	peak := max(s.memory("VmHWM"), cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss<<10)
	most := importTime * time.Duration(b.certificates) / 100_000
	return row{
		what:   fmt.Sprintf("import of %d certificates", b.certificates),
		figure: fmt.Sprintf("%.1f s, %s, at most %d MB", took.Seconds(), perSecond(float64(b.certificates)/took.Seconds()), peak>>20),
		cpu:    (s.cpu() - spent) / time.Duration(b.certificates),
		bare:   fmt.Sprintf("%.1f s", bare.Seconds()), ratio: bare.Seconds() / took.Seconds(),
		goal: fmt.Sprintf("%s, %d MB", most, importMemory>>20), missed: took > most || peak > importMemory,
	}, nil
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

// bareImport is what no server can leave out.
func bareImport(list, path string) (took time.Duration, err error) {
	in, err := os.Open(list)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	begun, n := time.Now(), 0
	for row, err := range inventory.Bundle(in, 1) {
		if err != nil {
			return 0, err
		}
		if _, err := out.Write(row.Chain[0].Raw); err != nil {
			return 0, err
		}
		if n++; n%50 == 0 {
			err = out.Sync()
		}
		if err != nil {
			return 0, err
		}
	}
	err = out.Sync()
	return time.Since(begun), err
}
