package store

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/leafward/leafward"
)

func jobs() table[leafward.Job] { return tableOf[leafward.Job]("job", "jobs") }

// Conditions in the very words of the partial indexes, without which the engines would not use them.
const (
	openJobs   = "status IN ('Pending', 'AwaitingCSR', 'AwaitingApproval', 'Running')"
	dueJobs    = "status = 'Pending' AND agent = '' AND kind <> 'root'"
	leasedJobs = "status = 'Running' AND lease_until > 0"
)

// Attempt is one lease of a job and what came of it.
type Attempt struct {
	Job       string    `db:"job"`
	Number    int       `db:"number"`
	Worker    string    `db:"worker"`
	StartedAt time.Time `db:"started_at"`
	EndedAt   time.Time `db:"ended_at"`
	Outcome   string    `db:"outcome"` // "" while it runs
	Error     string    `db:"error"`
}

// AddJob inserts a job unless an open one of its kind and subject exists: then *job becomes that one, and added is false.
func (tx *Tx) AddJob(job *leafward.Job) (added bool) {
	if tx.err != nil {
		return false
	}
	t := jobs()
	fresh := *job
	if fresh.ID == "" {
		fresh.ID = NewID("job")
	}
	if fresh.UUID == "" {
		fresh.UUID = uuid.Must(uuid.NewV7()).String()
	}
	fresh.Revision, fresh.CreatedAt, fresh.UpdatedAt = 1, tx.Now, tx.Now
	args, err := t.valuesOf(reflect.ValueOf(&fresh).Elem())
	if err != nil {
		tx.Fail(err)
		return false
	}
	if !job.Status.Open() { // it is in nobody's way
		tx.send("INSERT INTO jobs"+t.insert, args...)
		*job = fresh
		tx.touch(job.ID)
		tx.Fail(remember(&tx.View, t, job))
		return tx.err == nil
	}
	n := tx.Exec("INSERT INTO jobs"+t.insert+" ON CONFLICT (kind, subject) WHERE "+openJobs+" DO NOTHING", args...)
	if n == 1 {
		*job = fresh
		tx.Fail(remember(&tx.View, t, job))
		tx.planted(job)
		return true
	}
	if tx.err != nil {
		return false
	}
	open, found, err := tx.OpenJob(job.Kind, job.Subject)
	if err == nil && !found {
		err = errStale
	}
	if err != nil {
		tx.Fail(err)
		return false
	}
	*job = open
	return false
}

// PlantJob inserts an open job of which the caller knows that no other of its kind and subject is open. Were there one, it
// would be a Conflict.
func (tx *Tx) PlantJob(job *leafward.Job) {
	add(tx, jobs(), "job", job)
	tx.planted(job)
}

// planted tells who works jobs of a new one, and keeps a root, which nobody else knows yet.
func (tx *Tx) planted(job *leafward.Job) {
	tx.touchJob(job)
	if made := tx.rowsRead["jobs/"+job.ID]; made != nil {
		made.made = job.Kind == leafward.RootJob
	}
}

// PutJob writes a job that was read in this transaction.
func (tx *Tx) PutJob(job *leafward.Job) {
	put(tx, jobs(), job)
	tx.touchJob(job)
}

// touchJob tells who works jobs of one that may be claimed, and of one that ended and made room in its lane.
func (tx *Tx) touchJob(job *leafward.Job) {
	tx.touch(job.ID)
	if job.Status != leafward.JobRunning && job.Kind != leafward.RootJob {
		tx.touch(DueJobs)
	}
}

// Job reads one job inside the actor's scope.
func (v *View) Job(id string) (leafward.Job, error) { return byID(v, jobs(), "team", id) }

// JobOfAny reads one job whoever asks: for the engine, which follows jobs from one to another.
func (v *View) JobOfAny(id string) (job leafward.Job, found bool, err error) {
	if made := v.madeRoot(id); made != nil {
		return made.row.(leafward.Job), true, nil
	}
	return selectOne(v, jobs(), "WHERE id = $1", id)
}

