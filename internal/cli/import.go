package cli

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki/inventory"
)

type importCommand struct {
	asking
	Files       []string `arg:"" name:"file" help:"Lists of certificates: CSV where the name ends in .csv, else PEM; - for PEM on standard input."`
	Issuer      string   `placeholder:"ISSUER" help:"Who signs their renewals; iss-local unless given."`
	Profile     string   `placeholder:"PROFILE" help:"What they may be; prof-server unless given."`
	Policy      string   `placeholder:"POLICY" help:"When they are renewed; rp-default unless given."`
	Owner       string   `placeholder:"OWNER" help:"Who answers for them; o-default unless given."`
	Team        string   `placeholder:"TEAM" help:"Team that they belong to; the API key's own, or t-default."`
	Environment string   `placeholder:"LABEL" help:"Label to find them by."`
	Tag         []string `sep:"none" placeholder:"NAME=VALUE" help:"Label to find them by. Can be repeated."`
	KeySource   string   `placeholder:"WHO" enum:",agent,client,server" default:"" help:"Who makes the keys of renewals: agent, client or server; the agents of their targets unless given."`
}

// What one request holds at most, so that it is answered soon and the server takes it.
const (
	importRows = 250
	importText = 256 << 10 // octets
	importWait = 5 * time.Second
)

// imported is what an import tells in JSON.
type imported struct {
	Imported       int      `json:"imported"`
	Known          int      `json:"known"`
	Archived       int      `json:"archived"` // of the known ones
	Refused        int      `json:"refused"`
	Problems       []badRow `json:"problems"`
	IgnoredColumns []string `json:"ignored_columns"`
}

// badRow is a row that was refused.
type badRow struct {
	File string `json:"file"`
	Line int    `json:"line"`
	leafward.Field
}

// maxTold bounds how many rows an answer in JSON tells of.
const maxTold = 10_000

// importing is an import at work.
type importing struct {
	*run
	request api.ImportRequest // what is said of every certificate
	file    string
	heading []byte // of a CSV
	text    []byte // of the rows that are not sent yet
	first   int    // line of the first of them
	next    int    // line on which the text goes on
	rows    int
	wrong   []wrongRow // rows between them that cannot be sent
	done    imported
	told    time.Time
}

func (c *importCommand) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	i := &importing{run: r, done: imported{Problems: []badRow{}, IgnoredColumns: []string{}}, told: time.Now()}
	if i.request, err = c.request(ctx, r); err != nil {
		return err
	}
	for _, name := range c.Files {
		if err := i.read(ctx, name); err != nil {
			i.tell(nil)
			if i.done.Imported+i.done.Known+i.done.Refused == 0 {
				return err
			}
			i.say(warn, "the same command again goes on: what is in is known then", "%s so far", i.counts())
			return err
		}
	}
	if err := r.answer(i.done, func() {}); err != nil {
		return err
	}
	look := "leafward cert list" + r.where.flags()
	if i.done.Refused > 0 {
		return failed(codeFailed, "mend what is said above, and import the file again: what is in is known then; `"+look+"` shows what is managed", "%s", i.counts())
	}
	r.say(good, look, "%s", i.counts())
	return nil
}

// request is what the flags say of every certificate.
func (c *importCommand) request(ctx context.Context, r *run) (body api.ImportRequest, err error) {
	if len(c.Tag) > 0 {
		if body.Tags, err = labels(c.Tag); err != nil {
			return body, err
		}
	}
	body.Environment, body.KeySource = c.Environment, c.KeySource
	for _, given := range []struct {
		to   *string
		name string
		find func(context.Context, string) (string, error)
	}{
		{&body.IssuerID, c.Issuer, r.issuer},
		{&body.CertificateProfileID, c.Profile, r.profile},
		{&body.RenewalPolicyID, c.Policy, r.policy},
		{&body.OwnerID, c.Owner, r.owner},
		{&body.TeamID, c.Team, r.team},
	} {
		if *given.to, err = given.find(ctx, given.name); err != nil {
			return body, err
		}
	}
	return body, nil
}

func (i *importing) counts() string {
	archived := ""
	if i.done.Archived > 0 {
		archived = fmt.Sprintf(" (%d archived)", i.done.Archived)
	}
	return fmt.Sprintf("%s imported, %d known already%s, %d refused", count(int64(i.done.Imported), "certificate"), i.done.Known, archived, i.done.Refused)
}

