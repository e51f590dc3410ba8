package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Traces are what is sent to a collector by OpenTelemetry's protocol over HTTP.
type Traces struct {
	URL     string // of the collector; empty: off
	Service string // what this service is called there
}

// serviceName is what the service is called where nothing else is said.
const serviceName = "retrieverkeys"

// samplers are those that the SDK has.
var samplers = []string{"always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"}

// traces reads OpenTelemetry's variables: whether there are traces, and where they go. The SDK reads the rest of them itself, so
// those are checked only: it would pass over what is wrong, and write it to the standard error, keys in headers included. No
// problem tells a value.
func traces(getenv func(string) string) (Traces, []error) {
	t := Traces{Service: cmp.Or(getenv("OTEL_SERVICE_NAME"), serviceName)}
	base, own := getenv("OTEL_EXPORTER_OTLP_ENDPOINT"), getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	if base == "" && own == "" || strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return Traces{}, nil
	}
	var problems []error
	check := func(f func(value string) error, names ...string) {
		for _, name := range names {
			if value := getenv(name); value != "" {
				if err := f(value); err != nil {
					problems = append(problems, fmt.Errorf("%s %w", name, err))
				}
			}
		}
	}
	check(collector, "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	check(one("otlp", "none"), "OTEL_TRACES_EXPORTER")
	check(one("http/protobuf"), "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
	check(one("gzip", "none"), "OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION")
	check(pairs, "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_RESOURCE_ATTRIBUTES")
	check(milliseconds, "OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
	check(readable, "OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
		"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
		"OTEL_EXPORTER_OTLP_CLIENT_KEY", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY")
	check(whole, "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT",
		"OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
		"OTEL_SPAN_ATTRIBUTE_VALUE_DEPTH_LIMIT", "OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_SPAN_LINK_COUNT_LIMIT", "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT")
	check(one(samplers...), "OTEL_TRACES_SAMPLER")
	check(ratio, "OTEL_TRACES_SAMPLER_ARG")
	if t.URL = own; own == "" {
		t.URL, _ = url.JoinPath(base, "v1", "traces") // which it has been checked to be a URL for
	}
	return t, problems
}

func collector(value string) error {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errors.New("must be a URL with http or https")
	}
	if u.User != nil || u.RawQuery != "" {
		return errors.New("must have no password and no query; what a collector needs to know is in OTEL_EXPORTER_OTLP_HEADERS")
	}
	return nil
}

func one(allowed ...string) func(string) error {
	return func(value string) error {
		if !slices.Contains(allowed, value) {
			return fmt.Errorf("must be %s", strings.Join(allowed, " or "))
		}
		return nil
	}
}

func pairs(value string) error {
	for pair := range strings.SplitSeq(value, ",") {
		name, text, found := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		if _, err := url.PathUnescape(text); !found || err != nil || name == "" || strings.ContainsFunc(name, func(r rune) bool {
			return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
		}) {
			return errors.New("must be name=value, comma-separated, with values percent-encoded")
		}
	}
	return nil
}

func milliseconds(value string) error {
	if n, err := strconv.Atoi(value); err != nil || n <= 0 {
		return errors.New("must be a whole number of milliseconds greater than zero")
	}
	return nil
}

func readable(path string) error {
	f, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return errors.New("must be a file that can be read")
	}
	return f.Close()
}

func whole(value string) error {
	if _, err := strconv.Atoi(value); err != nil {
		return errors.New("must be a whole number")
	}
	return nil
}

func ratio(value string) error {
	if r, err := strconv.ParseFloat(value, 64); err != nil || !(r >= 0 && r <= 1) {
		return errors.New("must be a number from 0 to 1")
	}
	return nil
}
