//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// measureStart starts servers on empty directories: the median until one is ready, and what the last one holds when it has
// nothing to do.
func measureStart(ctx context.Context, b *bench) ([]row, error) {
	const starts = 5
	var took []time.Duration
	var held int64
	for range starts {
		s, err := b.serve(ctx)
		if err != nil {
			return nil, err
		}
		took = append(took, s.ready)
		select {
		case <-time.After(2 * time.Second): // until what only the start needed is given back
		case <-ctx.Done():
		}
		held = max(held, s.memory("VmRSS"))
		if err := s.stop(); err != nil {
			return nil, err
		}
	}
	middling := middle(took, itself)
	return []row{
		{what: "start to ready, empty", figure: short(middling), goal: "≤ 500 ms", missed: middling > 500*time.Millisecond},
		{what: "memory when idle", figure: fmt.Sprintf("%.1f MB", float64(held)/1e6), goal: "≤ 40 MB", missed: held > 40e6},
	}, nil
}

// startFull starts the server again and again: the median until it is ready. The limit is a bare program that does what a
// server cannot leave out before its first request.
func (b *bench) startFull(ctx context.Context, s *server) ([]row, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	const starts = 5
	var took, limit []time.Duration
	for n := range starts {
		b.tell("start %d of %d", n+1, starts)
		s.end()
		var bare program
		err := bare.run(ctx, self, startedWord, bareStartWord, s.dsn, s.home)
		bare.end()
		if err != nil {
			return nil, err
		}
		limit = append(limit, bare.ready)
		if err := s.start(ctx, b.program); err != nil {
			return nil, err
		}
		took = append(took, s.ready)
	}
	usual, bare := middle(took, itself), middle(limit, itself)
	const most = 500 * time.Millisecond
	return []row{{
		what: fmt.Sprintf("start to ready, %d certificates", b.certificates), figure: short(usual), bare: short(bare), ratio: float64(bare) / float64(usual),
		goal: "≤ 500 ms", missed: usual > most,
	}}, s.caughtUp(ctx)
}

// With the first word and a database this program is one that only starts; it says the second when it has.
const (
	bareStartWord = "bare-start"
	startedWord   = "started"
)

// startBarely opens a server's database, reads who issues there, makes a key and a certificate to listen with, listens, and
// waits for its end.
func startBarely(out io.Writer, dsn, home string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s := &server{dsn: dsn, home: home}
	many, err := s.number(ctx, "SELECT count(*) FROM issuers")
	if err != nil {
		return err
	}
	if many == 0 {
		return errors.New("no server has used this database yet")
	}
	pair, err := pairFor("127.0.0.1")
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, startedWord)
	<-ctx.Done()
	return l.Close()
}
