package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// DefaultDataDir is where everything is kept when nobody says otherwise, from the current directory on.
	DefaultDataDir = "leafward-data"

	port, publicPort = "8443", "8480"

	masterVariable      = "LEAFWARD_MASTER_KEY"
	credentialsVariable = "CREDENTIALS_DIRECTORY" // set by systemd for a unit with LoadCredential=
	credential          = "leafward-master-key"
	// DefaultMaxRenewals is how many renewals the clock begins in an hour when nobody says otherwise: enough for a fleet of
	// ten thousand that is due at once, and an end to what a wrong clock can begin.
	DefaultMaxRenewals = 10_000

	mostRenewals, mostIssuance = 1_000_000, 10_000

	maxMaster = 256 // bytes: the longest text form of a master key with white space around it
)

// check turns texts into settings.
func (g *gatherer) check(values map[string]given) Serve {
	var s Serve
	s.DataDir, s.DataDirGiven = g.directory(values["data-dir"]), len(values["data-dir"].texts) > 0
	s.Hostnames = g.hostnames(values["hostname"])
	host := "127.0.0.1"
	if len(values["hostname"].texts) > 0 {
		host = ""
	}
	s.Listen = g.address(values["listen"], net.JoinHostPort(host, port))
	s.PublicListen = g.address(values["public-listen"], net.JoinHostPort(host, publicPort))
	if s.Listen != "" && s.Listen == s.PublicListen && !strings.HasSuffix(s.Listen, ":0") {
		g.wrong(values["public-listen"].name("--public-listen"), "is the address of --listen", "give HTTPS and plain HTTP different ports")
	}
	s.PublicURL = g.publicURL(values["public-url"])
	s.Database = Secret(g.database(values["database"]))
	s.ProbeAllow = g.prefixes(values["probe-allow"])
	s.MasterKeyFile, s.MasterKey = g.master(values["master-key-file"])
	s.MaxRenewals = g.count(values["max-renewals-per-hour"], DefaultMaxRenewals, mostRenewals)
	s.MaxIssuance = g.count(values["max-concurrent-issuance"], 0, mostIssuance)
	if v := values["json"]; len(v.texts) > 0 {
		on, err := parseBool(v.texts[0])
		if err != nil {
			g.wrong(v.where, "is neither true nor false", "use true or false")
		}
		s.JSON = on
	}
	return s
}

// name is where the setting was given, or else its flag.
func (v given) name(flag string) string {
	if v.where != "" {
		return v.where
	}
	return flag
}

// text is the one text, or the default.
func (v given) text(otherwise string) string {
	if len(v.texts) == 0 {
		return otherwise
	}
	return v.texts[0]
}

func (g *gatherer) directory(v given) string {
	dir, err := filepath.Abs(v.text(DefaultDataDir))
	if err != nil {
		g.wrong(v.name("--data-dir"), "cannot be found: "+err.Error(), "give an absolute path")
		return ""
	}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		g.wrong(v.name("--data-dir"), fmt.Sprintf("names %s, which is not a directory", dir), "name a directory, or one that can be made")
		return ""
	}
	return dir
}

// address reads host:port, :port, host, or port.
func (g *gatherer) address(v given, otherwise string) string {
	if len(v.texts) == 0 {
		return otherwise
	}
	host, number, err := net.SplitHostPort(v.texts[0])
	if n, bad := strconv.ParseUint(number, 10, 16); err != nil || bad != nil || strconv.FormatUint(n, 10) != number {
		g.wrong(v.where, fmt.Sprintf("is %q, not an address to listen on", v.texts[0]), "write it as 127.0.0.1:8443, [::1]:8443, or :8443 for all addresses")
		return ""
	}
	if host != "" && !isHost(host) {
		g.wrong(v.where, fmt.Sprintf("has the host %q, which is neither a name nor an IP address", host), "write it as 127.0.0.1:8443, [::1]:8443, or :8443 for all addresses")
		return ""
	}
	return net.JoinHostPort(host, number)
}

func (g *gatherer) publicURL(v given) string {
	if len(v.texts) == 0 {
		return ""
	}
	u, err := url.Parse(v.texts[0])
	if err != nil || u.Scheme != "http" || !isHost(u.Hostname()) || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" {
		g.wrong(v.where, "is not an http URL of a host", "write it as http://pki.example.com or http://pki.example.com:8480; CRLs and OCSP are fetched without TLS")
		return ""
	}
	return strings.TrimRight(u.String(), "/")
}

