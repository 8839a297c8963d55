package store

import "time"

// placeHold is after how long a place in a lane is free that nobody gave back.
const placeHold = time.Minute

// enter writes the lane's row, so that of two that enter it at once one runs again and counts the other.
func (tx *Tx) enter(lane string) {
	tx.send("INSERT INTO job_lanes (lane, claims) VALUES ($1, 1) ON CONFLICT (lane) DO UPDATE SET claims = job_lanes.claims + 1", lane)
}

// LaneFree tells whether a lane in which so many may run at once has a place.
func (v *View) LaneFree(lane string, limit int) (bool, error) {
	busy, err := v.running()
	return busy[lane] < limit, err
}

// TakePlace takes a place in a lane for work that is no job, until it is given back or a minute is over. Free is false when
// as many run in the lane as may.
func (tx *Tx) TakePlace(id, lane, worker string, limit int) (free bool, err error) {
	if free, err = tx.LaneFree(lane, limit); err != nil || !free {
		return false, err
	}
	tx.enter(lane)
	tx.send("DELETE FROM lane_places WHERE until <= $1", micros(tx.Now))
	tx.send("INSERT INTO lane_places (id, lane, worker, until) VALUES ($1, $2, $3, $4)", id, lane, worker, micros(tx.Now.Add(placeHold)))
	return true, tx.err
}

// LeavePlace gives a place back.
func (tx *Tx) LeavePlace(id string) {
	tx.send("DELETE FROM lane_places WHERE id = $1", id)
	tx.touch(DueJobs)
}

// LeavePlacesOf gives back the places that a worker of the name has taken, except those whose ids begin otherwise.
func (tx *Tx) LeavePlacesOf(worker, except string) {
	tx.Exec("DELETE FROM lane_places WHERE worker = $1 AND substr(id, 1, $3) <> $2", worker, except, len(except))
}

// renewalLane is the lane that everybody enters who begins renewals by the clock.
const renewalLane = "renewals"

// Renewals counts the renewals that were begun since an instant and waited for their turn. A clock that was set back does not
// count what it began in its future.
func (v *View) Renewals(since time.Time) (n int, err error) {
	_, err = v.one("SELECT count(*) FROM jobs WHERE kind = 'root' AND type = 'Renewal' AND hourly AND created_at > $1 AND created_at <= $2", []any{micros(since), micros(v.Now)}, &n)
	return n, err
}

// FailingRenewals counts those of them whose certificate's last renewal failed, up to now.
func (v *View) FailingRenewals(since time.Time) (n int, err error) {
	_, err = v.one(`SELECT count(*) FROM jobs j JOIN certificates c ON c.id = j.certificate
		WHERE j.kind = 'root' AND j.type = 'Renewal' AND j.hourly AND j.created_at > $1 AND j.created_at <= $2 AND c.failed_at > 0`, []any{micros(since), micros(v.Now)}, &n)
	return n, err
}

// CountRenewals is Renewals for somebody who begins more of them: of two that do at once one counts the other's.
func (tx *Tx) CountRenewals(since time.Time) (int, error) {
	tx.enter(renewalLane)
	return tx.Renewals(since)
}
