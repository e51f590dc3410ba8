package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func (m *Metrics) describeGate() {
	m.authorizations = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "retrieverkeys_authorizations_total",
		Help: "Answers to gateways by outcome: allowed, the reason why a key may not pass (origin, permission, retriever or operation), an error code, or canceled if the gateway left.",
	}, []string{"outcome"})
	m.authorizationTimes = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "retrieverkeys_authorization_duration_seconds", Help: "Duration of the decisions for gateways by outcome, including the wait for a turn.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"outcome"})
	m.usageLost = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "retrieverkeys_usage_lost_total",
		Help: "Answers to gateways that usage does not show, by reason: full if too many keys waited to be stored, or unknown if the store failed while it added them.",
	}, []string{"reason"})
	for _, reason := range []string{"full", "unknown"} {
		m.usageLost.WithLabelValues(reason)
	}
	for _, outcome := range []string{"allowed", "origin", "permission", "retriever", "operation", "UNAUTHENTICATED", "RATE_LIMITED", "UNAVAILABLE", "canceled"} {
		m.authorizations.WithLabelValues(outcome) // so that each metric exists before the first gateway asks
		m.authorizationTimes.WithLabelValues(outcome)
	}
	m.registry.MustRegister(m.authorizations, m.authorizationTimes, m.usageLost)
}

// UsageLost counts answers to gateways that are not counted as usage.
func (m *Metrics) UsageLost(reason string, answers int64) {
	m.usageLost.WithLabelValues(reason).Add(float64(answers))
}

// Authorization counts an answer to a gateway.
func (m *Metrics) Authorization(outcome string, took time.Duration) {
	m.authorizations.WithLabelValues(outcome).Inc()
	m.authorizationTimes.WithLabelValues(outcome).Observe(took.Seconds())
}
