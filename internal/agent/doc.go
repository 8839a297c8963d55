// Package agent is leafward on a host: it makes keys that never leave the host, fetches the certificates that the
// server had signed for them, puts both where they are served, and looks whether they are.
//
// It trusts nobody. The server is known by its root certificate, pinned when the agent joined. What the server asks for
// is done only within the target.Rules of the host, which come from the agent's own flags and which nothing that is
// sent can widen; what is sent is parsed, checked and encoded anew before it reaches a file.
//
// The data directory (0700) belongs to one process at a time:
//
//	agent.json              who the agent is, its API key, the server and its root (0600)
//	agent.lock              held by the running agent
//	keys/CERTIFICATE/…      private keys, a file each (0600), see keyring
//	swaps/                  journals of target.Files
package agent