// madeRoot is the root that this transaction added, as it is now; nil when it did not. Nobody else knows it, so that it need not
// be read again.
func (v *View) madeRoot(id string) *readRow {
	if r := v.rowsRead["jobs/"+id]; r != nil && r.made {
		return r
	}
	return nil
}

// forgetMade has roots be read again: something else than PutJob wrote to jobs.
func (tx *Tx) forgetMade() {
	for _, r := range tx.rowsRead {
		r.made = false
	}
}

// OpenJob reads the open job of a kind and subject, whoever asks.
func (v *View) OpenJob(kind leafward.JobKind, subject string) (job leafward.Job, found bool, err error) {
	return selectOne(v, jobs(), "WHERE kind = $1 AND subject = $2 AND "+openJobs, string(kind), subject)
}

// Children reads the jobs below a job in the order in which they were made, whoever asks.
func (v *View) Children(parent string) ([]leafward.Job, error) {
	return selectAll(v, jobs(), "WHERE parent = $1 AND parent <> '' ORDER BY created_at, id", parent)
}

// AgentWork reads up to limit jobs that the agent may take up now, those that are due longest first: pending ones,
// those that wait for its CSR, and those whose last lease ended.
func (v *View) AgentWork(agent string, limit int) ([]leafward.Job, error) {
	const due = `WHERE agent = $1 AND agent <> '' AND ` + openJobs + ` AND run_at <= $2 AND (deadline = 0 OR deadline > $2)
		AND (status IN ('Pending', 'AwaitingCSR') OR status = 'Running' AND lease_until <= $2) ORDER BY run_at, id LIMIT $3`
	return selectAll(v, jobs(), due, agent, micros(v.Now), limit)
}

// Jobs lists the jobs of the contract's types. Orders are parts of a root and shown only below it, with parent_id.
func (v *View) Jobs(q leafward.Query) (leafward.List[leafward.Job], error) {
	return list(v, listing[leafward.Job]{
		table: jobs(), scope: "team", by: "-created_at", fixed: "type <> ''",
		sorts: map[string]string{"created_at": "created_at", "updated_at": "updated_at", "id": "id"},
		where: map[string]string{
			"status": "status = ?", "type": "type = ?",
			"certificate_id": "certificate = ? AND certificate <> ''", "agent_id": "agent = ? AND agent <> ''",
			"batch_id": "batch = ? AND batch <> ''", "parent_id": "parent = ? AND parent <> ''", "target_id": "target = ? AND target <> ''",
		},
		given: givenOfJobs,
		plain: func(_ *View, q leafward.Query) (string, []any, error) {
			if q.Where["parent_id"] != "" {
				return "", nil, nil
			}
			return "kind <> 'order'", nil, nil
		},
	}, q)
}

// givenOfJobs refuses a status or type that no job can have.
func givenOfJobs(name, value string) (any, error) {
	known := map[string][]string{
		"status": {"Pending", "AwaitingCSR", "AwaitingApproval", "Running", "Completed", "Failed", "Cancelled"},
		"type":   {"Issuance", "Renewal", "Deployment", "Validation"},
	}[name]
	if known != nil && !slices.Contains(known, value) {
		return nil, errors.New("is none of " + strings.Join(known, ", "))
	}
	return value, nil
}

// Claim says which due jobs a worker of this process takes.
type Claim struct {
	Worker string
	Holds  map[leafward.JobKind]time.Duration // the kinds it works, and how long a lease of each lasts
	Lanes  func(lane string) int              // how many of a lane may run at once; 0: any number
	Limit  int                                // how many it takes at most
}

// Due tells whether the claim would find a job.
func (v *View) Due(c Claim) (bool, error) {
	busy, err := v.running()
	if err != nil {
		return false, err
	}
	where, args := c.due(v.Now, busy)
	var one int
	return v.one("SELECT 1 FROM jobs WHERE "+where+" LIMIT 1", args, &one)
}

