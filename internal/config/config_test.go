package config_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/leafward/leafward/internal/config"
)

func TestWithoutSettingsTheServerStaysOnThisMachine(t *testing.T) {
	got, err := config.Load(config.Flags{}, nil)
	if err != nil || got.Listen != "127.0.0.1:8443" || got.PublicListen != "127.0.0.1:8480" || filepath.Base(got.DataDir) != config.DefaultDataDir || !filepath.IsAbs(got.DataDir) {
		t.Fatalf("%+v %v", got, err)
	}
}

func TestTheFirstHostnameOpensAllAddressesUnlessToldOtherwise(t *testing.T) {
	got, err := config.Load(config.Flags{Hostname: []string{"PKI.example.com.", "192.0.2.7", "pki.example.com"}, PublicListen: "127.0.0.1:80"}, nil)
	if err != nil || got.Listen != ":8443" || got.PublicListen != "127.0.0.1:80" || !slices.Equal(got.Hostnames, []string{"pki.example.com", "192.0.2.7"}) {
		t.Fatalf("%+v %v", got, err)
	}
	both, err := config.Load(config.Flags{Hostname: []string{"pki.example.com"}}, nil)
	if err != nil || both.Listen != ":8443" || both.PublicListen != ":8480" {
		t.Fatalf("%+v %v", both, err)
	}
	told, err := config.Load(config.Flags{Hostname: []string{"pki.example.com"}, Listen: "127.0.0.1:443"}, nil)
	if err != nil || told.Listen != "127.0.0.1:443" || told.PublicListen != ":8480" {
		t.Fatalf("%+v %v", told, err)
	}
}

func TestFlagsGoBeforeVariablesBeforeTheFile(t *testing.T) {
	file := write(t, "listen: :1\npublic-listen: :2\npublic-url: http://file.example\nhostname: [a.example, b.example]\njson: true\n")
	got, err := config.Load(config.Flags{Listen: ":10", Config: file}, []string{"LEAFWARD_LISTEN=:20", "LEAFWARD_PUBLIC_LISTEN=:30", "LEAFWARD_PROBE_ALLOW=10.0.0.0/8, fd00::/8"})
	if err != nil || got.Listen != ":10" || got.PublicListen != ":30" || got.PublicURL != "http://file.example" || !got.JSON ||
		!slices.Equal(got.Hostnames, []string{"a.example", "b.example"}) ||
		!slices.Equal(got.ProbeAllow, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}) {
		t.Fatalf("%+v %v", got, err)
	}
}

