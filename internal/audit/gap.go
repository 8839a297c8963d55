package audit

import (
	"bytes"
	"encoding/json"
	"time"
)

// Restored is the action of the event by which a server says that its database was put back from a backup, or that it took
// over what a log says which went further. Its details are those of Gap.
const Restored = "log.restored"

// Gap is a stretch of the log whose changes are not in the database, because it was put back from a backup.
type Gap struct {
	Seq    int64     `json:"seq"`              // of the event that tells of it
	Since  time.Time `json:"since,omitzero"`   // when the backup was taken; zero when that is not known
	Events int64     `json:"events"`           // how many the backup held: those up to this one are in the database too
	Known  int64     `json:"known,omitempty"`  // up to which event it is on record what happened afterwards; 0: it is not
	Beside string    `json:"beside,omitempty"` // chain hash of the last event of a log that went on from the backup besides this one
}

// gapOf reads the event of a record that tells of a gap.
func gapOf(r Record) (Gap, bool) {
	if !bytes.Contains(r.Event, []byte(`"action":"`+Restored+`"`)) {
		return Gap{}, false
	}
	var told struct {
		Action  string `json:"action"`
		Details Gap    `json:"details"`
	}
	if json.Unmarshal(r.Event, &told) != nil || told.Action != Restored {
		return Gap{}, false
	}
	told.Details.Seq = r.Seq
	return told.Details, true
}