func (g *gatherer) hostnames(v given) (names []string) {
	if len(v.texts) > maxList {
		g.wrong(v.where, fmt.Sprintf("is given %d times", len(v.texts)), fmt.Sprintf("give at most %d", maxList))
		return nil
	}
	for _, text := range v.texts {
		name := strings.ToLower(strings.TrimSuffix(text, "."))
		if addr, err := netip.ParseAddr(name); err == nil {
			name = addr.Unmap().WithZone("").String()
		} else if !isHost(name) {
			g.wrong(v.where, fmt.Sprintf("is %q, neither a host name nor an IP address", text), "write it as pki.example.com, without a scheme or port")
			continue
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// isHost tells an IP address or a name of letters, digits and hyphens (RFC 1123 §2.1).
func isHost(text string) bool {
	if _, err := netip.ParseAddr(text); err == nil {
		return true
	}
	if text == "" || len(text) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.ToLower(text), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

// database checks the form; the password never appears in what is said about it.
func (g *gatherer) database(v given) string {
	if len(v.texts) == 0 {
		return ""
	}
	u, err := url.Parse(v.texts[0])
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || len(u.Path) < 2 {
		g.wrong(v.where, "is not the URL of a PostgreSQL database", "write it as postgres://user:password@host:5432/name, or leave it out for SQLite")
		return ""
	}
	return v.texts[0]
}

func (g *gatherer) prefixes(v given) (prefixes []netip.Prefix) {
	if len(v.texts) > maxList {
		g.wrong(v.where, fmt.Sprintf("is given %d times", len(v.texts)), fmt.Sprintf("give at most %d", maxList))
		return nil
	}
	for _, text := range v.texts {
		p, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			g.wrong(v.where, fmt.Sprintf("is %q, not a range of addresses", text), "write it as 10.0.0.0/8, or 10.1.2.3/32 for one address")
		case p != p.Masked():
			g.wrong(v.where, fmt.Sprintf("is %q, which has bits behind the prefix", text), fmt.Sprintf("write %s for the range", p.Masked()))
		default:
			prefixes = append(prefixes, p)
		}
	}
	return prefixes
}

// count reads a number of things, where 0 means any number.
func (g *gatherer) count(v given, otherwise, most int) int {
	if len(v.texts) == 0 {
		return otherwise
	}
	n, err := strconv.Atoi(v.texts[0])
	if err != nil || n < 0 || n > most || strconv.Itoa(n) != v.texts[0] {
		g.wrong(v.where, fmt.Sprintf("is %q, not a number from 0 to %d", v.texts[0], most), "write it in digits; 0 is any number")
		return otherwise
	}
	return n
}

// master finds the master key: a file, the variable, or systemd's credential.
func (g *gatherer) master(v given) (file string, key Secret) {
	key = Secret(g.env[masterVariable])
	if len(v.texts) > 0 {
		if key != "" {
			g.wrong(v.where, "is given beside "+masterVariable, "leave one of them out")
		}
		path, err := filepath.Abs(v.texts[0])
		if err == nil {
			_, err = readBounded(path, maxMaster)
		}
		if err != nil {
			g.wrong(v.where, "names a file that cannot be read: "+err.Error(), "name the file of the master key, or make one with: openssl rand -hex 32")
			return "", ""
		}
		return path, ""
	}
	if key != "" {
		return "", key
	}
	dir := g.env[credentialsVariable]
	if dir == "" {
		return "", ""
	}
	path := filepath.Join(dir, credential)
	if _, err := os.Stat(path); err != nil {
		return "", ""
	}
	text, err := readBounded(path, maxMaster)
	if err != nil {
		g.wrong("the credential "+credential, "cannot be read: "+err.Error(), "mend LoadCredential= in the unit")
	}
	return "", Secret(text)
}

func (g *gatherer) clock(text string) time.Time {
	if text == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		g.wrong("--clock", fmt.Sprintf("is %q, not a time", text), "write it as 2026-01-31T12:00:00Z")
	}
	return at
}