func TestAllMistakesAreToldAtOnce(t *testing.T) {
	file := write(t, "listne: :1\nlisten: [1, 2]\njson: maybe\npublic-listen: :1\npublic-listen: :2\n")
	_, err := config.Load(config.Flags{
		DataDir: file, PublicURL: "https://pki.example.com", Hostname: []string{"http://x", "ok.example"}, Database: "mysql://secret@host/x",
		MasterKeyFile: filepath.Join(t.TempDir(), "none"), ProbeAllow: []string{"10.0.0.1/8", "everything"}, Config: file, Clock: "tomorrow",
	}, []string{"LEAFWARD_MASTER_KEY=x"})
	mistakes, ok := config.AsMistakes(err)
	if !ok {
		t.Fatal(err)
	}
	for _, want := range []string{
		"--data-dir", "--public-url", "--hostname", "--database", "--master-key-file", "--probe-allow", "--clock",
		"listne in leafward.yaml, line 1", "listen in leafward.yaml, line 2", "json in leafward.yaml, line 3", "public-listen in leafward.yaml, line 5",
	} {
		if !slices.ContainsFunc(mistakes, func(m config.Mistake) bool {
			return strings.HasPrefix(m.Where, want) && m.Problem != "" && m.Fix != ""
		}) {
			t.Errorf("%s is not told of in %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("a password is told: %v", err)
	}
}

func TestAddressesThatCannotBeListenedOnAreRefused(t *testing.T) {
	for _, bad := range []string{"8443", "localhost", "127.0.0.1:https", "127.0.0.1:65536", "127.0.0.1:-1", "a b:80", "::1:80", ":08", "[::1]"} {
		if _, err := config.Load(config.Flags{Listen: bad}, nil); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	for _, good := range []string{":0", "0.0.0.0:8443", "[::1]:8443", "localhost:8443"} {
		if got, err := config.Load(config.Flags{Listen: good}, nil); err != nil || got.Listen != good {
			t.Errorf("%q: %v %v", good, got.Listen, err)
		}
	}
	if _, err := config.Load(config.Flags{Listen: ":80", PublicListen: ":80"}, nil); err == nil {
		t.Error("both listeners may have one address")
	}
}

func TestSettingsHaveBounds(t *testing.T) {
	long, many := strings.Repeat("x", 5000), make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf("h%d.example", i)
	}
	for name, flags := range map[string]config.Flags{
		"a long directory": {DataDir: "/tmp/" + long}, "a long address": {Listen: long + ":1"}, "a long URL": {PublicURL: "http://" + long},
		"a long name": {Hostname: []string{long}}, "a long database": {Database: "postgres://h/" + long}, "many names": {Hostname: many},
		"many networks": {ProbeAllow: slices.Repeat([]string{"10.0.0.0/8"}, 101)}, "a control character": {PublicURL: "http://a\x07b"},
		"a large file": {Config: write(t, strings.Repeat("# x\n", 1<<19))}, "a large key": {MasterKeyFile: write(t, long)},
	} {
		if _, err := config.Load(flags, nil); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestUnknownVariablesAreRefused(t *testing.T) {
	_, err := config.Load(config.Flags{}, []string{"LEAFWARD_LISTNE=:1", "LEAFWARD_SERVER=https://x", "LEAFWARD_DATA_DIR=", "PATH=/bin", "LEAFWARD_SERVICE_HOST=10.0.0.1", "LEAFWARD_PORT_8443_TCP_ADDR=10.0.0.1"})
	if mistakes, _ := config.AsMistakes(err); len(mistakes) != 1 || mistakes[0].Where != "LEAFWARD_LISTNE" || !strings.Contains(mistakes[0].Fix, "LEAFWARD_LISTEN") {
		t.Fatal(err)
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	got, err := config.Load(config.Flags{Database: "postgres://u:hunter2@h/n"}, []string{"LEAFWARD_MASTER_KEY=hunter2"})
	if err != nil || got.Database.Reveal() != "postgres://u:hunter2@h/n" || got.MasterKey.Reveal() != "hunter2" {
		t.Fatal(err)
	}
	for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(form, got); strings.Contains(text, "hunter2") {
			t.Errorf("%s shows a secret: %s", form, text)
		}
	}
}

func TestTheMasterKeyMayBeACredentialOfSystemd(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "leafward-master-key"), []byte("of systemd\n"), 0o440); err != nil {
		t.Fatal(err)
	}
	got, err := config.Load(config.Flags{}, []string{"CREDENTIALS_DIRECTORY=" + dir})
	if err != nil || got.MasterKey.Reveal() != "of systemd\n" {
		t.Fatal(err)
	}
}

func TestAFileThatIsNoMappingIsRefused(t *testing.T) {
	for _, text := range []string{"- a\n", "just text", "listen: {a: b}", "\tx", "a: &a [*a]"} {
		if _, err := config.Load(config.Flags{Config: write(t, text)}, nil); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
	if _, err := config.Load(config.Flags{Config: write(t, "")}, nil); err != nil {
		t.Error(err)
	}
	if _, err := config.Load(config.Flags{Config: t.TempDir()}, nil); err == nil {
		t.Error("a directory is taken for a file")
	}
}

func FuzzAFileOfSettingsIsTakenOrRefused(f *testing.F) {
	for _, seed := range []string{"listen: :1\n", "hostname: [a, b]\n", "a: &a [*a]", "? - x\n: y", "listen: !!binary aGk="} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file := filepath.Join(t.TempDir(), "leafward.yaml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(config.Flags{Config: file}, nil); err != nil {
			if _, ok := config.AsMistakes(err); !ok {
				t.Fatal(err)
			}
		}
	})
}

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "leafward.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestNumbersAreInTheirRanges(t *testing.T) {
	got, err := config.Load(config.Flags{}, nil)
	if err != nil || got.MaxRenewals != config.DefaultMaxRenewals || got.MaxIssuance != 0 {
		t.Errorf("%+v %v", got, err)
	}
	got, err = config.Load(config.Flags{MaxRenewals: "0"}, []string{"LEAFWARD_MAX_CONCURRENT_ISSUANCE=7"})
	if err != nil || got.MaxRenewals != 0 || got.MaxIssuance != 7 {
		t.Errorf("%+v %v", got, err)
	}
	for _, bad := range []string{"-1", "+1", "01", "many", "1e3", "1000001", "99999999999999999999"} {
		_, err := config.Load(config.Flags{MaxRenewals: bad, MaxIssuance: bad}, nil)
		if mistakes, _ := config.AsMistakes(err); len(mistakes) != 2 || mistakes[0].Where != "--max-renewals-per-hour" || mistakes[1].Where != "--max-concurrent-issuance" {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
