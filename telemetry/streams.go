package telemetry

import "github.com/prometheus/client_golang/prometheus"

func (m *Metrics) describeStreams() {
	m.streams = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "retrieverkeys_streams", Help: "Open subscriptions, at most MAX_STREAMS.",
	})
	m.streamEvents = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "retrieverkeys_stream_events_total", Help: "Events that were sent to subscriptions, once for each.",
	})
	m.streamsEnded = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "retrieverkeys_streams_ended_total",
		Help: "Subscriptions that ended, by reason: client, stalled, behind, shutdown, or the code of the error that the client got.",
	}, []string{"reason"})
	for _, reason := range []string{"client", "stalled", "behind", "shutdown"} {
		m.streamsEnded.WithLabelValues(reason) // from the start, so that the first one is an increase
	}
	m.registry.MustRegister(m.streams, m.streamEvents, m.streamsEnded)
}

// Streams adds to the number of open subscriptions.
func (m *Metrics) Streams(more int) { m.streams.Add(float64(more)) }

// StreamEvents counts events that were sent to a subscription.
func (m *Metrics) StreamEvents(n int) { m.streamEvents.Add(float64(n)) }

// StreamEnded counts a subscription that ended.
func (m *Metrics) StreamEnded(reason string) { m.streamsEnded.WithLabelValues(reason).Inc() }
