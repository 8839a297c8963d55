//go:build linux

package e2e_test

import (
	"encoding/pem"
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/leafward/leafward/internal/pgtest"
)

// Moments at which dates have gone wrong elsewhere: ends of months and years, leap days, hours that come twice or never, the
// ends of 32 bits and of UTCTime.
func oddMoments() []string {
	few := []string{"2028-02-29T23:59:30Z", "2038-01-19T03:14:00Z", "2049-12-31T23:59:30Z"}
	if !*long {
		return few
	}
	return append(few, "2026-12-31T23:59:30Z", "2027-01-31T12:00:00Z", "2027-02-28T23:59:30Z", "2027-03-28T00:59:30Z", "2027-10-31T00:59:30Z", "2027-11-30T23:59:30Z",
		"2032-02-29T00:00:30Z", "2036-02-07T06:28:00Z", "2038-01-19T03:14:08Z", "2048-02-29T12:00:00Z", "2050-01-01T00:00:30Z", "2099-12-31T23:59:30Z", "2100-02-28T23:59:30Z", "2106-02-07T06:28:00Z")
}

// At odd moments every date in certificates, CRLs and OCSP answers is written as RFC 5280 demands, as openssl sees them, and
// renewals follow one another.
func TestDatesAreWrittenRightAtOddMoments(t *testing.T) {
	installed(t, "openssl")
	t.Setenv("TZ", "Europe/Berlin")
	eachAlone(t, func(t *testing.T, dsn string) {
		d := newDrill(t, "R12", engineOf(dsn))
		moments, x := oddMoments(), &dates{drill: d}
		if dsn != "" && !*long {
			moments = moments[:1]
		}
		for _, moment := range moments {
			at, err := time.Parse(time.RFC3339, moment)
			if err != nil {
				t.Fatal(err)
			}
			database := dsn
			if dsn != "" && moment != moments[0] {
				database = pgtest.DSN(t)
			}
			x.around(at, database)
		}
		d.measured("%d moments, %d dates written, %d renewals one after the other", len(moments), x.written, x.renewed)
	})
}

// dates is one run of the drill.
type dates struct {
	*drill
	written, renewed int
}

// around issues and renews across a moment.
func (x *dates) around(at time.Time, dsn string) {
	s := newServer(x.T, dsn, "--clock="+at.Add(-day).Format(time.RFC3339))
	s.start(x.T)
	defer s.stop(x.T)
	s.ledger = follow(x.T, s.dir+"/ledger")
	s.setClock(x.T, at)
	_, csr := newCSR(x.T, "odd.example.com")
	for _, ttl := range []time.Duration{time.Hour * 24 * 8, time.Hour * 24 * 90} {
		made := s.local().expect(x.T, 201, "POST", "/api/v1/certificates?wait=30", object{"common_name": "odd.example.com", "name": ttl.String(), "csr_pem": csr, "ttl_seconds": int(ttl.Seconds())})
		x.leaf(at, made)
	}
	x.chain(at, s)
	made := s.local().expect(x.T, 201, "POST", "/api/v1/certificates?wait=30", object{"common_name": "again.example.com", "key_source": "server", "ttl_seconds": 8 * 86400})
	id := text(made, "id")
	x.leaf(at, made)
	for range 3 { // a month of renewals
		due := x.moment(made, "renews_at")
		if end := x.moment(made, "expires_at"); !due.Before(end) || !due.After(x.moment(made, "version", "not_before")) {
			x.Errorf("around %s it is renewed at %s, and ends at %s", at, due, end)
		}
		s.setClock(x.T, due.Add(time.Second))
		s.ledger.await(x.T, "certificate.renewed", id)
		next := s.local().get(x.T, "/api/v1/certificates/"+id)
		for _, path := range [][]string{{"renews_at"}, {"expires_at"}, {"version", "not_before"}, {"version", "not_after"}} {
			if !x.moment(next, path...).After(x.moment(made, path...)) {
				x.Errorf("around %s %v went from %s to %s", at, path, x.moment(made, path...), x.moment(next, path...))
			}
		}
		x.leaf(due, next)
		made = next
		x.renewed++
	}
}

// moment is a time that an answer tells.
func (x *dates) moment(o object, path ...string) time.Time {
	at, err := time.Parse(time.RFC3339, text(o, path...))
	if err != nil {
		x.Fatalf("%v: %v", path, err)
	}
	return at
}

// leaf: the certificate holds the moments that the answer tells, in their one form.
func (x *dates) leaf(at time.Time, c object) {
	block, _ := pem.Decode([]byte(text(c, "version", "pem_chain")))
	if block == nil {
		x.Fatalf("around %s there is no certificate: %v", at, c)
	}
	told := x.times(at, "a certificate", block.Bytes, false)
	if len(told) != 2 || !told[0].Equal(x.moment(c, "version", "not_before")) || !told[1].Equal(x.moment(c, "version", "not_after")) {
		x.Errorf("around %s openssl reads %v, and the answer says %s to %s", at, told, text(c, "version", "not_before"), text(c, "version", "not_after"))
	}
	if life := told[1].Sub(told[0]) + time.Second; life%day != 0 {
		x.Errorf("around %s it lives %s", at, life)
	}
}

// chain: so do the authorities, the CRL and an OCSP answer, and openssl believes them at that moment.
func (x *dates) chain(at time.Time, s *server) {
	for _, id := range []string{"iss-local", "root"} {
		x.times(at, "an authority", fetch(x.T, s.plain+"/.well-known/pki/ca/"+id), false)
	}
	crl := fetch(x.T, s.plain+"/.well-known/pki/crl/iss-local")
	if told := x.times(at, "a CRL", crl, false); len(told) < 2 || told[1].Sub(told[0]) != day {
		x.Errorf("around %s a CRL is of %v", at, told)
	}
	x.times(at, "an OCSP answer", fetch(x.T, s.plain+"/.well-known/pki/ocsp/iss-local/01"), true)
}

var (
	timeOf  = regexp.MustCompile(`(UTCTIME|GENERALIZEDTIME) *:(\S+)`)
	innerOf = regexp.MustCompile(`(?m)^ *(\d+):.*OCTET STRING`)
)

// times are the moments in a structure as openssl sees them, each of which has the form that belongs to its year: UTCTime
// before 2050 and GeneralizedTime from then on, with seconds and Z (RFC 5280 §4.1.2.5). Where all are generalized (RFC 6960
// §4.2.2.1), the certificates inside are not.
func (x *dates) times(at time.Time, what string, der []byte, generalized bool) (all []time.Time) {
	text := tool(x.T, der, "openssl", "asn1parse", "-inform", "DER")
	if m := innerOf.FindAllStringSubmatch(text, -1); generalized && len(m) > 0 {
		text = tool(x.T, der, "openssl", "asn1parse", "-inform", "DER", "-strparse", m[0][1])
	}
	for _, m := range timeOf.FindAllStringSubmatch(text, -1) {
		x.written++
		layout := "060102150405Z"
		if m[1] == "GENERALIZEDTIME" {
			layout = "20060102150405Z"
		}
		told, err := time.Parse(layout, m[2])
		if err != nil {
			x.Errorf("around %s %s has the time %s", at, what, m[2])
			continue
		}
		if late := told.Year() >= 2050; m[1] == "UTCTIME" && late || m[1] == "GENERALIZEDTIME" && !late && !generalized {
			x.Errorf("around %s %s writes %s as %s", at, what, told, m[1])
		}
		all = append(all, told)
	}
	if len(all) == 0 {
		x.Error(fmt.Errorf("around %s openssl finds no time in %s", at, what))
	}
	return all
}
