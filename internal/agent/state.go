package agent

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
)

const maxState = 1 << 20 // bytes of agent.json

// errLocked is what lock returns when another process has the lock.
var errLocked = errors.New("another process has the lock")

// Identity is who an agent is: what it keeps of its enrolment.
type Identity struct {
	Server        string // https://host:port
	ID            string
	Name          string
	Key           leafward.Secret // API key
	Root          *x509.Certificate
	AllowPaths    []string // as given to join
	AllowCommands []string // as given to join
}

// RootSHA256 is the hash that pins the server's root, in hex.
func (i Identity) RootSHA256() string { return pki.Fingerprint(i.Root.Raw) }

// saved is an Identity as agent.json holds it, the only place where the key is written.
type saved struct {
	Server        string   `json:"server"`
	ID            string   `json:"id"`
	Name          string   `json:"name"`
	Key           string   `json:"api_key"`
	Root          string   `json:"root_pem"`
	AllowPaths    []string `json:"allow_paths,omitempty"`
	AllowCommands []string `json:"allow_commands,omitempty"`
}

// dir is an agent's data directory, locked by this process until it is closed.
type dir struct {
	path string
	lock io.Closer
}

// A program that the agent starts holds the lock too until it has taken over its process, a moment later than an agent that
// ends meanwhile.
const (
	lockTries = 20
	lockPause = 10 * time.Millisecond
)

// openDir makes and locks a data directory.
func openDir(path string) (*dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := makeDir(path); err != nil {
		return nil, err
	}
	held, err := lock(filepath.Join(path, "agent.lock"))
	for tries := 0; errors.Is(err, errLocked) && tries < lockTries; tries++ {
		<-time.After(lockPause)
		held, err = lock(filepath.Join(path, "agent.lock"))
	}
	if errors.Is(err, errLocked) {
		return nil, leafward.Errorf(leafward.Conflict, "stop it first, or give this one another --data-dir", "another agent uses the data directory %s", path)
	}
	if err != nil {
		return nil, explain("lock the directory "+path, err)
	}
	return &dir{path, held}, nil
}

func (d *dir) Close() error { return d.lock.Close() }

func (d *dir) file(name string) string { return filepath.Join(d.path, name) }

// joined tells whether the directory holds an identity, readable or not.
func (d *dir) joined() bool {
	_, err := os.Lstat(d.file("agent.json"))
	return !errors.Is(err, fs.ErrNotExist)
}

// put keeps the identity.
func (d *dir) put(i Identity) error {
	text, err := json.MarshalIndent(saved{
		Server: i.Server, ID: i.ID, Name: i.Name, Key: string(i.Key.Reveal()), Root: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Root.Raw})),
		AllowPaths: i.AllowPaths, AllowCommands: i.AllowCommands,
	}, "", "  ")
	if err != nil {
		return err
	}
	return explain("write "+d.file("agent.json"), save(d.file("agent.json"), append(text, '\n')))
}

// get reads the identity.
func (d *dir) get() (Identity, error) {
	text, err := load(d.file("agent.json"), maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, notJoined(d.path)
	}
	if err != nil {
		return Identity{}, explain("read "+d.file("agent.json"), err)
	}
	i, err := parseIdentity(text)
	if err != nil {
		return Identity{}, leafward.Errorf(leafward.Precondition, "join again with --force and a token of `leafward agent invite --for AGENT`",
			"%s is damaged: %v", d.file("agent.json"), err)
	}
	return i, nil
}

func parseIdentity(text []byte) (Identity, error) {
	var s saved
	if err := json.Unmarshal(text, &s); err != nil {
		return Identity{}, err
	}
	server, err := serverURL(s.Server)
	if err != nil {
		return Identity{}, err
	}
	block, rest := pem.Decode([]byte(s.Root))
	if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 {
		return Identity{}, errors.New("root_pem is not one certificate")
	}
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return Identity{}, fmt.Errorf("root_pem: %w", err)
	}
	if !isID(s.ID) || s.Key == "" {
		return Identity{}, errors.New("id or api_key is missing")
	}
	return Identity{
		Server: server, ID: s.ID, Name: s.Name, Key: leafward.Secret(s.Key), Root: root, AllowPaths: s.AllowPaths, AllowCommands: s.AllowCommands,
	}, nil
}

// isID tells whether a text has the form of an id, which makes it fit to be the name of a file.
func isID(text string) bool {
	var p leafward.Problems
	leafward.CheckID(&p, text)
	return text != "" && p.Err() == nil
}
