package telemetry

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the Prometheus metrics of a process. Labels have few values, whatever clients send: no id, name of an operation or address is a
// label value.
type Metrics struct {
	registry           *prometheus.Registry
	requests           *prometheus.HistogramVec
	authentications    *prometheus.CounterVec
	authorizations     *prometheus.CounterVec
	authorizationTimes *prometheus.HistogramVec
	usageLost          *prometheus.CounterVec
	unusableKeys       prometheus.Gauge
	expiringKeys       prometheus.Gauge
	operations         *prometheus.CounterVec
	operationTimes     *prometheus.HistogramVec
	limits             *prometheus.CounterVec
	cacheLookups       *prometheus.CounterVec
	streams            prometheus.Gauge
	streamEvents       prometheus.Counter
	streamsEnded       *prometheus.CounterVec
	storeCalls         *prometheus.HistogramVec
	pool               *prometheus.GaugeVec
	checkouts          *prometheus.CounterVec
	sharedLimits       *prometheus.GaugeVec // without labels: a vector exports nothing until its gauge is set
	working            prometheus.Gauge
	waiting            prometheus.Gauge
	refused            prometheus.Counter
}

// NewMetrics returns the metrics of a program with this version, built from this commit.
func NewMetrics(version, commit string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "retrieverkeys_http_request_duration_seconds", Help: "Duration of HTTP requests by route, method and status.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route", "method", "status"}),
		authentications: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "retrieverkeys_authentications_total",
			Help: "Requests by the outcome of authentication: accepted, anonymous, or an error code.",
		}, []string{"outcome"}),
		unusableKeys: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "retrieverkeys_unusable_keys", Help: "Key documents that no list shows, because they have no usable key_id or key_hash. Counted hourly.",
		}),
		expiringKeys: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "retrieverkeys_expiring_keys",
			Help: "Active keys of all organizations that expire within KEY_EXPIRY_NOTICE, were not rotated, and live longer than it. 0 if that is off.",
		}),
	}
	m.describeGate()
	m.describeOperations()
	m.describeStreams()
	m.describeStore()
	m.sharedLimits = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "retrieverkeys_rate_limits_shared", Help: "With REDIS_URL: 1 while rate limits are shared through Redis, 0 while this process counts by itself.",
	}, nil)
	m.working = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "retrieverkeys_requests_in_flight", Help: "Requests that are being processed, at most MAX_CONCURRENT_REQUESTS.",
	})
	m.waiting = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "retrieverkeys_requests_queued", Help: "Requests that wait to be processed.",
	})
	m.refused = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "retrieverkeys_requests_refused_total", Help: "Requests that were refused with 503 because of overload.",
	})
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "retrieverkeys_build_info", Help: "1. The labels are the version and the commit of the program.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit},
	})
	build.Set(1)
	m.registry.MustRegister(m.requests, m.authentications, m.unusableKeys, m.expiringKeys, m.sharedLimits, m.working, m.waiting, m.refused, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Request counts a request. The route is the pattern that it matched, or empty.
func (m *Metrics) Request(route, method string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Observe(took.Seconds())
}

// Authentication counts a request by the outcome of its authentication.
func (m *Metrics) Authentication(outcome string) { m.authentications.WithLabelValues(outcome).Inc() }

// UnusableKeys sets the number of key documents that no list shows.
func (m *Metrics) UnusableKeys(n int) { m.unusableKeys.Set(float64(n)) }

// ExpiringKeys sets the number of keys that expire soon.
func (m *Metrics) ExpiringKeys(n int) { m.expiringKeys.Set(float64(n)) }

// SharedLimits sets whether rate limits are shared with other processes.
func (m *Metrics) SharedLimits(shared bool) {
	value := 0.0
	if shared {
		value = 1
	}
	m.sharedLimits.WithLabelValues().Set(value)
}

// Working adds to the number of requests that are being processed.
func (m *Metrics) Working(more int) { m.working.Add(float64(more)) }

// Waiting adds to the number of requests that wait for a turn.
func (m *Metrics) Waiting(more int) { m.waiting.Add(float64(more)) }

// Refused counts a request that was refused because of overload.
func (m *Metrics) Refused() { m.refused.Inc() }
