package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func (m *Metrics) describeOperations() {
	m.operations = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "retrieverkeys_graphql_operations_total",
		Help: "GraphQL operations by persisted id or hashed name, type, and outcome: ok, or the code of the first error.",
	}, []string{"operation", "type", "outcome"})
	m.operationTimes = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "retrieverkeys_graphql_operation_duration_seconds", Help: "Duration of GraphQL operations, including parsing.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"operation", "type"})
	m.limits = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "retrieverkeys_graphql_limit_refusals_total", Help: "GraphQL operations that exceeded a limit, by the name of the setting.",
	}, []string{"limit"})
	m.cacheLookups = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "retrieverkeys_graphql_cache_lookups_total",
		Help: "Lookups in the caches of parsed documents, and of texts that clients registered by their hash. The result is hit or miss.",
	}, []string{"cache", "result"})
	m.registry.MustRegister(m.operations, m.operationTimes, m.limits, m.cacheLookups)
}

// Operation counts a GraphQL operation. The number of different operations must be small, whatever clients send.
func (m *Metrics) Operation(operation, kind, outcome string, took time.Duration) {
	m.operations.WithLabelValues(operation, kind, outcome).Inc()
	m.operationTimes.WithLabelValues(operation, kind).Observe(took.Seconds())
}

// LimitRefusal counts an operation that a limit refused.
func (m *Metrics) LimitRefusal(limit string) { m.limits.WithLabelValues(limit).Inc() }

// CacheLookups returns a function that counts the lookups in a cache of operations.
func (m *Metrics) CacheLookups(cache string) func(hit bool) {
	hits, misses := m.cacheLookups.WithLabelValues(cache, "hit"), m.cacheLookups.WithLabelValues(cache, "miss")
	return func(hit bool) {
		if hit {
			hits.Inc()
		} else {
			misses.Inc()
		}
	}
}
