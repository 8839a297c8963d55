package deploy

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/probe"
	"github.com/leafward/leafward/internal/store"
)

// MaxAddresses bounds how many addresses one verification names.
const MaxAddresses = 16

// Said is what an agent says it saw.
type Said struct {
	Target    string
	Expected  string // SHA-256 of what should be served
	Actual    string // SHA-256 of what is; "" when nothing could be seen
	Verified  bool
	Error     string
	Addresses []Seen // each address behind the endpoint; agents of another make name none
}

// Verified is a verification as it is kept.
type Verified struct {
	Job    string
	Target string
	Verification
	Doubt string // what the server saw against the agent's word
}

var fingerprint = regexp.MustCompile(`^[0-9a-f]{64}$`)

// tidy brings fingerprints to one form and names what is wrong.
func (s *Said) tidy() error {
	var p leafward.Problems
	sum := func(field, text string) string {
		text = strings.ToLower(strings.ReplaceAll(strings.TrimSpace(text), ":", ""))
		p.Check(text == "" || fingerprint.MatchString(text), field, "is not a SHA-256 fingerprint", "send 64 hex digits, or nothing when nothing was seen")
		return text
	}
	s.Expected, s.Actual = sum("expected_fingerprint", s.Expected), sum("actual_fingerprint", s.Actual)
	p.Check(len(s.Addresses) <= MaxAddresses, "addresses", fmt.Sprintf("has more than %d addresses", MaxAddresses), "name the first ones")
	for i := range s.Addresses {
		a, field := &s.Addresses[i], fmt.Sprintf("addresses[%d]", i)
		a.Fingerprint = sum(field+".fingerprint", a.Fingerprint)
		ip, err := netip.ParseAddr(a.Address)
		if err == nil {
			a.Address = ip.Unmap().String()
		}
		p.Check(err == nil || len(s.Addresses) == 1 && a.Address != "" && len(a.Address) <= 253, field+".address", "is not an IP address", "send the address that was dialled, such as 192.0.2.7")
		known := a.Outcome == probe.OK == (a.Fingerprint != "")
		p.Check(known && len(a.Outcome) <= 32, field+".outcome", "does not go with the fingerprint", "send ok with a fingerprint, and what went wrong without one")
		a.Problem = clip(a.Problem)
	}
	s.Error = clip(s.Error)
	return p.Err()
}

// clip bounds outside text.
func clip(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	if runes := []rune(text); len(runes) > 500 {
		return string(runes[:500])
	}
	return text
}

// seen is what was seen at each address; an agent that names none saw one, where the endpoint is.
func (s *Said) seen(address string) []Seen {
	if len(s.Addresses) > 0 {
		return s.Addresses
	}
	one := Seen{Address: address, Fingerprint: s.Actual, Outcome: probe.OK}
	if s.Actual == "" {
		one.Outcome, one.Problem = probe.Unreachable, first(s.Error, "nothing was seen")
	}
	return []Seen{one}
}

// Verify takes an agent's word on a deployment or its proof. A look that failed is kept like any other; what it means is
// decided here, from the fingerprints.
func (s *Service) Verify(ctx context.Context, id string, said Said) (out Verified, err error) {
	if err := said.tidy(); err != nil {
		return out, err
	}
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		j, err := shown(&tx.View, id)
		if err != nil {
			return err
		}
		at, found, err := placeOf(&tx.View, &j)
		if err != nil {
			return err
		}
		if err := mayVerify(tx, &j, &at, found); err != nil {
			return err
		}
		if err := verifiable(&j); err != nil {
			return err
		}
		if err := said.fits(&j); err != nil {
			return err
		}
		out = Verified{Job: j.ID, Target: j.Target}
		if !found {
			out.Verification = Verification{By: tx.Actor.ID, Expected: said.Expected, Actual: said.Actual, At: tx.Now, Error: "the certificate was taken off the target meanwhile"}
			return nil
		}
		out.Verification, err = s.take(tx, &j, &at, said)
		return err
	})
	return out, err
}

// mayVerify refuses everybody but the target's agent and administrators. Others hear nothing of the job besides.
func mayVerify(tx *store.Tx, j *leafward.Job, at *place, found bool) error {
	agent := first(j.Agent, at.target.Agent)
	if found {
		agent = at.target.Agent
	}
	if tx.Actor.Type == leafward.ActorAgent && tx.Actor.ID != agent {
		return leafward.Errorf(leafward.Denied, "use the key of the job's agent", "job %s belongs to another agent", j.ID)
	}
	if tx.Actor.Type != leafward.ActorAgent && !tx.Actor.MayWrite(j.Team) {
		return leafward.Errorf(leafward.Denied, "ask an administrator whose key is for all teams", "job %s is shared by all teams, and your key is for some", j.ID)
	}
	return nil
}

// verifiable refuses a job that deploys nothing.
func verifiable(j *leafward.Job) error {
	if j.Kind != leafward.DeployJob && j.Kind != leafward.ProveJob {
		return leafward.Errorf(leafward.Invalid, "name a job of the type Deployment or Validation", "job %s is of the type %s: there is nothing to verify", j.ID, j.Type)
	}
	return nil
}

// fits refuses what is said of another target than the job's, or of no certificate.
func (s *Said) fits(j *leafward.Job) error {
	var p leafward.Problems
	p.Check(s.Target == j.Target, "target_id", "is not the job's target", "send "+j.Target)
	p.Check(s.Expected != "", "expected_fingerprint", "is missing", "send the SHA-256 of the certificate that was deployed")
	return p.Err()
}

