package app

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"strings"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/ca"
	"github.com/leafward/leafward/internal/pki"
)

// maxAnnounced is how many lines the words to a person have at most.
const maxAnnounced = 22

// announce says that the server is ready, where, and what to type next.
func (a *App) announce(ctx context.Context) error {
	der, err := a.authorities.Certificate(ctx, ca.LocalIssuer)
	if err != nil {
		return err
	}
	issuing, err := pki.ParseCertificate(der)
	if err != nil {
		return err
	}
	fingerprint := rootPrint(a.root)
	urls := a.urls()
	if a.config.JSON {
		a.log.Info("ready", "version", a.config.Version, "data", a.config.DataDir, "database", a.db.Engine(), "authority", issuing.Subject.CommonName,
			"root_sha256", fingerprint, "url", urls[0], "listen", a.listeners.api.String(), "public", a.plainURL(),
			"socket", a.listeners.socket, "master_key", a.master.ID())
		return nil
	}
	_, err = fmt.Fprint(a.config.Out, a.words(issuing, fingerprint, urls))
	return err
}

func rootPrint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// urls are where the server is reached, by the names in its certificate that were asked for, or else by localhost.
func (a *App) urls() (urls []string) {
	_, port, err := net.SplitHostPort(a.listeners.api.String())
	if err != nil {
		return []string{"https://" + a.listeners.api.String()}
	}
	hosts := a.config.Hostnames
	if len(hosts) == 0 {
		hosts = []string{"localhost"}
	}
	for _, host := range hosts[:min(len(hosts), 4)] {
		urls = append(urls, "https://"+net.JoinHostPort(host, port))
	}
	return urls
}

// plainURL is where CRLs and OCSP are served: a listener on all addresses is reached by the first name.
func (a *App) plainURL() string {
	host, port, err := net.SplitHostPort(a.listeners.public.String())
	if ip := net.ParseIP(host); err == nil && ip.IsUnspecified() {
		host = "localhost"
		if len(a.config.Hostnames) > 0 {
			host = a.config.Hostnames[0]
		}
		return "http://" + net.JoinHostPort(host, port)
	}
	return "http://" + a.listeners.public.String()
}

// words are what a person reads at the start.
func (a *App) words(issuing *x509.Certificate, fingerprint string, urls []string) string {
	database := "SQLite"
	if a.db.Engine() == "postgres" {
		database = "PostgreSQL"
	}
	lines := []string{
		"leafward " + a.config.Version + " is ready",
		"",
		"  Data       " + a.config.DataDir + " (" + database + ")",
		"  Authority  " + issuing.Subject.CommonName + ", until " + issuing.NotAfter.Format("2006-01-02"),
		"  Root       SHA-256 " + fingerprint,
		"             " + a.path("root.pem"),
	}
	for i, url := range urls {
		lines = append(lines, pick(i == 0, "  Serves     ", "             ")+url)
	}
	lines = append(lines, "  CRL, OCSP  "+a.plainURL())
	switch {
	case a.authorities.Base() != "":
		lines = append(lines, "             "+a.config.PublicURL+" in certificates")
	case a.config.PublicURL != "":
		lines = append(lines, "             "+a.config.PublicURL+" is this machine alone: not in certificates")
	}
	flag := ""
	if a.config.DataDirGiven {
		flag = " --data-dir " + shellWord(a.config.DataDir)
	}
	lines = append(lines, "", "Next, in another terminal:", "  "+a.config.Program+" issue www.example.com"+flag, "")
	return strings.Join(lines[:min(len(lines), maxAnnounced)], "\n") + "\n"
}

// self is what the server tells of itself.
func (a *App) self() api.Server {
	return api.Server{
		Version: a.config.Version, URLs: a.urls(), PublicURL: a.config.PublicURL, RootSHA256: rootPrint(a.root), Database: a.db.Engine(),
		StartedAt: a.started, Time: a.clock.Now().UTC(),
	}
}

func pick(first bool, yes, no string) string {
	if first {
		return yes
	}
	return no
}

// shellWord is a path as one word of a shell's command line.
func shellWord(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
