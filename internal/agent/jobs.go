package agent

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"strings"
	"sync"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/probe"
	"github.com/leafward/leafward/internal/target"
)

// shift is the circumstances of one job's work.
type shift struct {
	stopping <-chan struct{} // closed when the agent was told to stop: what can be done later is not begun any more
	item     item
	epoch    int64 // of the lease
}

// workOn does one job. The context ends when the work must be cut short, stopping when nothing new is to be begun.
func (a *Agent) workOn(ctx context.Context, stopping <-chan struct{}, item item) error {
	s := &shift{stopping: stopping, item: item}
	switch leafward.JobKind(item.Kind) {
	case leafward.OrderJob:
		return a.order(ctx, s)
	case leafward.DeployJob:
		return a.leased(ctx, s, a.deploy)
	case leafward.ProveJob:
		return a.leased(ctx, s, a.prove)
	case leafward.CheckJob:
		return a.leased(ctx, s, a.check)
	case leafward.RootJob:
	}
	return leafward.Errorf(leafward.UnsupportedType, "update leafward on this host", "this agent does not know jobs of the kind %.40q", item.Kind)
}

// order makes the key that an order asks for, or takes the one it made before, and sends the CSR. A key that the server
// refuses is not offered again.
func (a *Agent) order(ctx context.Context, s *shift) error {
	csr, err := a.makeCSR(s.item)
	if err == nil {
		if err := a.at("send csr"); err != nil {
			return err
		}
		err = a.link.csr(ctx, s.item, csr)
		switch {
		case err == nil:
			a.log.InfoContext(ctx, "sent a CSR", "certificate", s.item.CertificateID, "job", s.item.ID)
			return nil
		case over(err):
			return errLeft
		case leafward.KindOf(err) != leafward.Invalid:
			return err
		}
		err = errors.Join(err, a.ring.discard(s.item.CertificateID, s.item.ID))
	}
	if told := a.link.status(ctx, s, leafward.JobFailed, err); told != nil && !over(told) {
		err = errors.Join(err, told)
	}
	return err
}

func (a *Agent) makeCSR(item item) ([]byte, error) {
	kind, err := keyKind(item)
	if err != nil {
		return nil, err
	}
	names, err := pki.ParseNames(item.SANs)
	if err != nil {
		return nil, leafward.Errorf(leafward.Invalid, "mend the names of the certificate", "%v", err)
	}
	key, err := a.ring.pending(item.CertificateID, item.ID, kind)
	if err != nil {
		return nil, err
	}
	der, err := pki.MakeCSR(key, item.CommonName, names)
	if err != nil {
		return nil, leafward.Errorf(leafward.Invalid, "mend the names of the certificate", "%v", err)
	}
	return pki.EncodeCSR(der), nil
}

// leased does a job under a lease that is renewed meanwhile, and reports what came of it unless do has settled it. A job
// that somebody else has, or that is over, is left alone: errLeft. When the lease is lost the work is cut short
// and nothing is reported.
func (a *Agent) leased(ctx context.Context, s *shift, do func(context.Context, *shift, *report) (settled bool, err error)) error {
	var err error
	if s.epoch, err = a.link.lease(ctx, s, a.pace.Lease); err != nil {
		if over(err) {
			return errLeft
		}
		return err
	}
	ctx, lose := context.WithCancelCause(ctx)
	var renewals sync.WaitGroup
	renewals.Go(func() { a.renew(ctx, s, lose) })
	r := newReport(ctx, a, s)
	settled, err := do(ctx, s, r)
	r.close()
	if !settled && ctx.Err() == nil {
		err = errors.Join(err, r.settle(ctx, err))
	}
	lost := errors.Is(context.Cause(ctx), errLost)
	lose(nil)
	renewals.Wait()
	if lost && !settled {
		a.log.InfoContext(ctx, "the job was taken away, most likely for a newer version", "job", s.item.ID)
		return nil
	}
	return err
}

// errLeft is what came of a job that is not this agent's to do, at least not now.
var errLeft = errors.New("the job was left alone")

// errLost is why work ends whose lease is another's.
var errLost = errors.New("the lease of the job was lost")

// over tells an answer that says that the job is not this agent's to do any more.
func over(err error) bool {
	kind := leafward.KindOf(err)
	return kind == leafward.Conflict || kind == leafward.NotFound || kind == leafward.Gone
}

// renew moves the end of the lease at a third of it until the context ends or the lease is lost. While the server cannot
// be reached the work goes on: doing it twice does no harm.
func (a *Agent) renew(ctx context.Context, s *shift, lose context.CancelCauseFunc) {
	for {
		rest(ctx, a.pace.Lease/3)
		if ctx.Err() != nil {
			return
		}
		if epoch, err := a.link.lease(ctx, s, a.pace.Lease); err == nil && epoch != s.epoch || err != nil && over(err) {
			lose(errLost)
			return
		}
	}
}

// host is what a target may use of this machine.
func (a *Agent) host(tell func(target.Step)) target.Host {
	return target.Host{Files: a.files, Look: look, Tell: tell}
}

