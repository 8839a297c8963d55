package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/audit"
)

type auditCommands struct {
	Export auditExport `cmd:"" help:"Write the whole log as JSON lines that can be verified without a server."`
	Verify auditVerify `cmd:"" help:"Look for edits, deletions, insertions and moves in an export. Needs no server."`
}

type auditExport struct {
	asking
	First int64  `default:"1" placeholder:"N" help:"Sequence of the first event (${default})."`
	Out   string `placeholder:"FILE" help:"File to write, 0600 and only when it is not there yet; standard output unless given."`
}

// exported is what an export to a file and a verification tell in JSON.
type exported struct {
	File    string `json:"file"`
	Records int64  `json:"records"`
	First   int64  `json:"first"`
	Last    int64  `json:"last"`
	Head    string `json:"head"`
	Intact  bool   `json:"intact"`
}

// Run verifies the export while it is written: an answer that was cut off must not pass for a whole one.
func (c *auditExport) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	if c.First < 1 {
		return failed(codeUsage, "events are counted from 1", "--first %d is no event", c.First)
	}
	body, err := api.ExportAudit.Open(ctx, r.Client, api.ExportAuditInput{First: c.First})
	if err != nil {
		return err
	}
	defer body.Close()
	if c.Out == "" {
		report, err := audit.Verify(io.TeeReader(body, r.Out))
		if err != nil {
			return unlike(err)
		}
		r.say(good, "", "%s, up to %d", count(report.Records, "event"), report.Last)
		return nil
	}
	report, err := c.write(body)
	if err != nil {
		return err
	}
	return r.answer(exportOf(c.Out, report), func() {
		r.say(good, "leafward audit verify "+c.Out, "%s in %s, up to %d", count(report.Records, "event"), c.Out, report.Last)
	})
}

// write leaves the whole verified export in the file, or no file.
func (c *auditExport) write(body io.Reader) (report audit.Report, err error) {
	file, err := os.OpenFile(c.Out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return report, cannotWrite(c.Out, err)
	}
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = os.Remove(c.Out)
		}
	}()
	if report, err = audit.Verify(io.TeeReader(body, file)); err != nil {
		return report, unlike(err)
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return report, cannotWrite(c.Out, err)
	}
	return report, nil
}

// unlike is the failure for a fault in what the server sends.
func unlike(err error) error {
	return broken(err, "export it again; when the fault stays, the server's log was changed: compare it with the ledger in the server's data directory")
}

func exportOf(file string, report audit.Report) exported {
	return exported{File: file, Records: report.Records, First: report.Header.First, Last: report.Last, Head: report.Head.String(), Intact: true}
}

type auditVerify struct {
	File string `arg:"" help:"File that audit export wrote; - for standard input."`
	JSON bool   `name:"json" help:"Answer and fail in JSON."`
}

func (c *auditVerify) Run(s *Session) error {
	r := &run{Session: s, JSON: c.JSON}
	in := s.In
	if c.File != "-" {
		file, err := os.Open(c.File)
		if err != nil {
			return failed(codeFile, "name a file that `leafward audit export --out FILE` wrote", "%s cannot be read: %v", c.File, cause(err))
		}
		defer file.Close()
		in = file
	}
	report, err := audit.Verify(in)
	if err != nil {
		return broken(err, fmt.Sprintf("%s before it are unbroken; fetch a fresh export from the server and compare", count(report.Records, "event")))
	}
	return r.answer(exportOf(c.File, report), func() {
		fmt.Fprintf(r.Out, "%s %s, %d to %d, in one unbroken chain\n", r.mark(good), count(report.Records, "event"), report.Header.First, report.Last)
		fmt.Fprintf(r.Out, "  head  %s\n", report.Head)
		r.next("compare the head with one that was noted elsewhere: who can rewrite the whole file can make it consistent")
	})
}

// broken is the failure for a fault in an export.
func broken(err error, fix string) error {
	fault, ok := errors.AsType[*audit.Fault](err)
	if !ok {
		return err
	}
	return failed(codeAudit, fix, "the audit log is not whole: %v", fault)
}

// cause is an error of the file system without the path, which the message has already.
func cause(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

func cannotWrite(name string, err error) error {
	if errors.Is(err, os.ErrExist) {
		return failed(codeExists, "remove it first, or name another file", "the file %s is there already", name)
	}
	return failed(codeFile, "choose a directory that you may write to", "%s cannot be written: %v", name, cause(err))
}