// Claim leases due jobs to the worker: each is Running, with an attempt and an epoch more, and its lease ends after the
// kind's hold. A lane never runs more than it may, whoever else claims at the same time: every claim in a lane writes
// the lane's row, so that of two at once one runs again and counts what the other took.
func (tx *Tx) Claim(c Claim) ([]leafward.Job, error) {
	busy, err := tx.running()
	if err != nil {
		return nil, err
	}
	where, args := c.due(tx.Now, busy)
	due := "SELECT id, lane, run_at FROM jobs WHERE " + where + " ORDER BY run_at, id LIMIT " + strconv.Itoa(c.Limit)
	rooms, err := tx.rooms(c, due, args, busy)
	if err != nil {
		return nil, err
	}
	arg := func(value any) string {
		args = append(args, value)
		return "$" + strconv.Itoa(len(args))
	}
	until := "CASE kind"
	for _, kind := range c.kinds() {
		until += " WHEN " + arg(string(kind)) + " THEN " + strconv.FormatInt(c.Holds[kind].Microseconds(), 10)
	}
	until += " ELSE 0 END"
	room := "1000000"
	if len(rooms) > 0 {
		room = "CASE lane"
		for _, lane := range sortedKeys(rooms) {
			room += " WHEN " + arg(lane) + " THEN " + strconv.Itoa(rooms[lane])
		}
		room += " ELSE 1000000 END"
	}
	return tx.claim(`WITH due AS MATERIALIZED (`+due+tx.skip+`),
		ranked AS (SELECT id, lane, row_number() OVER (PARTITION BY lane ORDER BY run_at, id) AS place FROM due)
		UPDATE jobs SET status = 'Running', worker = `+arg(c.Worker)+`, attempt = attempt + 1, epoch = epoch + 1, waiting_for = '',
			lease_until = $1 + `+until+`, started_at = CASE started_at WHEN 0 THEN $1 ELSE started_at END, updated_at = $1, revision = revision + 1
		WHERE id IN (SELECT id FROM ranked WHERE place <= `+room+`) RETURNING `+jobs().list, args, rooms)
}

// claim runs the statement that claims and notes the attempts and the bounded lanes.
func (tx *Tx) claim(query string, args []any, rooms map[string]int) (claimed []leafward.Job, err error) {
	tx.Fail(tx.rows(func(scan func(...any) error) error {
		var job leafward.Job
		err := jobs().scanRow(scan, reflect.ValueOf(&job).Elem())
		claimed = append(claimed, job)
		return err
	}, query, args...))
	for i := range claimed {
		tx.OpenAttempt(&claimed[i])
		if _, bounded := rooms[claimed[i].Lane]; bounded {
			tx.enter(claimed[i].Lane)
		}
	}
	return claimed, tx.err
}

// kinds are the claim's kinds in one order, so that its SQL is the same text each time.
func (c Claim) kinds() []leafward.JobKind { return slices.Sorted(maps.Keys(c.Holds)) }

// due is the condition for the claim's jobs, those in full lanes left out.
func (c Claim) due(now time.Time, busy map[string]int) (where string, args []any) {
	args = []any{micros(now)}
	where = dueJobs + " AND run_at <= $1 AND (deadline = 0 OR deadline > $1)"
	for _, kind := range c.kinds() {
		args = append(args, string(kind))
	}
	where += " AND kind IN (" + marks(2, len(args)-1) + ")"
	from := len(args)
	for _, lane := range sortedKeys(busy) {
		if limit := c.Lanes(lane); limit > 0 && busy[lane] >= limit {
			args = append(args, lane)
		}
	}
	if n := len(args) - from; n > 0 {
		where += " AND lane NOT IN (" + marks(from+1, n) + ")"
	}
	return where, args
}

// rooms tells how many more jobs may start in each bounded lane among the candidates.
func (v *View) rooms(c Claim, due string, args []any, busy map[string]int) (map[string]int, error) {
	rooms := make(map[string]int)
	err := v.rows(func(scan func(...any) error) error {
		var lane string
		err := scan(&lane)
		if limit := c.Lanes(lane); limit > 0 {
			rooms[lane] = limit - busy[lane]
		}
		return err
	}, "SELECT DISTINCT lane FROM ("+due+") AS due WHERE lane <> ''", args...)
	return rooms, err
}

