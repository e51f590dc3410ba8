package config

import (
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strconv"
	"strings"
	"time"
)

//go:generate go test -run TestSettingsPage -update .

// setting is an environment variable.
type setting struct {
	name     string
	fallback string // the default, as text; empty: none
	meaning  string // sentences without the final period
	set      func(string) error
}

// maxAuditDays is the largest AUDIT_RETENTION_DAYS: about a hundred years.
const maxAuditDays = 36_500

// settings declares every environment variable except OpenTelemetry's, and stores the defaults in c.
func (c *Config) settings() []setting {
	c.ListenAddr, c.AdminAddr = "127.0.0.1:8080", "127.0.0.1:8081"
	c.Playground, c.Console, c.REST = true, true, true
	c.MaxBodyBytes, c.MaxResponseBytes = 1<<20, 32<<20
	c.AuthFailures = 6_000
	c.MaxConcurrent, c.MaxConnections, c.MaxStreams = turnsPerCore*runtime.GOMAXPROCS(0), 10_000, 100
	c.RequestTimeout = 10 * time.Second
	c.LeakAction = "revoke"
	c.GatePath = "/v1/retrievers/{retriever_id}/execute"
	c.Policy = Policy{StaleAfter: 90 * day, ExpiryNotice: 14 * day}
	c.UsageDays = 400
	c.Limits = Limits{Depth: 12, Aliases: 100, RootFields: 100, Directives: 10, Tokens: 15_000, Entities: 500, Complexity: 2_000_000, Reads: 200_000}
	return []setting{
		{"LISTEN_ADDR", "127.0.0.1:8080", "Address to listen on", addressOf(&c.ListenAddr)},
		{"ADMIN_ADDR", "127.0.0.1:8081", "Address for /metrics and /debug/pprof, or off. Requests must name localhost, a loopback address or this address in Host", func(s string) error {
			if s == "off" {
				c.AdminAddr = ""
				return nil
			}
			return addressOf(&c.AdminAddr)(s)
		}},
		{"ADMIN_HOSTS", "", "Comma-separated host names that are also accepted in Host on ADMIN_ADDR", hosts(&c.AdminHosts)},
		{"MONGODB_URI", "", "Connection string of the MongoDB deployment. Without it, the server uses the embedded store. Set this or EMBEDDED_PATH, not both", text(&c.MongoURI)},
		{"MONGODB_URI_FILE", "", "File that contains MONGODB_URI, such as a mounted secret", fromFile(&c.MongoURI)},
		{"MONGODB_DATABASE", "the URI's path, else retrieverkeys", "Database name", text(&c.MongoDatabase)},
		{"MONGODB_SERVER_API", "", "1 declares version 1 of MongoDB's Stable API, which some deployments require", choice(&c.MongoServerAPI, "1")},
		{"EMBEDDED_PATH", DefaultEmbeddedPath, "File of the embedded store", text(&c.EmbeddedPath)},
		{"DEMO", "true when the program is started without a command and without MongoDB, else false", "true fills an empty store with demo data", boolean(&c.Demo)},
		{"INTROSPECTION", "public on the embedded store, else authenticated", "Who may read the schema: public, authenticated or off", choice(&c.Introspection, "public", "authenticated", "off")},
		{"PLAYGROUND", "on", "The GraphQL playground: on or off", switched(&c.Playground)},
		{"CONSOLE", "on", "The console, a page for people at /: on or off. Its operations run with PERSISTED_ONLY too", switched(&c.Console)},
		{"REST", "on", "The vendor's REST endpoints and /openapi.json: on, or off, which answers 404", switched(&c.REST)},
		{"LEAK_ACTION", "revoke", "What a report of a leaked key does: revoke, which also revokes an active key, or report, which only notes the leak", choice(&c.LeakAction, "revoke", "report")},
		{"GITHUB_LEAK_KEYS", "", "File or https URL of the public keys with which GitHub signs its reports of leaked keys: SECURITY.md has the URL. Without it, /v1/leaks/github answers 404", fileOrHTTPS(&c.LeakKeys)},
		{"GATE_PATH", c.GatePath, "Path at which clients execute a retriever through a gateway. /v1/authorize uses it to find the retriever's id in the path that the gateway sends", text(&c.GatePath)},
		{"USAGE_RETENTION_DAYS", strconv.Itoa(c.UsageDays), "Days for which the usage of keys at the gate is kept. Older days are deleted in the background", number(&c.UsageDays)},
		{"AUDIT_RETENTION_DAYS", "off", "Days for which audit events are kept, or off, which keeps them forever. Older events are deleted in the background, from every list and from GET /v1/audit-events", func(s string) error {
			if s == "off" {
				c.AuditDays = 0
				return nil
			}
			if number(&c.AuditDays)(s) != nil || c.AuditDays > maxAuditDays {
				return fmt.Errorf("must be off or a number of days from 1 to %d", maxAuditDays)
			}
			return nil
		}},
		{"CORS_ALLOWED_ORIGINS", "none; pages on localhost for the demo", "Comma-separated origins whose pages may call the server: exact, or https://*.example.com for all subdomains", list(&c.CORSOrigins)},
		{"CORS_ALLOWED_HEADERS", "", "Comma-separated request headers that these pages may send, in addition to those that GraphQL clients and browser tracers send", list(&c.CORSHeaders)},
		{"MAX_BODY_BYTES", "1048576", "Maximum size of a request body, in bytes", size(&c.MaxBodyBytes)},
		{"MAX_RESPONSE_BYTES", "33554432", "Maximum size of a GraphQL response, in bytes. The REST list is streamed and has no limit", size(&c.MaxResponseBytes)},
		{"RATE_LIMIT_PER_MINUTE", "0", "Requests per minute for each key without a limit of its own. 0 is unlimited. Refused requests count too, and a rotated key shares its limit with its successors", count(&c.RateLimit)},
		{"KEY_DEFAULT_LIFETIME", "", "How long a new key lives if its creator gives no expiry, such as 90d, 36h or 1d12h. Without it, such a key never expires", lifetime(&c.Policy.DefaultLifetime, 1)},
		{"KEY_MAX_LIFETIME", "", "How long a key may live, counted from when its expiry is set. Stored keys keep working", lifetime(&c.Policy.MaxLifetime, 1)},
		{"KEY_STALE_AFTER", "90d", "How long a key can be unused before it is found to be unused or stale", lifetime(&c.Policy.StaleAfter, 1)},
		{"KEY_EXPIRY_NOTICE", "14d; half of KEY_DEFAULT_LIFETIME or KEY_MAX_LIFETIME if that is less", "How long before its expiry a key is found to expire soon, and an audit event says so. 0 is off", lifetime(&c.Policy.ExpiryNotice, 0)},
		{"AUTH_FAILURES_PER_MINUTE", "6000", "Failed authentications allowed per IP address (or IPv6 /64) per minute. Above that, only keys that this process accepted recently are checked. 0 is unlimited", count(&c.AuthFailures)},
		{"REDIS_URL", "", "Redis server that shares rate limits between processes, such as redis://user:password@host:6379/0, or rediss:// for TLS. Without it, or while it is down, each process counts by itself", text(&c.RedisURL)},
		{"REDIS_URL_FILE", "", "File that contains REDIS_URL", fromFile(&c.RedisURL)},
		{"MAX_CONCURRENT_REQUESTS", fmt.Sprintf("%d per core", turnsPerCore), "Requests that are processed at the same time. Others wait for up to 500 ms and are then refused with 503. Raise it when the store is far away", number(&c.MaxConcurrent)},
		{"MAX_CONNECTIONS", "10000", "Maximum open connections. When full, the connection that has been idle longest is closed", number(&c.MaxConnections)},
		{"MAX_DEPTH", "12", "Maximum nesting of fields. Fields below __schema and __type do not count", number(&c.Limits.Depth)},
		{"MAX_ALIASES", "100", "Maximum aliases in an operation", number(&c.Limits.Aliases)},
		{"MAX_ROOT_FIELDS", "100", "Maximum root fields in an operation", number(&c.Limits.RootFields)},
		{"MAX_DIRECTIVES", "10", "Maximum directives on a field, fragment or operation", number(&c.Limits.Directives)},
		{"MAX_TOKENS", "15000", "Maximum tokens in an operation. With its fragments spread, an operation may have four times as many fields and values", number(&c.Limits.Tokens)},
		{"MAX_ENTITIES", "500", "Maximum representations in one _entities field", number(&c.Limits.Entities)},
		{"MAX_COMPLEXITY", "2000000", "Maximum number of fields in a response if every page were full. A connection counts first or last times, or its default page size", number(&c.Limits.Complexity)},
		{"MAX_READS", "200000", "Maximum number of documents that one request may read from the store, for pages, filters, searches and totals together. Each list counts ten more, and a large document counts once per KiB. One list with conditions may read more, until REQUEST_TIMEOUT", number(&c.Limits.Reads)},
		{"MAX_STREAMS", "100", "Maximum open subscriptions. One organization can have a quarter of them. Others are refused with 503", number(&c.MaxStreams)},
		{"REQUEST_TIMEOUT", "10s", "Maximum duration of a request, including store calls. Subscriptions last longer", func(s string) (err error) {
			c.RequestTimeout, err = time.ParseDuration(s)
			return positive(c.RequestTimeout, err, "a duration such as 10s,")
		}},
		{"SHUTDOWN_DELAY", "0s", "How long the server keeps serving after SIGTERM while /readyz answers 503, so that load balancers notice. Running requests then have 20 s to finish", func(s string) (err error) {
			if c.ShutdownDelay, err = time.ParseDuration(s); err != nil || c.ShutdownDelay < 0 {
				return errors.New("must be a duration such as 5s")
			}
			return nil
		}},
		{"TRUSTED_PROXIES", "", "Comma-separated addresses or CIDRs of proxies and gateways whose X-Forwarded-For and X-Forwarded-Uri are believed", prefixes(&c.TrustedProxies)},
		{"PERSISTED_OPERATIONS", "", "File of operations that clients may send by id: a manifest of Apollo's generate-persisted-query-manifest or of graphql-codegen's client preset", text(&c.Persisted)},
		{"PERSISTED_ONLY", "false", "true runs only operations of that file, and the console's while it is on, without introspection. Close the REST endpoints with REST=off", boolean(&c.PersistedOnly)},
		{"LOG_FORMAT", "text on a terminal, else json", "text or json", choice(&c.LogFormat, "text", "json")},
		{"LOG_LEVEL", "info", "debug, info, warn or error", func(s string) error {
			if c.LogLevel.UnmarshalText([]byte(s)) != nil {
				return errors.New("must be debug, info, warn or error")
			}
			return nil
		}},
	}
}

