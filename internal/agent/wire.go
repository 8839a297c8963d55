package agent

import (
	"context"
	"net"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/pki"
	"github.com/leafward/leafward/internal/probe"
	"github.com/leafward/leafward/internal/target"
)

const (
	callTime = 30 * time.Second // for one call
	signTime = 90 * time.Second // for a CSR, whose answer may wait until it is signed
)

// item is one thing to do, as the server sent it.
type item = api.WorkItem

// facts are what an agent says of its host.
type facts struct {
	Hostname, OS, Architecture, IPAddress, Version string
}

// link is the server as this agent speaks to it.
type link struct {
	client *api.Client
	id     string
}

// registered is what a new agent is told of itself.
type registered struct {
	ID, Name string
	Key      leafward.Secret
}

// register makes a new agent. The client's key is the invitation's token.
func register(ctx context.Context, client *api.Client, name string, f facts) (registered, error) {
	body := api.AgentRegister{
		Hostname: given(f.Hostname), OS: given(f.OS), Architecture: given(f.Architecture), IPAddress: given(f.IPAddress), Version: given(f.Version),
		Name: given(name), Protocol: api.Some(leafward.AgentProtocol),
	}
	made, err := call(ctx, client, api.RegisterAgent, api.Make[api.AgentRegister]{Body: body}, callTime)
	return registered{ID: made.ID, Name: made.Name, Key: leafward.Secret(made.APIKey)}, err
}

// given is a property that is left out when it is empty.
func given(text string) (o api.Opt[string]) {
	if text != "" {
		o = api.Some(text)
	}
	return o
}

// heartbeat says that the agent lives, and returns the newest checkpoint of the server's audit log, "" before the first.
func (l *link) heartbeat(ctx context.Context, f facts) (checkpoint string, err error) {
	body := &api.Heartbeat{
		Hostname: given(f.Hostname), OS: given(f.OS), Architecture: given(f.Architecture), IPAddress: given(f.IPAddress), Version: given(f.Version),
		Protocol: api.Some(leafward.AgentProtocol), Clock: api.Some(time.Now().UTC()),
	}
	out, err := call(ctx, l.client, api.AgentHeartbeat, api.HeartbeatInput{ID: l.id, Body: body}, callTime)
	return out.Checkpoint, err
}

// work is what there is to do; while there is nothing, the server may hold back its answer.
func (l *link) work(ctx context.Context, wait time.Duration) ([]item, error) {
	out, err := call(ctx, l.client, api.AgentGetWork, api.WorkInput{ID: l.id, Wait: int(wait / time.Second)}, wait+callTime)
	return out.Jobs, err
}

// lease takes a job or keeps it. The epoch changes when it was somebody else's meanwhile.
func (l *link) lease(ctx context.Context, s *shift, hold time.Duration) (epoch int64, err error) {
	out, err := call(ctx, l.client, api.AgentLeaseJob, api.LeaseInput{ID: l.id, JobID: s.item.ID, Body: api.LeaseAsk{Seconds: int(hold / time.Second)}}, callTime)
	return out.Epoch, err
}

func (l *link) steps(ctx context.Context, s *shift, steps []target.Step) error {
	body := make([]api.StepWrite, len(steps))
	for i, step := range steps {
		body[i] = api.StepWrite{Name: step.Name, OK: step.OK, Message: step.Message}
	}
	_, err := call(ctx, l.client, api.AgentAddJobSteps, api.StepsInput{ID: l.id, JobID: s.item.ID, Epoch: s.epoch, Body: body}, callTime)
	return err
}

// status tells how a job ended.
func (l *link) status(ctx context.Context, s *shift, status leafward.JobStatus, outcome error) error {
	body := api.JobReport{Status: string(status), Epoch: s.epoch}
	if outcome != nil {
		body.Error = clip(advised(outcome))
	}
	_, err := call(ctx, l.client, api.AgentReportJobStatus, api.JobReportInput{ID: l.id, JobID: s.item.ID, Body: body}, callTime)
	return err
}

func (l *link) csr(ctx context.Context, i item, csr []byte) error {
	_, err := call(ctx, l.client, api.AgentSubmitCSR, api.CSRInput{ID: l.id, Body: api.AgentCSR{CertificateID: i.CertificateID, CSRPEM: string(csr)}}, signTime)
	return err
}

// pickedUp is a certificate as the server sent it.
type pickedUp struct {
	certificates string          // PEM, leaf first
	key          leafward.Secret // PEM, where the server made it
}

func (l *link) pickup(ctx context.Context, i item) (pickedUp, error) {
	out, err := call(ctx, l.client, api.AgentPickupCertificate, api.PickupInput{ID: l.id, CertID: i.CertificateID, VersionID: i.VersionID}, callTime)
	return pickedUp{certificates: out.CertificatePEM, key: leafward.Secret(out.PrivateKeyPEM)}, err
}

// verify tells what each address serves, and what the server makes of it.
func (l *link) verify(ctx context.Context, s *shift, seen []probe.Result) (verified bool, err error) {
	body := api.VerifyWrite{TargetID: s.item.TargetID, Expected: s.item.Fingerprint}
	problem := ""
	for _, r := range seen {
		body.Addresses = append(body.Addresses, api.Address{Address: hostOf(r.Address), Fingerprint: r.Fingerprint, Outcome: string(r.Outcome), Problem: clip(r.Problem)})
		if body.Actual == "" || r.Fingerprint == body.Expected {
			body.Actual = r.Fingerprint
		}
		if problem == "" {
			problem = r.Problem
		}
	}
	if body.Verified = body.Actual == body.Expected; !body.Verified {
		body.Error = given(clip(problem))
	}
	out, err := call(ctx, l.client, api.VerifyDeployment, api.VerifyInput{ID: s.item.ID, Body: body}, callTime)
	return out.Verified, err
}

// keyKind is the key that an order asks for.
func keyKind(i item) (pki.KeyKind, error) {
	kind := pki.KeyKind{Algorithm: i.KeyAlgorithm, Size: i.KeySize}
	if kind.Algorithm == pki.Ed25519 && kind.Size == 0 {
		kind.Size = 256
	}
	if err := kind.Issuable(); err != nil {
		return kind, leafward.Errorf(leafward.Invalid, "choose another key for the certificate", "the server asked for a key that is not made: %v", err)
	}
	return kind, nil
}

// hostOf is an address without its port.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