// take judges what was said, keeps it, and moves the proof on.
func (s *Service) take(tx *store.Tx, j *leafward.Job, at *place, said Said) (Verification, error) {
	endpoints, err := tx.Endpoints(at.installation.ID)
	if err != nil {
		return Verification{}, err
	}
	expected, err := expect(&tx.View, at)
	if err != nil {
		return Verification{}, err
	}
	where := at.target.ID
	if len(endpoints) > 0 {
		where = endpoints[0].Address
	}
	seen := said.seen(where)
	result, reason := expected.judge(seen)
	switch {
	case said.Expected != expected.want:
		result, reason = early, "the agent looked for another certificate than the one that was deployed"
	case result == served && !said.Verified:
		result, reason = early, first(said.Error, "the agent says that it is not verified")
	}
	word := Verification{By: at.target.Agent, Expected: expected.want, Actual: actual(seen, expected.want), Verified: result == served, At: tx.Now, Error: reason}
	if j.Kind == leafward.DeployJob && j.Status.Open() {
		if j.Result, err = encode(report{Verification: &word}); err != nil {
			return word, err
		}
		tx.PutJob(j)
		return word, tx.Err()
	}
	p := *j
	if j.Kind == leafward.DeployJob {
		var found bool
		if p, found, err = tx.ProveJob(j.Installation, j.Version); err != nil || !found {
			return word, err
		}
	}
	for i := range endpoints[:min(len(endpoints), 1)] {
		if err := observe(tx, &p, &endpoints[i], expected.want, at.target.Agent, seen); err != nil {
			return word, err
		}
	}
	return word, s.move(tx, &p, at, result, &word, len(endpoints) > 0)
}

// move lets the agent's word have its effect on the proof.
func (s *Service) move(tx *store.Tx, p *leafward.Job, at *place, result verdict, word *Verification, looked bool) error {
	current := at.installation.Desired == p.Version
	if !p.Status.Open() {
		if result != served || !current || at.installation.Deployed != p.Version {
			return tx.Err()
		}
		how := leafward.ProofServed
		if !looked {
			how = leafward.ProofFile
		}
		return prove(tx, at, how, word.By, "")
	}
	st, err := stateOf(p)
	if err != nil {
		return err
	}
	st.Agent = word
	if p.Checkpoint, err = encode(st); err != nil {
		return err
	}
	switch {
	case !current:
		return s.obsolete(tx, p)
	case result == served:
		p.Agent = ""
		return s.engine.Snooze(tx, p, 0, "the server's own look")
	}
	ours, _, err := tx.AgentIsOurs(at.target.Agent)
	if err != nil {
		return err
	}
	if !ours {
		tx.PutJob(p) // the server's look decides
		return tx.Err()
	}
	p.Agent = at.target.Agent
	if result == wrong {
		return s.engine.Fail(tx, p, wrongServed(word.Error))
	}
	return s.engine.Snooze(tx, p, wait(tx.Now.Sub(at.installation.DeployedAt)), toBeSeen(word.Error))
}

// obsolete deals with the proof of a version that must not be there any more: a deployment that is open takes it over.
func (s *Service) obsolete(tx *store.Tx, p *leafward.Job) error {
	_, coming, err := tx.OpenJob(leafward.DeployJob, p.Installation)
	if err != nil {
		return err
	}
	if coming {
		return s.engine.Snooze(tx, p, maxLookWait, "the deployment of a newer version")
	}
	return s.engine.Fail(tx, p, errObsolete())
}

func errObsolete() error {
	return leafward.Errorf(leafward.Gone, "look at the job of the newer version", "another version must be there by now")
}

// Verification is what is known of a deployment's proof; both the deployment and its proof answer.
func (s *Service) Verification(ctx context.Context, id string) (out Verified, err error) {
	err = s.db.View(ctx, func(v *store.View) error {
		j, err := shown(v, id)
		if err != nil {
			return err
		}
		if err := verifiable(&j); err != nil {
			return err
		}
		version, err := v.Version(j.Version)
		if err != nil && leafward.KindOf(err) != leafward.NotFound {
			return err
		}
		out = Verified{Job: j.ID, Target: j.Target, Verification: Verification{Expected: version.SHA256, Error: "nothing was seen yet"}}
		word, st := (*Verification)(nil), state{}
		if j.Kind == leafward.DeployJob {
			if word, err = reported(&j); err != nil {
				return err
			}
			p, found, err := v.ProveJob(j.Installation, j.Version)
			if err != nil {
				return err
			}
			if found {
				j = p
			}
		}
		if j.Kind == leafward.ProveJob {
			if st, err = stateOf(&j); err != nil {
				return err
			}
			if later := st.word(); later != nil {
				word = later
			}
			out.Error = first(j.LastError, first(waiting(&j), out.Error))
		}
		if word != nil {
			out.Verification = *word
		}
		out.Doubt = st.doubt()
		if st.Agent != nil && st.Agent.Verified && j.Status != leafward.JobCompleted {
			out.Verified, out.Error = false, first(out.Doubt, "the server has not looked yet")
		}
		return nil
	})
	return out, err
}

// waiting says what an open job waits for.
func waiting(j *leafward.Job) string {
	if j.WaitingFor == "" {
		return ""
	}
	return "waiting for " + j.WaitingFor
}
