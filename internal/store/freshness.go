package store

import "time"

// Freshness is how old what an authority of our own has published is, and how long its OCSP responder lasts.
type Freshness struct {
	Authority  string
	NextUpdate time.Time // of its CRL; zero without one
	Waiting    int64     // revocations and releases that the CRL does not tell yet
	Responder  time.Time // notAfter of its OCSP responder; zero before the first answer, and while no other can be made
	Offline    bool      // its key is not here: nothing more is published
}

// Stale tells whether the CRL is missing or past its next update.
func (f Freshness) Stale(now time.Time) bool { return !now.Before(f.NextUpdate) }

// Lists tells of the CRL and responder of every authority of our own that must answer: one whose own certificate has ended
// can no more.
func (v *View) Lists() (all []Freshness, err error) {
	err = v.rows(func(scan func(...any) error) error {
		var f Freshness
		var next, responder int64
		err := scan(&f.Authority, &next, &responder, &f.Waiting, &f.Offline)
		f.NextUpdate, f.Responder = instant(next), instant(responder)
		all = append(all, f)
		return err
	}, `SELECT a.id, coalesce(c.next_update, 0), CASE a.custody WHEN 'offline' THEN 0 ELSE coalesce(r.not_after, 0) END, (SELECT count(*) FROM revocations w WHERE w.authority = a.id), a.custody = 'offline'
		FROM authorities a LEFT JOIN crls c ON c.authority = a.id AND c.shard = 0 LEFT JOIN responders r ON r.authority = a.id
		WHERE a.custody IN ('local', 'offline') AND a.state IN ('active', 'retiring') AND a.certificate <> '' AND a.not_after > $1 ORDER BY a.id`, micros(v.Now))
	return all, err
}
