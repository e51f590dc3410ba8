package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func (m *Metrics) describeStore() {
	m.storeCalls = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "retrieverkeys_store_call_duration_seconds",
		Help:    "Duration of calls to the store by outcome: ok, unavailable, error, or canceled if the client has disconnected.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 10},
	}, []string{"call", "outcome"})
	m.pool = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "retrieverkeys_mongodb_pool", Help: "MongoDB connections that are open or in use, and operations that wait for one.",
	}, []string{"state"})
	m.checkouts = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "retrieverkeys_mongodb_checkout_failures_total", Help: "Operations that got no connection to MongoDB, by reason.",
	}, []string{"reason"})
	for _, reason := range []string{"timeout", "connectionError", "poolClosed"} { // all reasons of the driver, so that each metric exists before the first failure
		m.checkouts.WithLabelValues(reason)
	}
	m.registry.MustRegister(m.storeCalls, m.pool, m.checkouts)
}

// StoreCall counts a call to the store.
func (m *Metrics) StoreCall(call, outcome string, took time.Duration) {
	m.storeCalls.WithLabelValues(call, outcome).Observe(took.Seconds())
}

// Pool returns a function that changes the number of connections, or of waiting operations, in a state of MongoDB's pools.
func (m *Metrics) Pool(state string) func(change int) {
	gauge := m.pool.WithLabelValues(state)
	return func(change int) { gauge.Add(float64(change)) }
}

// CheckoutFailure counts an operation that got no connection.
func (m *Metrics) CheckoutFailure(reason string) { m.checkouts.WithLabelValues(reason).Inc() }
