package telemetry

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are what a process counts of itself, in the terms of Prometheus. Labels have few values, whatever clients send: no
// id, no name of an operation and no address is one.
type Metrics struct {
	registry        *prometheus.Registry
	requests        *prometheus.HistogramVec
	authentications *prometheus.CounterVec
	unusableKeys    prometheus.Gauge
	operations      *prometheus.CounterVec
	operationTimes  *prometheus.HistogramVec
	limits          *prometheus.CounterVec
	cacheLookups    *prometheus.CounterVec
	storeCalls      *prometheus.HistogramVec
	pool            *prometheus.GaugeVec
	checkouts       *prometheus.CounterVec
	sharedLimits    *prometheus.GaugeVec // without labels: there is none until it is set
	working         prometheus.Gauge
	waiting         prometheus.Gauge
	refused         prometheus.Counter
}

// NewMetrics returns metrics of a program of that version, built from that commit.
func NewMetrics(version, commit string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "retrieverkeys_http_request_duration_seconds", Help: "How long requests took, by route, method and status.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route", "method", "status"}),
		authentications: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "retrieverkeys_authentications_total",
			Help: "Requests by what became of their credentials: accepted, anonymous, or the code of the refusal.",
		}, []string{"outcome"}),
		unusableKeys: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "retrieverkeys_unusable_keys", Help: "Key documents that no list shows, because they have no usable key_id or key_hash; counted hourly.",
		}),
	}
	m.describeOperations()
	m.describeStore()
	m.sharedLimits = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "retrieverkeys_rate_limits_shared", Help: "With REDIS_URL: 1 while rate limits are counted there, 0 while this process counts for itself.",
	}, nil)
	m.working = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "retrieverkeys_requests_in_flight", Help: "Requests that are worked on, of at most MAX_CONCURRENT_REQUESTS.",
	})
	m.waiting = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "retrieverkeys_requests_queued", Help: "Requests that wait for their turn.",
	})
	m.refused = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "retrieverkeys_requests_refused_total", Help: "Requests that were answered with 503 because there were too many.",
	})
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "retrieverkeys_build_info", Help: "1; the labels tell what the program was built from.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit},
	})
	build.Set(1)
	m.registry.MustRegister(m.requests, m.authentications, m.unusableKeys, m.sharedLimits, m.working, m.waiting, m.refused, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler answers with the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Request counts a request that was answered; the route is the pattern of it, empty where it has none.
func (m *Metrics) Request(route, method string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Observe(took.Seconds())
}

// Authentication counts a request by what became of its credentials.
func (m *Metrics) Authentication(outcome string) { m.authentications.WithLabelValues(outcome).Inc() }

// UnusableKeys sets the number of key documents that no list shows.
func (m *Metrics) UnusableKeys(n int) { m.unusableKeys.Set(float64(n)) }

// SharedLimits sets whether rate limits are counted together with other processes.
func (m *Metrics) SharedLimits(shared bool) {
	value := 0.0
	if shared {
		value = 1
	}
	m.sharedLimits.WithLabelValues().Set(value)
}

// Working counts more, or fewer, requests that are worked on.
func (m *Metrics) Working(more int) { m.working.Add(float64(more)) }

// Waiting counts more, or fewer, requests that wait for their turn.
func (m *Metrics) Waiting(more int) { m.waiting.Add(float64(more)) }

// Refused counts a request that there was no turn for.
func (m *Metrics) Refused() { m.refused.Inc() }
