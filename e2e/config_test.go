//go:build linux

package e2e_test

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// proof is a setting put to the proof: what a server is given, how that shows from outside, and what is refused.
type proof struct {
	good  func(x *honest) string // a value that differs from the default
	shows func(x *honest)        // that the server does what the value says
	bad   string                 // a value that is refused
}

// proofs are those of every setting of `leafward serve`.
func proofs() map[string]proof {
	return map[string]proof{
		"data-dir":                {func(x *honest) string { return filepath.Join(shortDir(x.T), "elsewhere") }, (*honest).keeps, "/dev/null"},
		"listen":                  {func(x *honest) string { return freeAddress(x.T) }, (*honest).listens, "nowhere"},
		"public-listen":           {func(x *honest) string { return freeAddress(x.T) }, (*honest).publishes, "nowhere"},
		"public-url":              {func(*honest) string { return "http://pki.example.com:8480" }, (*honest).names, "ftp://pki.example.com"},
		"hostname":                {func(*honest) string { return "pki.example.com" }, (*honest).isCalled, "http://pki.example.com"},
		"database":                {func(x *honest) string { return x.dsn }, (*honest).stores, "mysql://host/name"},
		"master-key-file":         {func(x *honest) string { return newMaster(x.T, 32) }, (*honest).seals, "/nonexistent/master.key"},
		"probe-allow":             {func(*honest) string { return "127.0.0.0/8" }, (*honest).looks, "127.0.0.0/99"},
		"max-renewals-per-hour":   {func(*honest) string { return "1" }, (*honest).waitsForItsTurn, "many"},
		"max-concurrent-issuance": {func(*honest) string { return "1" }, (*honest).signsOne, "-1"},
		"json":                    {func(*honest) string { return "true" }, (*honest).speaksJSON, "maybe"},
		"config":                  {(*honest).file, (*honest).listens, "/nonexistent/leafward.yaml"},
	}
}

