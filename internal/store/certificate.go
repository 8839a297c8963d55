package store

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/leafward/leafward"
)

func certificates() table[leafward.Certificate] {
	return tableOf[leafward.Certificate]("certificate", "certificates")
}

func versions() table[leafward.Version] { return tableOf[leafward.Version]("version", "versions") }

func requests() table[leafward.Request] { return tableOf[leafward.Request]("request", "requests") }

func installations() table[leafward.Installation] {
	return tableOf[leafward.Installation]("installation", "installations")
}

// Certificates lists certificates.
func (v *View) Certificates(q leafward.Query) (leafward.List[leafward.Certificate], error) {
	return list(v, certificateList(), q)
}

// Certificate reads one certificate inside the actor's scope.
func (v *View) Certificate(id string) (leafward.Certificate, error) {
	return byID(v, certificates(), "team", id)
}

// CertificatesOf are certificates inside the actor's scope, by id.
func (v *View) CertificatesOf(ids []string) (map[string]leafward.Certificate, error) {
	s := newSelection(v.Actor, "team")
	s.oneOf("id", ids)
	all, err := selectAll(v, certificates(), s.where(), s.args...)
	out := make(map[string]leafward.Certificate, len(all))
	for _, c := range all {
		out[c.ID] = c
	}
	return out, err
}

// CertificateNamed tells whether a certificate, whoever's, has the id, or the name in the team.
func (v *View) CertificateNamed(team, id, name string) (bool, error) {
	var one int
	return v.one(`SELECT 1 FROM certificates WHERE id = $1
		UNION ALL SELECT 1 FROM certificates WHERE team = $2 AND enrollment = '' AND name = $3 AND archived_at = 0 LIMIT 1`, []any{id, team, name}, &one)
}

// Due is a certificate whose moment of renewal has come.
type Due struct {
	ID    string
	First bool // it has nothing in use, or what is revoked
}

// DueCertificates are up to limit certificates whose moment of renewal has come and that have no root job, those that end
// first first: those whose last renewal failed, or all others but the struck. Those that have nothing in use yet are before all others.
func (v *View) DueCertificates(failed bool, limit int) (due []Due, err error) {
	which := "failed_at = 0 AND struck_at = 0"
	if failed {
		which = "failed_at > 0 AND struck_at <= failed_at"
	}
	return v.due("version = ''", which+" AND ", "expires_at, id", limit)
}

// DueStruck are up to limit certificates like those, with a version in use that is revoked and no failure since, the oldest certificate first.
func (v *View) DueStruck(limit int) ([]Due, error) {
	return v.due("TRUE", "struck_at > 0 AND struck_at > failed_at AND "+v.plus, "created_at, id", limit)
}

// due reads those of which holds, a condition that is followed by that of all.
func (v *View) due(first, which, order string, limit int) (due []Due, err error) {
	err = v.rows(func(scan func(...any) error) error {
		var d Due
		err := scan(&d.ID, &d.First)
		due = append(due, d)
		return err
	}, "SELECT id, "+first+" FROM certificates WHERE "+which+dueCertificates+" ORDER BY "+order+" LIMIT $2", micros(v.Now), limit)
	return due, err
}

const dueCertificates = "renew_at > 0 AND open_job = '' AND renew_at <= $1"

// CountDue counts the certificates whose moment of renewal has come and that have no root job.
func (v *View) CountDue() (n int64, err error) {
	_, err = v.one("SELECT count(*) FROM certificates WHERE "+dueCertificates, []any{micros(v.Now)}, &n)
	return n, err
}

// CertificatesAhead are up to limit certificates that can be renewed, and that failed, begin or lost a version later than any clock
// should show.
func (v *View) CertificatesAhead(limit int) ([]leafward.Certificate, error) {
	return selectAll(v, certificates(), "WHERE ((failed_at > $1 OR not_before > $1) AND renew_at > $2 OR struck_at > $1) AND open_job = '' AND archived_at = 0 AND revoked_at = 0 ORDER BY id LIMIT $3",
		micros(v.Now.Add(leafward.Ahead)), micros(v.Now), limit)
}

