package cli_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/agent/agenttest"
	"github.com/leafward/leafward/internal/audit"
)

func TestVerifyHoldsAProofAgainstTheKeyOfTheLog(t *testing.T) {
	private, key, err := audit.NewCheckpointKey()
	if err != nil {
		t.Fatal(err)
	}
	event := `{"action":"team.created","id":"ev-a"}`
	var tree audit.Frontier
	leaves := []audit.Hash{audit.Leaf([]byte(event)), audit.Leaf([]byte("{}"))}
	for _, leaf := range leaves {
		tree.Add(leaf)
	}
	note, err := audit.SignCheckpoint(&tree, private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(audit.Proof{Seq: 1, Event: event, Path: leaves[1:], Checkpoint: note})
	if err != nil {
		t.Fatal(err)
	}
	whole, kept := put(t, text), put(t, []byte(note))
	edited := put(t, bytes.Replace(text, []byte("ev-a"), []byte("ev-b"), 1))
	other, otherKey := signed(t, 2)
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"it fits":                 {[]string{"--proof", whole, "--log-key", key}, 0, "event 1 is one of the 2"},
		"with a kept checkpoint":  {[]string{"--proof", whole, "--log-key", key, "--checkpoint", kept}, 0, "event 1 is one of the 2"},
		"edited":                  {[]string{"--proof", edited, "--log-key", key}, 1, "does not hold"},
		"another log's key":       {[]string{"--proof", whole, "--log-key", otherKey}, 1, "does not hold"},
		"another log":             {[]string{"--proof", whole, "--log-key", otherKey, "--checkpoint", other}, 1, "does not hold"},
		"no proof":                {[]string{"--proof", kept, "--log-key", key}, 1, "is not a proof"},
		"no such file":            {[]string{"--proof", "/no/such/file", "--log-key", key}, 1, "/no/such/file"},
		"a directory":             {[]string{"--proof", "/", "--log-key", key}, 1, "/ cannot be read"},
		"endless":                 {[]string{"--proof", "/dev/zero", "--log-key", key}, 1, "/dev/zero cannot be read: it has more than"},
		"no key":                  {[]string{"--proof", whole, "--log-key", "abc"}, 2, "--log-key is not the public key of a log"},
		"without a key":           {[]string{"--proof", whole}, 2, "--log-key"},
		"beside an export":        {[]string{whole, "--proof", whole, "--log-key", key}, 2, "one thing"},
		"with nothing to look at": {nil, 2, "one thing"},
	} {
		t.Run(name, func(t *testing.T) {
			typed(t, nil, append([]string{"audit", "verify"}, c.args...)...).has(t, c.code, c.want)
		})
	}
}

func TestAProofOnStandardOutputIsVerifiedFromStandardInput(t *testing.T) {
	d := atServer(t)
	id := regexp.MustCompile(`"id":"(ev-[0-9a-f-]*)"`).FindStringSubmatch(strings.ReplaceAll(d.ok("audit", "export").out, `\"`, `"`))
	if id == nil {
		t.Fatal("the export has no event")
	}
	agenttest.Until(t, "the server signs a checkpoint", func() bool { return d.typed("audit", "checkpoint").code == 0 })
	key := answer[api.AuditCheckpoint](d, "audit", "checkpoint").PublicKey
	proof := d.ok("audit", "prove", id[1], "--out", "-")
	verify := []string{"audit", "verify", "--proof", "-", "--log-key", key}
	piped(t, nil, proof.out, verify...).has(t, 0, "event 1 is one of the", id[1])
	piped(t, nil, strings.Replace(proof.out, id[1], "ev-another", 1), verify...).has(t, 1, "the proof does not hold")
	piped(t, nil, "", verify...).has(t, 1, "- is not a proof")
}