// running counts what runs in each lane: jobs, and work that took a place. A place that ends later than any clock near ours
// would have it was taken before the clock was set back, and does not count.
func (v *View) running() (map[string]int, error) {
	busy := make(map[string]int)
	err := v.rows(func(scan func(...any) error) error {
		var lane string
		var n int
		err := scan(&lane, &n)
		busy[lane] = n
		return err
	}, `SELECT lane, count(*) FROM (SELECT lane FROM jobs WHERE status = 'Running' AND lane <> ''
		UNION ALL SELECT lane FROM lane_places WHERE until > $1 AND until <= $2) AS held GROUP BY lane`, micros(v.Now), micros(v.Now.Add(2*placeHold)))
	return busy, err
}

// RenewLease moves the end of a lease; held is false when the worker no longer has it under that epoch.
func (tx *Tx) RenewLease(id, worker string, epoch int64, until time.Time) (held bool) {
	return tx.Exec("UPDATE jobs SET lease_until = $4 WHERE id = $1 AND worker = $2 AND epoch = $3 AND status = 'Running'", id, worker, epoch, micros(until)) == 1
}

// OpenAttempt notes that a worker took the job up. An attempt that was given back before it counted begins again.
func (tx *Tx) OpenAttempt(job *leafward.Job) {
	if tx.left.query == "" {
		tx.left = witness{"SELECT 1 FROM job_attempts WHERE job = $1 AND number = $2 AND worker = $3", []any{job.ID, job.Attempt, job.Worker}}
	}
	tx.send(`INSERT INTO job_attempts (job, number, worker, started_at, ended_at, outcome, error) VALUES ($1, $2, $3, $4, 0, '', '')
		ON CONFLICT (job, number) DO UPDATE SET worker = excluded.worker, ended_at = 0, outcome = '', error = ''`,
		job.ID, job.Attempt, job.Worker, micros(tx.Now))
}

// AddAttempt notes an attempt that is over.
func (tx *Tx) AddAttempt(a Attempt) { insertRow(tx, tableOf[Attempt]("attempt", "job_attempts"), &a) }

// CloseAttempt notes what came of the job's attempt.
func (tx *Tx) CloseAttempt(job *leafward.Job, outcome, reason string) {
	tx.send("UPDATE job_attempts SET ended_at = $3, outcome = $4, error = $5 WHERE job = $1 AND number = $2 AND ended_at = 0",
		job.ID, job.Attempt, micros(tx.Now), outcome, reason)
}

// Attempts reads a job's attempts, the first first.
func (v *View) Attempts(job string) ([]Attempt, error) {
	return selectAll(v, tableOf[Attempt]("attempt", "job_attempts"), "WHERE job = $1 ORDER BY number", job)
}

// AddStep adds a step behind the job's steps and gives it its number.
func (tx *Tx) AddStep(step *leafward.Step) {
	if tx.err != nil {
		return
	}
	n, err := tx.CountSteps(step.Job)
	tx.Fail(err)
	step.Number, step.At = n+1, tx.Now
	added := tx.Exec(`INSERT INTO job_steps (job, number, attempt, at, name, ok, message) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`,
		step.Job, step.Number, step.Attempt, micros(step.At), step.Name, step.OK, step.Message)
	if added == 0 {
		tx.Fail(errStale)
	}
}

// CountSteps tells how many steps a job has.
func (v *View) CountSteps(job string) (n int, err error) {
	_, err = v.one("SELECT coalesce(max(number), 0) FROM job_steps WHERE job = $1", []any{job}, &n)
	return n, err
}

// Steps reads a job's steps in order.
func (v *View) Steps(job string) ([]leafward.Step, error) {
	return selectAll(v, tableOf[leafward.Step]("step", "job_steps"), "WHERE job = $1 ORDER BY number", job)
}

// RequestCancel notes who asked that the job be cancelled as soon as that can be.
func (tx *Tx) RequestCancel(id, by string) {
	tx.Exec("UPDATE jobs SET cancel_by = $2 WHERE id = $1", id, by)
	tx.forgetMade()
}

// CancelRequested tells who asked that the job be cancelled, "" when nobody did.
func (v *View) CancelRequested(id string) (by string, err error) {
	if v.madeRoot(id) != nil {
		return "", nil
	}
	_, err = v.one("SELECT cancel_by FROM jobs WHERE id = $1", []any{id}, &by)
	return by, err
}