// NotableCertificates returns up to limit certificates that reached a threshold or their end.
func (v *View) NotableCertificates(limit int) ([]leafward.Certificate, error) {
	return selectAll(v, certificates(), "WHERE note_at > 0 AND note_at <= $1 ORDER BY note_at, id LIMIT $2", micros(v.Now), limit)
}

// AddCertificate inserts a certificate.
func (tx *Tx) AddCertificate(c *leafward.Certificate) {
	wordy(c)
	add(tx, certificates(), "mc", c)
	tx.fold(c.Fold(), 1)
	if made := tx.rowsRead[certificates().name+"/"+c.ID]; made != nil {
		made.made = true
	}
}

// wordy writes the words into a new certificate by which it is found, its id among them.
func wordy(c *leafward.Certificate) {
	if c.ID == "" {
		c.ID = NewID("mc")
	}
	c.Words = lines(words(c))
}

// PutCertificate writes a certificate that was read in this transaction.
func (tx *Tx) PutCertificate(c *leafward.Certificate) {
	before, found := leafward.Certificate{}, true
	if read := tx.rowsRead[certificates().name+"/"+c.ID]; read.at(c.Revision) {
		before = read.row.(leafward.Certificate)
	} else {
		var err error
		before, found, err = selectOne(&tx.View, certificates(), "WHERE id = $1", c.ID)
		tx.Fail(err)
	}
	c.Words = lines(words(c))
	put(tx, certificates(), c)
	if found && before.ArchivedAt.IsZero() && !c.ArchivedAt.IsZero() {
		tx.shelve(c)
	}
	if found {
		tx.fold(before.Fold(), -1)
		tx.fold(c.Fold(), 1)
	}
}

// fold moves a count at the end of the change: what moves there and back writes nothing.
func (tx *Tx) fold(k leafward.FoldKey, n int) {
	if tx.folds == nil {
		tx.folds = make(map[leafward.FoldKey]int)
	}
	tx.folds[k] += n
}

// writeFolds moves the counts: at once on SQLite, where one writer owns them, and as rows of their own on PostgreSQL, so
// that no transaction queues behind another's count; FoldCounts adds those up.
func (tx *Tx) writeFolds() {
	for k, n := range tx.folds {
		switch {
		case n == 0:
		case tx.name == "postgres":
			tx.send("INSERT INTO certificate_deltas (team, issuer, state, expiry_day, renew_day, n) VALUES ($1, $2, $3, $4, $5, $6)", k.Team, k.Issuer, k.State, k.ExpiryDay, k.RenewDay, n)
		default:
			tx.send(`INSERT INTO certificate_counts (team, issuer, state, expiry_day, renew_day, n) VALUES ($1, $2, $3, $4, $5, $6)
				ON CONFLICT (team, issuer, state, expiry_day, renew_day) DO UPDATE SET n = certificate_counts.n + excluded.n`, k.Team, k.Issuer, k.State, k.ExpiryDay, k.RenewDay, n)
			if n < 0 {
				tx.send("DELETE FROM certificate_counts WHERE team = $1 AND issuer = $2 AND state = $3 AND expiry_day = $4 AND renew_day = $5 AND n = 0", k.Team, k.Issuer, k.State, k.ExpiryDay, k.RenewDay)
			}
		}
	}
}

// maxFold is how many changes are added up in one transaction.
const maxFold = 500

// FoldCounts adds the changes that PostgreSQL transactions left beside the counts; it tells how many there were.
func (tx *Tx) FoldCounts() (n int, err error) {
	if tx.name != "postgres" {
		return 0, nil
	}
	_, err = tx.one(`WITH taken AS (DELETE FROM certificate_deltas WHERE id IN (SELECT id FROM certificate_deltas ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING *),
		summed AS (SELECT team, issuer, state, expiry_day, renew_day, sum(n) AS n FROM taken GROUP BY team, issuer, state, expiry_day, renew_day),
		added AS (INSERT INTO certificate_counts SELECT team, issuer, state, expiry_day, renew_day, n FROM summed WHERE n <> 0
			ON CONFLICT (team, issuer, state, expiry_day, renew_day) DO UPDATE SET n = certificate_counts.n + excluded.n)
		SELECT count(*) FROM taken`, []any{maxFold}, &n)
	tx.Exec("DELETE FROM certificate_counts WHERE n = 0")
	return n, err
}

