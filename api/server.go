package api

import "time"

// Server is a running server: where it is reached, by what it is known, since when it runs.
type Server struct {
	Version    string    `json:"version"`
	URLs       []string  `json:"urls" nullable:"false" doc:"Where it is reached over HTTPS, by the names in its certificate that were asked for"`
	PublicURL  string    `json:"public_url" doc:"Where the world finds CRLs and OCSP; empty while the certificates name no such place"`
	RootSHA256 string    `json:"root_sha256" doc:"SHA-256 of the root certificate that agents and clients pin, lower hex"`
	Database   string    `json:"database" enum:"sqlite,postgres"`
	StartedAt  time.Time `json:"started_at" doc:"By the server's clock"`
	Time       time.Time `json:"time" doc:"What the server's clock shows"`
}

// GetServer is the operation on the server that answers.
var GetServer = get[Nothing, Server]("/api/v1/server", "getServer", "Health", "Tell where the server is reached and since when it runs")

func serverOperations() []Info { return []Info{GetServer.Info} }