// Every setting that is accepted does what it is called, given by flag, variable or file; every one that is not is refused by
// name. The settings are those that the program itself lists.
func TestEverySettingDoesWhatItIsCalled(t *testing.T) {
	eachEngine(t, func(t *testing.T, database func(testing.TB) string) {
		onSQLite := database(t) == ""
		d := newDrill(t, "R35", engineOf(database(t)))
		known := proofs()
		var listed []string
		for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z-]+)`).FindAllStringSubmatch(tool(t, nil, program(t, "leafward"), "serve", "--help"), -1) {
			if m[1] != "help" {
				listed = append(listed, m[1])
			}
		}
		slices.Sort(listed)
		listed = slices.Compact(listed) // the help mentions some twice
		accepted, refused, random := 0, 0, d.random(0)
		for name := range known {
			if !slices.Contains(listed, name) {
				t.Errorf("--%s has a proof and is no setting", name)
			}
		}
		for _, name := range listed {
			p, probed := known[name]
			if !probed {
				t.Errorf("--%s is a setting without a proof: say in this table how it shows", name)
				continue
			}
			if stored := name == "database" || strings.HasPrefix(name, "max-"); onSQLite && name == "database" || !onSQLite && !stored {
				continue // the others have nothing to do with the engine
			}
			ways := []string{"flag", "variable", "file"}
			if name == "config" {
				ways = ways[:2] // a file does not name another
			}
			if !*long {
				ways = []string{ways[random.IntN(len(ways))]}
			}
			for _, way := range ways {
				x := &honest{T: t, dsn: database(t), name: name, way: way}
				x.start(p)
				accepted++
			}
			if onSQLite {
				refused += refuses(t, name, p.bad)
			}
		}
		if onSQLite {
			refused += unknown(t) + masters(t)
		}
		d.measured("%d settings known, %d values accepted and seen to hold, %d refused by name", len(listed), accepted, refused)
	})
}

// honest is a server that is given one setting in one way.
type honest struct {
	*testing.T
	*server
	dsn       string // a database of its own; "": SQLite
	name, way string
	value     string
	env       []string
	said      string // its first line
}

// start runs it and looks.
func (x *honest) start(p proof) {
	x.Helper()
	x.server = &server{dir: filepath.Join(shortDir(x.T), "data"), listen: freeAddress(x.T)}
	public := freeAddress(x.T)
	x.server.url, x.server.plain = "https://"+x.server.listen, "http://"+public
	x.value = p.good(x)
	given := map[string]string{"data-dir": x.dir, "listen": x.server.listen, "public-listen": public, "json": "true"}
	if x.dsn != "" {
		given["database"] = x.dsn
	}
	delete(given, x.name)
	if x.name == "config" {
		delete(given, "listen")
	}
	args := []string{"serve"}
	for name, value := range given {
		args = append(args, "--"+name+"="+value)
	}
	if x.dsn != "" {
		x.env = append(x.env, "LEAFWARD_MASTER_KEY=") // an empty one counts as absent
	}
	more, env := x.give()
	x.process = startIn(x.T, "", append(append(os.Environ(), env...), x.env...), program(x.T, "leafward-testhooks"), append(args, more...)...)
	switch x.name {
	case "data-dir":
		x.dir = x.value
	case "listen":
		x.server.listen, x.server.url = x.value, "https://"+x.value
	case "public-listen":
		x.server.plain = "http://" + x.value
	}
	x.said = x.heard(x.T, `"msg":"ready"`)
	x.open(x.T)
	p.shows(x)
	if code := x.stop(x.T); code != 0 {
		x.Errorf("with %s given by %s it ended with %d", x.name, x.way, code)
	}
}

// give puts the setting where it is to be read.
func (x *honest) give() (args, env []string) {
	switch x.way {
	case "flag":
		return []string{"--" + x.name + "=" + x.value}, nil
	case "variable":
		return nil, []string{"LEAFWARD_" + strings.ToUpper(strings.ReplaceAll(x.name, "-", "_")) + "=" + x.value}
	}
	return []string{"--config=" + fileOf(x.T, fmt.Sprintf("%s: %q\n", x.name, x.value))}, nil
}

// fileOf is a file of settings.
func fileOf(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(shortDir(t), "leafward.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (x *honest) file() string { return fileOf(x.T, "listen: "+x.server.listen+"\n") }

// newMaster is the file of a master key of so many octets.
func newMaster(t testing.TB, octets int) string {
	t.Helper()
	secret, path := make([]byte, octets), filepath.Join(shortDir(t), "master.key")
	_, _ = rand.Read(secret) // it never fails
	if err := os.WriteFile(path, []byte(hex.EncodeToString(secret)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (x *honest) keeps() {
	for _, name := range []string{"root.pem", "master.key", "leafward.db", "ledger"} {
		if _, err := os.Stat(filepath.Join(x.value, name)); err != nil {
			x.Error(err)
		}
	}
}

func (x *honest) listens() { x.admin.get(x.T, "/api/v1/server") }

func (x *honest) publishes() { fetch(x.T, x.server.plain+"/.well-known/pki/crl/iss-local") }

func (x *honest) names() {
	_, made := x.issue(x.T, "www.example.com")
	leaf := leafOf(x.T, text(made, "version", "pem_chain"))
	for _, url := range slices.Concat(leaf.CRLDistributionPoints, leaf.OCSPServer, leaf.IssuingCertificateURL) {
		if !strings.HasPrefix(url, x.value+"/.well-known/pki/") {
			x.Errorf("a certificate names %s", url)
		}
	}
	if len(leaf.CRLDistributionPoints) != 1 || len(leaf.OCSPServer) != 1 || len(leaf.IssuingCertificateURL) != 1 {
		x.Errorf("a certificate names %v %v %v", leaf.CRLDistributionPoints, leaf.OCSPServer, leaf.IssuingCertificateURL)
	}
}

func (x *honest) isCalled() {
	conn, err := tls.Dial("tcp", x.server.listen, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		x.Fatal(err)
	}
	defer conn.Close()
	if err := conn.ConnectionState().PeerCertificates[0].VerifyHostname(x.value); err != nil {
		x.Error(err)
	}
}

func (x *honest) stores() {
	if got := text(x.admin.get(x.T, "/api/v1/server"), "database"); got != "postgres" {
		x.Errorf("its database is %s", got)
	}
	if _, err := os.Stat(filepath.Join(x.dir, "leafward.db")); err == nil {
		x.Error("it has made a file for SQLite")
	}
}

func (x *honest) seals() {
	if _, err := os.Stat(filepath.Join(x.dir, "master.key")); err == nil {
		x.Error("it has made a master key of its own")
	}
}

// looks: the server looks at a private address, which it says it may not when it is not told.
func (x *honest) looks() {
	s := newStranger(x.T, x.server, "web")
	s.order(x.T)
	s.deploy(x.T)
	x.advance(x.T, 5*time.Minute+time.Second)
	x.ledger.await(x.T, "certificate.proved", s.cert)
}

// waitsForItsTurn: of two certificates that are due one is renewed, and the other waits.
func (x *honest) waitsForItsTurn() {
	for _, host := range []string{"a.example.com", "b.example.com"} {
		x.admin.expect(x.T, 201, "POST", "/api/v1/certificates?wait=30", object{"common_name": host, "key_source": "server"})
	}
	x.advance(x.T, 65*day)
	x.ledger.await(x.T, "certificate.renewed", "")
	waits := 0
	for _, c := range x.local().rows(x.T, "/api/v1/certificates") {
		if strings.Contains(text(c, "waiting_for"), "--max-renewals-per-hour allows 1,") {
			waits++
		}
	}
	if waits != 1 {
		x.Errorf("%d certificates wait for their turn", waits)
	}
}

// signsOne: while one signature is under way, another caller is told to come back.
func (x *honest) signsOne() {
	x.local().expect(x.T, 200, "POST", "/testhooks/failpoint", object{"name": "ca.after-sign", "action": "block"})
	statuses := make(chan int, 2)
	for _, host := range []string{"a.example.com", "b.example.com"} {
		_, csr := newCSR(x.T, host)
		go func() {
			a, err := x.admin.send(x.Context(), "POST", "/api/v1/certificates", object{"common_name": host, "csr_pem": csr})
			if err != nil {
				x.Error(err)
			}
			statuses <- a.status
		}()
	}
	first := <-statuses
	x.local().expect(x.T, 200, "POST", "/testhooks/failpoint", object{"name": "ca.after-sign", "action": ""})
	if second := <-statuses; first != 503 || second != 201 {
		x.Errorf("two callers at once are answered %d and %d", first, second)
	}
}

func (x *honest) speaksJSON() {
	if !strings.HasPrefix(x.said, "{") {
		x.Errorf("its first line is %q", x.said)
	}
	plain := newServer(x.T, "")
	plain.flags = slices.DeleteFunc(plain.flags, func(flag string) bool { return flag == "--json" })
	plain.process = start(x.T, program(x.T, "leafward-testhooks"), plain.flags...)
	if line := plain.heard(x.T, plain.url[len("https://127.0.0.1"):]); strings.HasPrefix(line, "{") {
		x.Errorf("to a person it says %q", line)
	}
	plain.stop(x.T)
}

// stopped is a start that must be refused with all of the words.
func stopped(t *testing.T, env, args []string, words ...string) int {
	t.Helper()
	if !slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "--data-dir") }) {
		args = append(args, "--data-dir="+filepath.Join(shortDir(t), "data"))
	}
	p := startIn(t, "", append(os.Environ(), env...), program(t, "leafward"), append([]string{"serve", "--listen=127.0.0.1:0", "--public-listen=127.0.0.1:0"}, args...)...)
	code, said := p.ended(t), strings.Join(p.last(50), "\n")
	for _, word := range words {
		if code == 0 || !strings.Contains(said, word) {
			t.Errorf("%v %v ended with %d and does not say %q in\n%s", env, args, code, word, said)
		}
	}
	return 1
}

// refuses: a bad value is refused by the name under which it was given.
func refuses(t *testing.T, name, bad string) (n int) {
	t.Helper()
	if name == "json" {
		n += stopped(t, nil, []string{"--json=maybe"}, "--json")
	} else {
		n += stopped(t, nil, []string{"--" + name + "=" + bad}, "--"+name)
	}
	variable := "LEAFWARD_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	if name == "data-dir" || name == "listen" || name == "public-listen" {
		return n // the flag that every start here is given goes before
	}
	n += stopped(t, []string{variable + "=" + bad}, nil, variable)
	if name == "config" {
		return n
	}
	return n + stopped(t, nil, []string{"--config=" + fileOf(t, fmt.Sprintf("# ours\n%s: %q\n", name, bad))}, name+" in leafward.yaml, line 2")
}

// unknown: what is no setting is refused by name, wherever it is said.
func unknown(t *testing.T) (n int) {
	t.Helper()
	n += stopped(t, nil, []string{"--colour=red"}, "--colour is not a flag")
	n += stopped(t, []string{"LEAFWARD_COLOUR=red"}, nil, "LEAFWARD_COLOUR is not a setting")
	return n + stopped(t, nil, []string{"--config=" + fileOf(t, "colour: red\n")}, "colour in leafward.yaml, line 1, is not a setting")
}

// masters: a master key that is short, absent or another is refused.
func masters(t *testing.T) (n int) {
	t.Helper()
	n += stopped(t, nil, []string{"--master-key-file=" + newMaster(t, 31)}, "--master-key-file", "32 bytes")
	n += stopped(t, []string{"LEAFWARD_MASTER_KEY=00ff"}, nil, "master key", "32 bytes")
	s := newServer(t, "")
	s.start(t)
	s.stop(t)
	if err := os.Rename(filepath.Join(s.dir, "master.key"), filepath.Join(s.dir, "gone.key")); err != nil {
		t.Fatal(err)
	}
	n += stopped(t, nil, []string{"--data-dir=" + s.dir}, "master key", "there is none in", "--master-key-file")
	n += stopped(t, nil, []string{"--data-dir=" + s.dir, "--master-key-file=" + newMaster(t, 32)}, "sealed with master key")
	s.start(t, "--master-key-file="+filepath.Join(s.dir, "gone.key"))
	s.stop(t)
	return n
}