// read takes in one file, row by row: no more of it is held than what one request takes.
func (i *importing) read(ctx context.Context, name string) error {
	in := i.In
	if i.file = name; name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return failed(codeFile, "name a file with certificates", "%s cannot be read: %v", name, cause(err))
		}
		defer file.Close()
		in = file
	}
	in = interruptible{ctx, in}
	i.heading = nil
	rows := inventory.Bundle(in, 1)
	if strings.EqualFold(filepath.Ext(name), ".csv") {
		sheet, err := inventory.Open(in, 1, nil)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return failed(codeFile, "begin it with a line that names the columns, one of them certificate", "%s cannot be read: %v", name, err)
		}
		rows, i.heading = sheet.Rows(), sheet.Heading
	}
	return i.all(ctx, rows)
}

func (i *importing) all(ctx context.Context, rows iter.Seq2[inventory.Row, error]) error {
	seen := 0
	for row, err := range rows {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return failed(codeFile, "look at the file", "%s cannot be read: %v", i.file, cause(err))
		}
		seen++
		if row.Wrong != nil {
			if i.wrong = append(i.wrong, wrongRow{row.Line, row.Last, []leafward.Field{{Field: row.Wrong.Field, Problem: row.Wrong.Problem, Fix: row.Wrong.Fix}}}); len(i.wrong) < importRows {
				continue
			}
			if err := i.send(ctx); err != nil {
				return err
			}
			continue
		}
		if i.rows == importRows || i.rows > 0 && len(i.text)+row.Line-i.next+len(row.Text) > importText {
			if err := i.send(ctx); err != nil {
				return err
			}
		}
		i.add(&row)
	}
	switch {
	case seen == 0 && i.heading != nil:
		return failed(codeFile, "write a row for each certificate below the line that names the columns", "%s holds no certificate", i.file)
	case seen == 0:
		return failed(codeFile, "give it the ending .csv when it is CSV; else it must be PEM, which `openssl x509 -inform DER -in "+quoted(i.file)+"` makes of DER", "%s holds no certificate in PEM", i.file)
	}
	return i.send(ctx)
}

// add puts a row behind those that wait to be sent; empty lines stand for what is between them, so that lines are those of
// the file.
func (i *importing) add(row *inventory.Row) {
	if i.rows == 0 {
		i.text, i.first, i.next = i.text[:0], row.Line, row.Line
	}
	i.text = append(i.text, bytes.Repeat([]byte("\n"), row.Line-i.next)...)
	i.text = append(i.text, row.Text...)
	i.next = row.Last + 1
	i.rows++
}

// send has the server take the waiting rows in.
func (i *importing) send(ctx context.Context) error {
	if i.rows == 0 {
		i.tell(nil)
		return nil
	}
	body := i.request
	if i.heading == nil {
		body.PEM, body.FirstLine = string(i.text), i.first
	} else {
		body.CSV, body.FirstLine = string(i.heading)+"\n"+string(i.text), i.first-1
	}
	i.rows = 0
	out, err := api.ImportCertificates.Call(ctx, i.Client, api.Make[api.ImportRequest]{Body: body})
	if err != nil {
		return err
	}
	i.done.Imported += out.Imported
	i.done.Known += out.Known
	i.done.Archived += out.Archived
	i.tell(out.Rows)
	if len(out.IgnoredColumns) > 0 && len(i.done.IgnoredColumns) == 0 {
		i.done.IgnoredColumns = out.IgnoredColumns
		columns := "column"
		if len(out.IgnoredColumns) > 1 {
			columns = "columns"
		}
		i.say(warn, "", "%s: nothing is done with the %s %s", i.file, columns, strings.Join(out.IgnoredColumns, ", "))
	}
	if time.Since(i.told) > importWait {
		i.told = time.Now()
		i.say(wait, "", "%s, line %d: %s so far", i.file, i.next-1, i.counts())
	}
	return nil
}

// wrongRow is what is wrong with a row, and the lines that it stands on.
type wrongRow struct {
	line, last int
	problems   []leafward.Field
}

// tell tells of the rows that the server refused, and of those between them that were not sent, in the order of the file.
func (i *importing) tell(answered []api.ImportRow) {
	all := i.wrong
	for _, row := range answered {
		if row.Outcome == "refused" {
			all = append(all, wrongRow{row.Line, row.Line, row.Problems})
		}
	}
	i.wrong = nil
	slices.SortStableFunc(all, func(a, b wrongRow) int { return a.line - b.line })
	for _, row := range all {
		i.refused(row)
	}
}

// refused tells of a row that was refused.
func (i *importing) refused(row wrongRow) {
	i.done.Refused++
	for _, p := range row.problems {
		if row.last > row.line && !strings.Contains(p.Problem, "(lines ") {
			p.Problem += fmt.Sprintf(" (lines %d to %d)", row.line, row.last)
		}
		if i.JSON && len(i.done.Problems) < maxTold {
			i.done.Problems = append(i.done.Problems, badRow{i.file, row.line, p})
		}
		i.say(bad, p.Fix, "%s:%d: %s %s", i.file, row.line, p.Field, p.Problem)
	}
}
