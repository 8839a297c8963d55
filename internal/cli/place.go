package cli

import (
	"context"
	"net/netip"
	"net/url"

	"github.com/leafward/leafward/api"
)

// reach is how another machine reaches the server, and by which root it knows it.
type reach struct{ url, rootSHA256 string }

// here tells whether only this machine reaches the server under that address.
func (r reach) here() bool {
	u, err := url.Parse(r.url)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

// reachable tells how an agent reaches the server: as this command did, or else by the server's own word.
func (r *run) reachable(ctx context.Context) (reach, error) {
	server, err := api.GetServer.Call(ctx, r.Client, api.Nothing{})
	if err != nil {
		return reach{}, err
	}
	at := reach{r.where.server, server.RootSHA256}
	if at.url == "" && len(server.URLs) > 0 {
		at.url = server.URLs[0]
	}
	return at, nil
}