// SetBack takes the jobs that were written by a clock that was ahead back to the present one, with every moment that they
// carry, and tells how many there were.
func (tx *Tx) SetBack(limit int) int64 {
	const lead = "(updated_at - $1)"
	return tx.Exec("UPDATE jobs SET run_at = run_at - "+lead+", lease_until = CASE WHEN lease_until > 0 THEN lease_until - "+lead+" ELSE 0 END, "+
		"deadline = CASE WHEN deadline > 0 THEN deadline - "+lead+" ELSE 0 END, updated_at = $1, revision = revision + 1 "+
		"WHERE id IN (SELECT id FROM jobs WHERE updated_at > $2 AND "+openJobs+" ORDER BY updated_at, id LIMIT $3)", micros(tx.Now), micros(tx.Now.Add(leafward.Ahead)), limit)
}

// Ahead tells whether a job was written by a clock that was ahead of the present one.
func (v *View) Ahead() (bool, error) {
	var one int
	return v.one("SELECT 1 FROM jobs WHERE updated_at > $1 AND "+openJobs+" LIMIT 1", []any{micros(v.Now.Add(leafward.Ahead))}, &one)
}

// LostJobs reads up to limit running jobs whose lease ended, those of the ids left out.
func (v *View) LostJobs(limit int, except ...string) ([]leafward.Job, error) {
	args := []any{micros(v.Now), limit}
	where := "WHERE " + leasedJobs + " AND lease_until <= $1"
	if len(except) > 0 {
		where += " AND id NOT IN (" + marks(3, len(except)) + ")"
		for _, id := range except {
			args = append(args, id)
		}
	}
	return selectAll(v, jobs(), where+" ORDER BY lease_until LIMIT $2", args...)
}

// JobsTakenBy reads up to limit jobs that are leased to the worker.
func (v *View) JobsTakenBy(worker string, limit int) ([]leafward.Job, error) {
	return selectAll(v, jobs(), "WHERE "+leasedJobs+" AND worker = $1 ORDER BY id LIMIT $2", worker, limit)
}

// LateJobs reads up to limit open jobs whose deadline passed and on which nobody holds a lease.
func (v *View) LateJobs(limit int) ([]leafward.Job, error) {
	return selectAll(v, jobs(), "WHERE deadline > 0 AND "+openJobs+" AND deadline <= $1 AND lease_until <= $1 ORDER BY deadline, id LIMIT $2", micros(v.Now), limit)
}

// OpenJobs counts the open jobs by status.
func (v *View) OpenJobs() (map[leafward.JobStatus]int64, error) {
	counts := make(map[leafward.JobStatus]int64)
	err := v.rows(func(scan func(...any) error) error {
		var status leafward.JobStatus
		var n int64
		err := scan(&status, &n)
		counts[status] = n
		return err
	}, "SELECT status, count(*) FROM jobs WHERE "+openJobs+" GROUP BY status")
	return counts, err
}

// OldestDue is since when the job that waits longest for a worker of the server is due; zero when none waits.
func (v *View) OldestDue() (time.Time, error) {
	var at int64
	_, err := v.one("SELECT coalesce(min(run_at), 0) FROM jobs WHERE "+dueJobs+" AND run_at <= $1", []any{micros(v.Now)}, &at)
	return instant(at), err
}

// ClockSkew is how far the process's clock is ahead of the database's, behind when negative, as well as a round trip
// can tell. On SQLite they are the same clock.
func (db *DB) ClockSkew(ctx context.Context) (skew time.Duration, err error) {
	before := db.now()
	err = db.View(ctx, func(v *View) error {
		if after := db.now(); v.Now.Before(before) {
			skew = before.Sub(v.Now)
		} else if v.Now.After(after) {
			skew = after.Sub(v.Now)
		}
		return nil
	})
	return skew, err
}

// marks is a list of n placeholders from $from on.
func marks(from, n int) string {
	list := make([]byte, 0, 5*n)
	for i := range n {
		if i > 0 {
			list = append(list, ", "...)
		}
		list = strconv.AppendInt(append(list, '$'), int64(from+i), 10)
	}
	return string(list)
}
