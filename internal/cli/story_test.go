package cli_test

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/agent/agenttest"
)

// stands waits until a certificate is signed.
func (d *desk) stands(certificate string) {
	d.t.Helper()
	agenttest.Until(d.t, certificate+" is signed", func() bool {
		list, err := api.ListCertificates.Call(d.t.Context(), d.Admin, api.ListCertificatesInput{Name: certificate})
		if err != nil || len(list.Data) != 1 {
			return false
		}
		c, err := api.GetCertificate.Call(d.t.Context(), d.Admin, api.ByID{ID: list.Data[0].ID})
		return err == nil && c.Version != nil
	})
}

// values reads a text that is JSON values and nothing else.
func values(text string) (all []any, err error) {
	for in := json.NewDecoder(strings.NewReader(text)); ; {
		var v any
		if err := in.Decode(&v); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return all, err
		}
		all = append(all, v)
	}
}

func TestEveryCommandAnswersInJSONAndInNothingElse(t *testing.T) {
	d, dir := atServer(t), t.TempDir()
	log := filepath.Join(dir, "log")
	if _, err := api.RegisterAgent.Call(t.Context(), d.Admin, api.Make[api.AgentRegister]{Body: api.AgentRegister{Name: api.Some("web1")}}); err != nil {
		t.Fatal(err)
	}
	bundle, away := filepath.Join(dir, "bundle.pem"), filepath.Join(dir, "root.age")
	foreignList(t, bundle)
	root, word := answer[api.Authority](d, "ca", "show").ID, passphraseIn(t, dir, "correct horse battery")
	typedOnes := map[string]bool{}
	for _, c := range []struct {
		code int
		line string
	}{
		{0, "version"},
		{0, "key create ci --role viewer"},
		{0, "key list"},
		{0, "key revoke ci"},
		{1, "key revoke ci"},
		{0, "status"},
		{0, "agent invite"},
		{0, "agent invite --for web1"},
		{0, "agent list"},
		{0, "ca list"},
		{0, "ca show"},
		{0, "ca offline --out " + away + " --passphrase-file " + word},
		{0, "ca online " + root + " " + away + " --passphrase-file " + word},
		{0, "target add shop --type nginx --agent web1 --cert-path /etc/nginx/shop.pem --key-path /etc/nginx/shop.key"},
		{0, "target list"},
		{1, "target test shop"},
		{0, "cert create shop.example.com --target shop --server-key --no-wait"},
		{0, "cert deploy shop.example.com --no-wait"},
		{0, "issue www.example.com --out " + dir},
		{1, "issue www.example.com --out " + dir},
		{0, "import " + bundle},
		{1, "import " + bundle + " " + dir},
		{0, "cert list"},
		{0, "cert get www.example.com"},
		{0, "cert renew www.example.com --no-wait"},
		{0, "job list"},
		{0, "job get www.example.com"},
		{0, "job cancel www.example.com"},
		{1, "job cancel www.example.com"},
		{0, "cert revoke www.example.com --reason certificateHold"},
		{0, "cert release www.example.com"},
		{0, "cert archive www.example.com"},
		{0, "cert unbind shop.example.com shop"},
		{0, "cert bind shop.example.com shop --no-wait"},
		{0, "cert unbind shop.example.com shop"},
		{0, "target remove shop"},
		{0, "agent retire web1"},
		{0, "audit export --out " + log},
		{0, "audit export"},
		{0, "audit verify " + log},
		{1, "audit verify " + dir},
		{0, "audit checkpoint"},
		{1, "audit prove ev-none"},
		{2, "cert frobnicate"},
	} {
		args := append(strings.Fields(c.line), "--json")
		if strings.HasPrefix(c.line, "cert deploy") {
			d.stands("shop.example.com")
		}
		s := d.typed(args...)
		out, wrong := values(s.out)
		errs, failing := values(s.err)
		wants := map[int]int{0: 0, 1: 1, 2: 1}[c.code]
		if s.code != c.code || wrong != nil || failing != nil || len(errs) != wants || c.code == 0 && len(out) == 0 || len(out) > 1 && c.line != "audit export" {
			t.Errorf("leafward %s: %d\n%s\n%s", strings.Join(args, " "), s.code, s.out, s.err)
		}
		typedOnes[strings.Join(strings.Fields(c.line)[:min(2, len(strings.Fields(c.line)))], " ")] = true
	}
	_, leaves := commands(t)
	for _, leaf := range leaves {
		name := strings.Join(strings.Fields(leaf.FullPath())[1:], " ")
		if !slices.ContainsFunc(slices.Collect(maps.Keys(typedOnes)), func(typed string) bool { return typed == name || strings.HasPrefix(typed, name+" ") }) {
			t.Errorf("nobody types %q", name)
		}
	}
}

func TestOptionsGoBeforeTheEnvironmentAndNeedNoneOfIt(t *testing.T) {
	d := atServer(t)
	made := d.ok("key", "create", "ci", "--role", "operator").out
	key := strings.TrimSpace(made)
	flags := []string{"--server", d.URL, "--key", key, "--root", d.RootSHA256}
	typed(t, nil, append([]string{"status"}, flags...)...).has(t, 0, d.URL, "ci (operator)")
	other := map[string]string{"LEAFWARD_SERVER": "https://127.0.0.1:1", "LEAFWARD_KEY": "lwk_wrong", "LEAFWARD_ROOT": strings.Repeat("0", 64), "LEAFWARD_DATA_DIR": "/nowhere"}
	typed(t, other, append([]string{"status"}, flags...)...).has(t, 0, d.URL, "ci (operator)")
	typed(t, other, "status", "--data-dir", d.Dir()).has(t, 0, "the socket in "+d.Dir())
	typed(t, map[string]string{"LEAFWARD_SERVER": d.URL, "LEAFWARD_KEY": key, "LEAFWARD_ROOT": d.RootFile()}, "status").has(t, 0, "ci (operator)")

	if again := d.ok("key", "list", "--json").out; strings.Contains(again, key) || !strings.Contains(again, `"ci"`) {
		t.Errorf("the key is shown again: %s", again)
	}
	if _, err := api.CreateTeam.Call(t.Context(), d.Admin, api.Make[api.TeamWrite]{Body: api.TeamWrite{Name: api.Some("shop")}}); err != nil {
		t.Fatal(err)
	}
	shops := d.ok("key", "create", "shops", "--role", "operator", "--team", "shop")
	shops.has(t, 0, "✔ the key shops (operator, team shop) is made")
	d.ok("issue", "www.example.com", "--out", t.TempDir())
	scoped := map[string]string{"LEAFWARD_SERVER": d.URL, "LEAFWARD_KEY": strings.TrimSpace(shops.out), "LEAFWARD_ROOT": d.RootSHA256}
	typed(t, scoped, "cert", "list").has(t, 0, "there are no such certificates")
	d.ok("key", "list").has(t, 0, "shops", "shop", "all")
}
