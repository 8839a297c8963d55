package lint

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/pki"
)

// profile is a sort of certificate that people ask for.
type profile struct {
	name    string
	kinds   []pki.KeyKind
	options Options
	request func(*rand.Rand, *pki.Template, pki.KeyKind)
}

func profiles() []profile {
	classic := []pki.KeyKind{p256(), p384(), rsa2048()}
	every := append(slices.Clone(classic), ed25519())
	short := 47 * day
	long := 825 * day
	return []profile{
		{"public server", classic, Options{MaxTTL: short, EKUs: []string{"serverAuth"}, PublicLike: true}, server(publicHost)},
		{"public wildcard", classic, Options{MaxTTL: short, EKUs: []string{"serverAuth"}, PublicLike: true}, server(wildcard)},
		{"internal server by public rules", classic, Options{MaxTTL: short, EKUs: []string{"serverAuth"}, PublicLike: true, InternalNames: true}, internalServer},
		{"internal server", every, Options{MaxTTL: long, EKUs: []string{"serverAuth", "clientAuth"}}, internalServer},
		{"international names", every, Options{MaxTTL: long, EKUs: []string{"serverAuth"}}, server(internationalHost)},
		{"node known by its common name", every, Options{MaxTTL: long, EKUs: []string{"serverAuth", "clientAuth"}}, node},
		{"person's mail", every, Options{MaxTTL: long, EKUs: []string{"emailProtection", "clientAuth"}}, mail},
		{"workload", every, Options{MaxTTL: day, EKUs: []string{"serverAuth", "clientAuth"}}, workload},
		{"code", every, Options{MaxTTL: long, EKUs: []string{"codeSigning"}}, signer("codeSigning")},
		{"time stamps", every, Options{MaxTTL: long, EKUs: []string{"timeStamping"}}, signer("timeStamping")},
		{"OCSP responder", every, Options{MaxTTL: 14 * day, EKUs: []string{"OCSPSigning"}}, responder},
		{"own purpose", every, Options{MaxTTL: long, EKUs: []string{"1.3.6.1.4.1.55555.1.2", "clientAuth"}}, ownPurpose},
	}
}

func word(r *rand.Rand) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	octets := make([]byte, 1+r.IntN(20))
	for i := range octets {
		octets[i] = letters[r.IntN(len(letters))]
	}
	return "h" + string(octets)
}

func publicHost(r *rand.Rand) string {
	return word(r) + "." + word(r) + []string{".com", ".org", ".de", ".co.uk"}[r.IntN(4)]
}

func wildcard(r *rand.Rand) string { return "*." + publicHost(r) }

func internalHost(r *rand.Rand) string {
	return "host-" + word(r) + []string{"", ".internal", ".corp.lan", ".svc.cluster.local"}[r.IntN(4)]
}

func internationalHost(r *rand.Rand) string {
	return word(r) + "." + []string{"xn--bcher-kva", "xn--fiqs8s", "xn--wgv71a119e", "xn--e1afmkfd"}[r.IntN(4)] + ".com"
}

func server(host func(*rand.Rand) string) func(*rand.Rand, *pki.Template, pki.KeyKind) {
	return func(r *rand.Rand, t *pki.Template, _ pki.KeyKind) {
		for range 1 + r.IntN(8) {
			t.Names.DNS = append(t.Names.DNS, host(r))
		}
		if r.IntN(2) == 0 && len(t.Names.DNS[0]) <= 64 {
			t.Subject.CommonName = t.Names.DNS[0]
		}
		t.EKUs = []string{"serverAuth"}
	}
}

func internalServer(r *rand.Rand, t *pki.Template, kind pki.KeyKind) {
	server(internalHost)(r, t, kind)
	for range r.IntN(3) {
		t.Names.IP = append(t.Names.IP, netip.AddrFrom4([4]byte{10, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}))
	}
	if r.IntN(2) == 0 {
		t.Names.IP = append(t.Names.IP, netip.AddrFrom16([16]byte{0xfd, 15: byte(1 + r.IntN(200))}))
	}
	if kind.Algorithm == pki.RSA && r.IntN(2) == 0 {
		t.KeyUsage = 1 | 4 // digitalSignature, keyEncipherment
	}
}