// Versions lists the versions of a certificate, the newest first.
func (v *View) Versions(certificate string, q leafward.Query) (leafward.List[leafward.Version], error) {
	if _, err := v.Certificate(certificate); err != nil {
		return leafward.List[leafward.Version]{}, err
	}
	return list(v, listing[leafward.Version]{
		table: versions(), scope: "team", by: "-created_at",
		sorts: map[string]string{"created_at": "created_at", "id": "id"}, where: map[string]string{},
		plain: func(*View, leafward.Query) (string, []any, error) { return "certificate = ?", []any{certificate}, nil },
	}, q)
}

// Version reads one version inside the actor's scope.
func (v *View) Version(id string) (leafward.Version, error) { return byID(v, versions(), "team", id) }

// CurrentVersions are the newest version of each slot of a certificate.
func (v *View) CurrentVersions(certificate string) ([]leafward.Version, error) {
	return selectAll(v, versions(), "WHERE certificate = $1 AND current ORDER BY slot", certificate)
}

// LiveVersions are the versions of a certificate that have not ended.
func (v *View) LiveVersions(certificate string) ([]leafward.Version, error) {
	return selectAll(v, versions(), "WHERE certificate = $1 AND not_after > $2 ORDER BY created_at, id", certificate, micros(v.Now))
}

// VersionsOfKey are the versions of any certificate, whoever asks, that hold the key and have not ended.
func (v *View) VersionsOfKey(key string) ([]leafward.Version, error) {
	return selectAll(v, versions(), "WHERE key_id = $1 AND not_after > $2", key, micros(v.Now))
}

// LostWith are the other certificates inside the actor's scope of which a version in use is revoked because it has the compromised
// key of a version of this one, or of the one that is given, which has not ended.
func (v *View) LostWith(certificate, version string) (others []string, err error) {
	s := newSelection(v.Actor, "w.team")
	s.and("w.certificate <> ?", certificate)
	s.and("w.revocation_reason = ? AND w.not_after > ?", leafward.KeyCompromise, micros(v.Now))
	keys, args := "SELECT key_id FROM versions WHERE certificate = ? AND revocation_reason = ? AND not_after > ?", []any{certificate, leafward.KeyCompromise, micros(v.Now)}
	if version != "" {
		keys, args = keys+" AND id = ?", append(args, version)
	}
	s.and("w.key_id IN ("+keys+")", args...)
	s.and("EXISTS (SELECT 1 FROM certificates c WHERE c.id = w.certificate AND c.struck_at > 0)")
	err = v.rows(func(scan func(...any) error) error {
		var other string
		err := scan(&other)
		others = append(others, other)
		return err
	}, "SELECT DISTINCT w.certificate FROM versions w "+s.where()+" ORDER BY w.certificate", s.args...)
	return others, err
}

// VersionOfSerial finds what an authority signed under a serial, whoever asks.
func (v *View) VersionOfSerial(authority, serial string) (leafward.Version, bool, error) {
	return selectOne(v, versions(), `WHERE authority = $1 AND serial = $2
		AND certificate IN (SELECT id FROM terms WHERE noun IN ('certificate.version', 'certificate.version.archived') AND term = $3)`, authority, serial, term(serial))
}

// AddVersion inserts a version as the current one of its slot; its predecessor is the one that was. A certificate that this
// transaction added has none: it gets one version of a slot at most.
func (tx *Tx) AddVersion(n *leafward.Version) {
	if made := tx.rowsRead[certificates().name+"/"+n.Certificate]; made == nil || !made.made {
		old, found, err := selectOne(&tx.View, versions(), "WHERE certificate = $1 AND slot = $2 AND current", n.Certificate, n.Slot)
		tx.Fail(err)
		if found {
			n.Predecessor = old.ID
			old.Current = false
			put(tx, versions(), &old)
		}
	}
	n.Current = true
	add(tx, versions(), "cv", n)
	tx.send("INSERT INTO terms (noun, term, id) VALUES ('certificate.version', $1, $3), ('certificate.version', $2, $3) ON CONFLICT DO NOTHING", term(n.Serial), term(n.SHA256), n.Certificate)
}

// PutVersion writes a version that was read in this transaction.
func (tx *Tx) PutVersion(n *leafward.Version) { put(tx, versions(), n) }

