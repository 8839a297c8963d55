package app

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/leafward/leafward"
)

// Bounds of a connection. A request may wait a minute for what it asked for; a stream is given more time with each part
// that arrives.
const (
	headerTime = 10 * time.Second
	readTime   = 30 * time.Second
	writeTime  = 90 * time.Second
	idleTime   = 2 * time.Minute
	maxHeader  = 32 << 10 // bytes
)

// grace is how long requests and jobs may take to end by themselves when the server stops; then those that wait are told
// to answer with what there is, and after as long again the rest is cut.
const grace = 4 * time.Second

// listeners are the ways in.
type listeners struct {
	servers []served
	base    context.Context // of every request; ends when requests are cut
	cut     context.CancelFunc
	tell    func()   // those who wait to answer now
	api     net.Addr // HTTPS
	public  net.Addr // plain HTTP
	socket  string   // path of the local socket
}

// served is one listener with its server.
type served struct {
	*http.Server
	listener net.Listener
}

// listen opens all listeners and tells all that cannot be opened.
func (a *App) listen(ctx context.Context) error {
	l := &a.listeners
	d, err := a.doors()
	if err != nil {
		return err
	}
	hurry := make(chan struct{})
	l.tell = sync.OnceFunc(func() { close(hurry) })
	l.base, l.cut = context.WithCancel(leafward.WithHurry(context.Background(), hurry)) // without the actor of the start: requests prove their own
	a.opened = append(a.opened, l)
	api, apiErr := listenTCP(ctx, "--listen", a.config.Listen)
	if api != nil {
		l.api = api.Addr()
		l.add(a.server(l, d.all), tls.NewListener(api, a.tlsConfig()))
	}
	public, publicErr := listenTCP(ctx, "--public-listen", a.config.PublicListen)
	if public != nil {
		l.public = public.Addr()
		l.add(a.server(l, d.public), public)
	}
	local, path, localErr := listenLocal(ctx, a.config.DataDir)
	if local != nil {
		l.socket = path
		server := a.server(l, d.local)
		server.ConnContext = localActor
		l.add(server, local)
	}
	return together(apiErr, publicErr, localErr)
}

// together is one error for all listeners that cannot be opened, each with its remedy; nil without any.
func together(api, public, local error) error {
	all := &leafward.Error{Kind: leafward.Invalid, Message: "the server cannot listen where it should", Fix: "mend what is named and start again"}
	for i, err := range []error{api, public, local} {
		if e, ok := errors.AsType[*leafward.Error](err); ok {
			all.Fields = append(all.Fields, leafward.Field{Field: []string{"--listen:", "--public-listen:", "local socket:"}[i], Problem: e.Message, Fix: e.Fix})
		}
	}
	if len(all.Fields) > 1 {
		return all
	}
	return errors.Join(api, public, local)
}

func listenTCP(ctx context.Context, flag, address string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		return listener, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, &leafward.Error{Kind: leafward.Conflict, Message: "another process listens on " + address, Fix: "stop it, or give another " + flag, Cause: err}
	case errors.Is(err, syscall.EACCES):
		return nil, &leafward.Error{Kind: leafward.Denied, Message: "this user may not listen on " + address, Fix: "use a port from 1024 on, or grant CAP_NET_BIND_SERVICE", Cause: err}
	}
	return nil, &leafward.Error{Kind: leafward.Invalid, Message: "the server cannot listen on " + address, Fix: "give a " + flag + " of this machine", Cause: err}
}

// server is an HTTP server with our bounds.
func (a *App) server(l *listeners, handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		ErrorLog:    slog.NewLogLogger(a.log.Handler(), slog.LevelInfo),
		BaseContext: func(net.Listener) context.Context { return l.base },
	}
}

func (l *listeners) add(server *http.Server, listener net.Listener) {
	l.servers = append(l.servers, served{server, listener})
}

// serve answers on all listeners; the channel tells of the first that fails.
func (l *listeners) serve() <-chan error {
	failed := make(chan error, len(l.servers))
	for _, s := range l.servers {
		go func() {
			if err := s.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		}()
	}
	return failed
}

// drain takes nothing new, lets requests end, then tells those that wait to answer, and cuts off the rest.
func (l *listeners) drain() {
	telling := time.AfterFunc(grace, l.tell)
	defer telling.Stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.base), 2*grace)
	defer cancel()
	var all sync.WaitGroup
	for _, s := range l.servers {
		all.Go(func() {
			if s.Shutdown(ctx) != nil {
				l.cut()
				_ = s.Server.Close()
			}
		})
	}
	all.Wait()
}

// Close releases the listeners, served or not.
func (l *listeners) Close() error {
	l.cut()
	var errs []error
	for _, s := range l.servers {
		if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Addresses are where the server listens.
type Addresses struct {
	API    string // host:port of HTTPS
	Public string // host:port of plain HTTP
	Socket string // path of the local socket
}

// Addresses tells where the server listens: what New opened.
func (a *App) Addresses() Addresses {
	return Addresses{API: a.listeners.api.String(), Public: a.listeners.public.String(), Socket: a.listeners.socket}
}
