package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Traces say where OpenTelemetry traces go.
type Traces struct {
	URL     string // of the collector; empty: nowhere
	Service string // the name of this service
}

// traces reads the OpenTelemetry variables that say whether and where traces are sent. The SDK reads the others itself, and package
// telemetry logs what it finds wrong with them. Errors never show a value, which may contain a key.
func traces(getenv func(string) string) (Traces, []error) {
	base, own := getenv("OTEL_EXPORTER_OTLP_ENDPOINT"), getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	if base == "" && own == "" || strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return Traces{}, nil
	}
	var problems []error
	for _, v := range []struct {
		name  string
		check func(string) error
	}{
		{"OTEL_EXPORTER_OTLP_ENDPOINT", collector},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector},
		{"OTEL_TRACES_EXPORTER", choice(new(string), "otlp", "none")},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", choice(new(string), "http/protobuf")},
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", choice(new(string), "http/protobuf")},
	} {
		if value := getenv(v.name); value != "" {
			if err := v.check(value); err != nil {
				problems = append(problems, fmt.Errorf("%s %w", v.name, err))
			}
		}
	}
	t := Traces{URL: own, Service: cmp.Or(getenv("OTEL_SERVICE_NAME"), "retrieverkeys")}
	if own == "" {
		t.URL, _ = url.JoinPath(base, "v1", "traces") // a wrong URL is among the problems
	}
	return t, problems
}

func collector(value string) error {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errors.New("must be an http or https URL")
	}
	if u.User != nil || u.RawQuery != "" {
		return errors.New("must not have a password or query: put the collector's key in OTEL_EXPORTER_OTLP_HEADERS")
	}
	return nil
}