// AddChain stores an ordered chain of DER certificates once and returns its id.
func (tx *Tx) AddChain(ders [][]byte) string {
	all := []byte{} // for a leaf with nothing above it: empty, not NULL
	for _, der := range ders {
		all = append(all, der...)
	}
	id := chainID(all)
	tx.send("INSERT INTO chains (id, der) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING", id, all)
	return id
}

// chainID is the id of a chain that holds so much.
func chainID(ders []byte) string {
	sum := sha256.Sum256(ders)
	return hex.EncodeToString(sum[:])
}

// Chain is the concatenated DER of a stored chain, leaf's issuer first.
func (v *View) Chain(id string) (der []byte, err error) {
	_, err = v.one("SELECT der FROM chains WHERE id = $1", []any{id}, &der)
	return der, err
}

// AddRequest inserts a request.
func (tx *Tx) AddRequest(r *leafward.Request) { add(tx, requests(), "req", r) }

// PutRequest writes a request that was read in this transaction.
func (tx *Tx) PutRequest(r *leafward.Request) { put(tx, requests(), r) }

// RequestOfJob is the request that an order works on.
func (v *View) RequestOfJob(job string) (leafward.Request, bool, error) {
	return selectOne(v, requests(), "WHERE job = $1 ORDER BY created_at DESC, id DESC LIMIT 1", job)
}

// Request reads one request, whoever asks.
func (v *View) Request(id string) (leafward.Request, bool, error) {
	return selectOne(v, requests(), "WHERE id = $1", id)
}

// Installations are the places where a certificate must be.
func (v *View) Installations(certificate string) ([]leafward.Installation, error) {
	return selectAll(v, installations(), "WHERE certificate = $1 ORDER BY target", certificate)
}

// CarriedBy is another certificate that is installed at the target, with its team, whoever asks. On PostgreSQL the target's row is
// written, so that of two that bind it at once one runs again and sees the other.
func (tx *Tx) CarriedBy(target, except string) (name, team string, found bool, err error) {
	tx.Exec("UPDATE targets SET name = name WHERE id = $1", target)
	found, err = tx.one("SELECT c.name, c.team FROM installations i JOIN certificates c ON c.id = i.certificate WHERE i.target = $1 AND i.certificate <> $2 LIMIT 1", []any{target, except}, &name, &team)
	return name, team, found, err
}

// InstallationsOf are the places of many certificates, by certificate.
func (v *View) InstallationsOf(ids []string) (map[string][]leafward.Installation, error) {
	out := make(map[string][]leafward.Installation)
	if len(ids) == 0 {
		return out, nil
	}
	s := &selection{}
	s.in("certificate", ids)
	all, err := selectAll(v, installations(), s.where()+" ORDER BY certificate, target", s.args...)
	for _, i := range all {
		out[i.Certificate] = append(out[i.Certificate], i)
	}
	return out, err
}

// Installation reads one installation, whoever asks.
func (v *View) Installation(id string) (leafward.Installation, error) {
	return byID(v, installations(), "", id)
}

// AddInstallation binds a certificate to a target.
func (tx *Tx) AddInstallation(i *leafward.Installation) { add(tx, installations(), "in", i) }

// PutInstallation writes an installation that was read in this transaction.
func (tx *Tx) PutInstallation(i *leafward.Installation) { put(tx, installations(), i) }

// RemoveInstallation unbinds a certificate from a target.
func (tx *Tx) RemoveInstallation(i *leafward.Installation) {
	tx.Exec("DELETE FROM nodes WHERE endpoint IN (SELECT id FROM endpoints WHERE installation = $1)", i.ID)
	tx.Exec("DELETE FROM endpoints WHERE installation = $1", i.ID)
	remove(tx, installations(), i)
}

// EarliestProved is the earliest end among the proved versions of a certificate; zero when none is proved.
func (v *View) EarliestProved(certificate string) (time.Time, error) {
	var end int64
	_, err := v.one("SELECT coalesce(min(v.not_after), 0) FROM installations i JOIN versions v ON v.id = i.proved WHERE i.certificate = $1", []any{certificate}, &end)
	return instant(end), err
}