// openTelemetry describes the variables that the OpenTelemetry SDK reads itself.
var openTelemetry = setting{name: "OTEL_*", meaning: "OpenTelemetry's standard variables. OTEL_EXPORTER_OTLP_ENDPOINT turns traces on and says where to send them"}

func (c *Config) parseSettings(getenv func(string) string) []error {
	var problems []error
	for _, s := range c.settings() {
		value := getenv(s.name)
		if value == "" {
			continue
		}
		if err := s.set(value); err != nil {
			if problem := fmt.Errorf("%s=%q %w", s.name, value, err); !strings.HasSuffix(s.name, ofFile) {
				problems = append(problems, problem)
			} else { // the value may be the secret itself
				problems = append(problems, fmt.Errorf("%s %w", s.name, err))
			}
		}
		if name, is := strings.CutSuffix(s.name, ofFile); is && getenv(name) != "" {
			problems = append(problems, fmt.Errorf("%s and %s are both set: set one of them", name, s.name))
		}
	}
	return problems
}

// WriteSettings writes all settings as a table in Markdown.
func WriteSettings(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| variable | default | meaning |\n|---|---|---|\n")
	for _, s := range append(new(Config).settings(), openTelemetry) {
		fmt.Fprintf(&b, "| `%s` | %s | %s. |\n", s.name, s.fallback, strings.ReplaceAll(s.meaning, "|", `\|`))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// turnsPerCore keeps all cores busy while requests wait for a store nearby. A distant store would need more turns, but more turns delay
// responses under load.
const turnsPerCore = 16

// text takes any value.
func text(to *string) func(string) error {
	return func(s string) error {
		*to = s
		return nil
	}
}

func boolean(to *bool) func(string) error {
	return func(s string) (err error) {
		if *to, err = strconv.ParseBool(s); err != nil {
			return errors.New("must be true or false")
		}
		return nil
	}
}

// size is a number of bytes.
func size(to *int64) func(string) error {
	return func(s string) (err error) {
		*to, err = strconv.ParseInt(s, 10, 64)
		return positive(*to, err, "a whole number")
	}
}

// number is a number of 32 bits, so that sums cannot overflow.
func number(to *int) func(string) error { return between(1, to) }

// count is a number or 0.
func count(to *int) func(string) error { return between(0, to) }

func between(least int64, to *int) func(string) error {
	return func(s string) error {
		n, err := strconv.ParseInt(s, 10, 32)
		if err != nil || n < least {
			return fmt.Errorf("must be a whole number from %d to %d", least, math.MaxInt32)
		}
		*to = int(n)
		return nil
	}
}
