package app

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/door/rest"
	"github.com/leafward/leafward/internal/store"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const metricsPath = "/metrics"

// scrapeTime bounds what one scrape asks of the database.
const scrapeTime = 5 * time.Second

// metrics measure the server. Labels have values from fixed lists only: routes, statuses, actions.
type metrics struct {
	app      *App
	begun    time.Time
	handler  http.Handler
	requests *prometheus.HistogramVec
	events   *prometheus.CounterVec
	jumps    *prometheus.CounterVec
	gauges   gauges
}

// gauges are read from the database at each scrape.
type gauges struct {
	jobs, oldestJob, renewals               *prometheus.Desc
	lists, stale, nextUpdate, waiting       *prometheus.Desc
	responders, responderEnd                *prometheus.Desc
	unnumbered, auditLag, ledgerLag, ownEnd *prometheus.Desc
	failed, skew                            *prometheus.Desc
}

func newMetrics(a *App) *metrics {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("leafward_"+name, help, labels, nil)
	}
	m := &metrics{
		app: a, begun: a.clock.Now(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "leafward_http_request_duration_seconds", Help: "How long requests took.", Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10, 60},
		}, []string{"route", "status"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "leafward_events_total", Help: "Events recorded by all servers since this one started, such as certificate.issued.",
		}, []string{"action"}),
		jumps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "leafward_clock_jumps_total", Help: "How often a clock moved otherwise than time passes: that of this machine, or of the database.",
		}, []string{"clock"}),
		gauges: gauges{
			skew:         describe("clock_skew_seconds", "How far this machine's clock is ahead of the database's."),
			jobs:         describe("jobs", "Open jobs.", "status"),
			oldestJob:    describe("job_oldest_due_seconds", "For how long the job that waits longest for a worker is due."),
			renewals:     describe("renewals_waiting", "Certificates whose moment of renewal has come and whose renewal has not begun: they wait for their turn, or for the next look."),
			lists:        describe("crls", "Authorities that publish a CRL."),
			stale:        describe("crls_stale", "Authorities whose CRL is missing or past its next update."),
			nextUpdate:   describe("crl_next_update_seconds", "Until the earliest next update of a CRL; negative when it is past."),
			waiting:      describe("crl_waiting", "Revocations that no CRL tells yet."),
			responders:   describe("ocsp_responders", "Authorities with an OCSP responder."),
			responderEnd: describe("ocsp_responder_expiry_seconds", "Until the earliest end of an OCSP responder's certificate."),
			unnumbered:   describe("audit_unnumbered", "Events that wait for their number."),
			auditLag:     describe("audit_lag_seconds", "For how long the event that waits longest for its number does."),
			ledgerLag:    describe("ledger_behind", "Numbered events that this server's ledger does not hold yet."),
			ownEnd:       describe("tls_expiry_seconds", "Until the end of the server's own certificate."),
			failed:       describe("scrape_failed", "1 when the database could not be asked."),
		},
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(m, m.requests, m.events, m.jumps, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 2 * scrapeTime})
	return m
}

// event counts what came into the ledger, unless it is older than this process.
func (m *metrics) event(e *leafward.Event) {
	if !e.At.Before(m.begun) {
		m.events.WithLabelValues(string(e.Action)).Inc()
	}
}

func (m *metrics) request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Observe(took.Seconds())
}

// ServeHTTP answers a scrape by whoever may see everything.
func (m *metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	actor, known := leafward.ActorFrom(r.Context())
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		rest.WriteError(w, r, leafward.Errorf(leafward.NotAllowed, "use GET", "%s has no such method", metricsPath))
	case !known:
		rest.WriteError(w, r, leafward.Errorf(leafward.Unauthorized, "let the scraper send Authorization: Bearer with a key of the role viewer", "metrics are for those who have a key"))
	case !actor.Role.Includes(leafward.RoleViewer) || actor.Teams != nil:
		rest.WriteError(w, r, leafward.Errorf(leafward.Denied, "use a key of the role viewer for all teams", "metrics tell of all teams, and the key of %s is not for all", actor.Name))
	default:
		m.handler.ServeHTTP(w, r)
	}
}

// Describe is for the registry.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	g := m.gauges
	for _, d := range []*prometheus.Desc{
		g.jobs, g.oldestJob, g.renewals, g.lists, g.stale, g.nextUpdate, g.waiting, g.responders, g.responderEnd, g.unnumbered, g.auditLag, g.ledgerLag, g.ownEnd, g.failed, g.skew,
	} {
		out <- d
	}
}

// Collect is for the registry.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(leafward.WithActor(context.Background(), leafward.System("metrics")), scrapeTime)
	defer cancel()
	set := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	set(m.gauges.ownEnd, m.app.own.now.Load().Leaf.NotAfter.Sub(m.app.clock.Now()).Seconds())
	set(m.gauges.skew, m.app.verbs.engine.Skew().Seconds())
	err := m.app.db.View(ctx, func(v *store.View) error { return m.read(v, set) })
	failed := 0.0
	if err != nil {
		failed = 1
		m.app.log.WarnContext(ctx, "metrics could not be read", "error", err)
	}
	set(m.gauges.failed, failed)
}

// read asks one snapshot for everything.
func (m *metrics) read(v *store.View, set func(*prometheus.Desc, float64, ...string)) error {
	jobs, err := v.OpenJobs()
	if err != nil {
		return err
	}
	for _, status := range []leafward.JobStatus{leafward.JobPending, leafward.JobAwaitingCSR, leafward.JobAwaitingApproval, leafward.JobRunning} {
		set(m.gauges.jobs, float64(jobs[status]), string(status))
	}
	due, err := v.OldestDue()
	if err != nil {
		return err
	}
	set(m.gauges.oldestJob, since(v.Now, due))
	renewals, err := v.CountDue()
	if err != nil {
		return err
	}
	set(m.gauges.renewals, float64(renewals))
	waiting, oldest, err := v.AuditLag()
	if err != nil {
		return err
	}
	set(m.gauges.unnumbered, float64(waiting))
	set(m.gauges.auditLag, since(v.Now, oldest))
	last, err := v.LastSequence()
	if err != nil {
		return err
	}
	head, _ := m.app.ledger.Head()
	set(m.gauges.ledgerLag, float64(max(0, last-head)))
	return m.readLists(v, set)
}

func (m *metrics) readLists(v *store.View, set func(*prometheus.Desc, float64, ...string)) error {
	lists, err := v.Lists()
	if err != nil {
		return err
	}
	var stale, responders, waiting int64
	var next, end time.Time
	for _, l := range lists {
		if l.Stale(v.Now) {
			stale++
		}
		waiting += l.Waiting
		next = earlier(next, l.NextUpdate)
		if !l.Responder.IsZero() {
			responders++
			end = earlier(end, l.Responder)
		}
	}
	set(m.gauges.lists, float64(len(lists)))
	set(m.gauges.stale, float64(stale))
	set(m.gauges.waiting, float64(waiting))
	set(m.gauges.responders, float64(responders))
	if !next.IsZero() {
		set(m.gauges.nextUpdate, next.Sub(v.Now).Seconds())
	}
	if !end.IsZero() {
		set(m.gauges.responderEnd, end.Sub(v.Now).Seconds())
	}
	return nil
}

// earlier is the earlier of two times that are known.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// since is how many seconds ago something was; 0 when it never was.
func since(now, at time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return max(0, now.Sub(at).Seconds())
}
