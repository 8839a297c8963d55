package nginx

import (
	"encoding/json"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/plugin"
	"github.com/leafward/leafward/internal/target"
)

// Config is what an operator says about one nginx.
type Config struct {
	CertPath        string `json:"cert_path" doc:"Where ssl_certificate points: gets the certificate followed by its chain. The same as key_path for both in one file." required:"true" max:"1024"`
	KeyPath         string `json:"key_path" doc:"Where ssl_certificate_key points: gets the private key. New files have mode 0600." required:"true" max:"1024"`
	ChainPath       string `json:"chain_path" doc:"Gets the chain alone, for ssl_trusted_certificate. Empty writes none." max:"1024"`
	ValidateCommand string `json:"validate_command" doc:"Tests the configuration before the reload. The agent must allow it." default:"nginx -t" max:"1024"`
	ReloadCommand   string `json:"reload_command" doc:"Makes nginx load the new files. The agent must allow it." default:"nginx -s reload" max:"1024"`
	Address         string `json:"address" doc:"IP address or DNS name, as seen from the agent's host, that is looked at to prove what is served. Without it host, then 127.0.0.1." max:"253"`
	Host            string `json:"host" doc:"Stands for address where that is empty and, if it is a DNS name, for hostname." max:"253"`
	Hostname        string `json:"hostname" doc:"The name to ask for (SNI). Without it host or address if they are DNS names, then the certificate's first name." max:"253"`
	Port            int    `json:"port" doc:"The TCP port that is looked at." default:"443" min:"1" max:"65535"`
}

// Parse reads a configuration; the error names everything that is wrong with it.
func Parse(raw json.RawMessage) (Config, error) {
	var c Config
	var problems leafward.Problems
	if err := problems.Merge(plugin.Decode(raw, &c)); err != nil {
		return c, err
	}
	for field, path := range map[string]string{"cert_path": c.CertPath, "key_path": c.KeyPath, "chain_path": c.ChainPath} {
		if path == "" {
			continue
		}
		if problem := target.PathProblem(path); problem != "" {
			problems.Add(field, problem, "write the absolute path of a file, without . and ..")
		}
	}
	problems.Check(c.ChainPath == "" || c.ChainPath != c.CertPath && c.ChainPath != c.KeyPath, "chain_path",
		"is the file of the certificate or of the key", "give the chain its own file, or leave it out: cert_path holds it too")
	for field, text := range map[string]string{"validate_command": c.ValidateCommand, "reload_command": c.ReloadCommand} {
		if text == "" {
			continue
		}
		if _, err := target.ParseCommand(text); err != nil {
			problems.Add(field, err.Error(), "write a program and its arguments, without a shell")
		}
	}
	for field, host := range map[string]string{"address": c.Address, "host": c.Host, "hostname": c.Hostname} {
		problems.Check(host == "" || isIP(host) || isName(host), field, "is neither an IP address nor a DNS name", "write it without scheme and port")
	}
	problems.Check(!isIP(c.Hostname), "hostname", "is an IP address", "write the DNS name that clients ask for, or leave it out")
	return c, problems.Err()
}

// Endpoint is where what is served can be seen.
func (c Config) Endpoint() target.Endpoint {
	e := target.Endpoint{ServerName: c.Hostname}
	address := "127.0.0.1"
	for _, host := range []string{c.Host, c.Address} {
		if host != "" {
			address = host
		}
	}
	for _, host := range []string{c.Host, c.Address} {
		if e.ServerName == "" && host != "" && !isIP(host) {
			e.ServerName = host
		}
	}
	e.Address = net.JoinHostPort(address, strconv.Itoa(c.Port))
	return e
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// isName tells whether a text has the form of a host name (RFC 1123 § 2.1), underscores allowed.
func isName(host string) bool {
	for label := range strings.SplitSeq(strings.TrimSuffix(host, "."), ".") {
		odd := strings.ContainsFunc(label, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
		})
		if odd || label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}
