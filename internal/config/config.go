// Package config reads the settings of the server from flags, environment and one YAML file, in this order, and says
// everything that is wrong with them at once.
//
// A setting has one name: --public-url is LEAFWARD_PUBLIC_URL in the environment and public-url in the file.
package config

import (
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"time"
)

// Flags are the settings of the server as the command line gives them. What is empty is looked for elsewhere.
type Flags struct {
	DataDir       string   `name:"data-dir" placeholder:"DIR" help:"Where everything is kept (./leafward-data)."`
	Listen        string   `name:"listen" placeholder:"ADDR" help:"Where to serve everything over HTTPS (localhost:8443, with a --hostname all addresses)."`
	PublicListen  string   `name:"public-listen" placeholder:"ADDR" help:"Where to serve CRLs, OCSP and CA certificates over plain HTTP (127.0.0.1:8480, with a --hostname all addresses)."`
	PublicURL     string   `name:"public-url" placeholder:"URL" help:"Where the world reaches --public-listen, for the addresses in certificates, such as http://pki.example.com."`
	Hostname      []string `name:"hostname" sep:"none" placeholder:"NAME" help:"Name or IP address of this server for its own certificate; may be repeated."`
	Database      string   `name:"database" placeholder:"URL" help:"PostgreSQL instead of the SQLite file in the data directory, such as postgres://user:password@host/name."`
	MasterKeyFile string   `name:"master-key-file" placeholder:"FILE" help:"The master key, instead of master.key in the data directory."`
	ProbeAllow    []string `name:"probe-allow" sep:"none" placeholder:"CIDR" help:"Private addresses that the server may look at; may be repeated."`
	MaxRenewals   string   `name:"max-renewals-per-hour" placeholder:"N" help:"How many renewals all servers together begin by themselves in any hour (10000; 0: any number). The rest waits for the next."`
	MaxIssuance   string   `name:"max-concurrent-issuance" placeholder:"N" help:"How many certificates all servers together have one issuer sign at once (0: any number)."`
	JSON          bool     `name:"json" help:"Log in JSON instead of speaking to a person."`
	Config        string   `name:"config" placeholder:"FILE" help:"A YAML file with any of these settings."`

	Clock string `kong:"-"` // of test builds: where the clock starts, in RFC 3339
}

// Secret is a setting that shows dots, however it is printed.
type Secret string

const dots = "•••"

func (Secret) String() string { return dots }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return dots }

// LogValue hides the secret from logs.
func (Secret) LogValue() slog.Value { return slog.StringValue(dots) }

// MarshalText hides the secret from encoders.
func (Secret) MarshalText() ([]byte, error) { return []byte(dots), nil }

// Reveal is the secret itself.
func (s Secret) Reveal() string { return string(s) }

// Serve are the valid settings of the server.
type Serve struct {
	DataDir       string // absolute
	DataDirGiven  bool   // it is not the default
	Listen        string // host:port
	PublicListen  string // host:port
	PublicURL     string // "" while the world cannot reach the server
	Hostnames     []string
	Database      Secret // URL of PostgreSQL; "": SQLite in the data directory
	MasterKeyFile string // "": MasterKey, or the file in the data directory
	MasterKey     Secret // in the forms of the key file; "": a file has it
	ProbeAllow    []netip.Prefix
	MaxRenewals   int // that the clock begins in any hour; 0: any number
	MaxIssuance   int // that one issuer signs at once; 0: any number
	JSON          bool
	Clock         time.Time // where the clock of a test build starts; zero: now
}

// Mistake is one thing wrong with the settings.
type Mistake struct {
	Where   string // such as --listen, LEAFWARD_LISTEN, or listen in leafward.yaml
	Problem string
	Fix     string
}

// Mistakes are all things wrong with the settings.
type Mistakes []Mistake

func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i, one := range m {
		lines[i] = one.Where + " " + one.Problem
	}
	return strings.Join(lines, "; ")
}

// Load reads the settings of the server; environ has the form of os.Environ. Its error is of type Mistakes; what is right
// is told beside it, so that the rest can be looked at too.
func Load(flags Flags, environ []string) (Serve, error) {
	g := gatherer{env: environment(environ)}
	g.file = g.readFile(flags.Config)
	values := g.values(flags)
	out := g.check(values)
	g.unknownVariables()
	out.Clock = g.clock(flags.Clock)
	if len(g.mistakes) > 0 {
		return out, g.mistakes
	}
	return out, nil
}

// AsMistakes is the list of what is wrong, when err is one.
func AsMistakes(err error) (Mistakes, bool) { return errors.AsType[Mistakes](err) }