func node(r *rand.Rand, t *pki.Template, _ pki.KeyKind) {
	t.Subject.CommonName = internalHost(r)
	t.EKUs = []string{"serverAuth", "clientAuth"}
}

func mail(r *rand.Rand, t *pki.Template, _ pki.KeyKind) {
	t.Subject = pki.Subject{CommonName: []string{"Zoë Müller", "山田太郎", "Анна Петрова", "O'Brien, Pat"}[r.IntN(4)], Organization: "Example & Söhne"}
	t.Names.Email = []string{word(r) + "+tag@" + publicHost(r)}
	t.EKUs = []string{"emailProtection", "clientAuth"}
}

func workload(r *rand.Rand, t *pki.Template, _ pki.KeyKind) {
	t.Names.URI = []string{"spiffe://" + publicHost(r) + "/ns/" + word(r) + "/sa/" + word(r)}
	t.EKUs = []string{"serverAuth", "clientAuth"}
	t.TTL = time.Hour
	t.NoRevAvail, t.CRLDistributionPoints, t.OCSPServers = true, nil, nil
}

func signer(usage string) func(*rand.Rand, *pki.Template, pki.KeyKind) {
	return func(r *rand.Rand, t *pki.Template, _ pki.KeyKind) {
		t.Subject = pki.Subject{CommonName: "Signer " + word(r), Organization: word(r)}
		t.EKUs = []string{usage}
	}
}

func responder(r *rand.Rand, t *pki.Template, _ pki.KeyKind) {
	t.Subject.CommonName = "OCSP " + word(r)
	t.EKUs = []string{pki.OCSPSigning}
	t.OCSPNoCheck, t.CRLDistributionPoints, t.OCSPServers = true, nil, nil
}

func ownPurpose(r *rand.Rand, t *pki.Template, _ pki.KeyKind) {
	t.Subject.CommonName = word(r)
	t.Names.URI = []string{"urn:uuid:" + word(r)}
	t.EKUs = []string{"1.3.6.1.4.1.55555.1.2", "clientAuth"}
}

// perProfile is how many random requests each profile sees; CORPUS=1000 is the score-card's figure.
func perProfile(t *testing.T) int {
	text, ok := os.LookupEnv("CORPUS")
	if !ok {
		return 200
	}
	n, err := strconv.Atoi(text)
	check(t, err)
	return n
}

func TestTheCorpusHasNoFindings(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	n := perProfile(t)
	for i, kind := range []pki.KeyKind{p256(), p384(), rsa2048(), ed25519()} {
		w := newWorld(t, kind)
		for j, profile := range profiles() {
			if profile.options.PublicLike && kind == ed25519() {
				continue // no public rules allow it
			}
			t.Run(fmt.Sprintf("%s under %s", profile.name, kind), func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, uint64(100*i+j)))
				for range n / 4 {
					w.request(t, r, profile)
				}
			})
		}
	}
}

// request makes one random request of a profile and lints its draft.
func (w *world) request(t *testing.T, r *rand.Rand, p profile) {
	t.Helper()
	kind := p.kinds[r.IntN(len(p.kinds))]
	template := w.leaf()
	template.Subject, template.Names = pki.Subject{}, pki.Names{}
	template.TTL = time.Duration(1+r.Int64N(int64(p.options.MaxTTL/time.Second))) * time.Second
	p.request(r, &template, kind)
	parsed, err := pki.ParseNames(template.Names.All())
	check(t, err)
	template.Names = parsed
	options := p.options
	options.Now, options.Backdate = w.now, 5*time.Minute
	if err := w.linter.Check(w.draft(t, template, kind), w.issuing, options); err != nil {
		t.Fatalf("%s, names %q, subject %q: %v", kind, template.Names.All(), template.Subject, err)
	}
}