// targetOf makes the target of a job from what the server sent.
func (a *Agent) targetOf(s *shift, tell func(target.Step)) (target.Target, error) {
	plugin, known := a.plugins[s.item.TargetType]
	if !known {
		return nil, unknownType(s.item.TargetType)
	}
	config, err := json.Marshal(s.item.TargetConfig)
	if err != nil {
		return nil, err
	}
	return plugin.New(config, a.host(tell))
}

// deploy brings the certificate to its target.
func (a *Agent) deploy(ctx context.Context, s *shift, r *report) (settled bool, err error) {
	place, err := a.targetOf(s, r.tell)
	if err != nil {
		return false, err
	}
	if err := a.at("fetch"); err != nil {
		return false, err
	}
	bundle, leaf, err := a.fetch(ctx, s)
	if err != nil {
		return false, err
	}
	r.tell(target.Step{Name: "fetch", OK: true, Message: "fetched the certificate with SHA-256 " + bundle.Fingerprint() + ", which belongs to its key"})
	if err := place.Deploy(ctx, bundle); err != nil {
		return false, err
	}
	a.log.InfoContext(ctx, "deployed", "certificate", s.item.CertificateID, "target", s.item.TargetID, "sha256", bundle.Fingerprint())
	if err := a.ring.forget(s.item.CertificateID, leaf.PublicKey); err != nil {
		a.log.WarnContext(ctx, "old keys stay", "error", advised(err))
	}
	return false, a.at("report")
}

// fetch picks up the certificate of a deployment and finds its key: on this host by the public key, or with the
// certificate where the server made it.
func (a *Agent) fetch(ctx context.Context, s *shift) (target.Bundle, *x509.Certificate, error) {
	sent, err := a.link.pickup(ctx, s.item)
	if err != nil {
		return target.Bundle{}, nil, err
	}
	chain, err := pki.ParseChainPEM([]byte(sent.certificates))
	if err != nil {
		return target.Bundle{}, nil, leafward.Errorf(leafward.Precondition, "renew the certificate", "the server sent a certificate that cannot be used: %v", err)
	}
	leaf, key := chain[0], sent.key
	if len(key) == 0 {
		if key, err = a.ring.accept(s.item.CertificateID, leaf.PublicKey); err != nil {
			return target.Bundle{}, nil, err
		}
	}
	bundle, err := target.NewBundle([]byte(sent.certificates), key)
	if err != nil {
		return target.Bundle{}, nil, err
	}
	if want := s.item.Fingerprint; want != "" && want != bundle.Fingerprint() {
		return target.Bundle{}, nil, leafward.Errorf(leafward.Later, "wait for the next deployment",
			"the server sent another certificate (SHA-256 %s) than the one to deploy (SHA-256 %s)", bundle.Fingerprint(), want)
	}
	return bundle, leaf, nil
}

// prove looks at each address where the target serves, and tells the server what is there. The server decides what it
// means, and whether to look again.
func (a *Agent) prove(ctx context.Context, s *shift, _ *report) (settled bool, err error) {
	plugin, known := a.plugins[s.item.TargetType]
	if !known {
		return false, unknownType(s.item.TargetType)
	}
	config, err := json.Marshal(s.item.TargetConfig)
	if err != nil {
		return false, err
	}
	where, err := plugin.Endpoint(config)
	if err != nil {
		return false, err
	}
	if where.ServerName == "" {
		where.ServerName = target.AskFor(dnsNames(s.item))
	}
	seen := probe.LookAll(ctx, probe.Request{Address: where.Address, ServerName: where.ServerName})
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := a.at("verify"); err != nil {
		return false, err
	}
	verified, err := a.link.verify(ctx, s, seen)
	if err == nil || over(err) {
		a.log.InfoContext(ctx, "looked at what is served", "certificate", s.item.CertificateID, "target", s.item.TargetID, "address", where.Address, "as_wanted", verified)
		return true, nil
	}
	return false, err
}

// dnsNames are the names of an item that a server can be asked for.
func dnsNames(item item) []string {
	names, err := pki.ParseNames(item.SANs)
	if err != nil {
		return nil
	}
	return names.DNS
}

// check tries a deployment without making it.
func (a *Agent) check(ctx context.Context, s *shift, r *report) (settled bool, err error) {
	place, err := a.targetOf(s, nil)
	if err != nil {
		return false, err
	}
	checker, can := place.(target.Checker)
	if !can {
		return false, leafward.Errorf(leafward.UnsupportedType, "deploy to it", "targets of the type %s have no dry run", s.item.TargetType)
	}
	found, err := checker.Check(ctx)
	var failed []string
	for _, step := range found.Steps {
		r.tell(step)
		if !step.OK {
			failed = append(failed, step.Message)
		}
	}
	if err == nil && len(failed) > 0 {
		err = leafward.Errorf(leafward.Precondition, "", "%s", strings.Join(failed, "; "))
	}
	return false, err
}

func unknownType(name string) error {
	return leafward.Errorf(leafward.UnsupportedType, "update leafward on this host, or choose a type that it has", "this agent has no targets of the type %.40q", name)
}
