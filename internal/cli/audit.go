package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/mod/sumdb/note"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/audit"
)

type auditCommands struct {
	Export     auditExport     `cmd:"" help:"Write the whole log as JSON lines that can be verified without a server."`
	Verify     auditVerify     `cmd:"" help:"Look for edits, deletions, insertions and moves in an export. Needs no server."`
	Prove      auditProve      `cmd:"" help:"Prove that one event stands in the log that was signed for."`
	Checkpoint auditCheckpoint `cmd:"" help:"Show the newest signed statement of what stands in the log, to be kept elsewhere."`
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

	Gaps []audit.Gap `json:"gaps,omitempty"` // where the database was put back from a backup
}

// Run verifies the export while it is written: an answer that was cut off must not pass for a whole one.
func (c *auditExport) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	c.Out = streamed(c.Out)
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
	return exported{File: file, Records: report.Records, First: report.Header.First, Last: report.Last, Head: report.Head.String(), Intact: true, Gaps: report.Gaps}
}

type auditVerify struct {
	File       string `arg:"" optional:"" help:"File that audit export wrote; - for standard input."`
	Proof      string `placeholder:"FILE" help:"Verify what audit prove wrote instead of an export; - for standard input. Goes with --log-key, and --checkpoint for another checkpoint of the same size."`
	Checkpoint string `placeholder:"FILE" help:"Also hold it against a checkpoint that was kept elsewhere: the file checkpoint of an agent, or what audit checkpoint printed."`
	LogKey     string `placeholder:"KEY" help:"Public key of the log, which audit checkpoint tells; goes with --checkpoint and --proof."`
	JSON       bool   `name:"json" help:"Answer and fail in JSON."`
}

func (c *auditVerify) Run(s *Session) error {
	r := &run{Session: s, JSON: c.JSON}
	switch {
	case (c.File == "") == (c.Proof == ""):
		return failed(codeUsage, "name a file that `leafward audit export --out FILE` wrote, or --proof FILE", "one thing is verified at a time: an export or a proof")
	case c.Proof != "":
		return c.proved(r)
	}
	verify, err := c.judge()
	if err != nil {
		return err
	}
	in := s.In
	if c.File != "-" {
		file, err := os.Open(c.File)
		if err != nil {
			return failed(codeFile, "name a file that `leafward audit export --out FILE` wrote", "%s cannot be read: %v", c.File, cause(err))
		}
		defer file.Close()
		in = file
	}
	report, err := verify(in)
	if err != nil {
		return broken(err, fmt.Sprintf("%s before it are unbroken; fetch a fresh export from the server and compare", count(report.Records, "event")))
	}
	return r.answer(exportOf(c.File, report), func() {
		fmt.Fprintf(r.Out, "%s %s, %d to %d, in one unbroken chain\n", r.mark(good), count(report.Records, "event"), report.Header.First, report.Last)
		fmt.Fprintf(r.Out, "  head  %s\n", report.Head)
		for _, gap := range report.Gaps {
			fmt.Fprintf(r.Out, "  gap   %s\n", gapText(gap))
		}
		if c.Checkpoint == "" {
			r.next("hold it against a checkpoint that is kept elsewhere (--checkpoint, --log-key): who can rewrite the whole file can make it consistent")
			return
		}
		r.next("keep a newer checkpoint: leafward audit checkpoint")
	})
}

// gapText says what a gap means for who reads the log.
func gapText(g audit.Gap) string {
	text := fmt.Sprintf("at event %d the database was put back to event %d", g.Seq, g.Events)
	if !g.Since.IsZero() {
		text += ", by the backup of " + g.Since.Format("2006-01-02 15:04 MST")
	}
	switch {
	case g.Beside != "":
		return text + fmt.Sprintf("; what else happened up to event %d stands in another export, whose head is %s", g.Known, g.Beside)
	case g.Known > g.Events:
		return text + fmt.Sprintf("; events %d to %d are on record, and the database has only their serials, revocations and revoked keys", g.Events+1, g.Known)
	}
	return text + "; what happened between the two is not on record"
}

// judge is how an export is verified: alone, or against a checkpoint.
func (c *auditVerify) judge() (func(io.Reader) (audit.Report, error), error) {
	if (c.Checkpoint == "") != (c.LogKey == "") {
		return nil, failed(codeUsage, "give both, as `leafward audit checkpoint` told them", "--checkpoint and --log-key go together")
	}
	if c.Checkpoint == "" {
		return audit.Verify, nil
	}
	text, err := c.kept()
	if err != nil {
		return nil, err
	}
	size, root, err := audit.OpenCheckpoint(string(text), c.LogKey)
	if err != nil {
		return nil, failed(codeAudit, "use the checkpoint and the key of the same server", "%s proves nothing: %v", c.Checkpoint, err)
	}
	return func(in io.Reader) (audit.Report, error) { return audit.VerifyAgainst(in, size, root) }, nil
}

// maxKept is the size in octets up to which a checkpoint is read.
const maxKept = 64 << 10

// kept reads the checkpoint that was kept elsewhere, and makes sure of the key that verifies it.
func (c *auditVerify) kept() ([]byte, error) {
	text, err := readBounded(c.Checkpoint, maxKept)
	if err != nil {
		return nil, failed(codeFile, "name a file with a checkpoint", "%s cannot be read: %v", c.Checkpoint, cause(err))
	}
	return text, c.keyed()
}

// keyed refuses what is no public key, so that it is not taken for a log that was changed.
func (c *auditVerify) keyed() error {
	if _, err := note.NewVerifier(c.LogKey); err != nil {
		return failed(codeUsage, "give the key that `leafward audit checkpoint` told, whole and in quotes", "--log-key is not the public key of a log: %v", err)
	}
	return nil
}

type auditCheckpoint struct {
	asking
	Out string `placeholder:"FILE" help:"File to write it to, 0600 and only when it is not there yet; standard output unless given."`
}

// Run prints the note alone on standard output, and what it is beside it.
func (c *auditCheckpoint) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	c.Out = streamed(c.Out)
	if _, err := os.Lstat(c.Out); c.Out != "" && err == nil {
		return cannotWrite(c.Out, os.ErrExist)
	}
	last, err := api.GetCheckpoint.Call(ctx, r.Client, api.Nothing{})
	if err != nil {
		return err
	}
	if last.Checkpoint == "" {
		return failed(string(leafward.Later), "ask again in a minute", "the server has signed no checkpoint yet")
	}
	if c.Out != "" {
		if err := writeNew(c.Out, []byte(last.Checkpoint)); err != nil {
			return err
		}
	}
	return r.answer(last, func() {
		if c.Out == "" {
			fmt.Fprint(r.Out, last.Checkpoint)
		}
		r.say(good, "leafward audit verify EXPORT --checkpoint FILE --log-key "+last.PublicKey, "%s are signed for; keep this, and the key, where nobody changes them together with the server", count(last.Size, "event"))
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
