package cli

import "strings"

// example is what a command shows below its flags: command lines, then words.
func example(words string, lines ...string) string {
	return strings.TrimSuffix("Examples:\n  "+strings.Join(lines, "\n  ")+"\n\n"+words, "\n\n")
}

// Help is shown below the flags.
func (*statusCommand) Help() string {
	return example("It exits with 1 when something is broken, so that a script can ask.",
		"leafward status",
		"leafward status --server https://leafward.example.com:8443 --root root.pem")
}

// Help is shown below the flags.
func (*issueCommand) Help() string {
	return example("The key is made here and never leaves this machine. NAME.crt has the certificate and those above it, NAME.key (mode 0600) the key; in their names a wildcard's star is _wildcard. A certificate that is known by this name already gets its next version, with a new key.",
		"leafward issue www.example.com example.com --out /etc/ssl/www",
		"leafward issue www.example.com example.com --out /etc/ssl/www --force")
}

// Help is shown below the flags.
func (*importCommand) Help() string {
	return example("A PEM file holds certificates, each followed by those above it where they are at hand. A CSV begins with a line that names its columns: certificate (PEM, or DER in base64), and any of name, owner, team, issuer, profile, policy, environment, tags (NAME=VALUE;NAME=VALUE) and key_source, which go before the flags. A row that is refused is told with its line and costs no other; what is here already stays as it is, so that the same file can be imported again. No private key is taken in or sent.",
		"leafward import bundle.pem --owner web --environment prod",
		"leafward import inventory.csv --issuer iss-local --policy rp-default")
}

// Help is shown below the flags.
func (*certCreate) Help() string {
	return example("Without --target and --csr it is recorded and waits for a CSR, which leafward issue brings.",
		"leafward cert create shop.example.com www.shop.example.com --target shop",
		"leafward cert create db.example.com --csr db.csr --ttl 30d")
}

// Help is shown below the flags.
func (*certList) Help() string {
	return example("", "leafward cert list --status Failed", "leafward cert list --team shop --sort expires_at --limit 0 --json")
}

// Help is shown below the flags.
func (*certGet) Help() string {
	return example("", "leafward cert get shop.example.com", "leafward cert get shop.example.com --pem")
}

// Help is shown below the flags.
func (*certBind) Help() string {
	return example("The agents of the targets make keys of their own, unless the server made one for all.", "leafward cert bind shop.example.com shop shop-spare")
}

// Help is shown below the flags.
func (*certRenew) Help() string {
	return example("A certificate is renewed by itself when its time has come; this does it now. It is done when every target serves the new certificate.",
		"leafward cert renew shop.example.com",
		"leafward cert renew db.example.com --csr db.csr")
}

// Help is shown below the flags.
func (*certDeploy) Help() string {
	return example("", "leafward cert deploy shop.example.com --target shop", "leafward cert deploy shop.example.com --version 59e79a9f87319c0ff383307f4d436714")
}

// Help is shown below the flags.
func (*certRevoke) Help() string {
	return example("Revoked is for ever, but for certificateHold, which leafward cert release lifts.",
		"leafward cert revoke shop.example.com --reason superseded",
		"leafward cert revoke shop.example.com --reason keyCompromise --replace")
}

// Help is shown below the flags.
func (*targetAdd) Help() string {
	return example("", "leafward target add shop --type nginx --agent web1 --cert-path /etc/nginx/shop.pem --key-path /etc/nginx/shop.key "+
		"--validate 'nginx -t' --reload 'nginx -s reload' --address 127.0.0.1:443")
}

// Help is shown below the flags.
func (*agentInvite) Help() string {
	return example("The command that it prints is typed on the host. Its token is good for one agent and one hour.",
		"leafward agent invite --name web1",
		"leafward agent invite --for web1")
}

// Help is shown below the flags.
func (*keyCreate) Help() string {
	return example("The key alone goes to standard output, this once.", "leafward key create ci --role operator --team shop", "LEAFWARD_KEY=$(leafward key create ci --role viewer)")
}

// Help is shown below the flags.
func (*jobList) Help() string {
	return example("", "leafward job list --status Failed", "leafward job list --cert shop.example.com")
}

// Help is shown below the flags.
func (*jobGet) Help() string { return example("", "leafward job get shop.example.com") }

// Help is shown below the flags.
func (*auditExport) Help() string {
	return example("", "leafward audit export --out audit.jsonl", "leafward audit verify audit.jsonl")
}

// Help is shown below the flags.
func (*auditProve) Help() string {
	return example("An event is called by its id, which stands in the export and in GET /api/v1/audit. The proof needs no server to be verified, only the public key of the log.",
		"leafward audit prove ev-01a21f70-338a-753c-a7de-742122d548fc --out proof.json",
		"leafward audit verify --proof proof.json --log-key KEY")
}
