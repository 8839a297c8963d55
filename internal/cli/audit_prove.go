package cli

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/audit"
)

// maxProof is the size in octets up to which a proof is read.
const maxProof = 2 << 20

type auditProve struct {
	asking
	ID   string `arg:"" help:"Id of the event."`
	Size int64  `placeholder:"N" help:"Prove it in the checkpoint of so many events, instead of the newest."`
	Out  string `placeholder:"FILE" help:"File to write the proof to, 0600 and only when it is not there yet; - is standard output."`
}

// Run verifies the proof before it gives it to anybody.
func (c *auditProve) Run(ctx context.Context, s *Session) error {
	r, err := c.begin(ctx, s)
	if err != nil {
		return err
	}
	told, err := api.ProveAuditEvent.Call(ctx, r.Client, api.ProveEventInput{ID: c.ID, Size: c.Size})
	if err != nil {
		return err
	}
	log, err := api.GetCheckpoint.Call(ctx, r.Client, api.Nothing{})
	if err != nil {
		return err
	}
	proof := audit.Proof{Seq: told.Sequence, Event: told.Event, Path: make([]audit.Hash, len(told.Path)), Checkpoint: told.Checkpoint}
	for i, text := range told.Path {
		if err := proof.Path[i].UnmarshalText([]byte(text)); err != nil {
			return failed(codeAudit, "ask again", "the proof of the server cannot be read: %v", err)
		}
	}
	size, err := proof.Check(log.PublicKey)
	if err != nil {
		return failed(codeAudit, "export the log and verify it: the server's log was changed", "the proof of the server does not hold: %v", err)
	}
	if c.Out != "" {
		text, err := json.MarshalIndent(proof, "", "  ")
		if err != nil {
			return err
		}
		if text = append(text, '\n'); c.Out == "-" {
			_, err := r.Out.Write(text)
			return err
		}
		if err := writeNew(c.Out, text); err != nil {
			return err
		}
	}
	return r.answer(proof, func() {
		if c.Out == "" {
			fmt.Fprint(r.Out, proofText(proof, size))
		}
		file := first(c.Out, "FILE")
		r.say(good, "leafward audit verify --proof "+quoted(file)+" --log-key "+log.PublicKey, "event %d is one of the %d that the checkpoint was signed for", proof.Seq, size)
	})
}

// proofText is the proof for a person.
func proofText(p audit.Proof, size int64) string {
	leaf := audit.Leaf([]byte(p.Event))
	text := fmt.Sprintf("event  %d of %d\n%s\nleaf   %s\n", p.Seq, size, p.Event, leaf)
	for _, h := range p.Path {
		text += "join   " + hex.EncodeToString(h[:]) + "\n"
	}
	return text + "checkpoint\n" + p.Checkpoint
}

// proved verifies a proof, without a server.
func (c *auditVerify) proved(r *run) error {
	if c.LogKey == "" {
		return failed(codeUsage, "give the key that `leafward audit checkpoint` told: --log-key KEY", "a proof is verified by the public key of the log")
	}
	if err := c.keyed(); err != nil {
		return err
	}
	in := r.In
	if c.Proof != "-" {
		file, err := os.Open(c.Proof)
		if err != nil {
			return failed(codeFile, "name a file that `leafward audit prove --out FILE` wrote", "%s cannot be read: %v", c.Proof, cause(err))
		}
		defer file.Close()
		in = file
	}
	text, err := readAll(in, maxProof)
	if err != nil {
		return failed(codeFile, "name a file that `leafward audit prove --out FILE` wrote", "%s cannot be read: %v", c.Proof, cause(err))
	}
	var proof audit.Proof
	if err := json.Unmarshal(text, &proof); err != nil {
		return failed(codeAudit, "name a file that `leafward audit prove --out FILE` wrote", "%s is not a proof: %v", c.Proof, err)
	}
	if c.Checkpoint != "" {
		kept, err := c.kept()
		if err != nil {
			return err
		}
		proof.Checkpoint = string(kept)
	}
	size, err := proof.Check(c.LogKey)
	if err != nil {
		return failed(codeAudit, "fetch the proof again: leafward audit prove; with --checkpoint ask for one of its size: --size", "the proof does not hold: %v", err)
	}
	return r.answer(proof, func() {
		fmt.Fprintf(r.Out, "%s event %d is one of the %d that the checkpoint was signed for\n%s\n", r.mark(good), proof.Seq, size, proof.Event)
	})
}