// StruckVersions are the revoked ones among the proved versions of a certificate: they are served.
func (v *View) StruckVersions(certificate string) ([]leafward.Version, error) {
	return selectAll(v, versions(), "WHERE revoked_at > 0 AND id IN (SELECT proved FROM installations WHERE certificate = $1)", certificate)
}

// StruckCertificates are up to limit certificates of which a version in use is revoked, behind another one in the order in which
// they were made.
func (v *View) StruckCertificates(after leafward.Row, limit int) ([]leafward.Certificate, error) {
	return selectAll(v, certificates(), "WHERE "+struckBehind+" LIMIT $3", micros(after.CreatedAt), after.ID, limit)
}

const struckBehind = "struck_at > 0 AND (created_at, id) > ($1, $2) ORDER BY created_at, id"

// CertificatesOfPolicy are up to limit certificates of a renewal policy, behind the id and in the order of ids, that can
// still be planned.
func (v *View) CertificatesOfPolicy(policy, after string, limit int) ([]leafward.Certificate, error) {
	return selectAll(v, certificates(), "WHERE policy = $1 AND id > $2 AND archived_at = 0 AND revoked_at = 0 ORDER BY id LIMIT $3", policy, after, limit)
}

// MoveCertificate gives what belongs to a certificate to another team, together with the certificate itself.
func (tx *Tx) MoveCertificate(id, team string) {
	tx.Exec("UPDATE versions SET team = $2, revision = revision + 1 WHERE certificate = $1", id, team)
	tx.Exec("UPDATE jobs SET team = $2, revision = revision + 1 WHERE certificate = $1 AND certificate <> ''", id, team)
	tx.forgetMade()
}

// LastRoot is the newest root job of a certificate, open or not.
func (v *View) LastRoot(certificate string) (leafward.Job, bool, error) {
	return selectOne(v, jobs(), "WHERE certificate = $1 AND certificate <> '' AND kind = 'root' ORDER BY created_at DESC, id DESC LIMIT 1", certificate)
}

// TargetsOf are the targets that a certificate is bound to, by id, whoever asks.
func (v *View) TargetsOf(certificate string) (map[string]leafward.Target, error) {
	all, err := selectAll(v, tableOf[leafward.Target]("target", "targets"), "WHERE id IN (SELECT target FROM installations WHERE certificate = $1)", certificate)
	out := make(map[string]leafward.Target, len(all))
	for _, t := range all {
		out[t.ID] = t
	}
	return out, err
}

// TargetsOfAll are the targets that each of many certificates is bound to, by id, whoever asks.
func (v *View) TargetsOfAll(certificates []string) (map[string]map[string]leafward.Target, error) {
	out := make(map[string]map[string]leafward.Target, len(certificates))
	for _, id := range certificates {
		out[id] = make(map[string]leafward.Target)
	}
	places, err := v.InstallationsOf(certificates)
	if err != nil || len(places) == 0 {
		return out, err
	}
	var ids []string
	for _, of := range places {
		for _, i := range of {
			ids = append(ids, i.Target)
		}
	}
	slices.Sort(ids)
	s := &selection{}
	s.oneOf("id", slices.Compact(ids))
	targets, err := selectAll(v, tableOf[leafward.Target]("target", "targets"), s.where(), s.args...)
	for _, t := range targets {
		for certificate, of := range places {
			if slices.ContainsFunc(of, func(i leafward.Installation) bool { return i.Target == t.ID }) {
				out[certificate][t.ID] = t
			}
		}
	}
	return out, err
}

// OpenJobsOf are the open jobs of a certificate, whoever asks.
func (v *View) OpenJobsOf(certificate string) ([]leafward.Job, error) {
	return selectAll(v, jobs(), "WHERE certificate = $1 AND certificate <> '' AND "+openJobs+" ORDER BY created_at, id", certificate)
}

// CertificateOfAny reads one certificate whoever asks: for the agent that works for it, and for what follows from a
// key that several certificates share.
func (v *View) CertificateOfAny(id string) (leafward.Certificate, bool, error) {
	return selectOne(v, certificates(), "WHERE id = $1", id)
}

// VersionOfAny reads one version whoever asks: for the agent that works for it.
func (v *View) VersionOfAny(id string) (leafward.Version, bool, error) {
	return selectOne(v, versions(), "WHERE id = $1", id)
}
