package store

import (
	"fmt"
	"strings"
	"time"

	"github.com/leafward/leafward"
)

func batches() table[leafward.Batch] { return tableOf[leafward.Batch]("batch", "batches") }

// AddBatch inserts a batch.
func (tx *Tx) AddBatch(b *leafward.Batch) { add(tx, batches(), "batch", b) }

// Batch reads one batch that the actor may look at.
func (v *View) Batch(id string) (leafward.Batch, error) {
	b, err := byID(v, batches(), "", id)
	if err == nil && !b.Seen(v.Actor) {
		return leafward.Batch{}, leafward.Missing("batch", id)
	}
	return b, err
}

// EndBatch notes that nothing more happens in a batch; why is empty when it met everything.
func (tx *Tx) EndBatch(id, why string) {
	tx.Exec("UPDATE batches SET ended_at = $2, last_error = $3, updated_at = $2, revision = revision + 1 WHERE id = $1", id, micros(tx.Now), why)
	tx.touch(id)
}

// AddBatchItems inserts items of one batch and adds them to its totals.
func (tx *Tx) AddBatchItems(items []leafward.BatchItem) {
	n := make(map[leafward.Outcome]int)
	for i := range items {
		insertRow(tx, tableOf[leafward.BatchItem]("batch item", "batch_items"), &items[i])
		n[items[i].Outcome]++
	}
	if len(items) > 0 {
		tx.Exec("UPDATE batches SET done = done + $2, skipped = skipped + $3, failed = failed + $4, updated_at = $5, revision = revision + 1 WHERE id = $1",
			items[0].Batch, n[leafward.ItemDone], n[leafward.ItemSkipped], n[leafward.ItemFailed], micros(tx.Now))
	}
}

// BatchItems reads the items of a batch with an outcome, in the order of their ids.
func (v *View) BatchItems(batch string, outcome leafward.Outcome) ([]leafward.BatchItem, error) {
	const of = "WHERE batch = $1 AND outcome = $2 ORDER BY certificate"
	return selectAll(v, tableOf[leafward.BatchItem]("batch item", "batch_items"), of, batch, string(outcome))
}

// Place is where a walk over certificates stands, in the order of their birth; the zero value is before the first.
type Place struct {
	CreatedAt time.Time
	ID        string
}

// everyCertificate selects ids of certificates, archived or not, each kind by the index that has its order.
func everyCertificate(condition, tail string) string {
	const each = "SELECT id FROM (SELECT id FROM certificates WHERE archived_at "
	return each + "= 0" + condition + " " + tail + ") AS living UNION ALL " + each + "> 0" + condition + " " + tail + ") AS archived"
}

// Youngest is the place of the certificate that was made last.
func (v *View) Youngest() (at Place, err error) {
	var us int64
	_, err = v.one("SELECT created_at, id FROM certificates WHERE id IN ("+everyCertificate("", "ORDER BY created_at DESC, id DESC LIMIT 1")+") ORDER BY created_at DESC, id DESC LIMIT 1", nil, &us, &at.ID)
	at.CreatedAt = instant(us)
	return at, err
}

// Selected reads up to limit certificates behind one place and not behind another, unless that is the zero value, that a
// selector fits, in whatever state they are. A selector that says nothing selects nothing.
func (v *View) Selected(sel leafward.Selector, behind, last Place, limit int) ([]leafward.Certificate, error) {
	if sel.Empty() {
		return nil, nil
	}
	s := newSelection(v.Actor, "team")
	s.and("(created_at, id) > (?, ?)", micros(behind.CreatedAt), behind.ID)
	if last.ID != "" {
		s.and("(created_at, id) <= (?, ?)", micros(last.CreatedAt), last.ID)
	}
	if len(sel.Certificates) > 0 {
		s.in("id", sel.Certificates)
	}
	for _, c := range []struct{ condition, value string }{
		{"profile = ?", sel.Profile},
		{"owner = ?", sel.Owner},
		{"issuer = ?", sel.Issuer},
		{"owner IN (SELECT id FROM owners WHERE team = ?)", sel.Team},
		{"id IN (SELECT i.certificate FROM installations i JOIN targets t ON t.id = i.target WHERE t.agent = ?)", sel.Agent},
	} {
		if c.value != "" {
			s.and(c.condition, c.value)
		}
	}
	order := fmt.Sprintf("ORDER BY created_at, id LIMIT %d", limit)
	return selectAll(v, certificates(), "WHERE id IN ("+everyCertificate(" AND "+strings.Join(s.conditions, " AND "), order)+") "+order, s.args...)
}
